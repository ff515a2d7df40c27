"""Every reader of maps on a file written in its format by the format's own library.

The pattern of all format tests is one pair of oblique, off-center fields, ON and OFF different, on a grid that is wider
than tall: any flip, transposition or swap of axes or channels changes it. Files hold it as images, rows from the top.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr

import rfcompare as rfc
from rfcompare import InputError, sources
from rfcompare.sources import formats, hdf5

LAYOUTS = Path(__file__).parent / "layouts"
UNITS, ROWS, COLUMNS, PITCH = 5, 7, 9, 2.0
STIMULUS = {"class": "sparse noise", "element_deg": PITCH}

# Parametric images agree with the published formula to rounding: 1e-12 leaves room for another order of sums.
FORMULA_TOLERANCE = 1e-12
MEMORY_LIMIT_MB = 300.0  # what opening the maps of a 2 GB file may take, interpreter and libraries included


GABOR = {"x0": 0, "y0": 0, "orientation": 0, "frequency": 0.1, "sigma_x": 1, "sigma_y": 1, "phase": 0}


def gabor(x: Any, y: Any, x0: float, y0: float, angle: float, phase: float) -> Any:
    """An oblique wavelet in degrees, y up, its carrier along `angle`."""
    along = (x - x0) * np.cos(np.radians(angle)) + (y - y0) * np.sin(np.radians(angle))
    across = -(x - x0) * np.sin(np.radians(angle)) + (y - y0) * np.cos(np.radians(angle))
    return np.exp(-(along**2) / 8 - across**2 / 18) * np.cos(0.9 * along + phase)


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    x = PITCH * (np.arange(COLUMNS) - (COLUMNS - 1) / 2)
    y = PITCH * (np.arange(ROWS) - (ROWS - 1) / 2)[:, None]
    maps = np.array(
        [
            [gabor(x, y, 3.0, 2.0 - unit, 30.0, 0.4), 0.6 * gabor(x, y, -2.0, -1.0, 65.0, 1.1 + 0.3 * unit)]
            for unit in range(UNITS)
        ]
    )
    return rfc.make_bank(
        maps, channel=("on", "off"), kind="measured", stimulus=STIMULUS, deg_per_px=PITCH, subject=list("AABBC")
    )


@pytest.fixture(scope="module")
def images(truth: xr.Dataset) -> np.ndarray:
    """(unit, channel, row, column), row 0 on top, as a file holds the truth."""
    return truth.rf.values[:, :, ::-1].copy()


def layout(**more: Any) -> dict[str, Any]:
    basic = {"dims": "unit channel y x", "channel": ["on", "off"], "deg_per_px": PITCH, "stimulus": STIMULUS}
    return {name: value for name, value in {**basic, **more}.items() if value is not None}


def same(bank: xr.Dataset, truth: xr.Dataset) -> None:
    """The maps and their grid are the truth's, value by value."""
    assert tuple(bank.channel.values) == tuple(truth.channel.values)
    np.testing.assert_array_equal(bank.rf.values, truth.rf.values)
    np.testing.assert_allclose(bank.x.values, truth.x.values)
    np.testing.assert_allclose(bank.y.values, truth.y.values)
    assert bank.attrs["units"] == truth.attrs["units"]


def sentence(error: pytest.ExceptionInfo[InputError]) -> str:
    """The message of an error, which must be one sentence for a person."""
    text = str(error.value)
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(text) > 30
    return text


def write(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name.replace("__", "/")] = values
    return path


def test_the_pattern_betrays_every_flip_transposition_and_swap(truth: xr.Dataset) -> None:
    on, off = truth.rf.sel(unit="u000", channel="on"), truth.rf.sel(unit="u000", channel="off")
    peak = on.isel(on.argmax(("y", "x")))
    assert (float(peak.x) > 0, float(peak.y) > 0) == (True, True)  # ON lies up and to the right
    energy = (off**2).values
    # OFF lies to the left and below: the energy's centroid has x < 0 and y < 0.
    assert (energy * truth.x.values).sum() < 0
    assert (energy * truth.y.values[:, None]).sum() < 0
    maps = truth.rf.values
    for other in (maps[:, :, ::-1], maps[..., ::-1], maps[:, :, ::-1, ::-1], maps[:, ::-1]):
        assert np.abs(maps - other).max() > 0.5
    assert ROWS != COLUMNS


# rfcompare's own HDF5 --------------------------------------------------------------------------------------------


def test_a_saved_bank_opens_identically(truth: xr.Dataset, tmp_path: Path) -> None:
    rfc.save(truth, tmp_path / "bank.h5")
    opened = rfc.open_fields(tmp_path / "bank.h5")
    xr.testing.assert_identical(opened.drop_attrs(), truth.drop_attrs())
    assert opened.attrs == {**truth.attrs, "file": "bank.h5", "sha256": sources.kernels.sha256_of(tmp_path / "bank.h5")}
    lazy = rfc.open_fields(tmp_path / "bank.h5", chunks={"unit": 2})
    assert lazy.rf.chunks is not None
    same(lazy.compute(), truth)
    with pytest.raises(InputError, match="says everything itself"):
        rfc.open_fields(tmp_path / "bank.h5", layout=layout(maps="/rf"))


def test_saved_fits_are_not_taken_for_maps(tmp_path: Path) -> None:
    empty = {
        name: ("quantity", [0.0]) for name in ("effect", "ci_low", "ci_high", "p", "p_adjusted", "null", "ceiling")
    }
    counts = {name: ("quantity", [1]) for name in ("n_units_a", "n_units_b", "n_subjects_a", "n_subjects_b")}
    kinds = {name: ("quantity", np.array(["measured"], object)) for name in ("kind_a", "kind_b")}
    results = xr.Dataset(
        {**empty, **counts, **kinds}, {"quantity": np.array(["nx"], object)}, {"schema": "rfcompare-results/1"}
    )
    rfc.save(results, tmp_path / "results.nc")
    assert "rfc.load" in sources.inspect(tmp_path / "results.nc")
    with pytest.raises(InputError, match="expected maps") as error:
        rfc.open_fields(tmp_path / "results.nc")
    assert "rfcompare-results/1" in sentence(error)


def by_hand(path: Path, truth: xr.Dataset, **changes: Any) -> Path:
    """What the README shows: /rf and coordinates by name, plain h5py, no dimension scales."""
    content = {
        "rf": truth.rf.values,
        "x": truth.x.values,
        "y": truth.y.values,
        "channel": ["on", "off"],
        "subject": list("AABBC"),
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            if values is not None:
                file[name] = values
        for name in ("x", "y"):
            if name in file:
                file[name].attrs["units"] = "degree"
        file.attrs["stimulus"] = "sparse noise"
    return path


def test_a_file_written_by_hand_opens(truth: xr.Dataset, tmp_path: Path) -> None:
    bank = rfc.open_fields(by_hand(tmp_path / "hand.h5", truth))
    same(bank, truth)
    assert list(bank.subject.values) == list("AABBC")
    assert bank.attrs["kind"] == "measured"
    assert bank.attrs["stimulus"] == "sparse noise"


def test_the_readmes_way_of_writing_a_file_works(
    truth: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (code,) = [block.split("```")[0] for block in readme.split("```python") if 'File("my_fields.h5", "w")' in block]
    monkeypatch.chdir(tmp_path)
    maps = np.random.default_rng(0).normal(size=(3, 2, 20, 24))  # the README's grid has 24 × 20 pixels of 2°
    exec(code, {"maps": maps, "names": ["a", "b", "c"], "animals": ["F1", "F1", "F2"]})
    bank = rfc.open_fields("my_fields.h5")
    np.testing.assert_array_equal(bank.rf.values, maps)
    assert (bank.attrs["units"], bank.attrs["kind"], list(bank.unit.values)) == ("degree", "measured", ["a", "b", "c"])
    assert (float(bank.x[0]), float(bank.y[0])) == (-23.0, -19.0)
    assert json.loads(bank.attrs["stimulus"])["class"] == "sparse noise"


def test_by_hand_rows_from_the_top_are_told_by_descending_y(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    path = by_hand(tmp_path / "down.h5", truth, rf=images, y=truth.y.values[::-1])
    same(rfc.open_fields(path), truth)


def test_by_hand_channels_come_in_the_banks_order(truth: xr.Dataset, tmp_path: Path) -> None:
    path = by_hand(tmp_path / "swapped.h5", truth, rf=truth.rf.values[:, ::-1], channel=["off", "on"])
    same(rfc.open_fields(path), truth)


def test_by_hand_dims_and_halves(truth: xr.Dataset, tmp_path: Path) -> None:
    halves = np.stack([truth.rf.values, 2 * truth.rf.values])
    path = by_hand(
        tmp_path / "dims.h5",
        truth,
        rf=truth.rf.values.transpose(2, 3, 0, 1),
        rf_half=halves.transpose(0, 3, 4, 1, 2),
        noise_sd=np.arange(UNITS) * 0.1,
        polarity_known=np.array([1, 0, 1, 1, 0], bool),
    )
    with h5py.File(path, "a") as file:
        file["rf"].attrs["dims"] = "y x unit channel"
    bank = rfc.open_fields(path)
    same(bank, truth)
    np.testing.assert_array_equal(bank.rf_half.values, halves)
    assert bank.noise_sd.values.tolist() == [0.0, 0.1, 0.2, pytest.approx(0.3), 0.4]
    assert bank.polarity_known.values.tolist() == [True, False, True, True, False]


def test_by_hand_signed_maps_in_pixels(truth: xr.Dataset, tmp_path: Path) -> None:
    path = write(tmp_path / "px.h5", rf=truth.rf.values[:, 0])
    bank = rfc.open_fields(path)
    assert (tuple(bank.channel.values), bank.attrs["units"]) == (("signed",), "px")
    np.testing.assert_array_equal(bank.rf.values[:, 0], truth.rf.values[:, 0])
    scaled = rfc.open_fields(path, deg_per_px=PITCH)
    np.testing.assert_allclose(scaled.x.values, truth.x.values)
    assert scaled.attrs["units"] == scaled.x.attrs["units"] == "degree"
    with pytest.raises(InputError, match="positive"):
        rfc.open_fields(path, deg_per_px=-1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"channel": None}, "name the 2 channels"),
        ({"channel": ["left", "right"]}, "name the 2 channels"),
        ({"x": np.arange(3.0)}, "one value for each of the 9 pixels"),
        ({"subject": list("AB")}, "5 values in /subject"),
        ({"rf": np.zeros(4)}, "along unit, channel, y, x"),
        ({"rf": np.array([b"text"])}, "expected"),
        ({"unit": ["a", "a", "b", "c", "d"]}, "unique unit names"),
        ({"rf": np.zeros((UNITS, 2, ROWS, COLUMNS))}, "flat"),
        ({"rf": np.full((UNITS, 2, ROWS, COLUMNS), np.nan)}, "not measured"),
        ({"rf": np.full((UNITS, 2, ROWS, COLUMNS), np.inf)}, "not finite"),
        ({"polarity_known": np.ones(2)}, "5 values in /polarity_known"),
        ({"rf_half": np.zeros((3, UNITS, 2, ROWS, COLUMNS))}, "half"),
        ({"noise_sd": np.ones(3)}, "/noise_sd in"),
        ({"noise_acf": np.ones((UNITS, 5, 5))}, "/noise_acf in"),
        ({"cortex_x": list("abcde")}, "numbers in /cortex_x"),
        ({"x": list("abcdefghi")}, "numbers in /x"),
        ({"lag": np.ones(3)}, "/lag in"),
    ],
)
def test_by_hand_faults_are_one_sentence(truth: xr.Dataset, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        rfc.open_fields(by_hand(tmp_path / "fault.h5", truth, **changes))
    sentence(error)


def test_by_hand_degrees_are_never_guessed(truth: xr.Dataset, tmp_path: Path) -> None:
    path = by_hand(tmp_path / "unknown.h5", truth)
    with h5py.File(path, "a") as file:
        del file["x"].attrs["units"], file["y"].attrs["units"]
    with pytest.raises(InputError, match="attribute units"):
        rfc.open_fields(path)


def test_one_bad_unit_among_good_ones_does_not_stop(truth: xr.Dataset, tmp_path: Path) -> None:
    maps = truth.rf.values.copy()
    maps[1], maps[2], maps[3] = 0, np.nan, np.inf
    bank = rfc.open_fields(by_hand(tmp_path / "bad.h5", truth, rf=maps))
    assert rfc.bank.bad_units(bank) == ["", "flat", "not measured", "not finite", ""]


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
    whole = rfc.open_fields(path, layout={**base, "half": []})
    assert whole.rf.dims == ("unit", "channel", "lag", "y", "x")
    with pytest.raises(InputError, match="index from 0 to 3"):
        rfc.open_fields(path, layout={**base, "lag": 7})


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
        ({"dims": "y x"}, "to name unit, y and x"),
        ({"dims": "unit unit y x"}, "to name unit, y and x"),
        ({"dims": "unit channel row column"}, "to name unit, y and x"),
        ({"dims": "y unit channel x"}, "expected 2 channels"),
        ({"dims": None}, "give dims"),
        ({"channel": None}, "name the channels"),
        ({"channel": ["on", "of"]}, "channel in"),
        ({"select": "0"}, "the shape"),
        ({"select": "9"}, "does not fit"),
        ({"select": "os.system"}, "index such as"),
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
        ({"parameters": "/group", "maps": None, "size": [9, 10**9], "gabor": GABOR}, "size in the layout"),
        ({"parameters": "/group", "maps": None, "size": [9, 9], "gabor": {**GABOR, "x0": "none"}}, "there is no"),
        ({"maps": "/words"}, "real numbers"),
        ({"parameters": "/group", "maps": None, "gabor": {"x0": 1}}, "size ="),
        ({"parameters": "/group", "maps": None, "size": [9, 9], "gabor": {"x0": 1}, "kind": "parametric"}, "missing"),
        ({"parameters": "/group", "maps": None, "size": [9, 9], "gabor": {"x0": "open('x')"}}, "only"),
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


# Hostile and damaged files ----------------------------------------------------------------------------------------


def test_missing_folders_empty_truncated_and_text_files(images: Any, tmp_path: Path) -> None:
    good = write(tmp_path / "good.h5", maps=images)
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("unit,x,y\n")
    (tmp_path / "picture.h5").write_bytes(b"\xff\xd8\xff\xe0" + bytes(600))
    (tmp_path / "kernels.mat").write_bytes(b"\x93NUMPY" + bytes(600))
    (tmp_path / "truncated.h5").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "header.h5").write_bytes(good.read_bytes()[:8] + bytes(1000))
    cases = {
        "nowhere.h5": "does not exist",
        ".": "folder",
        "empty.h5": "empty",
        "text.h5": "is text",
        "picture.h5": "an image",
        "kernels.mat": "load_kernels",
        "truncated.h5": "truncated or damaged",
        "header.h5": "truncated or damaged",
    }
    for name, says in cases.items():
        for door in (rfc.open_fields, sources.inspect):
            with pytest.raises(InputError, match=says) as error:
                door(tmp_path / name)
            sentence(error)


def test_damaged_contents_are_one_sentence(images: Any, tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    with h5py.File(path, "w") as file:
        maps = file.create_dataset("maps", data=images, compression="gzip", fletcher32=True, chunks=images.shape)
        file.flush()
        chunk = maps.id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 50 : chunk.byte_offset + 90] = b"\xaa" * 40
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="damaged") as error:
        rfc.open_fields(path, layout=layout(maps="/maps"))
    sentence(error)


def test_links_out_of_the_file_are_not_followed(images: Any, tmp_path: Path) -> None:
    write(tmp_path / "other.h5", maps=images)
    path = tmp_path / "links.h5"
    np.asarray(images).tofile(tmp_path / "raw.bin")
    with h5py.File(path, "w") as file:
        file["outside"] = h5py.ExternalLink("other.h5", "/maps")
        file["circle"] = h5py.SoftLink("/circle")
        file["inside"] = h5py.SoftLink("/real/maps")
        file["real/maps"] = images
        file.create_dataset("raw", images.shape, images.dtype, external=[(tmp_path / "raw.bin", 0, images.nbytes)])
        virtual = h5py.VirtualLayout(images.shape, images.dtype)
        virtual[...] = h5py.VirtualSource(tmp_path / "other.h5", "maps", images.shape)
        file.create_virtual_dataset("virtual", virtual)
        file["real/again"] = file["real"]  # a group that holds itself
    for name, says in {
        "outside": "another file",
        "circle": "circle",
        "raw": "another file",
        "virtual": "another file",
    }.items():
        with pytest.raises(InputError, match=says) as error:
            rfc.open_fields(path, layout=layout(maps=f"/{name}"))
        sentence(error)
    assert rfc.open_fields(path, layout=layout(maps="/inside")).sizes["unit"] == UNITS
    text = sources.inspect(path)
    assert "not followed" in text
    assert "shown above" in text


def test_references_in_a_circle_end(tmp_path: Path) -> None:
    path = tmp_path / "circle.h5"
    with h5py.File(path, "w") as file:
        cell = file.create_dataset("cell", (50,), dtype=h5py.ref_dtype)
        cell[:] = [cell.ref] * 50
        file.create_dataset("null", (2,), dtype=h5py.ref_dtype)
    with pytest.raises(InputError, match="circle"):
        rfc.open_fields(path, layout=layout(maps="/cell", dims="unit y x", channel="signed"))
    with pytest.raises(InputError, match="leads nowhere"):
        rfc.open_fields(path, layout=layout(maps="/null", dims="unit y x", channel="signed"))
    assert "references" in sources.inspect(path)


def test_absurd_shapes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "absurd.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("maps", (10**8, 100, 100), "f4", chunks=(1, 100, 100))
        file.create_dataset("wide", (3, 10**6, 4), "f4", chunks=(1, 1000, 4))
        file.create_dataset("names", (10**9,), "f4", chunks=(1000,))
        file["rf"] = np.random.default_rng(0).normal(size=(3, 1, 5, 5))
    with pytest.raises(InputError, match=r"at most .* elements"):
        rfc.open_fields(path, layout=layout(maps="/maps", dims="unit y x", channel="signed"))
    with pytest.raises(InputError, match="pixels a side"):
        rfc.open_fields(path, layout=layout(maps="/wide", dims="unit y x", channel="signed"))
    with pytest.raises(InputError, match="values at /names"):
        rfc.open_fields(path, layout=layout(maps="/rf", subject="/names", channel=["signed"]))
    assert "100000000" in sources.inspect(path)


def test_a_missing_compression_filter_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zstd.h5"
    script = (
        "import h5py, hdf5plugin, numpy as np, sys\n"
        "with h5py.File(sys.argv[1], 'w') as f:\n"
        "    f.create_dataset('maps', data=np.random.default_rng(0).normal(size=(4, 6, 6)), **hdf5plugin.Zstd())\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    described = layout(maps="/maps", dims="unit y x", channel="signed")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "hdf5plugin", None)
        with pytest.raises(InputError, match="install the package hdf5plugin") as error:
            rfc.open_fields(path, layout=described)
        sentence(error)
        assert "install hdf5plugin" in sources.inspect(path)
    # With the package at hand nobody has to import it.
    expected = np.random.default_rng(0).normal(size=(4, 6, 6))[:, ::-1]
    np.testing.assert_array_equal(rfc.open_fields(path, layout=described).rf.values[:, 0], expected)


def test_read_only_folders_and_names_in_any_script(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    folder = tmp_path / "测量 données"
    folder.mkdir()
    path = write(folder / "поля.h5", карты=images)
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        same(rfc.open_fields(path, layout=layout(maps="/карты")), truth)
        assert "карты" in sources.inspect(path)
    finally:
        folder.chmod(0o755)


def test_names_that_are_not_utf8(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    path = tmp_path / "latin.h5"
    with h5py.File(path, "w") as file:
        file["cells"] = images
        file.move("cells", b"Z\xfcge")  # "Züge" in Latin-1
    assert "Z" in sources.inspect(path)
    same(rfc.open_fields(path, layout=layout(maps="/Z\udcfcge")), truth)


def test_a_damaged_matlab_file_does_not_crash_the_process(images: Any, tmp_path: Path) -> None:
    """An unknown type of values crashes SciPy's reader; the file's structure is walked before it."""
    path = tmp_path / "crash.mat"
    scipy.io.savemat(path, {"m": images})
    content = bytearray(path.read_bytes())
    # The tag of the values follows header (128), matrix tag (8), flags (16), dims (8 + 16) and the small name (8).
    assert content[184:188] == (9).to_bytes(4, "little")  # miDOUBLE
    for wrong in (0, 8, 10, 25, 255):
        content[184] = wrong
        path.write_bytes(bytes(content))
        with pytest.raises(InputError, match="unknown type") as error:
            rfc.open_fields(path, layout=layout(maps="/m"))
        sentence(error)


@pytest.mark.parametrize("suffix", [".h5", ".mat"])
def test_every_truncation_is_one_sentence(images: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"whole{suffix}"
    if suffix == ".mat":
        scipy.io.savemat(path, {"maps": images}, do_compression=True)
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("maps", data=images, compression="gzip")
    content = path.read_bytes()
    for size in range(1, len(content) - 1, max(1, len(content) // 40)):
        path.write_bytes(content[:size])
        with pytest.raises(InputError) as error:
            rfc.open_fields(path, layout=layout(maps="/maps"))
        sentence(error)


# Lazily ------------------------------------------------------------------------------------------------------------


def test_chunks_keep_the_maps_in_the_file(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "lazy.h5", maps=images.transpose(2, 3, 0, 1), cells__a=images[0], cells__b=images[1])
    described = layout(maps="/maps", dims="y x unit channel", select=":,:,1:4")
    bank = rfc.open_fields(path, layout=described, chunks={"unit": 2})
    assert bank.rf.chunks[0] == (2, 1)
    np.testing.assert_array_equal(bank.rf.values, truth.rf.values[1:4])
    per_cell = rfc.open_fields(path, layout=layout(maps="/cells/*"), chunks=1)
    assert per_cell.rf.chunks[0] == (1, 1)
    np.testing.assert_array_equal(per_cell.rf.values, truth.rf.values[:2])
    path.unlink()
    with pytest.raises(InputError, match="any more"):
        bank.compute()


def test_a_2_gb_file_opens_in_300_mb(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    units, side = 70_000, 60
    with h5py.File(path, "w") as file:  # 70,000 × 2 × 60 × 60 float32 are 2.0 GB, of which only two chunks are on disk
        maps = file.create_dataset("maps", (units, 2, side, side), "f4", chunks=(100, 2, side, side))
        maps[:100] = np.random.default_rng(0).normal(size=(100, 2, side, side))
        maps[-100:] = 7.0
    assert path.stat().st_size < 20e6
    script = f"""
import pathlib, resource
import rfcompare as rfc
layout = dict(maps="/maps", dims="unit channel y x", channel=["on", "off"], stimulus="unknown")
bank = rfc.open_fields({str(path)!r}, layout=layout)
assert bank.rf.nbytes == {units * 2 * side * side * 4}, bank.rf.nbytes
assert float(bank.rf[-1, 0, 0, 0]) == 7.0
# The peak of this program alone: what getrusage reports starts at the size of the process that started it.
status = pathlib.Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
print((peak or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])[0] / 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < MEMORY_LIMIT_MB


# NWB --------------------------------------------------------------------------------------------------------------


def nwb_file(**more: Any) -> Any:
    from pynwb import NWBFile
    from pynwb.file import Subject

    file = NWBFile(
        session_description="mapping",
        identifier="session-7",
        session_start_time=datetime(2026, 1, 1, tzinfo=UTC),
        related_publications=["Lee 2016"],
        **more,
    )
    file.subject = Subject(subject_id="F7", species="Tupaia belangeri", sex="F", age="P90D")
    return file


def save_nwb(file: Any, path: Path) -> Path:
    from pynwb import NWBHDF5IO, validate

    with NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    assert not validate(path=str(path))
    return path


def test_nwb_units_column(truth: xr.Dataset, images: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = nwb_file(stimulus_notes="sparse noise, 2 degrees")
    file.add_unit_column("receptive_field", "ON and OFF maps, a.u., rows from the top")
    file.add_unit_column("depth", "µm")
    for unit in range(UNITS):
        file.add_unit(id=100 + unit, receptive_field=images[unit], depth=10.0 * unit, spike_times=[0.1, 0.2])
    path = save_nwb(file, tmp_path / "units.nwb")
    described = layout(maps="/units/receptive_field", stimulus=None, per_unit={"depth": "/units/depth"})
    bank = rfc.open_fields(path, layout=described)
    read = capsys.readouterr().err  # what was read off the file is said in one line
    assert "read units.nwb, /units/receptive_field along unit channel y x, y down: 5 units in degree, measured" in read
    assert "subjects F7" in read
    same(bank, truth)
    assert list(bank.unit.values) == [f"unit {number}" for number in range(100, 105)]
    assert set(bank.subject.values) == {"F7"}
    assert set(bank.source.values) == {"session-7"}
    assert bank.depth.values.tolist() == [0.0, 10.0, 20.0, 30.0, 40.0]
    assert bank.attrs["stimulus"] == "sparse noise, 2 degrees"
    assert bank.attrs["citation"] == "Lee 2016"
    assert bank.attrs["species"] == "Tupaia belangeri"
    assert bank.attrs["maps_description"] == "ON and OFF maps, a.u., rows from the top"
    with pytest.raises(InputError, match="/units/receptive_field") as error:
        rfc.open_fields(path)
    assert "layout must" in sentence(error)
    text = sources.inspect(path)
    assert "format: NWB 2" in text
    assert "never run on a real file" in text
    assert 'maps = "/units/receptive_field"' in text
    assert 'dims = "unit channel y x"' in text


def test_nwb_processing_table(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    from hdmf.common import DynamicTable, VectorData

    file = nwb_file()
    table = DynamicTable(
        name="maps",
        description="spike-triggered averages",
        columns=[
            VectorData(name="sta_on", description="ON", data=images[:, 0].transpose(0, 2, 1)),
            VectorData(name="sta_off", description="OFF", data=images[:, 1].transpose(0, 2, 1)),
            VectorData(name="animal", description="which", data=["A", "A", "B", "B", "C"]),
        ],
    )
    file.create_processing_module("receptive_fields", "maps").add(table)
    path = save_nwb(file, tmp_path / "table.nwb")
    base = "/processing/receptive_fields/maps"
    maps = [f"{base}/sta_on", f"{base}/sta_off"]
    bank = rfc.open_fields(path, layout=layout(maps=maps, dims="unit x y", subject=f"{base}/animal"))
    same(bank, truth)
    assert list(bank.subject.values) == list("AABBC")
    assert f"{base}/sta_on" in sources.inspect(path)


def test_nwb_ragged_column(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    file = nwb_file()
    file.add_unit_column("rf", "rows of the ON map", index=True)
    for unit in range(UNITS):
        file.add_unit(rf=images[unit, 0])  # every unit contributes its own number of rows of COLUMNS values
    path = save_nwb(file, tmp_path / "ragged.nwb")
    with h5py.File(path) as raw:
        assert raw["units/rf"].shape == (UNITS * ROWS, COLUMNS)  # the file holds one pile of rows
    bank = rfc.open_fields(path, layout=layout(maps="/units/rf", dims="unit y x", channel="signed"))
    np.testing.assert_array_equal(bank.rf.values[:, 0], truth.rf.values[:, 0])
    with h5py.File(path, "a") as raw:
        raw["units/rf_index"][2] = 200  # the pile has 35 rows
    with pytest.raises(InputError, match="does not fit"):
        rfc.open_fields(path, layout=layout(maps="/units/rf", dims="unit y x", channel="signed"))


def test_nwb_without_maps_says_so(tmp_path: Path) -> None:
    file = nwb_file()
    file.add_unit(spike_times=[0.1])
    path = save_nwb(file, tmp_path / "spikes.nwb")
    with pytest.raises(InputError, match="found none") as error:
        rfc.open_fields(path)
    sentence(error)
    assert "No array here" in sources.inspect(path)


# Allen two-photon -------------------------------------------------------------------------------------------------


def allen_file(path: Path, maps: Any, stimulus: str, *, masked: bool = True, running: bool = False) -> Path:
    """The tree that the survey's software writes: datasets called data by cell and polarity, attributes on groups."""
    with h5py.File(path, "a") as file:
        for cell, pair in enumerate(maps):
            group = file.require_group(f"analysis/{stimulus}/{cell}")
            group.attrs["cell_index"] = cell
            group.attrs["csid"] = 517 + cell
            for polarity, values in zip(("on", "off"), pair, strict=True):
                group[f"{polarity}/rts_convolution/data"] = values
                group[f"{polarity}/rts/data"] = values
                group[f"{polarity}/fdr_mask/data"] = (values > 0.5)[None]
                group[f"{polarity}/fdr_mask"].attrs["alpha"] = 0.05
                group[f"{polarity}/pvalues/data"] = np.ones_like(values)
        summary = np.where(maps > 0.5, maps, np.nan) if masked else maps
        summary = summary.transpose(2, 3, 0, 1)  # (row, column, cell, [on, off])
        if running:
            summary = np.concatenate([summary, np.full_like(summary[:, :, :1], 9.0)], axis=2)
        short = {"": "lsn", "_4deg": "lsn4", "_8deg": "lsn8"}[stimulus.removeprefix("locally_sparse_noise")]
        file[f"analysis/receptive_field_{short}"] = summary
    return path


@pytest.fixture
def lsn() -> np.ndarray:
    """Fields (cell, [on, off], row, column) on the survey's fine grid; row 0 is its lowest row."""
    x, y = 4.65 * (np.arange(28) - 13.5), 4.65 * (np.arange(16) - 7.5)[:, None]
    return np.array(
        [
            [gabor(x / 6, y / 6, 2.0, 1.0 - cell, 30, 0.2), 0.5 * gabor(x / 6, y / 6, -3.0, -1.0, 70, cell)]
            for cell in range(12)
        ]
    )


def test_allen_fields(lsn: Any, tmp_path: Path) -> None:
    bank = rfc.open_fields(allen_file(tmp_path / "analysis.h5", lsn, "locally_sparse_noise_4deg"))
    np.testing.assert_array_equal(bank.rf.values, lsn)  # y up and row 0 lowest: nothing is flipped
    assert tuple(bank.channel.values) == ("on", "off")
    assert rfc.bank.pitch(bank) == (pytest.approx(4.65), pytest.approx(4.65))
    assert list(bank.unit.values) == [f"cell {517 + cell}" for cell in range(12)]  # 10 comes after 9
    assert json.loads(bank.attrs["stimulus"])["element_deg"] == 4.65
    assert bank.on_significant.values.tolist() == (lsn[:, 0] > 0.5).any((1, 2)).tolist()
    text = sources.inspect(tmp_path / "analysis.h5")
    assert "Allen two-photon" in text
    assert "never run on a real file" in text


def test_allen_coarse_grid_and_choice_between_stimuli(lsn: Any, tmp_path: Path) -> None:
    path = allen_file(tmp_path / "both.h5", lsn, "locally_sparse_noise_4deg")
    coarse = lsn[:, :, ::2, ::2]
    allen_file(path, coarse, "locally_sparse_noise_8deg")
    with pytest.raises(InputError, match="one mapping stimulus") as error:
        rfc.open_fields(path)
    assert "/analysis/locally_sparse_noise_8deg" in sentence(error)
    bank = rfc.open_fields(path, layout={"maps": "/analysis/locally_sparse_noise_8deg"})
    assert "where PATH is one of" in sources.inspect(path)
    (tmp_path / "choice.toml").write_text('maps = "/analysis/locally_sparse_noise_8deg"')
    np.testing.assert_array_equal(rfc.open_fields(path, layout=tmp_path / "choice.toml").rf.values, coarse)
    np.testing.assert_array_equal(bank.rf.values, coarse)
    assert rfc.bank.pitch(bank)[0] == pytest.approx(9.3)


def test_allen_summary_arrays(lsn: Any, tmp_path: Path) -> None:
    path = allen_file(tmp_path / "masked.h5", lsn, "locally_sparse_noise")
    bank = rfc.open_fields(path, layout={"maps": "/analysis/receptive_field_lsn"})
    np.testing.assert_array_equal(bank.rf.values, np.where(lsn > 0.5, lsn, np.nan))
    path = allen_file(tmp_path / "means.h5", lsn, "locally_sparse_noise", masked=False, running=True)
    bank = rfc.open_fields(path, layout={"maps": "/analysis/receptive_field_lsn"})
    np.testing.assert_array_equal(bank.rf.values, lsn)  # the column of running speed is no cell
    assert "running speed" in bank.attrs["history"]


def test_allen_pixels_off_the_screen_are_not_measured(lsn: Any, tmp_path: Path) -> None:
    path = allen_file(tmp_path / "screen.h5", lsn, "locally_sparse_noise_4deg")
    template = np.full((3, 16, 28), 127, np.uint8)
    template[:, 15, 20:] = 64
    with h5py.File(path, "a") as file:
        file["stimulus/templates/locally_sparse_noise_4deg_image_stack/data"] = template
    bank = rfc.open_fields(path)
    assert np.isnan(bank.rf.values[:, :, 15, 20:]).all()
    assert int(np.isnan(bank.rf.values).sum()) == 12 * 2 * 8
    np.testing.assert_array_equal(bank.rf.values[:, :, :15], lsn[:, :, :15])


def test_allen_faults(lsn: Any, tmp_path: Path) -> None:
    path = allen_file(tmp_path / "faults.h5", lsn, "locally_sparse_noise_8deg")
    with pytest.raises(InputError, match="fit its name"):
        rfc.open_fields(path)
    path = allen_file(tmp_path / "half.h5", lsn, "locally_sparse_noise_4deg")
    with h5py.File(path, "a") as file:
        del file["analysis/locally_sparse_noise_4deg/3/off"]
    with pytest.raises(InputError, match="same cells"):
        rfc.open_fields(path)
    path = allen_file(tmp_path / "grid.h5", lsn[..., :20], "locally_sparse_noise_4deg")
    with pytest.raises(InputError, match="grids"):
        rfc.open_fields(path)


# MATLAB -----------------------------------------------------------------------------------------------------------


def cells_of(images: Any) -> np.ndarray:
    """A MATLAB cell, units × [on, off], of images."""
    cell = np.empty((UNITS, 2), dtype=object)
    for unit in range(UNITS):
        for channel in range(2):
            cell[unit, channel] = images[unit, channel]
    return cell


@pytest.fixture(params=["v5", "v7.3"])
def savemat(request: pytest.FixtureRequest) -> Callable[[Path, Mapping[str, Any]], Path]:
    def save(path: Path, content: Mapping[str, Any]) -> Path:
        if request.param == "v5":
            scipy.io.savemat(path, content, oned_as="column")
        else:
            import hdf5storage

            hdf5storage.savemat(str(path), content, format="7.3", oned_as="column", store_python_metadata=False)
        return path

    return save


def test_matlab_arrays_cells_and_structs(savemat: Any, truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    content = {
        "sta": images.transpose(2, 3, 1, 0),  # size 7 × 9 × 2 × 5 in MATLAB
        "cells": cells_of(images),
        "data": {"rf": images.transpose(0, 2, 3, 1), "depth": np.arange(5.0)},
        "rf": images,  # as MATLAB sees it; must not pass for rfcompare's own /rf with its axes reversed
        "animal": np.array([["A"], ["A"], ["B"], ["B"], ["C"]], dtype=object),
    }
    path = savemat(tmp_path / "maps.mat", content)
    same(rfc.open_fields(path, layout=layout(maps="/sta", dims="y x channel unit")), truth)
    same(rfc.open_fields(path, layout=layout(maps="/cells")), truth)
    same(rfc.open_fields(path, layout=layout(maps="/rf")), truth)
    bank = rfc.open_fields(
        path,
        layout=layout(maps="/data/rf", dims="unit y x channel", cortex_x="/data/depth", subject="/animal"),
    )
    same(bank, truth)
    assert bank.cortex_x.values.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert list(bank.subject.values) == list("AABBC")
    off = rfc.open_fields(path, layout=layout(maps="/cells", select=":,1", dims="unit y x", channel="signed"))
    np.testing.assert_array_equal(off.rf.values[:, 0], truth.rf.values[:, 1])
    with pytest.raises(InputError, match="how the axes of"):
        rfc.open_fields(path)
    text = sources.inspect(path)
    assert "MATLAB" in text
    assert "cells" in text
    assert 'maps = "/' in text


def test_matlab_faults(savemat: Any, images: Any, tmp_path: Path) -> None:
    ragged = cells_of(images)
    ragged[1, 0] = ragged[1, 0][:3]
    words = np.array([["a"], ["b"]], dtype=object)
    path = savemat(tmp_path / "faults.mat", {"ragged": ragged, "data": {"rf": images}, "words": words})
    cases = {
        "/ragged": "one shape",
        "/none": "there is no /none",
        "/data/none": "there is no /data/none",
        "/words": "numbers",
    }
    for maps, says in cases.items():
        with pytest.raises(InputError, match=says) as error:
            rfc.open_fields(path, layout=layout(maps=maps))
        sentence(error)
    with pytest.raises(InputError, match=r"struct|numbers"):
        rfc.open_fields(path, layout=layout(maps="/data"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"truncated|damaged") as error:
        rfc.open_fields(path, layout=layout(maps="/ragged"))
    sentence(error)


def test_matlab_empty_cells_are_not_measured(savemat: Any, truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    cells = cells_of(images)
    cells[3, 0], cells[3, 1] = np.empty((0, 0)), np.empty((0, 0))
    bank = rfc.open_fields(savemat(tmp_path / "empty.mat", {"cells": cells}), layout=layout(maps="/cells"))
    assert rfc.bank.bad_units(bank) == ["", "", "", "not measured", ""]
    np.testing.assert_array_equal(bank.rf.values[4], truth.rf.values[4])


def test_matlab_v5_struct_arrays(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    structs = np.zeros((1, UNITS), dtype=[("map", object), ("id", object)])
    for unit in range(UNITS):
        structs[0, unit]["map"], structs[0, unit]["id"] = images[unit], f"n{unit}"
    path = tmp_path / "structs.mat"
    scipy.io.savemat(path, {"cells": structs})
    bank = rfc.open_fields(path, layout=layout(maps="/cells/map", unit="/cells/id"))
    same(bank, truth)
    assert list(bank.unit.values) == [f"n{unit}" for unit in range(UNITS)]


def test_matlab_v73_reads_what_pymatreader_reads(images: Any, tmp_path: Path) -> None:
    import hdf5storage
    from pymatreader import read_mat

    from rfcompare.sources.matlab import V73Store

    path = tmp_path / "compare.mat"
    content = {"array": images.transpose(2, 3, 1, 0), "word": "deep", "data": {"inner": images[0]}}
    hdf5storage.savemat(str(path), content, format="7.3", store_python_metadata=False)
    other = read_mat(path)
    with hdf5.Reader(path) as reader:
        store = V73Store(reader)
        np.testing.assert_array_equal(store.locate("/array", (), None), other["array"])
        np.testing.assert_array_equal(store.locate("/data/inner", (), None), other["data"]["inner"])
        assert store.column("/word").tolist() == [other["word"]]


def test_matlab_v73_struct_arrays_by_reference(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    """A struct array as MATLAB writes it: a group whose fields are 1 × N references, stored reversed."""
    path = tmp_path / "structs.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("cells")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        hidden = file.create_group("#refs#")
        references = []
        for unit in range(UNITS):
            hidden[f"m{unit}"] = images[unit].transpose(2, 1, 0)  # (channel, y, x) in MATLAB
            hidden[f"m{unit}"].attrs["MATLAB_class"] = np.bytes_("double")
            references.append([hidden[f"m{unit}"].ref])
        group.create_dataset("map", data=np.array(references, dtype=h5py.ref_dtype))
        opaque = file.create_dataset("t", data=np.zeros(3, np.uint32))
        opaque.attrs["MATLAB_class"], opaque.attrs["MATLAB_object_decode"] = np.bytes_("table"), 3
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.0 MAT-file, HDF5 schema 0.05".ljust(512))
    same(rfc.open_fields(path, layout=layout(maps="/cells/map")), truth)
    lazy = rfc.open_fields(path, layout=layout(maps="/cells/map"), chunks=1)
    assert lazy.rf.chunks is not None
    same(lazy.compute(), truth)
    with pytest.raises(InputError, match="MATLAB table"):
        rfc.open_fields(path, layout=layout(maps="/t"))


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
    assert "parametric" in sources.inspect("reference:alexnet")


def test_the_readme_says_how_far_each_reader_was_tried() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in readme.splitlines() if line.count("|") == 4}
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
    from rfcompare.sources.inspection import guess_dims

    assert " ".join(guess_dims(shape)) == dims


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
