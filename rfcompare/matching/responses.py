"""Response level: two populations see the same stimuli; do the stimuli look alike to both?

No unit is paired with any other here. A population's responses give a geometry of the stimuli (which of them it tells
apart), and geometries can be compared between populations of any size: by linear centered kernel alignment (CKA) and by
representational similarity (RSA). Both are 1 for a population and itself, higher is more alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.alignment import By, Grid, field_of, median_radius, resample, scale_between
from rfcompare.bank import Array, bad_units, check, make_rng, signed_maps
from rfcompare.comparison.inference import jackknife_interval, rank_test
from rfcompare.comparison.populations import n_subjects, subjects
from rfcompare.comparison.rows import Row, dataset, headings
from rfcompare.errors import InputError, named_strictly
from rfcompare.simulation.nulls import simulate_null

_Nonlinearity = Literal["linear", "half-rectified", "squared"]

_DIRECTION = "higher = more alike; a population and itself: 1"

_CYCLES_PER_RADIUS = (0.08, 0.8)
"""Range of gratings' frequencies, in cycles per median field radius: from blobs to nx of about 1."""

_N_HALVES = 20
"""Random halves of a population whose similarity is the ceiling where subjects are not known."""

_LEAST_SUBJECTS = 4

_LEAST_IMAGES = 4
"""Fewest stimuli whose geometry can be compared."""


_RULES: dict[str, Callable[[Array], Array]] = {
    "linear": lambda drive: drive,
    "half-rectified": lambda drive: drive.clip(0),
    "squared": lambda drive: drive.clip(0) ** 2,
}
"""What may follow the filter; "squared" is the half-squared response of simple cells."""

_ORIENTATIONS = np.arange(0.0, 180.0, 15.0)
_PHASES = np.arange(0.0, 360.0, 45.0)
"""Of gratings, in degrees: the stripes' orientation, and 0 where a bright stripe passes through the field's center."""


def _grating_drive(bank: xr.Dataset, frequencies: Array, scale: tuple[float, float]) -> Array:
    """Inner products (unit, orientation, frequency, phase) of maps and gratings, from the maps' spectra."""
    maps = np.nan_to_num(signed_maps(bank.rf), posinf=0, neginf=0)
    x, y = bank.x.values.astype(float) * scale[0], bank.y.values.astype(float) * scale[1]
    middle_x, middle_y, _ = field_of(bank)
    across = np.radians(_ORIENTATIONS + 90.0)
    kx = (np.cos(across)[:, None] * frequencies).ravel()
    ky = (np.sin(across)[:, None] * frequencies).ravel()
    along_x, along_y = np.exp(-2j * np.pi * np.outer(kx, x)), np.exp(-2j * np.pi * np.outer(ky, y))
    spectrum = np.einsum("uyx,ky,kx->uk", maps, along_y, along_x, optimize=True)
    center = np.outer(middle_x * scale[0], kx) + np.outer(middle_y * scale[1], ky)
    spectrum *= np.exp(2j * np.pi * center)
    # Σ rf · cos(2πk·(p − c) + phase)
    drive = (np.conj(spectrum)[:, :, None] * np.exp(1j * np.radians(_PHASES))).real
    return np.asarray(drive.reshape(len(maps), _ORIENTATIONS.size, frequencies.size, -1))


def _image_drive(bank: xr.Dataset, images: Array, scale: tuple[float, float], pixel: float) -> Array:
    """Inner products (unit, image) of maps with images whose middle lies on each field's centroid."""
    grid = Grid.regular((images.shape[1], images.shape[2]), pitch=pixel, units=str(bank.attrs["units"]))
    seen = resample(bank, grid, scale=scale, center="field", outside="zero")
    maps = np.nan_to_num(signed_maps(seen.rf))
    return np.asarray(maps.reshape(len(maps), -1) @ images.reshape(len(images), -1).T)


def _linear_cka(x: Array, y: Array) -> float:
    """Linear centered kernel alignment of responses (stimulus, unit); 1 up to rotation and scale, 0 if unrelated."""
    a, b = (_gram(values) for values in (x, y))
    own = _hsic(a, a) * _hsic(b, b)
    return float(_hsic(a, b) / np.sqrt(own)) if own > 0 else float("nan")


def _gram(values: Array) -> Array:
    centered = values - values.mean(0)
    return np.asarray(centered @ centered.T)


def _hsic(a: Array, b: Array) -> float:
    """The unbiased estimate (Song et al. 2012, JMLR 13:1393, eq. 5): about 0 however few stimuli or many units."""
    n = len(a)
    a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
    cross = (a * b).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * (a.sum(0) @ b.sum(0)) / (n - 2)
    return float(cross / (n * (n - 3)))


def _dissimilarity(x: Array, other_half: Array | None = None) -> Array:
    """Squared Euclidean distances between stimuli, per unit, from responses (stimulus, unit): the upper triangle.

    With the responses of the other half of a recording they are the inner product of the two halves' differences, which
    noise does not inflate: the crossvalidated distance of Walther et al. 2016, doi:10.1016/j.neuroimage.2015.12.012.
    """
    product = x @ (x if other_half is None else other_half).T
    diagonal = np.diag(product)
    squared = diagonal[:, None] + diagonal[None, :] - product - product.T
    return np.asarray(squared[np.triu_indices(len(x), 1)] / x.shape[1])


@named_strictly
def compare_responses(
    a: xr.Dataset,
    b: xr.Dataset,
    *,
    by: By = "size",
    deg_per_px: float | None = None,
    images: npt.ArrayLike | None = None,
    nonlinearity: _Nonlinearity = "half-rectified",
    null: str | None = "spectrum_noise",
    n_nulls: int = 19,
    seed: int | np.random.Generator | None = 0,
) -> xr.Dataset:
    """How alike two populations' answers to the same stimuli are, with chance level and ceiling.

    Parameters
    ----------
    a, b : xarray.Dataset
        Signed banks, usually kernels and fields.
    by, deg_per_px
        How lengths relate, as in `rfcompare.align`; by default sizes are matched.
    images : array (image, y, x), optional
        Natural patches (row 0 lowest) in pixels of `a`; their mean is taken off. Without them only gratings are shown:
        12 orientations, 6 frequencies from 0.08 to 0.8 cycles per median field radius, 8 phases.
    nonlinearity : {"linear", "half-rectified", "squared"}
        What follows the linear filter; "squared" is the half-squared response of simple cells.
    null : str or None
        Null ensemble for `a`, of `rfcompare.simulation.nulls.NULLS`.
    n_nulls : int
        Populations drawn from it.
    seed : int, Generator or None
        For nulls and random halves.

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-results/1``: quantities ``cka_gratings``, ``rsa_gratings`` and with images ``cka_images``,
        ``rsa_images``. ``effect`` is the similarity (CKA debiased; RSA on crossvalidated distances where a bank has
        halves), ``null`` the mean of the null populations, ``p`` the rank among them, ``ceiling`` how alike each
        subject of `b` is to the others (random halves of its units where subjects are not known), the interval a
        jackknife over subjects of `b`. ``attrs["direction"]``: higher = more alike.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> rng = np.random.default_rng(0)
    >>> x = np.arange(-6, 7.0)
    >>> def gabor(angle, phase):
    ...     u = np.cos(angle) * x + np.sin(angle) * x[:, None]
    ...     return np.exp(-(x**2 + x[:, None] ** 2) / 8) * np.cos(0.9 * u + phase)
    >>> maps = [gabor(*rng.uniform(0, 6.28, 2)) for _ in range(60)]
    >>> bank = rfc.make_bank(np.array(maps)[:, None], channel=("signed",), kind="simulated")
    >>> table = compare_responses(bank.isel(unit=slice(0, 30)), bank.isel(unit=slice(30, 60)), n_nulls=3)
    >>> found = table.sel(quantity="cka_gratings")
    >>> bool(found.effect > 0.8), bool(found.effect > found.null), float(found.p)
    (True, True, 0.25)
    """
    if nonlinearity not in _RULES:
        raise InputError(f"expected nonlinearity to be one of {', '.join(_RULES)}, got {nonlinearity!r}; choose one")
    a, b = (_usable(bank) for bank in (a, b))
    rng, recorded = make_rng(seed)
    # The stimuli live in units of b's lengths, in which gratings are set by b's median radius.
    scale = scale_between(a, b, by=by, deg_per_px=deg_per_px)
    low, high = (cycles / median_radius(b) for cycles in _CYCLES_PER_RADIUS)
    drives: dict[str, Callable[..., Array]] = {
        "gratings": partial(_grating_drive, frequencies=np.geomspace(low, high, 6))
    }
    if images is not None:
        patches = np.asarray(images, float)
        if patches.ndim != 3 or len(patches) < _LEAST_IMAGES or not np.isfinite(patches).all():
            raise InputError(
                f"expected at least {_LEAST_IMAGES} finite images (image, y, x), got shape {patches.shape}; "
                "stack gray patches"
            )
        if (np.ptp(patches, axis=(1, 2)) == 0).any():
            raise InputError("expected images with contrast, got some that are flat; leave them out")
        drives["images"] = partial(
            _image_drive,
            images=patches - patches.mean((1, 2), keepdims=True),
            pixel=scale[0] * float(a.x[-1] - a.x[0]) / (a.sizes["x"] - 1),
        )
    nulls = []
    if null is not None:
        drawn = simulate_null(a, null, n_populations=n_nulls, seed=rng)
        nulls = [drawn.isel(unit=np.flatnonzero(drawn.subject.values == name)) for name in np.unique(drawn.subject)]
    rows = []
    for name, drive in drives.items():

        def answers(bank: xr.Dataset, size: tuple[float, float], drive: Callable[..., Array] = drive) -> _Answers:
            return _Answers.of(bank, lambda maps: _RULES[nonlinearity](drive(maps, scale=size)))

        whole_a, whole_b = answers(a, scale), answers(b, (1.0, 1.0))
        others = [answers(bank, scale_between(bank, b, by=by, deg_per_px=deg_per_px)) for bank in nulls]
        for measure, similarity in (("cka", _cka), ("rsa", _rsa)):
            row = Row(f"{measure}_{name}", f"{_TITLES[measure]}, {name}", "responses", statistic=_TITLES[measure])
            effect = similarity(whole_a, whole_b)
            row.number["effect"] = effect
            if others:
                values = np.array([similarity(other, whole_b) for other in others])
                test = rank_test(effect, values, alternative="greater", hypothesis=_HYPOTHESIS.format(null))
                row.number |= {"null": float(values.mean()), "p": test.p, "p_smallest": test.smallest}
                row.text |= {"hypothesis": _HYPOTHESIS.format(null), "null_name": str(null)}
            ceiling, kind = _ceiling(whole_b, similarity, rng)
            row.number["ceiling"] = ceiling
            row.text["ceiling_kind"] = kind
            names = subjects(b)
            if names is not None and np.unique(names).size >= _LEAST_SUBJECTS:
                left_out = [similarity(whole_a, whole_b.take(names != each)) for each in np.unique(names)]
                interval = jackknife_interval(effect, left_out)
                row.number |= {"ci_low": interval.low, "ci_high": interval.high}
                row.text["method"] = interval.method
            row.note(_DIRECTION, *headings(a, b))
            row.number |= {
                "n_units_a": float(a.sizes["unit"]),
                "n_units_b": float(b.sizes["unit"]),
                "n_subjects_a": float(n_subjects(a)),
                "n_subjects_b": float(n_subjects(b)),
            }
            rows.append(row)
    result = dataset(rows, str(a.attrs["kind"]), str(b.attrs["kind"]))
    result.attrs |= {
        "direction": _DIRECTION,
        "by": by,
        "common_scale": json.dumps([float(value) for value in scale]),
        "nonlinearity": nonlinearity,
        "seed": recorded,
    }
    return check(result)


_TITLES = {"cka": "linear CKA, debiased", "rsa": "correlation of dissimilarities"}
_HYPOTHESIS = "no more like the fields than populations of the null {}"


def _usable(bank: xr.Dataset) -> xr.Dataset:
    check(bank)
    if bank.sizes.get("channel") != 1 or "lag" in bank.dims:
        raise InputError(f"expected a signed bank, got channels {tuple(bank.channel.values)}; call to_signed first")
    fine = np.flatnonzero([problem == "" for problem in bad_units(bank)])
    if fine.size < 2:
        raise InputError(f"expected at least 2 usable units in each population, got {fine.size}; look at bad_units")
    return bank.isel(unit=fine)


@dataclass(frozen=True, eq=False)
class _Answers:
    """Responses (stimulus, unit) of the whole recording and, if there are any, of its halves; the units' subjects."""

    whole: Array
    halves: tuple[Array, Array] | None
    subject: npt.NDArray[np.str_] | None

    @classmethod
    def of(cls, bank: xr.Dataset, respond: Callable[[xr.Dataset], Array]) -> _Answers:
        def one(maps: xr.Dataset) -> Array:
            # Each unit has unit norm: no population's geometry is that of its few largest maps.
            values = respond(maps)
            flat = values.reshape(values.shape[0], -1).T
            norm = np.linalg.norm(flat - flat.mean(0), axis=0)
            return np.asarray(flat / np.where(norm > 0, norm, 1.0))

        halves = None
        if "rf_half" in bank:
            first, second = (
                one(bank.drop_vars("rf_half").assign(rf=bank.rf_half.isel(half=half, drop=True))) for half in (0, 1)
            )
            halves = first, second
        return cls(one(bank), halves, subjects(bank))

    def take(self, units: npt.NDArray[np.bool_]) -> _Answers:
        halves = None if self.halves is None else (self.halves[0][:, units], self.halves[1][:, units])
        return _Answers(self.whole[:, units], halves, None if self.subject is None else self.subject[units])


def _cka(a: _Answers, b: _Answers) -> float:
    return _linear_cka(a.whole, b.whole)


def _rsa(a: _Answers, b: _Answers) -> float:
    one, other = (_dissimilarity(*(each.halves or (each.whole,))) for each in (a, b))
    return float(np.corrcoef(one, other)[0, 1])


def _ceiling(
    answers: _Answers, similarity: Callable[[_Answers, _Answers], float], rng: np.random.Generator
) -> tuple[float, str]:
    """How alike one subject is to all others, or random halves of units to each other."""
    if answers.subject is not None:
        names = np.unique(answers.subject)
        large = [name for name in names if (answers.subject == name).sum() >= 2]
        if len(large) >= 2:
            each = [
                similarity(answers.take(answers.subject == name), answers.take(answers.subject != name))
                for name in large
            ]
            return float(np.mean(each)), "each subject against the others"
    size = answers.whole.shape[1]
    if size < 4:
        return float("nan"), "too few units"
    values = []
    for _ in range(_N_HALVES):
        half = np.zeros(size, bool)
        half[rng.permutation(size)[: size // 2]] = True
        values.append(similarity(answers.take(half), answers.take(~half)))
    return float(
        np.mean(values)
    ), "random halves of units: within-sample, optimistic about animals, pessimistic about n"
