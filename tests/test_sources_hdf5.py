"""HDF5: rfcompare's own as saved and as written by hand, damaged and hostile files, and reading lazily."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr

import rfcompare as rfc
from rfcompare import InputError, sources
from tests.sample_maps import (
    COLUMNS,
    PITCH,
    ROWS,
    UNITS,
    layout,
    same,
    sentence,
    write,
)

MEMORY_LIMIT_MB = 300.0  # what opening the maps of a 2 GB file may take, interpreter and libraries included


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
    assert opened.attrs == {**truth.attrs, "file": "bank.h5", "sha256": sources.remote.sha256_of(tmp_path / "bank.h5")}
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
    assert bank.attrs["kind"] == "not stated"
    assert bank.attrs["stimulus"] == "sparse noise"


def test_who_opens_a_file_may_say_what_it_does_not(truth: xr.Dataset, tmp_path: Path) -> None:
    path = by_hand(tmp_path / "hand.h5", truth)
    bank = rfc.open_fields(path, kind="measured", attrs={"title": "Shrew V1", "citation": "Lee 2016"})
    assert [bank.attrs[name] for name in ("kind", "title", "citation")] == ["measured", "Shrew V1", "Lee 2016"]
    with h5py.File(path, "a") as file:
        file.attrs["kind"] = "simulated"
    assert rfc.open_fields(path, kind="simulated").attrs["kind"] == "simulated"
    for given, says in (
        ({"kind": "measured"}, "say that they are simulated"),
        ({"attrs": {"kind": "measured"}}, "got kind, which"),
        ({"attrs": {"units": "px"}}, "got units, which"),
    ):
        with pytest.raises(InputError, match=says) as error:
            rfc.open_fields(path, **given)  # type: ignore[arg-type]
        sentence(error)


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
    halves = np.stack([truth.rf.values, 2 * truth.rf.values])
    acf = np.random.default_rng(0).normal(size=(UNITS, 2, 3, 5))
    path = by_hand(
        tmp_path / "swapped.h5",
        truth,
        rf=truth.rf.values[:, ::-1],
        rf_half=halves[:, :, ::-1],
        noise_acf=acf[:, ::-1],
        channel=["off", "on"],
    )
    bank = rfc.open_fields(path)
    same(bank, truth)
    np.testing.assert_array_equal(bank.rf_half.values, halves)
    np.testing.assert_array_equal(bank.noise_acf.values, acf)


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
        ({"x": None}, "got only /y"),
        ({"y": np.ones((2, 2))}, "one value for each of the 7 pixels"),
        ({"rf_half": np.zeros((UNITS, 2, ROWS, COLUMNS))}, "/rf_half in"),
        ({"polarity_known": ["False"] * UNITS}, "numbers in /polarity_known"),
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


def test_by_hand_a_scale_beside_coordinates_counts(truth: xr.Dataset, tmp_path: Path) -> None:
    path = by_hand(tmp_path / "scale.h5", truth, x=truth.x.values / PITCH + 3, y=truth.y.values / PITCH)
    with h5py.File(path, "a") as file:
        for name in ("x", "y"):
            file[name].attrs["units"] = "px"
    scaled = rfc.open_fields(path, deg_per_px=PITCH)
    same(scaled, truth)
    assert scaled.attrs["x_center"] == 3 * PITCH  # the middle is a length as well
    with h5py.File(path, "a") as file:
        file.attrs["deg_per_px"] = PITCH
    same(rfc.open_fields(path), truth)
    path = by_hand(tmp_path / "contradiction.h5", truth)
    with h5py.File(path, "a") as file:
        file.attrs["deg_per_px"] = 3.0
    with pytest.raises(InputError, match="in steps of the attribute deg_per_px") as error:
        rfc.open_fields(path)
    sentence(error)


def test_by_hand_attributes_that_contradict_are_one_sentence(truth: xr.Dataset, tmp_path: Path) -> None:
    for name, value, says in (
        ("rows", "down", "to descend where the attribute rows"),
        ("schema", "rfcompare-bank/2", "update rfcompare"),
    ):
        path = by_hand(tmp_path / f"{name}.h5", truth)
        with h5py.File(path, "a") as file:
            file.attrs[name] = value
        with pytest.raises(InputError, match=says) as error:
            rfc.open_fields(path)
        sentence(error)


def test_by_hand_labels_may_be_numbers_and_filled_up_with_blanks(truth: xr.Dataset, tmp_path: Path) -> None:
    path = by_hand(tmp_path / "numbers.h5", truth, subject=np.array([7.0, 7.0, 8.5, np.nan, 9.0]), channel=None)
    with h5py.File(path, "a") as file:
        file.attrs["channel"] = "ON, OFF"
    assert list(rfc.open_fields(path).subject.values) == ["7", "7", "8.5", "", "9"]
    path = by_hand(tmp_path / "blanks.h5", truth, subject=np.array([b"F1  ", b"F1  ", b"F10 ", b"F10 ", b"F2  "]))
    assert list(rfc.open_fields(path).subject.values) == ["F1", "F1", "F10", "F10", "F2"]
    path = by_hand(tmp_path / "one.h5", truth, subject=None)
    with h5py.File(path, "a") as file:
        file.attrs["subject"] = 7
    assert set(rfc.open_fields(path).subject.values) == {"7"}


def test_one_bad_unit_among_good_ones_does_not_stop(truth: xr.Dataset, tmp_path: Path) -> None:
    maps = truth.rf.values.copy()
    maps[1], maps[2], maps[3] = 0, np.nan, np.inf
    bank = rfc.open_fields(by_hand(tmp_path / "bad.h5", truth, rf=maps))
    assert rfc.bank.bad_units(bank) == ["", "dead", "not measured", "not finite", ""]


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
    with pytest.raises(InputError, match=r"names in absurd.* would grow"):
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
    with h5py.File(path, "a") as file:
        file["units/a"], file["units/b"] = images[0], images[1]
        file["units"].move("a", b"\xe4")
    bank = rfc.open_fields(path, layout=layout(maps="/units/*"))
    rfc.save(bank, tmp_path / "saved.nc")
    assert sorted(rfc.load(tmp_path / "saved.nc").unit.values) == ["\\xe4", "b"]


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
    for chunks in ("auto", "1MB", {"unit": "auto", "y": -1}):
        again = rfc.open_fields(path, layout=described, chunks=chunks)
        assert again.rf.chunks is not None
        np.testing.assert_array_equal(again.rf.values, truth.rf.values[1:4])
    for chunks in (0, 2.5, (1, 2), "lots", {"row": 2}):
        with pytest.raises(InputError, match="expected chunks") as error:
            rfc.open_fields(path, layout=described, chunks=chunks)
        sentence(error)
    path.unlink()
    with pytest.raises(InputError, match="any more"):
        bank.compute()


def test_a_2_gb_file_opens_in_300_mb(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    units, side = 70_000, 60
    with h5py.File(path, "w") as file:  # 70,000 × 2 × 60 × 60 float32 are 2.0 GB, of which only four chunks are on disk
        maps = file.create_dataset("maps", (units, 2, side, side), "f4", chunks=(100, 2, side, side))
        maps[:300] = np.random.default_rng(0).normal(size=(300, 2, side, side))
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
