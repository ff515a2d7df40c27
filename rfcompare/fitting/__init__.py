"""Fitting: (bank, model) → fits, with engines, chunks and workers inside."""

from rfcompare.fitting.fits import fit, predict
from rfcompare.fitting.selection import fit_models, fits_of

__all__ = ["fit", "fit_models", "fits_of", "predict"]
