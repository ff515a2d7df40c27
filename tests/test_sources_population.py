"""Arrays in, answers out: one door for a bank, a Population, a network, a tensor and an array."""

from pathlib import Path

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


def test_the_answer_is_one_call_whatever_form_both_sides_come_in(network: torch.nn.Module) -> None:
    cells, _ = rfc.simulation.simulate_population(n=30, size=11, seed=0, snr=4.0)
    weight = network[0].weight  # type: ignore[index]
    bank = rfc.load_kernels(network, kind="untrained")
    expected = rfc.likeness(cells, bank, references=False)
    for given in (network, weight, weight.detach().numpy(), prepare(bank)):
        how = {} if given is network or hasattr(given, "fits") else {"kernels_kind": "untrained"}
        found = rfc.likeness(prepare(cells), given, references=False, **how)
        assert float(found.effect.sel(quantity="likeness")) == float(expected.effect.sel(quantity="likeness"))
    assert found.attrs["kind_b"] == "untrained"
    turned = rfc.likeness(cells, np.moveaxis(weight.detach().numpy()[:, ::-1], 1, 3), references=False,
                          kernels_kind="untrained", dims="unit y x channel", channel_order="bgr")  # fmt: skip
    assert np.array_equal(turned.effect, expected.effect, equal_nan=True)
    with pytest.raises(rfc.InputError, match="did you mean fields_kind or kernels_kind"):
        rfc.likeness(cells, weight, kind="untrained")
    with pytest.raises(rfc.InputError, match="did you mean references"):
        rfc.likeness(cells, bank, reference=False)
    table = rfc.classify(np.moveaxis(weight.detach().numpy(), 1, 3), kind="untrained", dims="unit y x channel")
    assert table["sentence"].tolist() == rfc.classify(bank)["sentence"].tolist()


def test_a_result_shows_its_verdict_and_ten_rows_and_prints_as_a_table(tmp_path: Path) -> None:
    cells, kernels = (rfc.simulation.simulate_population(n=30, size=size, seed=size)[0] for size in (13, 9))
    result = rfc.likeness(cells.assign_coords(subject=("unit", ["one"] * 30)), kernels, references=False)
    shown = repr(result)
    assert shown.startswith(result.attrs["verdict"])
    # Nine of the ten rows have an interval, and the small print says it too.
    assert shown.count("these cells and kernels only") == 9 + 1
    assert "cells (simulated)" in shown and "3 more rows" in shown
    assert "<table" in result._repr_html_() and "Demonstration" in result._repr_html_()
    table = result.table()
    assert table.index[0] == "Likeness" and len(table) == result.sizes["quantity"]
    # One animal: the interval of these cells, in the columns where that of a species would stand.
    assert np.isfinite(table.loc["Likeness", ["ci_low", "ci_high", "p"]].astype(float)).all()
    markdown, latex = result.to_markdown().splitlines(), result.to_latex()
    assert len(markdown) == len(table) + 2 and "nan" not in "".join(markdown)
    assert latex.startswith(r"\begin{tabular}") and r"ci\_low" in latex
    rfc.save(result, tmp_path / "result.nc")
    assert repr(rfc.load(tmp_path / "result.nc")) == shown
    assert repr(result.sel(quantity="likeness")).startswith("<xarray")
