"""What comes from outside is text, is bounded, and destroys nothing: names, places, damaged and packed files."""

from __future__ import annotations

import ast
import gzip
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner, Result
from PIL import Image

import rfcompare as rfc
from rfcompare import bank
from rfcompare.bank import untrusted
from rfcompare.cli import main
from rfcompare.errors import InputError, printable
from rfcompare.pipeline import parts, population

HOSTILE = ("a$x_{$b", "=1+1", "<script>alert(1)</script>", "\x1b[31mred")
"""Mathematics to Matplotlib, a formula to a spreadsheet, a program to a browser, an order to a terminal."""

LARGEST_ERROR = 2000
"""Characters: whatever a file holds, a message about it stays readable."""


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def one_sentence(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    lines = [line for line in result.stderr.splitlines() if line.startswith("rfcompare: ")]
    assert len(lines) == 1 and len(lines[0]) < LARGEST_ERROR, result.stderr
    return lines[0]


def small(**changes: object) -> xr.Dataset:
    made, _ = rfc.simulation.simulate_population(n=4, size=9, seed=0)
    return made.assign_coords(unit=np.array(HOSTILE, dtype=object)).assign_attrs(**changes)


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A file whose name, units, subjects, sources and title are all hostile."""
    made = small(title=HOSTILE[0], citation=HOSTILE[2])
    for name in ("subject", "source"):
        made = made.assign_coords({name: ("unit", np.array(HOSTILE, dtype=object))})
    bank.save(made, tmp_path / "a$x_{$b.nc")
    return tmp_path / "a$x_{$b.nc"


# ---------------------------------------------------------------------------------------------------- names are text


@pytest.mark.parametrize("name", ["kernels", "fits"])
def test_figures_draw_names_as_they_are(name: str, named: Path, tmp_path: Path) -> None:
    result = run("figure", name, "--fields", named, "--kernels", named, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / f"{name}.png").stat().st_size > 0


def test_filter_draws_a_hostile_unit(named: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / "i.png")
    result = run("filter", tmp_path / "i.png", "--kernels", named, "--unit", HOSTILE[0], "-o", tmp_path / "o.svg")
    assert result.exit_code == 0, result.output
    assert HOSTILE[0] in (tmp_path / "o.svg").read_text(encoding="utf-8")


def test_tables_hold_no_formula_and_keep_numbers(named: Path, tmp_path: Path) -> None:
    assert run("describe", named, "-o", tmp_path / "t.csv").exit_code == 0
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table["unit"]) == [HOSTILE[0], "'=1+1", *HOSTILE[2:]]
    for starts in "=+-@\t":
        bank.write_csv(pd.DataFrame({f"{starts}head": [f"{starts}SUM(A1)"], "n": [-1.5]}), tmp_path / "g.csv")
        back = pd.read_csv(tmp_path / "g.csv")
        assert back.iloc[0, 0].startswith("'") and back.columns[0].startswith("'") and back["n"][0] == -1.5


def test_messages_are_short_and_give_no_orders(named: Path) -> None:
    assert len(printable("word " * 10**6)) < LARGEST_ERROR and len(printable("a" * 10**6)) < LARGEST_ERROR
    assert "\x1b" not in printable(HOSTILE[3])
    assert "\x1b" not in run("inspect", named).output


# ----------------------------------------------------------------------------------------- output destroys nothing


@pytest.mark.parametrize("how", ["itself", "another spelling", "a symbolic link", "a hard link"])
def test_an_input_is_never_written_over(how: str, named: Path, tmp_path: Path) -> None:
    before = named.read_bytes()
    target = tmp_path / "out.nc"
    if how == "itself":
        target = named
    elif how == "another spelling":
        target = tmp_path / "x" / ".." / named.name
        (tmp_path / "x").mkdir()
    elif how == "a symbolic link":
        target.symlink_to(named)
    else:
        os.link(named, target)
    for words in (("fit", named), ("match", "--fields", named), ("match", "--kernels", f"n={named}")):
        assert "beside the input" in one_sentence(run(*words, "-o", target))
    assert named.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="devices are files only on POSIX")
def test_a_device_is_no_place_to_write() -> None:
    assert "a device" in one_sentence(run("fit", "reference:alexnet", "-o", "/dev/null"))
    assert not Path("/dev/null").is_file()


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    words = ("train", "lines", "--steps", 1, "-o", tmp_path / "a", "--history", tmp_path / "." / "a")
    assert "a file for each output" in one_sentence(run(*words))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "--force" in one_sentence(run("report", "-o", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_changed_result_is_not_replaced_without_force(named: Path, tmp_path: Path) -> None:
    words = ("figure", "kernels", "--fields", named, "--kernels", named, "-o", tmp_path / "out")
    assert run(*words).exit_code == 0
    assert run(*words).exit_code == 0  # what was written before may be written again
    (tmp_path / "out" / "kernels.csv").write_text("my numbers")
    assert "--force" in one_sentence(run(*words))
    assert (tmp_path / "out" / "kernels.csv").read_text() == "my numbers"
    assert run(*words, "--force").exit_code == 0


def test_a_second_run_into_a_folder_says_so(tmp_path: Path) -> None:
    with bank.claimed(tmp_path / "out"):
        assert "another run writes into" in one_sentence(run("survey", "-o", tmp_path / "out"))


def test_a_second_fit_into_a_file_says_so_and_two_runs_do_not_share_its_folder_of_parts(
    named: Path, tmp_path: Path
) -> None:
    target = tmp_path / "fits.nc"
    (home := tmp_path / ".fits.nc.parts").mkdir()
    with bank.alone(home, writes=target):
        assert "another run writes into" in one_sentence(run("fit", named, "-o", target))
    assert not target.exists()
    assert run("fit", named, "-o", target).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [named.name, target.name]


# --------------------------------------------------------------------------------------- saved files are untrusted


def damaged(path: Path, how: str, other: Path) -> None:
    with h5py.File(path, "a") as file:
        shape = file["rf"].shape
        if how in ("external link", "soft link", "external storage", "virtual dataset"):
            del file["rf"]
        if how == "external link":
            file["rf"] = h5py.ExternalLink(str(other), "/rf")
        elif how == "soft link":
            file["rf"] = h5py.SoftLink("/rf")
        elif how == "external storage":
            file.create_dataset("rf", shape, "f4", external=[(str(other), 0, h5py.h5f.UNLIMITED)])
        elif how == "virtual dataset":
            layout = h5py.VirtualLayout(shape, "f4")
            layout[:] = h5py.VirtualSource(str(other), "rf", shape)
            file.create_virtual_dataset("rf", layout)
        elif how == "group in itself":
            file["again"] = file["/"]
        elif how == "empty attribute":
            file.attrs["kind"] = h5py.Empty("S1")
        elif how == "conflicting sizes":
            del file["subject"]
            file["subject"] = np.array(["A", "B"], dtype=h5py.string_dtype())
            file["subject"].dims[0].attach_scale(file["unit"])
        elif how == "bomb":
            made = file.create_dataset("more", (10**5, 10**4), "f8", chunks=(10**3, 10**4), compression="gzip")
            made[0, 0] = 1.0


@pytest.mark.parametrize(
    "how",
    [
        "external link", "soft link", "external storage", "virtual dataset", "group in itself", "empty attribute",
        "conflicting sizes", "bomb",
    ],
)  # fmt: skip
def test_a_damaged_saved_file_is_one_sentence(how: str, tmp_path: Path) -> None:
    for name in ("one.nc", "other.nc"):
        bank.save(small(), tmp_path / name)
    damaged(tmp_path / "one.nc", how, tmp_path / "other.nc")
    with pytest.raises(InputError) as error:
        rfc.load(tmp_path / "one.nc")
    assert "\n" not in str(error.value)
    for words in (("fit", tmp_path / "one.nc"), ("describe", tmp_path / "one.nc")):
        one_sentence(run(*words, "-o", tmp_path / "out.nc"))


def test_a_bad_checksum_is_one_sentence(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "one.nc", "w") as file:
        file.attrs["schema"] = "rfcompare-bank/1"
        place = file.create_dataset("rf", data=np.arange(100.0).reshape(4, 1, 5, 5), fletcher32=True, chunks=True)
        offset = place.id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "one.nc").read_bytes())
    content[offset] ^= 255
    (tmp_path / "one.nc").write_bytes(content)
    with pytest.raises(InputError, match="truncated or damaged"):
        rfc.load(tmp_path / "one.nc")


def test_a_crash_of_hdf5_is_one_sentence_and_the_next_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.save(small(), tmp_path / "one.nc")
    bank.save(small(), tmp_path / "two.nc")
    crash = tmp_path / "crash.py"
    crash.write_text("import os, sys\nsys.stdin.readline()\nos.abort()\n")
    with monkeypatch.context() as patched:
        patched.setattr(untrusted, "_PROBE", {})
        patched.setattr(untrusted.probe, "__file__", str(crash))
        with pytest.raises(InputError, match="crashes or hangs"):
            rfc.load(tmp_path / "one.nc")
    assert rfc.load(tmp_path / "two.nc").sizes["unit"] == 4


# ------------------------------------------------------------------------------------------------------ packed data


def test_packed_data_are_bounded_before_they_are_unpacked(tmp_path: Path) -> None:
    Image.new("1", (12000, 12000)).save(tmp_path / "bomb.png")
    words = ("filter", tmp_path / "bomb.png", "--unit", 0, "-o", tmp_path / "o.png")
    assert "would grow" in one_sentence(run(*words))
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("w.npy", "w") as entry,
    ):
        np.lib.format.write_array(entry, np.zeros((8, 3, 1000, 750)))
    assert "would grow" in one_sentence(run("classify", tmp_path / "bomb.npz", "-o", tmp_path / "t.csv"))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(2**27 + 2**20)))
    assert "would grow" in one_sentence(run("train", "digits", tmp_path, "-o", tmp_path / "t.nc"))


def test_a_bomb_in_a_matlab_file_is_refused(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "bomb.mat", {"rf": np.zeros((20, 1000, 1000))}, do_compression=True)
    with pytest.raises(InputError, match="would grow"):
        rfc.open_fields(tmp_path / "bomb.mat", layout={"maps": "/rf", "dims": "unit y x"})


def zeros(path: Path) -> None:
    with h5py.File(path, "w") as file:  # 800 MB of which one piece is written
        made = file.create_dataset("maps", (10**4, 100, 100), "f8", chunks=(10, 100, 100), compression="gzip")
        made[0] = 1.0


def one_text_many_times(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["maps"] = np.random.default_rng(0).normal(size=(4, 9, 9))
        file.create_dataset("subject", (10_000,), h5py.string_dtype())[0] = "x" * 40_000
    with h5py.File(path) as file:
        at = file["subject"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[at : at + 16 * 10_000] = content[at : at + 16] * 10_000  # 16 bytes lead to a text
    path.write_bytes(content)


def one_array_many_times(path: Path) -> None:
    with h5py.File(path, "w") as file:
        one = file.create_dataset("#refs#/a", data=np.random.default_rng(0).normal(size=(100, 100)))
        cell = file.create_dataset("maps", (1, 2000), h5py.ref_dtype)
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        cell[...] = one.ref


FOREIGN_LAYOUT = {"maps": "/maps", "dims": "unit y x", "kind": "simulated"}


@pytest.mark.parametrize("make", [zeros, one_text_many_times, one_array_many_times])
def test_another_s_hdf5_is_bounded_by_its_own_size(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "bomb.h5")
    layout = FOREIGN_LAYOUT | ({"subject": "/subject"} if make is one_text_many_times else {})
    with pytest.raises(InputError, match=r"would grow|more than the file holds"):
        rfc.open_fields(tmp_path / "bomb.h5", layout=layout)


def test_a_header_longer_than_any_is_not_read(tmp_path: Path) -> None:
    header = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**30)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", header + bytes(2**24))
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(header)
        file.truncate(2**31)
    for name in ("a.npz", "a.npy"):
        tracemalloc.start()
        with pytest.raises(InputError, match="header"):
            rfc.load_kernels(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 2**24
        tracemalloc.stop()


def test_a_number_repeated_by_its_strides_is_a_bomb(tmp_path: Path) -> None:
    import torch

    torch.save({"conv1.weight": torch.zeros(1).expand(64, 3, 900, 900)}, tmp_path / "net.pth")
    with pytest.raises(InputError, match="would grow"):
        rfc.load_kernels(tmp_path / "net.pth")


@pytest.mark.parametrize("how", ["bomb", "loop", "external link", "soft link", "external storage"])
def test_keras_files_are_bounded_and_not_followed(how: str, tmp_path: Path) -> None:
    kernels = np.random.default_rng(0).normal(size=(5, 5, 3, 8)).astype("f4")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["k"] = kernels
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file.attrs["layer_names"] = ["conv1"]
        layer = file.create_group("conv1")
        if how == "bomb":
            big = layer.create_dataset("k", (800, 800, 3, 64), "f4", chunks=(10, 800, 3, 64), compression="gzip")
            big[0] = 1.0
        elif how == "loop":
            layer["k"], layer["again"] = kernels, layer
        elif how == "external link":
            layer["k"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/k")
        elif how == "soft link":
            layer["k"] = h5py.SoftLink("/conv1/k")
        else:
            layer.create_dataset("k", (5, 5, 3, 8), "f4", external=[(str(tmp_path / "other.h5"), 0, 2400)])
    if how == "loop":
        assert rfc.load_kernels(tmp_path / "net.h5").sizes["unit"] == 8
        return
    with pytest.raises(InputError, match=r"would grow|found only nothing|another file"):
        rfc.load_kernels(tmp_path / "net.h5")


def test_hdf5_is_opened_by_one_door() -> None:
    opened = {}
    for path in sorted(Path(rfc.__file__).parent.rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        words = {ast.unparse(call.func) for call in calls}
        found = words & {"h5py.File", "h5netcdf.File", "xr.open_dataset", "xr.open_datatree", "xr.load_dataset"}
        opened |= {path.name: found} if found else {}
    # Besides the door: the process that looks, what is read behind the look, and a file that is being written.
    assert opened == {
        "untrusted.py": {"h5py.File"},
        "probe.py": {"h5py.File"},
        "keeping.py": {"xr.open_dataset", "xr.open_datatree"},
        "parts.py": {"h5netcdf.File"},
    }


def test_a_small_picture_of_many_pixels_is_reduced_before_it_is_used(tmp_path: Path) -> None:
    Image.new("1", (5000, 5000)).save(tmp_path / "white.png")
    assert bank.picture(tmp_path / "white.png", most_pixels=16_000_000).size == (2500, 2500)


# ------------------------------------------------------------------------------------------- places and full disks


@pytest.mark.parametrize("place", ["~nobody-at-all/x", "x" * 5000], ids=["home", "long"])
@pytest.mark.parametrize(
    "words",
    [
        ("fit", "PLACE", "-o", "o.nc"),
        ("fit", "reference:alexnet", "-o", "PLACE"),
        ("inspect", "PLACE"),
        ("filter", "PLACE", "--unit", "0", "-o", "o.png"),
        ("report", "-o", "PLACE"),
        ("train", "images", "PLACE", "-o", "o.nc"),
        ("simulate", "treeshrew", "-o", "PLACE"),
        ("fetch", "reference:alexnet", "-o", "PLACE"),
    ],
    ids=lambda words: f"{words[0]}-{words.index('PLACE')}",
)
def test_a_place_that_cannot_be_is_one_sentence(
    words: tuple[str, ...], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one_sentence(run(*(place if word == "PLACE" else word for word in words)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("output", ["> /dev/full", ">&-"])
def test_output_that_cannot_be_printed_is_one_sentence(output: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m rfcompare.cli fetch {output}', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("rfcompare: ")


@pytest.fixture
def full_disk(small_disk: Path) -> Path:
    """A disk with 8 kB of room."""
    (small_disk / "filler").write_bytes(bytes(24 * 1024))
    return small_disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 kB, where one may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place)], capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("no small disk may be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "reference:alexnet", "-o", "DISK/f.nc"),
        ("simulate", "treeshrew", "-o", "DISK/s.h5"),
        ("describe", "reference:alexnet", "-o", "DISK/d.csv"),
        ("figure", "kernels", "-o", "DISK/figures"),
        ("fetch", "reference:treeshrew-simulated", "-o", "DISK/copy.h5"),
        ("train", "lines", "--steps", "5", "-o", "DISK/t.nc"),
    ],
    ids=lambda words: words[0],
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing(words: tuple[str, ...], full_disk: Path) -> None:
    assert "No space left" in one_sentence(run(*(word.replace("DISK", str(full_disk)) for word in words)))
    left = [path for path in full_disk.rglob("*") if path.is_file()]
    assert [path.name for path in left] == ["filler"]


@pytest.mark.parametrize(
    "words",
    [
        ("describe", "MAPS", "-o", "t.csv"),
        ("match", "--fields", "MAPS", "--kernels", "MAPS", "-o", "m.nc"),
    ],
    ids=lambda words: words[0],
)
def test_a_full_cache_is_one_sentence_and_leaves_nothing(
    words: tuple[str, ...], full_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = rfc.simulation.simulate_population(n=12, size=9, seed=0)
    bank.save(made, tmp_path / "maps.nc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RFCOMPARE_CACHE", str(full_disk / "cache"))
    for room in (parts, population):
        monkeypatch.setattr(room, "PART", 8)
    (full_disk / "rest").write_bytes(bytes(8 * 1024))  # folders still find room
    assert "No space left" in one_sentence(run(*(word.replace("MAPS", "maps.nc") for word in words)))
    assert sorted(path.name for path in full_disk.rglob("*") if path.is_file()) == ["filler", "rest"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["maps.nc"]


def doubled(value: float) -> float:
    return 2 * value


def test_what_is_compiled_need_not_be_kept(full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rfcompare.fitting.compiled import search

    monkeypatch.setattr(search, "FOLDER", full_disk / "compiled")
    function = search.kept(doubled)
    assert function(2.0) == 4.0
    assert not list(full_disk.rglob("*.nbc"))


# ---------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("scale", [1e60, 1e-60, 1e160, 1e-160])
def test_the_scale_of_the_maps_changes_nothing_or_is_refused(scale: float) -> None:
    made, _ = rfc.simulation.simulate_population(n=4, size=9, snr=5, seed=0)
    maps = made.rf.values.astype(float)

    def numbers(factor: float) -> xr.Dataset:
        scaled = rfc.make_bank(maps * factor, channel=("signed",), kind="simulated")
        return rfc.describe(rfc.fit(scaled, "gabor", seed=0))[["nx", "ny", "orientation", "polarity_phase"]]

    if not 1e-70 < scale < 1e70:
        with pytest.raises(InputError, match="in other units"):
            numbers(scale)
        return
    xr.testing.assert_allclose(numbers(scale), numbers(1.0), rtol=1e-5)


def test_matches_do_not_depend_on_the_scale() -> None:
    made, _ = rfc.simulation.simulate_population(n=4, size=9, snr=5, seed=0)
    maps = made.rf.values.astype(float)

    def matched(factor: float) -> xr.Dataset:
        scaled = rfc.make_bank(maps * factor, channel=("signed",), kind="simulated")
        return rfc.match(scaled, scaled, n_nulls=0)[["similarity", "rotation", "sign"]]

    xr.testing.assert_allclose(matched(1e60), matched(1.0), atol=1e-6)  # the search holds single precision


def test_a_zero_byte_is_no_path() -> None:
    for door in (bank.existing_file, bank.file_to_write, bank.folder_to_write):
        with pytest.raises(InputError, match="zero byte"):
            door("a\0b")


def test_a_kept_part_of_a_killed_run_is_taken_away(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with bank.write_beside(tmp_path / "f.nc") as part:
        part.write_text("x")
        left = part.with_name(part.name.replace(str(os.getpid()), str(gone.pid)))
        left.write_text("half")
    with bank.write_beside(tmp_path / "f.nc") as part:
        part.write_text("y")
    assert [path.name for path in tmp_path.iterdir()] == ["f.nc"]
