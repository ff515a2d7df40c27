"""Fitting: (bank, model) → fits, with engines, chunks and workers inside."""

from rfcompare.fitting.fits import fit, predict

__all__ = ["fit", "predict"]
