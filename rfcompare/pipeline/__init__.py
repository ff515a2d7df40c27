"""From named sources to results, once: what the report, the figures and the single steps of the command line share.

A `Population` is one side of a comparison with everything made from it; a `Study` is two of them with what their
comparison gave. Fits are kept in a cache by the bank's fingerprint and the options, in parts, so that long work can be
stopped and taken up again.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
