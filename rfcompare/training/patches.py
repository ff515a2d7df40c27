"""The classical comparison: independent components or a sparse code of patches of the same photographs.

Bell & Sejnowski 1997 (doi:10.1016/S0042-6989(97)00121-1) and Olshausen & Field 1996 (doi:10.1038/381607a0) derived
oriented, localized, band-pass fields from natural images alone; Ringach 2002 compared both with macaque cells.
"""

from __future__ import annotations

import os
import warnings

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfcompare.bank import make_bank
from rfcompare.errors import InputError, named_strictly
from rfcompare.quantities import REC601
from rfcompare.training.images import read_photographs
from rfcompare.training.loop import positive, whole_seed

_METHODS = {
    "ica": "Bell & Sejnowski 1997, doi:10.1016/S0042-6989(97)00121-1 (FastICA: Hyvärinen 1999, doi:10.1109/72.761722)",
    "sparse": "Olshausen & Field 1996, doi:10.1038/381607a0 (online dictionary learning: Mairal et al. 2009)",
}


@named_strictly
def code_patches(
    folder: str | os.PathLike[str],
    *,
    method: str = "ica",
    size: int = 11,
    n_kernels: int = 96,
    color: bool = True,
    n_patches: int = 20_000,
    seed: int | np.random.Generator | None = 0,
) -> xr.Dataset:
    """Learn the independent components or a sparse code of a folder's photographs.

    Patches are drawn evenly from all photographs, their mean is subtracted, and they are whitened on their `n_kernels`
    strongest principal components. ``ica``: the unmixing *filters*, which is what a kernel is, rather than the mixing
    basis functions. ``sparse``: the basis functions of an l1-penalized code of the whitened patches (the penalty makes
    a unit's field nearly its basis function).

    Parameters
    ----------
    folder : path
        Photographs.
    method : {"ica", "sparse"}
        Which code.
    size : int
        Side of the patches (px).
    n_kernels : int
        Components; at most size² (× 3 with color) − 1.
    color : bool
        Three channels, or luminance only (Rec. 601).
    n_patches : int
        Number of patches.
    seed : int, numpy.random.Generator or None
        Patches and initial components.

    Returns
    -------
    xarray.Dataset
        A bank of kind ``learned``.

    Raises
    ------
    InputError
        For a folder without photographs and options out of range.
    """
    if method not in _METHODS:
        raise InputError(f"expected method 'ica' or 'sparse', got {method!r}; choose one")
    positive(size=size, n_kernels=n_kernels, n_patches=n_patches)
    channel = ("r", "g", "b") if color else ("luminance",)
    largest = size * size * len(channel) - 1
    if n_kernels > largest or n_kernels > n_patches:
        raise InputError(
            f"expected at most {min(largest, n_patches)} kernels of {size}×{size} px, got {n_kernels}; ask for fewer"
        )
    recorded = whole_seed(seed)
    photographs = read_photographs(folder, smallest=size)
    patches = _draw_patches(photographs, n=n_patches, size=size, color=color, rng=np.random.default_rng(recorded))
    whitened, whitener, dewhitener = _whiten(patches, n_kernels)
    if method == "ica":
        filters = _independent(whitened, recorded) @ whitener
    else:
        filters = _sparse(whitened, n_kernels, recorded) @ dewhitener
    return make_bank(
        filters.reshape(n_kernels, len(channel), size, size),
        channel=channel,
        kind="learned",
        rows="down",
        source={"ica": "independent components", "sparse": "sparse code"}[method],
        subject=f"{method}, seed {recorded}",
        unit=[f"k{index:02d}" for index in range(n_kernels)],
        attrs={
            "seed": recorded,
            "trained_on": f"{len(patches)} patches of {len(photographs)} photographs",
            "task": {"ica": "independent components", "sparse": "sparse code"}[method],
            "citation": _METHODS[method],
        },
    )


def _draw_patches(
    photographs: list[NDArray[np.uint8]], *, n: int, size: int, color: bool, rng: np.random.Generator
) -> NDArray[np.float64]:
    """`n` random patches, as many from every photograph, as rows of (channel, row, column) without their mean."""
    rows = []
    for index in range(n):
        photograph = photographs[index % len(photographs)]
        top, left = (int(rng.integers(side - size + 1)) for side in photograph.shape[:2])
        patch = photograph[top : top + size, left : left + size].astype(float) / 255
        rows.append((patch.transpose(2, 0, 1) if color else (patch @ np.array(REC601))[None]).ravel())
    patches = np.array(rows)
    patches -= patches.mean(1, keepdims=True)
    result: NDArray[np.float64] = patches - patches.mean(0)
    return result


def _whiten(
    patches: NDArray[np.float64], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Patches on their `n` strongest principal components with unit variance; the matrices there and back."""
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    values, vectors = values[::-1][:n], vectors[:, ::-1][:, :n]
    if values[-1] <= 1e-12 * values[0]:
        raise InputError(
            f"expected patches with at least {n} independent directions, got fewer (flat or few photographs); ask for "
            "fewer kernels or add photographs"
        )
    whitener = (vectors / np.sqrt(values)).T
    return patches @ whitener.T, whitener, (vectors * np.sqrt(values)).T


def _independent(whitened: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    model = FastICA(whiten=False, random_state=seed % 2**32, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        # The last components keep turning among themselves long after the kernels have settled.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(whitened)
    result: NDArray[np.float64] = model.components_
    return result


def _sparse(whitened: NDArray[np.float64], n: int, seed: int) -> NDArray[np.float64]:
    from sklearn.decomposition import MiniBatchDictionaryLearning

    model = MiniBatchDictionaryLearning(
        n, alpha=3.0, max_iter=10, batch_size=256, fit_algorithm="cd", random_state=seed % 2**32
    )
    model.fit(whitened)
    result: NDArray[np.float64] = model.components_
    return result
