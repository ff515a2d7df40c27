"""rfcompare relates the first-layer kernels of CNNs to the receptive fields of visual cortex.

The flow is: sources → bank → `to_signed` → `fit` → `describe` → `likeness` → figures and report. Everything that
travels between the rooms is a plain `xarray.Dataset` whose schema `rfcompare.quantities` writes down once. Public
names load on first use, so that importing rfcompare costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
