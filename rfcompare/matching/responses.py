"""Response level: two populations see the same stimuli; do the stimuli look alike to both?

No unit is paired with any other here. A population's responses give a geometry of the stimuli (which of them it tells
apart), and geometries can be compared between populations of any size: by linear centered kernel alignment (CKA) and by
representational similarity (RSA). Both are 1 for a population and itself, higher is more alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.alignment import By, Grid, field_of, median_radius, resample, scale_between
from rfcompare.bank import bad_units, check, make_rng
from rfcompare.comparison.inference import jackknife_interval, rank_test
from rfcompare.comparison.populations import n_subjects, subjects
from rfcompare.comparison.rows import Row, dataset, headings
from rfcompare.errors import InputError, named_strictly
from rfcompare.simulation.nulls import simulate_null

Floats = npt.NDArray[np.float64]
_Nonlinearity = Literal["linear", "half-rectified", "squared"]

_DIRECTION = "higher = more alike; a population and itself: 1"

_CYCLES_PER_RADIUS = (0.08, 0.8)
"""Range of gratings' frequencies, in cycles per median field radius: from blobs to nx of about 1."""

_N_HALVES = 20
"""Random halves of a population whose similarity is the ceiling where subjects are not known."""

_LEAST_SUBJECTS = 4

_LEAST_IMAGES = 4
"""Fewest stimuli whose geometry can be compared."""


@dataclass(frozen=True, eq=False)
class Gratings:
    """Sinusoidal gratings at every combination of orientation, frequency and phase.

    Attributes
    ----------
    frequency : array
        Cycles per unit of length of whoever responds.
    orientation : array
        Of the stripes (degrees), anticlockwise.
    phase : array
        Degrees; at 0 a bright stripe passes through the field's center.

    Examples
    --------
    >>> Gratings(np.array([0.1, 0.2])).size
    192
    """

    frequency: Floats
    orientation: Floats = field(default_factory=lambda: np.arange(0.0, 180.0, 15.0))
    phase: Floats = field(default_factory=lambda: np.arange(0.0, 360.0, 45.0))

    @property
    def size(self) -> int:
        """How many there are."""
        return self.frequency.size * self.orientation.size * self.phase.size


def respond(
    bank: xr.Dataset,
    stimuli: Gratings | npt.ArrayLike,
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    pixel: float = 1.0,
    nonlinearity: _Nonlinearity = "half-rectified",
) -> xr.DataArray:
    """Responses of every unit, as a linear filter with a static nonlinearity, centered on its field.

    Parameters
    ----------
    bank : xarray.Dataset
        Signed maps.
    stimuli : Gratings or array (image, y, x)
        Gratings, or image patches with row 0 lowest whose middle is put on each field's centroid; for patches give
        their contrast (about the mean), since filters see no constant.
    scale : (float, float)
        Units of the stimuli per unit of the bank, as `rfcompare.alignment.scale_between` gives them.
    pixel : float
        Size of an image's pixel, in units of the stimuli.
    nonlinearity : {"linear", "half-rectified", "squared"}
        What follows the filter; "squared" is the half-squared response of simple cells.

    Returns
    -------
    xarray.DataArray
        (unit, orientation, frequency, phase) or (unit, image).

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-8, 9.0)
    >>> stripes = np.exp(-(x**2 + x[:, None] ** 2) / 18) * np.cos(2 * np.pi * 0.2 * x[:, None])  # horizontal stripes
    >>> bank = rfc.make_bank(stripes[None, None], channel=("signed",), kind="analytic")
    >>> answers = respond(bank, Gratings(np.array([0.1, 0.2, 0.4])))
    >>> best = answers.isel(unit=0).argmax(...)
    >>> float(answers.orientation[best["orientation"]]), float(answers.frequency[best["frequency"]])
    (0.0, 0.2)
    """
    check(bank)
    if bank.sizes.get("channel") != 1 or "lag" in bank.dims:
        raise InputError(f"expected a signed bank, got channels {tuple(bank.channel.values)}; call to_signed first")
    rules: dict[str, Callable[[Floats], Floats]] = {
        "linear": lambda drive: drive,
        "half-rectified": lambda drive: drive.clip(0),
        "squared": lambda drive: drive.clip(0) ** 2,
    }
    if nonlinearity not in rules:
        raise InputError(f"expected nonlinearity to be one of {', '.join(rules)}, got {nonlinearity!r}; choose one")
    if isinstance(stimuli, Gratings):
        drive = _grating_drive(bank, stimuli, scale)
        dims: tuple[str, ...] = ("unit", "orientation", "frequency", "phase")
        coords = {name: getattr(stimuli, name) for name in dims[1:]}
    else:
        images = np.asarray(stimuli, float)
        if images.ndim != 3 or not np.isfinite(images).all() or min(images.shape[1:]) < 2:
            raise InputError(f"expected finite images (image, y, x), got shape {images.shape}; stack gray patches")
        grid = Grid.regular((images.shape[1], images.shape[2]), pitch=pixel, units=str(bank.attrs["units"]))
        seen = resample(bank, grid, scale=scale, center="field", outside="zero")
        maps = np.nan_to_num(seen.rf.isel(channel=0).transpose("unit", "y", "x").values.astype(float))
        drive = maps.reshape(maps.shape[0], -1) @ images.reshape(images.shape[0], -1).T
        dims, coords = ("unit", "image"), {}
    return xr.DataArray(
        rules[nonlinearity](drive),
        dims=dims,
        coords={"unit": bank.unit.values, "subject": ("unit", bank.subject.values), **coords},
        attrs={"kind": str(bank.attrs["kind"]), "nonlinearity": nonlinearity},
    )


def _grating_drive(bank: xr.Dataset, stimuli: Gratings, scale: tuple[float, float]) -> Floats:
    """Inner products of every map with every grating, from the map's spectrum at the gratings' frequencies."""
    maps = np.nan_to_num(bank.rf.isel(channel=0).transpose("unit", "y", "x").values.astype(float), posinf=0, neginf=0)
    x, y = bank.x.values.astype(float) * scale[0], bank.y.values.astype(float) * scale[1]
    middle_x, middle_y, _ = field_of(bank)
    across = np.radians(stimuli.orientation + 90.0)
    kx = (np.cos(across)[:, None] * stimuli.frequency).ravel()
    ky = (np.sin(across)[:, None] * stimuli.frequency).ravel()
    along_x, along_y = np.exp(-2j * np.pi * np.outer(kx, x)), np.exp(-2j * np.pi * np.outer(ky, y))
    spectrum = np.einsum("uyx,ky,kx->uk", maps, along_y, along_x, optimize=True)
    center = np.outer(middle_x * scale[0], kx) + np.outer(middle_y * scale[1], ky)
    spectrum *= np.exp(2j * np.pi * center)
    phase = np.exp(1j * np.radians(stimuli.phase))
    # Σ rf · cos(2πk·(p − c) + phase)
    drive = (np.conj(spectrum)[:, :, None] * phase).real
    return np.asarray(drive.reshape(maps.shape[0], stimuli.orientation.size, stimuli.frequency.size, -1))


def tuning(responses: xr.DataArray) -> xr.Dataset:
    """Tuning of every unit from its responses to gratings.

    Parameters
    ----------
    responses : xarray.DataArray (unit, orientation, frequency, phase)
        From `respond`, with a nonlinearity: a linear filter's mean over phases is 0 for every grating.

    Returns
    -------
    xarray.Dataset
        ``orientation_curve(unit, orientation)`` at the best frequency and ``frequency_curve(unit, frequency)`` at the
        best orientation, both of the mean over phases; ``preferred_orientation``, ``preferred_frequency``;
        ``circular_variance`` (1 − |Σ r e^{2iθ}|/Σ r: 0 one orientation only, 1 none preferred) and
        ``phase_modulation`` (largest less smallest over the sum: 0 for a complex cell).

    Raises
    ------
    InputError
        For responses that are not to gratings, or linear.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-8, 9.0)
    >>> blob = np.exp(-(x**2 + x[:, None] ** 2) / 8)
    >>> bank = rfc.make_bank(blob[None, None], channel=("signed",), kind="analytic")
    >>> table = tuning(respond(bank, Gratings(np.array([0.02, 0.1]))))
    >>> float(table.preferred_frequency[0]), round(float(table.circular_variance[0]), 2)
    (0.02, 1.0)
    """
    if not {"unit", "orientation", "frequency", "phase"} <= set(responses.dims):
        dims = ", ".join(map(str, responses.dims))
        raise InputError(f"expected responses to gratings, got dims {dims}; call respond with Gratings")
    if responses.attrs.get("nonlinearity") == "linear":
        raise InputError(
            "expected responses behind a nonlinearity, got linear ones, whose mean over phases is 0; "
            'respond with nonlinearity="half-rectified"'
        )
    mean = responses.mean("phase")
    best = mean.argmax(("orientation", "frequency"))
    orientation_curve = mean.isel(frequency=best["frequency"])
    frequency_curve = mean.isel(orientation=best["orientation"])
    turned = np.exp(2j * np.radians(responses.orientation))
    total = orientation_curve.sum("orientation")
    vector = np.abs((orientation_curve * turned).sum("orientation"))
    by_phase = responses.isel(orientation=best["orientation"], frequency=best["frequency"])
    high, low = by_phase.max("phase"), by_phase.min("phase")
    return xr.Dataset(
        {
            "orientation_curve": orientation_curve.drop_vars("frequency"),
            "frequency_curve": frequency_curve.drop_vars("orientation"),
            "preferred_orientation": ("unit", responses.orientation.values[best["orientation"].values]),
            "preferred_frequency": ("unit", responses.frequency.values[best["frequency"].values]),
            "circular_variance": (1 - vector / total.where(total > 0)).drop_vars("frequency"),
            "phase_modulation": ((high - low) / (high + low).where(high + low > 0)).drop_vars(
                ["orientation", "frequency"]
            ),
        },
        attrs=responses.attrs,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Similarity of geometries


def linear_cka(x: npt.ArrayLike, y: npt.ArrayLike, *, debiased: bool = True) -> float:
    """Linear centered kernel alignment of two populations' responses to the same stimuli.

    Parameters
    ----------
    x, y : arrays (stimulus, unit)
    debiased : bool
        Use the unbiased estimate of HSIC (Song et al. 2012, JMLR 13:1393, eq. 5), which is about 0 for unrelated
        populations however few stimuli or many units there are; the plain one (Kornblith et al. 2019, eq. 3) is not.

    Returns
    -------
    float
        1 for a population and itself, up to rotation and scale; higher is more alike.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(30, 100)), rng.normal(size=(30, 100))
    >>> round(linear_cka(x, y, debiased=False), 1), abs(round(linear_cka(x, y), 1)), round(linear_cka(x, 3 * x), 6)
    (0.8, 0.0, 1.0)
    """
    a, b = (_gram(np.asarray(values, float)) for values in (x, y))
    if a.shape != b.shape or len(a) < 4:
        raise InputError(
            f"expected two arrays of at least 4 stimuli each, got {len(a)} and {len(b)}; show both the same"
        )
    inner = _hsic if debiased else _biased_hsic
    own = inner(a, a) * inner(b, b)
    return float(inner(a, b) / np.sqrt(own)) if own > 0 else float("nan")


def _gram(values: Floats) -> Floats:
    centered = values - values.mean(0)
    return np.asarray(centered @ centered.T)


def _biased_hsic(a: Floats, b: Floats) -> float:
    return float((a * b).sum())


def _hsic(a: Floats, b: Floats) -> float:
    n = len(a)
    a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
    cross = (a * b).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * (a.sum(0) @ b.sum(0)) / (n - 2)
    return float(cross / (n * (n - 3)))


def dissimilarity(x: npt.ArrayLike, other_half: npt.ArrayLike | None = None) -> Floats:
    """Representational dissimilarities: squared Euclidean distance between stimuli, per unit, upper triangle.

    Parameters
    ----------
    x : array (stimulus, unit)
        Responses, or those of one half of a recording.
    other_half : array (stimulus, unit), optional
        Responses of the other half. The distance is then the inner product of the two halves' differences, which noise
        does not inflate (it may be negative): the crossvalidated distance of Walther et al. 2016,
        doi:10.1016/j.neuroimage.2015.12.012.

    Returns
    -------
    array (stimulus·(stimulus − 1)/2,)

    Examples
    --------
    >>> dissimilarity([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]])
    array([ 2., 8., 10.])
    """
    one = np.asarray(x, float)
    two = one if other_half is None else np.asarray(other_half, float)
    if one.ndim != 2 or one.shape != two.shape or len(one) < 2:
        raise InputError(f"expected responses (stimulus, unit) of one shape, got {one.shape} and {two.shape}")
    product = one @ two.T
    diagonal = np.diag(product)
    squared = diagonal[:, None] + diagonal[None, :] - product - product.T
    upper = np.triu_indices(len(one), 1)
    return np.asarray(squared[upper] / one.shape[1])


def rsa(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Correlation of two dissimilarity vectors.

    Examples
    --------
    >>> round(rsa([1.0, 2.0, 3.0], [2.0, 4.0, 6.5]), 3)
    0.998
    """
    return float(np.corrcoef(np.asarray(x, float), np.asarray(y, float))[0, 1])


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
    nonlinearity
        As in `respond`.
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
    a, b = (_usable(bank) for bank in (a, b))
    rng, recorded = make_rng(seed)
    # The stimuli live in units of b's lengths, in which gratings are set by b's median radius.
    scale = scale_between(a, b, by=by, deg_per_px=deg_per_px)
    low, high = (cycles / median_radius(b) for cycles in _CYCLES_PER_RADIUS)
    stimuli: dict[str, Gratings | Floats] = {"gratings": Gratings(np.geomspace(low, high, 6))}
    if images is not None:
        patches = np.asarray(images, float)
        if patches.ndim != 3 or len(patches) < _LEAST_IMAGES or not np.isfinite(patches).all():
            raise InputError(
                f"expected at least {_LEAST_IMAGES} finite images (image, y, x), got shape {patches.shape}; "
                "stack gray patches"
            )
        if (np.ptp(patches, axis=(1, 2)) == 0).any():
            raise InputError("expected images with contrast, got some that are flat; leave them out")
        stimuli["images"] = patches - patches.mean((1, 2), keepdims=True)
    nulls = []
    if null is not None:
        drawn = simulate_null(a, null, n_populations=n_nulls, seed=rng)
        nulls = [drawn.isel(unit=np.flatnonzero(drawn.subject.values == name)) for name in np.unique(drawn.subject)]
    pixel = scale[0] * float(a.x[-1] - a.x[0]) / (a.sizes["x"] - 1)
    rows = []
    for name, shown in stimuli.items():

        def answers(bank: xr.Dataset, size: tuple[float, float], shown: Gratings | Floats = shown) -> _Answers:
            return _Answers.of(bank, shown, size, pixel, nonlinearity)

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
    fine = np.flatnonzero([problem == "" for problem in bad_units(bank)])
    if fine.size < 2:
        raise InputError(f"expected at least 2 usable units in each population, got {fine.size}; look at bad_units")
    return bank.isel(unit=fine)


@dataclass(frozen=True, eq=False)
class _Answers:
    """Responses (stimulus, unit) of the whole recording and, if there are any, of its halves; the units' subjects."""

    whole: Floats
    halves: tuple[Floats, Floats] | None
    subject: npt.NDArray[np.str_] | None

    @classmethod
    def of(
        cls,
        bank: xr.Dataset,
        stimuli: Gratings | Floats,
        scale: tuple[float, float],
        pixel: float,
        nonlinearity: _Nonlinearity,
    ) -> _Answers:
        def one(maps: xr.Dataset) -> Floats:
            # Each unit has unit norm: no population's geometry is that of its few largest maps.
            values = respond(maps, stimuli, scale=scale, pixel=pixel, nonlinearity=nonlinearity).values
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
    return linear_cka(a.whole, b.whole)


def _rsa(a: _Answers, b: _Answers) -> float:
    return rsa(*(dissimilarity(*(each.halves or (each.whole,))) for each in (a, b)))


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
