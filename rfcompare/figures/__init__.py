"""One function per figure: Datasets in, a matplotlib Figure out, with its numbers and its caption.

Nothing here opens a file, fits or tests: a figure shows what the Datasets hold. Every function takes
``width``, ``axes``, ``palette``, ``title`` and ``units``, which `Look` explains once.
``numbers(figure)`` and ``caption(figure)`` give what stands behind it; `save` writes PDF, PNG, CSV and text.

`FIGURES` names all of them in the order of the gallery, with the function and what it needs.
"""

import lazy_loader

# No module here is named like a function it holds: importing the module would hide the function.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
