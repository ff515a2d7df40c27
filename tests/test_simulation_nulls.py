"""Every null ensemble preserves what its table says, and nothing else that the table names."""

import numpy as np
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare.errors import InputError
from rfcompare.simulation import NULLS, simulate_null, simulate_population

PROPERTIES = ("own pixel values", "own spectrum", "mean spectrum", "mean window")
POPULATIONS = 60
SAME = 0.1  # relative difference that 60 populations of 40 units and the deconvolution's positivity leave
DIFFERENT = 0.2


@pytest.fixture(scope="module")
def kernels() -> xr.Dataset:
    return simulate_population(n=40, size=11, median={"cycles": 2.0}, seed=0)[0]


def unit_energy(bank: xr.Dataset) -> np.ndarray:
    maps = bank.rf.values[:, 0].astype(float)
    return maps / np.sqrt((maps**2).sum((1, 2), keepdims=True))


def spectra(maps: np.ndarray) -> np.ndarray:
    return np.abs(np.fft.fft2(maps)) ** 2


def difference(got: np.ndarray, expected: np.ndarray) -> float:
    """Summed |difference| over the sum: 0 for equal, 2 for disjoint."""
    return float(np.abs(got - expected).sum() / np.abs(expected).sum())


def deviation(name: str, kernels: np.ndarray, drawn: np.ndarray) -> float:
    each = np.tile(kernels, (len(drawn) // len(kernels), 1, 1))
    scale = (drawn**2).sum((1, 2)).mean()  # of the ensemble: single noise maps differ in energy, as they should
    if name == "own pixel values":
        return difference(np.sort(drawn.reshape(len(drawn), -1)), np.sort(each.reshape(len(each), -1)))
    if name == "own spectrum":
        return difference(spectra(drawn), spectra(each))
    if name == "mean spectrum":
        return difference(spectra(drawn).mean(0) / scale, spectra(kernels).mean(0))
    return difference((drawn**2).mean(0) / scale, (kernels**2).mean(0))


@pytest.mark.parametrize("property_name", PROPERTIES)
@pytest.mark.parametrize("name", NULLS)
def test_a_null_preserves_what_it_says_and_no_more(kernels: xr.Dataset, name: str, property_name: str) -> None:
    bank = simulate_null(kernels, name, n_populations=POPULATIONS, seed=0)
    got = deviation(property_name, unit_energy(kernels), bank.rf.values[:, 0].astype(float))
    if property_name in NULLS[name].preserves:
        assert got < SAME
    else:
        assert got > DIFFERENT


def test_the_table_names_what_each_null_preserves() -> None:
    assert list(NULLS) == ["untrained", "spectrum_noise", "phase_scrambled", "pixel_shuffled", "random_gabor"]
    assert all(set(null.preserves) <= set(PROPERTIES) for null in NULLS.values())


def test_only_random_gabors_are_gabors(kernels: xr.Dataset) -> None:
    r2 = {
        name: rfc.fit(simulate_null(kernels, name, n_populations=1, seed=1), "gabor", seed=0).r2.values.ravel()
        for name in ("untrained", "random_gabor")
    }
    assert np.quantile(r2["random_gabor"], 0.1) > 0.99
    # Measured on 11 × 11 pixels: an untrained kernel is white noise, of which a Gabor explains little
    assert np.median(r2["untrained"]) < 0.35


@pytest.mark.parametrize("name", NULLS)
def test_populations_are_named_and_do_not_depend_on_their_number(kernels: xr.Dataset, name: str) -> None:
    few, many = (simulate_null(kernels, name, n_populations=n, seed=3) for n in (2, 3))
    assert np.array_equal(few.rf.values, many.rf.values[:80])
    assert not np.array_equal(many.rf.values[:40], many.rf.values[40:80])
    assert sorted(set(few.subject.values)) == [f"{name}-0", f"{name}-1"]
    assert few.attrs["null"] == name
    assert few.attrs["kind"] == ("untrained" if name == "untrained" else "simulated")
    assert few.attrs["seed"] == 3
    assert np.array_equal(few.x, kernels.x)


def test_untrained_kernels_are_as_torch_initializes_them(kernels: xr.Dataset) -> None:
    import torch

    torch.manual_seed(0)
    theirs = torch.nn.Conv2d(1, 400, 11).weight.detach().numpy()
    bank = simulate_null(kernels, "untrained", n_populations=50, seed=0)
    ours, bound = bank.rf.values, 1 / np.sqrt(121)
    # 242,000 weights: the variance is known to 0.3 %
    assert ours.var() == pytest.approx(bound**2 / 3, rel=0.02)
    assert bank.attrs["initializer"] == "kaiming_uniform" and "kaiming_uniform" in str(bank.source.values[0])
    assert np.abs(ours).max() <= bound
    assert np.quantile(ours, [0.01, 0.25, 0.75, 0.99]) == pytest.approx(
        np.quantile(theirs, [0.01, 0.25, 0.75, 0.99]), abs=0.02 * bound
    )


def test_untrained_color_kernels_are_reduced_like_trained_ones() -> None:
    rng = np.random.default_rng(0)
    color = rfc.make_bank(rng.normal(size=(30, 3, 7, 7)), channel=("r", "g", "b"), kind="learned")
    drawn = simulate_null(color, "untrained", n_populations=4, seed=0)
    # the first of three singular values of white noise holds more than a third of the energy (variance 1/441 each)
    energy = (drawn.rf.values**2).sum((1, 2, 3)).mean()
    assert 147 / 441 / 3 < energy < 147 / 441
    again = simulate_null(rfc.to_signed(color), "untrained", n_populations=4, seed=0)
    assert np.array_equal(again.rf.values, drawn.rf.values)


def test_a_grid_in_degrees_is_kept() -> None:
    bank = simulate_population(n=10, size=9, deg_per_px=0.5, seed=0)[0]
    null = simulate_null(bank, "pixel_shuffled", n_populations=2)
    assert null.attrs["units"] == "degree"
    assert null.x.values == pytest.approx(bank.x.values)


def test_units_without_a_whole_map_are_left_out(kernels: xr.Dataset) -> None:
    broken = kernels.copy(deep=True)
    broken.rf[0, 0, 3, 3] = np.nan
    broken.rf[1] = 0.0
    assert simulate_null(broken, "pixel_shuffled", n_populations=1).sizes["unit"] == 38
    broken.rf[:, 0, 3, 3] = np.nan
    with pytest.raises(InputError, match="without missing pixels"):
        simulate_null(broken, "spectrum_noise")


def test_what_cannot_be_drawn_is_said(kernels: xr.Dataset) -> None:
    with pytest.raises(InputError, match="a null among untrained"):
        simulate_null(kernels, "white")
    with pytest.raises(InputError, match="at least 1 population"):
        simulate_null(kernels, "untrained", n_populations=0)


@pytest.mark.parametrize("count", ["many", 1.5, 0])
def test_populations_of_a_null_are_a_whole_number(count: object) -> None:
    bank, _ = simulate_population("gabor", n=3, size=8, seed=0)
    with pytest.raises(InputError, match="whole number of them"):
        simulate_null(bank, n_populations=count)
