"""Fitting: (bank, model) → fits, with engines, chunks and workers inside."""

from rfcompare.fitting.engines import engine_by_size
from rfcompare.fitting.fits import fit, predict
from rfcompare.fitting.selection import fit_models, fits_of

__all__ = ["engine_by_size", "fit", "fit_models", "fits_of", "predict"]
