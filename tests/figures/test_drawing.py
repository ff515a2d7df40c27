"""Figures are drawn into given places, saved with their numbers, and named, colored and cataloged alike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont

import rfcompare as rfc
from rfcompare import figures
from rfcompare.figures import drawing


def test_a_figure_is_drawn_into_given_axes(fitted: tuple[xr.Dataset, xr.Dataset], cortex: xr.Dataset) -> None:
    host = Figure(figsize=(7.2, 4), layout="constrained")
    left, right = host.subplots(1, 2)
    returned = figures.gabor_space(fitted[0], axes=left)
    assert returned is host
    figures.kernels(cortex, axes=right)
    assert set(figures.numbers(host)["part"]) == {1, 2}
    assert "Ringach" in figures.caption(host)
    assert "Maps of" in figures.caption(host)
    with figures.style():
        host.draw_without_rendering()


def test_subfigures_are_drawn_into(cortex: xr.Dataset) -> None:
    host = Figure(figsize=(7.2, 3), layout="constrained")
    part = host.subfigures(1, 2)[0]
    assert figures.kernels(cortex, axes=part) is host
    assert len(part.axes) == 1


def test_save_writes_figure_numbers_and_caption(fitted: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    figure = figures.gabor_space(fitted[1])
    written = figures.save(figure, "plane", tmp_path / "new", formats=("pdf", "png", "svg"))
    assert [path.name for path in written] == ["plane.pdf", "plane.png", "plane.svg", "plane.csv", "plane.txt"]
    pdf = written[0].read_bytes()
    assert b"/Type3" not in pdf  # Type 42: editable text
    assert b"/CreationDate" not in pdf
    assert "<text" in written[2].read_text(encoding="utf-8")
    from PIL import Image

    with Image.open(written[1]) as picture:
        # 89 mm at 300 dpi: 89 / 25.4 · 300 = 1051 pixels
        assert picture.width == pytest.approx(1051, abs=1)
    table = pd.read_csv(written[3])
    np.testing.assert_allclose(table["nx"], (fitted[1].sigma_x * fitted[1].frequency).values, rtol=1e-5)
    assert written[4].read_text(encoding="utf-8").strip() == figures.caption(figure)
    again = [path.read_bytes() for path in figures.save(figures.gabor_space(fitted[1]), "plane", tmp_path / "again")]
    assert again[0] == pdf
    assert again[1] == written[1].read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_save_says_what_is_wrong(cortex: xr.Dataset, tmp_path: Path) -> None:
    figure = figures.kernels(cortex)
    with pytest.raises(rfc.InputError, match="formats among"):
        figures.save(figure, "x", tmp_path, formats=("doc",))
    (tmp_path / "file").write_text("")
    with pytest.raises(rfc.InputError, match="a folder that can be written"):
        figures.save(figure, "x", tmp_path / "file" / "below")
    with pytest.raises(rfc.InputError, match="without recorded numbers"):
        figures.caption(Figure())


def test_every_figure_of_the_catalog_is_a_public_function() -> None:
    for name, entry in figures.FIGURES.items():
        assert entry.shows
        assert entry.code
        assert entry.draw.__doc__
        assert getattr(figures, entry.draw.__name__) is entry.draw, name


@pytest.mark.parametrize("name", [name for name in figures.FIGURES if name not in ("columns", "survey")])
def test_the_gallery_says_code_that_draws(
    name: str,
    cortex: xr.Dataset,
    network: xr.Dataset,
    fitted: tuple[xr.Dataset, xr.Dataset],
    snapshots: list[xr.Dataset],
) -> None:
    few = cortex.isel(unit=slice(0, 6)) if name == "matches" else cortex
    names = {
        "rfc": rfc, "fields": few, "kernels": rfc.to_signed(network), "color_kernels": network,
        "field_fits": fitted[0], "kernel_fits": fitted[1],
        "trained": SimpleNamespace(snapshots=dict(enumerate(snapshots))),
    }  # fmt: skip
    assert isinstance(eval(figures.FIGURES[name].code, names), Figure)


@pytest.mark.parametrize(
    "call",
    [
        lambda: figures.kernels(),
        lambda: figures.fits(),
        lambda: figures.gabor_space(),
        lambda: figures.tuning(),
        lambda: figures.training(),
        lambda: figures.ladder({}),
    ],
)
def test_nothing_to_draw_is_one_sentence(call: Any) -> None:
    with pytest.raises(rfc.InputError, match=r"^expected .*got none"):
        call()


def test_hue_is_the_side_and_marker_the_kind(cortex: xr.Dataset, network: xr.Dataset) -> None:
    styles = drawing.populations([cortex, network, cortex])
    assert [style.side for style in styles] == ["cortex", "network", "cortex"]
    assert [style.color for style in styles] == [
        drawing.SIDE_COLORS["cortex"][0], drawing.SIDE_COLORS["network"][0], drawing.SIDE_COLORS["cortex"][1],
    ]  # fmt: skip
    assert [style.marker for style in styles] == [drawing.KIND_MARKERS[style.kind] for style in styles]
    assert len(set(drawing.KIND_MARKERS.values())) == len(rfc.kinds)


def test_the_order_of_the_sides_does_not_change_their_hue(cortex: xr.Dataset, network: xr.Dataset) -> None:
    forth, back = drawing.populations([cortex, network]), drawing.populations([network, cortex])
    assert [style.color for style in forth] == [style.color for style in back][::-1]


def test_figures_are_set_in_the_bundled_font() -> None:
    with figures.style():
        found = Path(findfont(FontProperties(family=["sans-serif"])))
    assert found.name == "LiberationSans-Regular.ttf"
    assert (Path(rfc.__file__).parent / "fonts" / "LICENSE.txt").read_text(encoding="utf-8").count("Open Font License")
