"""What can be fitted to a receptive-field map, one file for each kind of model.

Every model is a sum of *basis functions* with linear amplitudes plus a constant offset,

    map(x, y) = Σ_l amplitude_l · basis_l(x, y; p) + offset,

so that only the few nonlinear parameters ``p`` are ever searched: the amplitudes follow by linear least squares
(variable projection; Golub & Pereyra 1973, doi:10.1137/0710036). All arithmetic is in pixels of the native grid, with
y up and angles anticlockwise.

Adding a model
--------------
Write a file here with a subclass of `Model` (see `rfcompare.models.model`) and list its instances in ``MODELS`` there:
nothing else changes. Standard errors, statuses, bounds, model selection and both engines take from it what they need.

Examples
--------
>>> import numpy as np
>>> from rfcompare.models import MODELS, map_of
>>> gabor = MODELS["gabor"]
>>> [parameter.name for parameter in gabor.parameters], gabor.linear
(['x0', 'y0', 'theta', 'frequency', 'sigma_x', 'sigma_y'], ('even', 'odd'))
>>> p = np.array([[2.0, 2.0, 0.0, 0.25, 0.0, 0.0]])  # SDs are searched as logarithms: log(1 px) = 0
>>> map_of(gabor, p, np.array([[[1.0, 0.0, 0.0]]]), np.arange(5.0), np.arange(5.0))[0, 0, 2].round(3)
array([-0.135,  0.   ,  1.   ,  0.   , -0.135])
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from rfcompare.models.arithmetic import Array
from rfcompare.models.model import Model, map_of
from rfcompare.models.parameters import MAX_FREQUENCY, MIN_SIGMA, Parameter

__all__ = ["MAX_FREQUENCY", "MIN_SIGMA", "MODELS", "Array", "Model", "Parameter", "map_of"]

_files = [import_module(f"{__name__}.{file.name}") for file in iter_modules(__path__)]

MODELS: Mapping[str, Model] = {
    model.name: model
    for model in sorted(
        (model for file in _files for model in getattr(file, "MODELS", ())), key=lambda model: model.degrees_of_freedom
    )
}
"""Every model by name, simpler ones first."""
