"""Grids: what is resampled stays where it was, at its angle and sign, and no scale is ever assumed silently."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare.alignment import Grid, field_of, median_radius, scale_between
from rfcompare.errors import InputError

INTERPOLATION = 4e-3
"""Largest error, in map peaks, of a band-limited map (f + 3 SD of its spectrum < 0.38 cycles/px) on another grid."""

LEAKAGE = 0.02
"""Share of energy that a grating 1.5 times beyond the new Nyquist frequency may leave: the filter's transition band."""


def oblique(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], scale: float = 1.0) -> npt.NDArray[np.float64]:
    """An asymmetric pattern (y, x): carrier along 30°, off center at (2, −1), odd, with an elongated envelope."""
    dx, dy = x[None, :] / scale - 2.0, y[:, None] / scale + 1.0
    u = np.cos(np.pi / 6) * dx + np.sin(np.pi / 6) * dy
    v = -np.sin(np.pi / 6) * dx + np.cos(np.pi / 6) * dy
    return np.asarray(np.exp(-(u**2) / (2 * 2.5**2) - v**2 / (2 * 3.5**2)) * np.sin(2 * np.pi * 0.12 * u))


def bank_of(map_: npt.NDArray[np.float64], **options: object) -> xr.Dataset:
    return rfc.make_bank(map_[None, None], channel=("signed",), kind="analytic", **options)  # type: ignore[arg-type]


def grid(size: int, step: float = 1.0) -> npt.NDArray[np.float64]:
    return np.asarray(step * (np.arange(size) - (size - 1) / 2))


@pytest.mark.parametrize("target_px", [0.5, 0.8, 1.0, 1.4])
def test_a_known_oblique_pattern_keeps_angle_place_and_sign(target_px: float) -> None:
    kernels = bank_of(oblique(grid(35), grid(35)))
    # One kernel pixel is assumed to be 0.5°; the target's pixels are 0.5·target_px degrees.
    target = Grid.regular((21, 25), pitch=0.5 * target_px, units="degree")
    seen = rfc.align(kernels, target, by="degree", deg_per_px=0.5)
    expected = oblique(target.x, target.y, scale=0.5)
    covered = np.isfinite(seen.rf.values[0, 0])
    assert covered.mean() > 0.7
    assert np.abs(seen.rf.values[0, 0] - expected)[covered].max() < INTERPOLATION
    # The mirror images and the opposite sign are far from it.
    for wrong in (expected[::-1], expected[:, ::-1], expected[::-1, ::-1], -expected):
        assert np.abs(seen.rf.values[0, 0] - wrong)[covered].max() > 0.5


def test_both_directions_undo_each_other() -> None:
    fine = bank_of(oblique(grid(41, 0.5), grid(41, 0.5)), deg_per_px=0.5)
    coarse = rfc.align(fine, Grid.regular((27, 27), pitch=0.75, units="degree"), by="degree")
    back = rfc.align(coarse, fine, by="degree")
    assert np.nanmax(np.abs(back.rf.values - fine.rf.values)) < 2 * INTERPOLATION


def test_what_a_coarser_grid_cannot_hold_is_filtered_out_not_aliased() -> None:
    x = grid(60)
    # Target pixels of 2: Nyquist 0.25 cycles per source pixel; 0.375 would come back as 0.125.
    fast = bank_of(np.cos(2 * np.pi * 0.375 * x)[None, :] * np.ones((60, 1)))
    slow = bank_of(np.cos(2 * np.pi * 0.125 * x)[None, :] * np.ones((60, 1)))
    target = Grid.regular((20, 20), pitch=2.0, units="px")
    other = rfc.make_bank(np.eye(20)[None, None], channel=("signed",), kind="analytic", x=target.x, y=target.y)
    # by="px" would equate the pixels; these two grids are related in degrees, 1° = 1 px.
    fast, slow = (bank.assign_attrs(units="degree") for bank in (fast, slow))
    for bank in (fast, slow):
        for name in ("x", "y"):
            bank[name].attrs["units"] = "degree"
    aliased = rfc.align(fast, other, by="degree", deg_per_px=1.0).rf.values
    passed = rfc.align(slow, other, by="degree", deg_per_px=1.0).rf.values
    assert (aliased**2).mean() < LEAKAGE * (passed**2).mean()
    # A cosine's mean square is 1/2, kept within the passband.
    assert (passed**2).mean() == pytest.approx(0.5, rel=0.02)
    naive = fast.rf.values[..., ::2, ::2]
    assert (naive**2).mean() > 0.4  # decimation without the filter keeps all of the aliased energy


def test_constant_maps_stay_constant_up_to_the_edge() -> None:
    bank = bank_of(np.ones((9, 9)) + 1e-12 * np.arange(9))
    seen = rfc.align(bank, Grid.regular((17, 17), pitch=0.6, units="px"), by="px").rf.values
    assert seen.shape == (1, 1, 17, 17)
    # by="px": a pixel for a pixel, so the middle 9 × 9 pixels are covered.
    covered = np.isfinite(seen[0, 0])
    assert covered.sum() == 81
    assert np.allclose(seen[0, 0][covered], 1.0, atol=1e-9)


def test_missing_and_zero_outside() -> None:
    bank = bank_of(np.arange(1.0, 10.0).reshape(3, 3))
    target = Grid.regular((5, 5), pitch=1.0, units="px")
    missing = rfc.align(bank, target, by="px").rf.values[0, 0]
    zero = rfc.align(bank, target, by="px", outside="zero").rf.values[0, 0]
    # Same pitch, same middle: the interpolation is the identity.
    assert np.allclose(missing[1:4, 1:4], bank.rf.values[0, 0])
    assert np.isnan(missing[0]).all() and np.isnan(missing[:, 4]).all()
    assert np.allclose(zero[1:4, 1:4], bank.rf.values[0, 0]) and np.allclose(zero[0], 0) and np.allclose(zero[:, 4], 0)


def test_unmeasured_pixels_stay_unmeasured_and_do_not_spread() -> None:
    full = oblique(grid(25), grid(25))
    holed = full.copy()
    holed[10, 14] = np.nan
    target = Grid.regular((25, 25), pitch=1.0, units="px")
    same = rfc.align(bank_of(holed), target, by="px").rf.values[0, 0]
    assert np.isnan(same[10, 14]) and np.isnan(same).sum() == 1
    assert np.allclose(same[~np.isnan(same)], full[~np.isnan(same)])


def test_size_matching_equates_the_median_radii() -> None:
    small, large = bank_of(oblique(grid(31), grid(31))), bank_of(oblique(grid(61), grid(61), 2.0))
    # The same pattern at twice the size: one unit of the small bank is two of the large one.
    assert scale_between(small, large, by="size")[0] == pytest.approx(2.0, rel=0.02)
    seen = rfc.align(small, large, by="size", outside="zero")
    assert median_radius(seen) == pytest.approx(median_radius(large), rel=0.02)
    record = json.loads(seen.attrs["alignment"])
    assert record["by"] == "size" and record["scale"][0] == pytest.approx(2.0, rel=0.02)
    assert np.corrcoef(seen.rf.values.ravel(), large.rf.values.ravel())[0, 1] > 0.99


def test_centering_on_the_field() -> None:
    bank = bank_of(oblique(grid(35), grid(35)))
    middle_x, middle_y, _ = field_of(bank)
    # The pattern's envelope is centered at (2, −1); an odd carrier keeps the energy symmetric about it.
    assert (middle_x[0], middle_y[0]) == pytest.approx((2.0, -1.0), abs=0.1)
    seen = rfc.align(bank, Grid.regular((15, 15), pitch=1.0, units="px"), by="px", center="field")
    middle_x, middle_y, _ = field_of(seen)
    assert (middle_x[0], middle_y[0]) == pytest.approx((0.0, 0.0), abs=0.1)


def test_halves_lags_and_noise_travel() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 1, 3, 24, 24))
    bank = rfc.make_bank(
        noise, channel=("signed",), kind="simulated", noise_sd=1.0, half=np.stack([noise, -noise]), lag=[0.0, 0.1, 0.2]
    )
    seen = rfc.align(bank, Grid.regular((12, 12), pitch=2.0, units="px"), by="px")
    assert seen.rf.dims == ("unit", "channel", "lag", "y", "x") and seen.rf.shape == (400, 1, 3, 12, 12)
    target = Grid.regular((12, 12), pitch=2.0, units="degree")
    seen = rfc.align(bank, target, by="degree", deg_per_px=1.0)
    assert np.allclose(seen.rf_half.values[0], seen.rf.values) and np.allclose(seen.rf_half.values[1], -seen.rf.values)
    # The stated SD and autocorrelation against the 1,200 maps of white noise themselves (SE 1/√(2·1200) ≈ 2 %).
    middle = seen.rf.values[:, 0, :, 6, 6].ravel()
    assert seen.noise_sd.values[0] == pytest.approx(middle.std(), rel=0.06)
    beside = (middle * seen.rf.values[:, 0, :, 6, 7].ravel()).mean() / middle.var()
    assert seen.noise_acf.sel(lag_y=0, lag_x=1).values[0, 0] == pytest.approx(beside, abs=0.1)
    assert seen.noise_acf.sel(lag_y=0, lag_x=0).values[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "degree"}, "deg_per_px"),
        ({"by": "inch"}, "expected by"),
        ({"by": "size", "deg_per_px": 0.1}, "leave it out"),
        ({"by": "degree", "deg_per_px": -1.0}, "positive"),
        ({"by": "degree", "deg_per_px": 1.0, "outside": "wrap"}, "outside"),
    ],
)
def test_a_scale_is_never_assumed(options: dict[str, object], words: str) -> None:
    kernels, cells = bank_of(np.eye(5)), bank_of(np.eye(9), deg_per_px=2.0)
    with pytest.raises(InputError, match=words):
        rfc.align(kernels, cells, **options)  # type: ignore[arg-type]


def test_more_ways_to_get_it_wrong() -> None:
    kernels, cells = bank_of(np.eye(5)), bank_of(np.eye(9), deg_per_px=2.0)
    with pytest.raises(InputError, match="pixels on both"):
        rfc.align(kernels, kernels, by="degree", deg_per_px=1.0)
    with pytest.raises(InputError, match="leave it out"):
        rfc.align(cells, cells, by="degree", deg_per_px=1.0)
    with pytest.raises(InputError, match="got a grid"):
        rfc.align(kernels, Grid.regular((5, 5), pitch=1.0, units="px"), by="size")
    with pytest.raises(InputError, match="2 × 2"):
        Grid.regular((1, 5), pitch=1.0, units="px")


def test_what_cannot_be_aligned_is_one_sentence() -> None:
    kernels = rfc.make_bank(np.arange(32.0).reshape(2, 1, 4, 4), channel="signed", kind="learned")
    grid = Grid.regular((9, 9), pitch=0.5, units="degree")
    for given, says in (
        ({"to": None, "by": "px"}, "an xarray Dataset"),
        ({"to": "reference:alexnet", "by": "px"}, "an xarray Dataset"),
        ({"to": grid, "by": "degree", "deg_per_px": (1, 2)}, "a positive number"),
        ({"to": grid, "by": "degree", "deg_per_px": "a"}, "a positive number"),
        ({"to": grid, "by": "degree", "deg_per_px": 1e-9}, "0.5 pixels of the new grid"),
    ):
        with pytest.raises(InputError, match=says):
            rfc.align(kernels, **given)
    for shape, pitch in (((9,), 0.5), ((9, 9), "half"), ((9, 9), np.inf)):
        with pytest.raises(InputError, match="at least 2 × 2 pixels"):
            Grid.regular(shape, pitch=pitch, units="px")


def test_an_infinite_map_stays_infinite_beside_its_neighbors() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 1, 6, 6))
    maps[1] = np.inf
    bank = rfc.make_bank(maps, channel="signed", kind="learned")
    seen = rfc.align(bank, Grid.regular((5, 5), pitch=1.2, units="px"), by="px")
    assert rfc.bank.bad_units(seen) == ["", "not finite"]
    assert np.isfinite(seen.rf.values[0]).all()
