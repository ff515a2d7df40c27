"""Response level and like with like: hand-worked cases, rsatoolbox, and populations that do or do not differ."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare.errors import InputError
from rfcompare.matching import compare_responses
from rfcompare.matching.responses import (
    _ORIENTATIONS,
    _PHASES,
    _RULES,
    _dissimilarity,
    _grating_drive,
    _image_drive,
    _linear_cka,
)

Array = npt.NDArray[np.float64]

PREFERENCE = 0.02
"""Relative difference of answers after a shift or a scaling: the centroid is found to a fraction of a pixel."""


def grid(size: int) -> Array:
    return np.asarray(np.arange(size) - (size - 1) / 2)


def gabors(n: int, seed: int, *, cycles: tuple[float, float] = (0.25, 0.5), size: int = 21) -> Array:
    """Maps (n, y, x) of random orientation, phase and place; nx in `cycles`, envelope SD near 2.2 pixels."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(grid(size), grid(size))
    maps = []
    for _ in range(n):
        angle, phase, sigma = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(1.8, 2.6)
        frequency = rng.uniform(*cycles) / sigma
        dx, dy = x - rng.uniform(-1, 1), y - rng.uniform(-1, 1)
        u = np.cos(angle) * dx + np.sin(angle) * dy
        maps.append(np.exp(-(dx**2 + dy**2) / (2 * sigma**2)) * np.cos(2 * np.pi * frequency * u + phase))
    return np.stack(maps)


def bank_of(maps: npt.ArrayLike, kind: str = "simulated", **options: object) -> xr.Dataset:
    array = np.asarray(maps, float)
    return rfc.make_bank(array[:, None], channel=("signed",), kind=kind, **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# Responses


def shown_gratings(maps: npt.ArrayLike, frequencies: list[float], scale: float = 1.0) -> xr.DataArray:
    """What linear filters answer to gratings."""
    drive = _grating_drive(bank_of(maps), np.array(frequencies), (scale, scale))
    coords = {"orientation": _ORIENTATIONS, "frequency": frequencies, "phase": _PHASES}
    return xr.DataArray(drive, dims=("unit", *coords), coords=coords)


def test_responses_to_gratings_are_inner_products() -> None:
    x, y = np.meshgrid(grid(25), grid(25))
    u = np.cos(np.radians(120)) * x + np.sin(np.radians(120)) * y  # the carrier of stripes at 30°
    even, odd = (np.exp(-(x**2 + y**2) / 18) * wave(2 * np.pi * 0.15 * u) for wave in (np.cos, np.sin))
    answers = shown_gratings([even, odd], [0.05, 0.15, 0.3])
    assert answers.shape == (2, 12, 3, 8)
    for orientation, frequency, phase in ((30.0, 0.15, 0.0), (90.0, 0.05, 270.0), (0.0, 0.3, 90.0)):
        across = np.radians(orientation + 90)
        carrier = 2 * np.pi * frequency * (np.cos(across) * x + np.sin(across) * y) + np.radians(phase)
        at = {"orientation": orientation, "frequency": frequency, "phase": phase}
        # The even map's centroid is the middle, so the sum over pixels is all there is.
        assert answers.isel(unit=0).sel(at).item() == pytest.approx((even * np.cos(carrier)).sum(), abs=1e-9)
    # The even map answers phase 0 most, the odd one (sin u = cos(u − 90°)) phase −90° = 270°.
    for unit, phase in enumerate((0.0, 270.0)):
        best = answers.isel(unit=unit).argmax(...)
        assert [float(answers[name][at]) for name, at in best.items()] == [30.0, 0.15, phase]


def test_place_and_scale_do_not_change_what_a_field_answers() -> None:
    x, y = np.meshgrid(grid(41), grid(41))

    def field(x0: float, y0: float, size: float) -> Array:
        dx, dy = (x - x0) / size, (y - y0) / size
        return np.asarray(np.exp(-(dx**2 + dy**2) / 8) * np.cos(2 * np.pi * 0.15 * (0.8 * dx + 0.6 * dy)))

    frequencies = [0.1, 0.15, 0.2]
    here = shown_gratings([field(0, 0, 1)], frequencies)
    there = shown_gratings([field(4, -3, 1)], frequencies)
    assert np.allclose(here, there, atol=PREFERENCE * here.max().item())
    twice = shown_gratings([field(0, 0, 2)], frequencies, scale=0.5)
    # Twice as long and wide: four times as many pixels.
    assert np.allclose(twice, 4 * here, atol=PREFERENCE * twice.max().item())


def test_patches_are_seen_by_the_field_at_their_middle() -> None:
    maps = gabors(5, seed=1)
    images = np.random.default_rng(0).normal(size=(7, 21, 21))
    answers = _image_drive(bank_of(maps), images, (1.0, 1.0), 1.0)
    assert answers.shape == (5, 7)
    shifted = bank_of(np.pad(maps, ((0, 0), (8, 0), (0, 8))))  # the same fields elsewhere on a larger grid
    again = _image_drive(shifted, images, (1.0, 1.0), 1.0)
    # Interpolated to a centroid that the larger map finds a little elsewhere.
    assert np.corrcoef(answers.ravel(), again.ravel())[0, 1] > 0.98


def test_what_follows_the_filter() -> None:
    drive = np.array([-2.0, 0.0, 3.0])
    assert {name: rule(drive).tolist() for name, rule in _RULES.items()} == {
        "linear": [-2.0, 0.0, 3.0],
        "half-rectified": [0.0, 0.0, 3.0],
        "squared": [0.0, 0.0, 9.0],
    }
    bank = bank_of(gabors(6, seed=26))
    with pytest.raises(InputError, match="nonlinearity"):
        compare_responses(bank, bank, nonlinearity="cubed")  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# Geometries


@pytest.mark.parametrize(
    ("images", "word"),
    [
        (np.zeros((9, 9)), "at least 4 finite images"),
        (np.full((5, 9, 9), np.nan), "at least 4 finite images"),
        (np.ones((3, 9, 9)), "at least 4 finite images"),
        (np.ones((5, 9, 9)), "with contrast"),
    ],
)
def test_images_without_a_geometry_are_refused(images: Array, word: str) -> None:
    bank = bank_of(gabors(6, seed=26))
    with pytest.raises(InputError, match=word):
        compare_responses(bank, bank, images=images, n_nulls=2)


def test_cka_is_that_of_all_fours_of_different_stimuli() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))

    def hsic(a: Array, b: Array) -> float:
        # Song et al. 2012, eq. 5, as the U-statistic that it is the closed form of.
        fours = permutations(range(6), 4)
        return float(np.mean([a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q]) for i, j, q, r in fours]))

    a, b = (values @ values.T for values in (x, y))
    assert _linear_cka(x, y) == pytest.approx(hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b)))


def test_debiasing_takes_away_what_many_units_add() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(40):
        x, y = rng.normal(size=(20, 200)), rng.normal(size=(20, 200))
        found.append(_linear_cka(x, y))
    # Unrelated populations: the biased estimate is about units/(units + stimuli) = 0.91, this one 0, SD about 0.07.
    assert abs(np.mean(found)) < 0.04
    turned = np.linalg.qr(rng.normal(size=(200, 200)))[0]
    for same in (x, 3 * x, x @ turned):
        assert _linear_cka(x, same) == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")  # rsatoolbox fills ints with NaN
def test_against_rsatoolbox() -> None:
    data = pytest.importorskip("rsatoolbox.data")
    rdm = pytest.importorskip("rsatoolbox.rdm")
    rng = np.random.default_rng(3)
    x = rng.normal(size=(15, 30))
    y = x[:, :12] @ rng.normal(size=(12, 25)) + rng.normal(size=(15, 25))

    def theirs(values: Array) -> object:
        shown = data.Dataset(values, obs_descriptors={"stimulus": np.arange(len(values))})
        return rdm.calc_rdm(shown, method="euclidean", descriptor="stimulus")

    a, b = theirs(x), theirs(y)
    assert np.allclose(a.dissimilarities[0], _dissimilarity(x))  # type: ignore[attr-defined]
    assert rdm.compare(a, b, method="corr").item() == pytest.approx(
        np.corrcoef(_dissimilarity(x), _dissimilarity(y))[0, 1]
    )
    again = x + 0.5 * rng.normal(size=x.shape)
    runs = data.Dataset(
        np.concatenate([x, again]),
        obs_descriptors={"stimulus": np.tile(np.arange(15), 2), "run": np.repeat([0, 1], 15)},
    )
    crossed = rdm.calc_rdm(runs, method="crossnobis", descriptor="stimulus", cv_descriptor="run")
    assert np.allclose(crossed.dissimilarities[0], _dissimilarity(x, again))


def test_crossvalidated_dissimilarities_are_not_inflated_by_noise() -> None:
    rng = np.random.default_rng(4)
    x = np.repeat(rng.normal(size=(5, 400)), 2, axis=0)  # stimuli 2i and 2i + 1 are the same
    one, two = (x + rng.normal(size=x.shape) for _ in range(2))
    upper = np.triu_indices(10, 1)
    same = (upper[0] // 2) == (upper[1] // 2)
    # Plain: 2 noise variances; crossed: 0, with an SD of 2/√400 = 0.1 each.
    assert _dissimilarity(one)[same].mean() == pytest.approx(2.0, abs=0.2)
    assert abs(_dissimilarity(one, two)[same].mean()) < 0.15


def test_populations_alike_and_not_alike() -> None:
    cells = bank_of(gabors(90, seed=5), subject=np.repeat([f"F{i}" for i in range(6)], 15).tolist())
    alike = bank_of(gabors(60, seed=6))
    narrow = bank_of(gabors(60, seed=7, cycles=(0.9, 1.1)))
    # Gratings see little but spectra, so noise of the kernels' spectrum answers them much like the kernels; pixels
    # without any order do not.
    table = compare_responses(alike, cells, null="pixel_shuffled", n_nulls=9, seed=0)
    other = compare_responses(narrow, cells, null="pixel_shuffled", n_nulls=9, seed=0)
    assert table.quantity.values.tolist() == ["cka_gratings", "rsa_gratings"]
    assert table.attrs["direction"].startswith("higher = more alike")
    for quantity in table.quantity.values:
        row, far = table.sel(quantity=quantity), other.sel(quantity=quantity)
        assert row.effect > far.effect + 0.1
        assert row.effect > row.null and row.effect > 0.9 * row.ceiling
        # Nine nulls, none as near: p = 1/10, which is said to be the smallest possible.
        assert row.p == pytest.approx(0.1) == row.p_smallest
        assert row.ci_low < row.effect < row.ci_high and row.n_subjects_b == 6
    assert table.ceiling_kind.values[0] == "each subject against the others"
    same = compare_responses(cells, cells, null=None)
    assert same.effect.values == pytest.approx(1.0) and np.isnan(same.null).all()
    assert "demonstration" in str(table.note.values[0])


def test_images_and_halves(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    clean = gabors(40, seed=9)
    halves = clean + 0.1 * rng.normal(size=(2, *clean.shape))
    cells = bank_of(halves.mean(0), half=halves[:, :, None], deg_per_px=0.5)
    images = rng.normal(size=(60, 21, 21)).cumsum(1).cumsum(2)
    table = compare_responses(bank_of(gabors(40, seed=10)), cells, images=images, null="pixel_shuffled", n_nulls=3)
    assert table.sizes["quantity"] == 4 and (table.effect > table.null).all()
    assert "halves of units" in str(table.ceiling_kind.values[0])
    rfc.save(table, tmp_path / "R.nc")
    assert rfc.load(tmp_path / "R.nc").identical(table)
    with pytest.raises(InputError, match="usable units"):
        compare_responses(cells.isel(unit=[0]), cells)


# ---------------------------------------------------------------------------------------------------------------------
# Like with like


def test_noise_adds_carrier_cycles_to_the_real_kernels(shared_data: Path) -> None:
    """Noise alone, at a signal-to-noise ratio of 1, makes fitted nx larger: the reason for `like_with_like`."""
    weights = np.load(shared_data / "kernels" / "caffenet_conv1_96x3x11x11_bgr_f32.npy")[:, ::-1]
    kernels = rfc.to_signed(rfc.make_bank(weights, channel=("r", "g", "b"), kind="learned", rows="down"))

    def median_nx(bank: xr.Dataset) -> float:
        return float(rfc.describe(rfc.fit(bank, "gabor", seed=0, progress=False)).nx.median())

    clean = median_nx(kernels)
    assert clean == pytest.approx(0.355, abs=0.01)
    noisy = [
        median_nx(rfc.estimation.measure_like(kernels, kernels, steps=("noise",), snr=1.0, seed=seed))
        for seed in range(5)
    ]
    # Over 40 draws of the noise the median is 0.379 on average with an SD of 0.030, from 0.308 to 0.456.
    assert min(noisy) > 0.30 and max(noisy) < 0.47
    assert np.mean(noisy) > clean
