"""NWB, Allen two-photon and MATLAB: every reader on a file written by the format's own library."""

import json
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
from rfcompare.sources import hdf5
from tests.sample_maps import (
    COLUMNS,
    PITCH,
    ROWS,
    UNITS,
    gabor,
    layout,
    same,
    sentence,
)

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


def test_nwb_drafts_a_layout_that_opens(truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    """A row is a unit whatever the sizes, ON and OFF go together, a ragged column is drafted as it reads."""
    file = nwb_file(stimulus_notes="sparse noise")
    for name, ragged in (("rf_on", False), ("rf_off", False), ("pairs", 2)):
        file.add_unit_column(name, "maps", index=ragged)
    for unit in range(UNITS):
        rows = [list(channel) for channel in images[unit]]
        file.add_unit(rf_on=images[unit, 0], rf_off=images[unit, 1], pairs=rows, waveform_mean=np.ones((40, 4)))
    path = save_nwb(file, tmp_path / "draft.nwb")
    text = sources.inspect(path)
    drafted = tomllib.loads(text[text.index("# A layout") :])
    assert drafted["maps"] == ["/units/rf_on", "/units/rf_off"]
    assert drafted["dims"] == "unit y x"
    same(rfc.open_fields(path, layout={**drafted, "deg_per_px": PITCH}), truth)
    assert "waveform" not in text[text.index("# A layout") :]
    with h5py.File(path, "a") as raw:
        del raw["units/rf_on"], raw["units/rf_off"]
    text = sources.inspect(path)
    drafted = tomllib.loads(text[text.index("# A layout") :])
    assert (drafted["maps"], drafted["dims"]) == ("/units/pairs", "unit channel y x")
    same(rfc.open_fields(path, layout={**drafted, "deg_per_px": PITCH}), truth)


def test_nwb_without_maps_says_so(tmp_path: Path) -> None:
    file = nwb_file()
    file.add_unit(spike_times=[0.1], obs_intervals=[[0.0, 1.0]], waveform_mean=np.ones((40, 4)))
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


def test_matlab_maps_of_a_single_cell(savemat: Any, truth: xr.Dataset, images: Any, tmp_path: Path) -> None:
    """MATLAB drops trailing axes of size 1: size(sta) is 7 9 2 for one unit, and 7 9 for one of its channels."""
    pair = images[0].transpose(1, 2, 0)
    path = savemat(tmp_path / "one.mat", {"sta": pair, "on": pair[..., 0]})
    bank = rfc.open_fields(path, layout=layout(maps="/sta", dims="y x channel unit"))
    np.testing.assert_array_equal(bank.rf.values, truth.rf.values[:1])
    for dims in ("y x unit", "y x channel unit"):
        on = rfc.open_fields(path, layout=layout(maps="/on", dims=dims, channel="signed"))
        np.testing.assert_array_equal(on.rf.values, truth.rf.values[:1, :1])
    with pytest.raises(InputError, match="expected 3 dims"):
        rfc.open_fields(path, layout=layout(maps="/on", dims="unit y x", channel="signed"))


def test_matlab_v4_is_named(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "old.mat", {"a": np.ones((5, 5))}, format="4")
    with pytest.raises(InputError, match="-v7") as error:
        rfc.open_fields(tmp_path / "old.mat")
    sentence(error)


def test_matlab_names_in_a_char_matrix_have_no_blanks(savemat: Any, images: Any, tmp_path: Path) -> None:
    path = savemat(
        tmp_path / "names.mat", {"sta": images, "who": np.array([["F1 "], ["F1 "], ["F10"], ["F10"], ["F2 "]])}
    )
    bank = rfc.open_fields(path, layout=layout(maps="/sta", subject="/who"))
    assert list(bank.subject.values) == ["F1", "F1", "F10", "F10", "F2"]


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
    with pytest.raises(InputError, match="MATLAB object of the class table"):
        rfc.open_fields(path, layout=layout(maps="/t"))
