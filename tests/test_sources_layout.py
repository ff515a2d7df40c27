"""Any HDF5 by layout, and what `inspect` says and drafts."""

import json
import tomllib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr

import rfcompare as rfc
from rfcompare import InputError, sources
from rfcompare.sources import formats
from tests.sample_maps import (
    FORMULA_TOLERANCE,
    PITCH,
    STIMULUS,
    UNITS,
    layout,
    same,
    sentence,
    write,
)

GABOR = {"x0": 0, "y0": 0, "orientation": 0, "frequency": 0.1, "sigma_x": 1, "sigma_y": 1, "phase": 0}
FROM_GROUP = {"parameters": "/group", "maps": None, "channel": "signed"}
RENDERED = {"parameters": "/", "maps": None, "channel": "signed", "size": [9, 9]}


# Any HDF5, by layout ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", ["unit channel y x", "y x unit channel", "x y channel unit", "channel unit x y"])
def test_every_order_of_axes_comes_out_the_same(truth: xr.Dataset, images: Any, tmp_path: Path, dims: str) -> None:
    order = [("unit", "channel", "y", "x").index(name) for name in dims.split()]
    path = write(tmp_path / "order.h5", maps=images.transpose(order))
    same(rfc.open_fields(path, layout=layout(maps="/maps", dims=dims)), truth)


def test_rows_columns_and_channels_can_run_the_other_way(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "flipped.h5", maps=images[:, ::-1, ::-1, ::-1])
    same(rfc.open_fields(path, layout=layout(maps="/maps", channel=["off", "on"], y="up", x="left")), truth)


def test_one_dataset_per_channel_and_one_per_cell(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "apart.h5", on=images[:, 0], off=images[:, 1])
    same(rfc.open_fields(path, layout=layout(maps=["/on", "/off"], dims="unit y x")), truth)
    cells = {
        f"cells__cell{unit + 8}__{name}": images[unit, c]
        for unit in range(UNITS)
        for c, name in enumerate(("on", "off"))
    }
    path = write(tmp_path / "cells.h5", **cells)
    bank = rfc.open_fields(path, layout=layout(maps=["/cells/*/on", "/cells/*/off"], dims="unit y x"))
    same(bank, truth)
    assert list(bank.unit.values) == [f"cell{number}" for number in (8, 9, 10, 11, 12)]  # 10 comes after 9
    with h5py.File(path, "a") as file:
        file["cells/cell20/on"] = h5py.ExternalLink("elsewhere.h5", "/on")
    with pytest.raises(InputError, match="another file"):  # a cell kept elsewhere does not drop out in silence
        rfc.open_fields(path, layout=layout(maps=["/cells/*/on", "/cells/*/off"], dims="unit y x"))
    with h5py.File(path, "a") as file:
        del file["cells/cell20"], file["cells/cell9/off"]
    with pytest.raises(InputError, match=r"same units|one shape"):
        rfc.open_fields(path, layout=layout(maps=["/cells/*/on", "/cells/*/off"], dims="unit y x"))


def test_references_are_followed_inside_the_file(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    path = tmp_path / "references.h5"
    with h5py.File(path, "w") as file:
        for unit in range(UNITS):
            file[f"hidden/{unit}"] = images[unit]
        file["maps"] = np.array([file[f"hidden/{unit}"].ref for unit in range(UNITS)], dtype=h5py.ref_dtype)
    same(rfc.open_fields(path, layout=layout(maps="/maps")), truth)


def test_lags_and_halves(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    weights = np.array([0.1, 0.5, -1.0, 0.2])
    lagged = images[:, :, None] * weights[:, None, None]
    halves = np.stack([lagged, 3 * lagged])
    path = write(tmp_path / "lags.h5", maps=lagged, halves=halves)
    base = layout(maps="/maps", dims="unit channel lag y x", half="/halves")
    peak = rfc.open_fields(path, layout={**base, "lag": "peak"})
    np.testing.assert_array_equal(peak.rf.values, -truth.rf.values)
    np.testing.assert_array_equal(peak.rf_half.values, np.stack([-truth.rf.values, -3 * truth.rf.values]))
    second = rfc.open_fields(path, layout={**base, "lag": 1})
    np.testing.assert_array_equal(second.rf.values, 0.5 * truth.rf.values)
    np.testing.assert_array_equal(second.rf_half.values[1], 1.5 * truth.rf.values)
    # A whole number of NumPy's is an index too, and never the peak.
    same_second = rfc.open_fields(path, layout={**base, "lag": np.int64(1), "exclude": [np.int64(0)]})
    np.testing.assert_array_equal(same_second.rf.values, 0.5 * truth.rf.values[1:])
    whole = rfc.open_fields(path, layout={**base, "half": []})
    assert whole.rf.dims == ("unit", "channel", "lag", "y", "x")
    with pytest.raises(InputError, match="index from 0 to 3"):
        rfc.open_fields(path, layout={**base, "lag": 7})


def test_history_says_what_was_chosen(images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "chosen.h5", maps=np.stack([images, 2 * images]))
    described = layout(maps="/maps", dims="lag unit channel y x", select=":, 1:4, ..., ::2", lag=1)
    monkeypatch.chdir(tmp_path)
    bank = rfc.open_fields(path.name, layout=described, chunks=1)
    assert "chosen.h5, /maps[:, 1:4, ..., ::2] along lag unit channel y x, lag 1, y down" in bank.attrs["history"]
    monkeypatch.chdir("/")  # what is read later is found from any folder
    np.testing.assert_array_equal(bank.rf.values[:, :, ::-1], 2 * images[1:4, ..., ::2])


def test_halves_in_two_datasets_and_along_an_axis(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    path = write(
        tmp_path / "halves.h5", maps=images, odd=images + 1, even=images - 1, both=np.stack([images + 1, images - 1])
    )
    expected = np.stack([truth.rf.values + 1, truth.rf.values - 1])
    bank = rfc.open_fields(path, layout=layout(maps="/maps", half=["/odd", "/even"]))
    np.testing.assert_array_equal(bank.rf_half.values, expected)
    bank = rfc.open_fields(path, layout=layout(maps="/both", dims="half unit channel y x"))
    np.testing.assert_array_equal(bank.rf_half.values, expected)
    np.testing.assert_allclose(bank.rf.values, truth.rf.values, atol=1e-15)  # the mean of the halves


def test_labels_scale_polarity_and_provenance(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    path = write(
        tmp_path / "ständer.h5",
        maps=images,
        who=np.array([b"F1", b"F1", b"F2", b"F2", b"F3"]),
        names=["ä", "b", "c", "d", "e"],
        depth=np.arange(5.0),
    )
    bank = rfc.open_fields(
        path,
        layout=layout(
            maps="/maps",
            subject="/who",
            unit="/names",
            cortex_x="/depth",
            per_unit={"depth": "/depth", "area": "V1"},
            deg_per_px=None,
            um_per_px=60.0,
            um_per_deg=30.0,
            polarity="unknown",
            exclude=[1],
            citation="A & B 2020",
            attrs={"species": "Tupaia"},
        ),
    )
    assert list(bank.unit.values) == ["ä", "c", "d", "e"]
    assert list(bank.subject.values) == ["F1", "F2", "F2", "F3"]
    assert bank.depth.values.tolist() == [0.0, 2.0, 3.0, 4.0]
    assert bank.cortex_x.values.tolist() == [0.0, 2.0, 3.0, 4.0]
    assert set(bank.area.values) == {"V1"}
    assert rfc.bank.pitch(bank) == (2.0, 2.0)  # 60 µm a pixel / 30 µm a degree
    assert not bank.polarity_known.any()
    assert bank.attrs["citation"] == "A & B 2020"
    assert json.loads(bank.attrs["stimulus"]) == STIMULUS
    assert "1 of 5 units left out" in bank.attrs["history"]
    np.testing.assert_array_equal(bank.rf.values, truth.rf.values[[0, 2, 3, 4]])


def test_a_table_of_gabor_parameters_is_rendered(tmp_path: Path) -> None:
    table = np.zeros(3, dtype=[("cx", float), ("theta", float), ("wavelength", float)])
    table["cx"], table["theta"], table["wavelength"] = [0, 1, -1], [0.0, 0.5, 1.0], [4, 5, 6]
    path = write(tmp_path / "table.h5", fits=table)
    described = {
        "parameters": "/fits",
        "size": [9, 11],
        "gabor": {
            "x0": "cx", "y0": 0.5, "orientation": "degrees(theta)", "frequency": "1 / wavelength",
            "sigma_x": 1.5, "sigma_y": "wavelength / 2", "phase": -90, "amplitude": 2,
        },
    }  # fmt: skip
    bank = rfc.open_fields(path, layout=described)
    assert (bank.attrs["kind"], bank.rf.shape) == ("parametric", (3, 1, 9, 11))
    x, y = np.arange(11) - 5.0, np.arange(9)[:, None] - 4.0
    for unit in range(3):
        angle = np.degrees(table["theta"][unit]) + 90
        u = (x - table["cx"][unit]) * np.cos(np.radians(angle)) + (y - 0.5) * np.sin(np.radians(angle))
        v = -(x - table["cx"][unit]) * np.sin(np.radians(angle)) + (y - 0.5) * np.cos(np.radians(angle))
        wavelength = table["wavelength"][unit]
        expected = 2 * np.exp(-(u**2) / 4.5 - v**2 / (2 * (wavelength / 2) ** 2)) * np.sin(2 * np.pi * u / wavelength)
        np.testing.assert_allclose(bank.rf.values[unit, 0], expected, atol=FORMULA_TOLERANCE)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"maps": "/nothing"}, "there is no /nothing"),
        ({"maps": "/maps/inside"}, "there is no /maps/inside"),
        ({"maps": "/group"}, "got a group that holds inner"),
        ({"maps": "/*/none"}, "no dataset"),
        ({"maps": None}, "either maps or parameters"),
        ({"dims": "unit y x"}, "the shape"),
        ({"dims": "unit y"}, "to name unit, y and x"),
        ({"dims": "unit unit y x"}, "to name unit, y and x"),
        ({"dims": "unit channel row column"}, "to name unit, y and x"),
        ({"dims": "y unit channel x"}, "expected 2 channels"),
        ({"dims": None}, "give dims"),
        ({"channel": None}, "name the channels"),
        ({"channel": ["on", "of"]}, "channel in"),
        ({"select": "0"}, "the shape"),
        ({"select": "9"}, "does not fit"),
        ({"select": "os.system"}, "index such as"),
        ({"select": "::0"}, "index such as"),
        ({"select": "::-1"}, "index such as"),
        ({"attrs": {"citation": "B"}, "citation": "A"}, "without citation"),
        ({"attrs": {"um_per_px": 60.0}}, "without um_per_px"),
        ({"per_unit": {"depth": {"a": 1}}}, "per_unit depth"),
        ({"subject": {"name": "F1"}}, "one value for each unit"),
        ({"deg_per_px": True}, "positive number"),
        ({"y": "upwards"}, "'down' or 'up'"),
        ({"polarity": "maybe"}, "'known' or 'unknown'"),
        ({"kind": "guessed"}, "expected kind"),
        ({"deg_per_px": 0}, "positive"),
        ({"um_per_deg": 200.0, "deg_per_px": None}, "um_per_px"),
        ({"stimulus": None}, "with what stimulus"),
        ({"subject": "/who"}, "there is no /who"),
        ({"subject": "/two"}, "5 values of subject"),
        ({"exclude": [5]}, "indices of units from 0 to 4"),
        ({"lag": "peak"}, "have no lag"),
        ({"deg_per_pixel": 2.0}, "did you mean deg_per_px"),
        ({"half": "/maps"}, "half unit channel y x"),
        ({"maps": 5}, "a text or a list of texts"),
        ({"dims": [1, 2]}, "a text or a list of texts"),
        ({"deg_per_px": "two"}, "positive number"),
        ({"deg_per_px": [1.0, 2.0, 3.0]}, "positive number"),
        ({"um_per_px": -1.0}, "positive number"),
        ({"exclude": ["a"]}, "whole numbers"),
        ({"lag": 1.5}, "an index or 'peak'"),
        ({"per_unit": "depth"}, "a table"),
        ({"stimulus": 3}, "a text or a table"),
        ({"citation": 3}, "a text"),
        ({"attrs": {"kind": "measured"}}, "without kind"),
        ({"cortex_x": "deep"}, "expected numbers"),
        ({"cortex_x": [1.0, 2.0]}, "5 values of cortex_x"),
        (FROM_GROUP | {"size": [9, 10**9], "gabor": GABOR}, "size in the layout"),
        (FROM_GROUP | {"size": [9, 9], "gabor": {**GABOR, "x0": "none"}}, "there is no"),
        ({"maps": "/words"}, "real numbers"),
        (FROM_GROUP | {"gabor": {"x0": 1}}, "size ="),
        (FROM_GROUP | {"size": [9, 9], "gabor": {"x0": 1}, "kind": "parametric"}, "missing"),
        (FROM_GROUP | {"size": [9, 9], "gabor": {"x0": "open('x')"}}, "only"),
        (RENDERED | {"channel": ["on", "off"], "gabor": GABOR}, "channel in the layout to be 'signed'"),
        (RENDERED | {"gabor": {**GABOR, "x0": "two", "y0": "maps"}}, "630 values of x0"),
        (RENDERED | {"gabor": {**GABOR, "x0": "1 / 0"}}, "not measured"),
        (RENDERED | {"gabor": {**GABOR, "x0": "9 ** 9 ** 9"}}, "not measured"),
    ],
)  # fmt: skip
def test_layout_faults_are_one_sentence(images: Any, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = write(tmp_path / "fault.h5", maps=images, group__inner=images, two=[1, 2], words=np.array([b"a"]))
    with pytest.raises(InputError, match=says) as error:
        rfc.open_fields(path, layout=layout(**{"maps": "/maps", **changes}))
    sentence(error)


def test_a_layout_file_is_toml(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "maps.h5", maps=images)
    lines = ['maps = "/maps"', 'dims = "unit channel y x"', 'channel = ["on", "off"]', "deg_per_px = 2.0"]
    text = "\n".join([*lines, 'stimulus = "sparse noise"'])
    (tmp_path / "layout.toml").write_text(text)
    same(rfc.open_fields(path, layout=tmp_path / "layout.toml"), truth)
    (tmp_path / "layout.toml").write_text("maps = maps")
    with pytest.raises(InputError, match="not TOML"):
        rfc.open_fields(path, layout=tmp_path / "layout.toml")
    with pytest.raises(InputError, match="does not exist"):
        rfc.open_fields(path, layout=tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"how the axes of /maps \(5, 2, 7, 9\) run"):
        rfc.open_fields(path)
    with pytest.raises(InputError, match="no array that could be"):
        rfc.open_fields(write(tmp_path / "table.h5", values=np.zeros((5, 3))))


# Inspecting -------------------------------------------------------------------------------------------------------


def test_inspect_shows_the_tree_and_drafts_a_layout_that_opens(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    path = write(
        tmp_path / "lab.h5", data__sta=images, data__depth=np.arange(5.0), **{f"many__{i}": i for i in range(40)}
    )
    with h5py.File(path, "a") as file:
        file["data/sta"].attrs["units"] = "a.u."
        file.attrs["animal"] = "F7"
        file["named"] = np.dtype("f4")
        file.create_dataset("nothing", data=h5py.Empty("f"))
    text = sources.inspect(path)
    for shown in (
        "format: HDF5",
        "sta  (5, 2, 7, 9) float64",
        'units="a.u."',
        'animal="F7"',
        "28 more, up to 39",
        "a named type",
    ):
        assert shown in text
    drafted = tomllib.loads(text[text.index("# A layout") :])
    assert (drafted["maps"], drafted["dims"], drafted["channel"]) == ("/data/sta", "unit channel y x", ["on", "off"])
    same(rfc.open_fields(path, layout={**drafted, "deg_per_px": PITCH}), truth)
    weights = tmp_path / "k.npy"
    np.save(weights, np.ones((4, 3, 5, 5)))
    assert "(4, 3, 5, 5)" in sources.inspect(weights)
    assert 'rfc.load_kernels("k.npy").' in sources.inspect(weights)
    np.save(weights, np.ones((4, 5, 5, 3)))
    assert "dims='unit y x channel'" in sources.inspect(weights)
    assert "parametric" in sources.inspect("reference:alexnet")


def test_the_documentation_says_how_far_each_reader_was_tried() -> None:
    page = (Path(__file__).parents[1] / "docs" / "your_data.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.count("|") == 4}
    for known in formats.FORMATS:
        assert (known.real or "never a real file") in rows[known.name]
        assert ("| needed |" in rows[known.name]) == known.needs_layout


@pytest.mark.parametrize(
    ("shape", "dims"),
    [
        ((94, 2, 13, 13), "unit channel y x"),
        ((13, 13, 94), "y x unit"),
        ((21, 21, 3, 40), "y x channel unit"),
        ((200, 12, 15, 16), "unit lag y x"),
        ((200, 2, 12, 15, 16), "unit channel lag y x"),
        ((4, 4), ""),
        ((3, 3, 3), ""),
    ],
)
def test_axes_are_guessed_from_their_sizes(shape: tuple[int, ...], dims: str) -> None:
    from rfcompare.sources.candidates import _guess_dims

    assert " ".join(_guess_dims(shape)) == dims


def test_the_command_line_inspects_and_fetches(images: Any, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from rfcompare.cli import main

    path = write(tmp_path / "lab.h5", sta=images)
    shown = CliRunner().invoke(main, ["inspect", str(path)])
    assert (shown.exit_code, "sta  (5, 2, 7, 9)" in shown.output) == (0, True)
    missing = CliRunner().invoke(main, ["inspect", str(tmp_path / "none.h5")])
    assert missing.exit_code == 2
    assert "Traceback" not in missing.output
    fetched = CliRunner().invoke(main, ["fetch"])
    assert fetched.exit_code == 0
    assert "reference:alexnet" in fetched.output


@pytest.mark.parametrize(
    ("arrays", "offered"),
    [
        ({"stimulus": (1500, 20, 15), "response": (19, 1500)}, ""),
        ({"stim_frames": (600, 9, 9), "spikes": (600,), "sta": (7, 9, 9)}, "/sta"),
        ({"curves": (3, 7, 2)}, ""),  # a table a unit
        ({"trials": (5, 200, 9)}, ""),  # a strip is no map
        ({"maps": (5, 9, 7)}, "/maps"),
    ],
)
def test_inspect_offers_only_what_can_be_maps(arrays: dict[str, tuple[int, ...]], offered: str, tmp_path: Path) -> None:
    path = write(tmp_path / "file.h5", **{name: np.zeros(shape, "f4") for name, shape in arrays.items()})
    text = sources.inspect(path)
    assert (f'maps = "{offered}"' in text) == bool(offered)
    assert ("rfcompare estimate file.h5" in text) == bool({"response", "spikes"} & set(arrays))


@pytest.mark.parametrize("order", ["C", "F"])
def test_flat_pixels_are_spread_out(truth: xr.Dataset, images: Any, order: str, tmp_path: Path) -> None:
    rows, columns = images.shape[-2:]
    flat = images.reshape(*images.shape[:2], -1, order="C")
    if order == "F":
        flat = images.transpose(0, 1, 3, 2).reshape(*images.shape[:2], -1)
    np.save(tmp_path / "flat.npy", flat)
    np.savez(tmp_path / "flat.npz", maps=flat, animal=np.array(list("AABBC")))
    write(tmp_path / "flat.h5", maps=flat)
    scipy.io.savemat(tmp_path / "flat.mat", {"maps": flat})
    given = {"dims": "unit channel pixel", "shape": [rows, columns], "order": order}
    for name in ("flat.npy", "flat.npz", "flat.h5", "flat.mat"):
        same(rfc.open_fields(tmp_path / name, layout=layout(maps="/maps", **given)), truth)
    named = rfc.open_fields(tmp_path / "flat.npz", layout=layout(maps="/maps", subject="/animal", **given))
    assert list(named.subject.values) == list("AABBC")
    for wrong, says in (
        ({"shape": [rows, columns + 1]}, f"whose product is the {rows * columns} values"),
        ({"shape": None}, "in shape"),
        ({"dims": "unit channel y x"}, "pixel in dims beside shape"),
        ({"order": "A"}, "'C' or 'F'"),
    ):
        with pytest.raises(InputError, match=says) as error:
            rfc.open_fields(tmp_path / "flat.npy", layout=layout(**{**given, **wrong}))
        sentence(error)


def test_the_smallest_flat_map(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(6.0))
    bank = rfc.open_fields(tmp_path / "one.npy", layout={"dims": "pixel", "shape": [2, 3], "y": "up"})
    np.testing.assert_array_equal(bank.rf.values, np.arange(6.0).reshape(1, 1, 2, 3))
    by_columns = rfc.open_fields(
        tmp_path / "one.npy", layout={"dims": "pixel", "shape": [2, 3], "order": "F", "y": "up"}
    )
    np.testing.assert_array_equal(by_columns.rf.values[0, 0], [[0, 2, 4], [1, 3, 5]])


def test_one_file_a_cell(truth: xr.Dataset, images: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for cell in range(UNITS):
        np.save(tmp_path / f"cell{cell + 7}.npy", images[cell])  # cell 10 comes after cell 9
    bank = rfc.open_fields(str(tmp_path / "cell*.npy"), layout=layout(maps="/", dims="channel y x"))
    same(bank, truth)
    assert list(bank.unit.values) == [f"cell{number}" for number in range(7, 7 + UNITS)]
    said = capsys.readouterr().err
    assert said.count("read cell") == 1 and f"{UNITS} files like cell*.npy: {UNITS} units" in said
    assert "combine: 5 banks" in bank.attrs["history"]
    np.save(tmp_path / "one.npy", images[0, 0])
    assert 'dims = "y x"' in sources.inspect(tmp_path / "one.npy")
    with pytest.raises(InputError, match="found none") as error:
        rfc.open_fields(str(tmp_path / "unit*.npy"), layout=layout(maps="/", dims="channel y x"))
    sentence(error)


def test_images_that_a_model_prefers(images: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "meis.npz", meis=images[:, :1], score=np.ones(UNITS))
    assert 'maps = "/meis"' in sources.inspect(tmp_path / "meis.npz")
    bank = rfc.open_fields(
        tmp_path / "meis.npz",
        layout={"maps": "/meis", "dims": "unit channel y x", "channel": "luminance", "kind": "model-derived"},
    )
    assert (bank.attrs["kind"], tuple(bank.channel.values)) == ("model-derived", ("luminance",))
    rfc.classify(bank, progress=False)


def test_lags_of_halves_peak_together(images: Any, tmp_path: Path) -> None:
    halves = np.stack([np.stack([0.1 * images, images, 0.2 * images], axis=2)] * 2)
    path = write(tmp_path / "lags.h5", maps=halves)
    bank = rfc.open_fields(path, layout=layout(maps="/maps", dims="half unit channel lag y x", lag="peak"))
    np.testing.assert_array_equal(bank.rf.values[..., ::-1, :], images)
    np.testing.assert_array_equal(bank.rf_half.values[1, ..., ::-1, :], images)
