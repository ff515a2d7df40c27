"""Arrays in, answers out: one door for a bank, a Population, a network, a tensor and an array."""

import numpy as np
import pytest
import torch

import rfcompare as rfc
from rfcompare.pipeline import prepare
from rfcompare.sources.population import open_population


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 7), torch.nn.ReLU())


def test_a_network_its_weights_and_its_bank_give_the_same_fits_and_classes(network: torch.nn.Module) -> None:
    weight = network[0].weight  # type: ignore[index]
    bank = rfc.load_kernels(network, kind="untrained")
    expected = rfc.fit(rfc.to_signed(bank), seed=0)
    for given in (network, weight, weight.detach().numpy()):
        fits = rfc.fit(given, kind="untrained", seed=0)
        assert np.array_equal(fits.r2, expected.r2)
        classes = rfc.classify(given, kind="untrained")
        assert (classes["sentence"] == rfc.classify(bank)["sentence"]).all()
        assert set(classes["kind"]) == {"untrained"}


def test_a_population_passes_and_is_fitted_as_it_is(network: torch.nn.Module) -> None:
    side = prepare(network, kind="untrained")
    assert prepare(side) is side
    assert open_population(side) is side.bank
    # Either engine may have fitted: they reach the same minimum to about 1e-6 of r².
    np.testing.assert_allclose(rfc.fit(side, seed=0).r2, side.fits.r2, atol=1e-4)
    assert rfc.classify(side)["unit"].tolist() == side.bank.unit.values.tolist()


@pytest.mark.parametrize(("channels", "names"), [(1, ["signed"]), (2, ["on", "off"]), (3, ["r", "g", "b"])])
def test_row_0_of_an_array_is_its_top(channels: int, names: list[str]) -> None:
    maps = np.arange(channels * 6.0).reshape(1, channels, 2, 3)
    bank = open_population(maps, kind="measured")
    assert bank.channel.values.tolist() == names
    assert np.array_equal(rfc.weights(bank), maps)
    assert float(bank.rf[0, 0].sel(y=0.5, x=-1)) == 0.0  # the first number lies on top, at the left
    assert bank.attrs["stimulus"] == "unknown"


def test_a_kind_is_asked_for_and_never_overruled() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 7, 7))
    for ask in (rfc.fit, rfc.classify, open_population):
        with pytest.raises(rfc.InputError, match="expected kind= with an array"):
            ask(maps)
    bank = open_population(maps, kind="simulated")
    with pytest.raises(rfc.InputError, match="say that they are simulated"):
        rfc.fit(bank, kind="measured")
    with pytest.raises(rfc.InputError, match="1, 2 or 3 channels"):
        open_population(maps[None].repeat(5, axis=0).swapaxes(0, 1), kind="simulated")
    with pytest.raises(rfc.InputError, match="no keyword kynd"):
        rfc.fit(bank, kynd="measured")
