"""Populations that ship and files that are fetched: checked against their record, listed, and found by near names."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare import InputError, sources
from rfcompare.sources import reference, remote
from rfcompare.sources.rendering import render_gabors
from tests.sample_maps import FORMULA_TOLERANCE, sentence


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("alexnett", "did you mean alexnet"),
        ("resnet", "did you mean resnet"),
        ("nowhere.pth", "does not exist"),
        ("reference:alexnat", "there is alexnet"),
        ("fold/er", "does not exist"),
    ],
)
def test_unknown_names_suggest_near_ones(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        rfc.load_kernels(name)
    sentence(error)


def shipped(folder: Path, **more: Any) -> Path:
    """A small reference folder: a table of two Gabors, and a saved bank."""
    text = (
        "unit,x0,y0,orientation,frequency,sigma_x,sigma_y,phase,amplitude,offset,r2,color_r,color_g,color_b,rank_one_share,"
        "status\n"
        "k1,1.5,-1,30,0.2,1.5,2.5,40,0.5,0.01,0.93,0.6,0.7,0.3872983346207417,0.97,converged\n"
        "k2,-1,2,110,0.1,2,1.2,250,0.2,0,0.81,-0.1,0.2,0.9746794344808963,0.91,on a bound\n"
    )
    (folder / "gabors.csv").write_text(text)
    bank = rfc.make_bank(np.random.default_rng(0).normal(size=(3, 1, 5, 5)), channel=("signed",), kind="simulated")
    rfc.save(bank, folder / "bank.h5")
    entries = {
        "net": {
            "file": "gabors.csv",
            "format": "gabor-table",
            "kind": "parametric",
            "size": 11,
            "network": "Net",
            **more,
        },
        "simulated": {"file": "bank.h5", "format": "bank", "kind": "simulated"},
        "notes": {"file": "gabors.csv", "format": "table"},
    }
    lines = []
    for name, entry in entries.items():
        entry["sha256"] = sources.remote.sha256_of(folder / str(entry["file"]))
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    (folder / "sources.toml").write_text("\n".join(lines))
    return folder


def test_a_gabor_table_is_rendered_in_color(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped(tmp_path, citation="C")
    monkeypatch.setattr(reference, "folder", lambda: tmp_path)
    bank = rfc.open_fields("reference:net")
    assert (bank.attrs["kind"], tuple(bank.channel.values), bank.rf.shape) == (
        "parametric",
        ("r", "g", "b"),
        (2, 3, 11, 11),
    )
    assert bank.r2_original.values.tolist() == [0.93, 0.81]
    assert bank.rank_one_share_original.values.tolist() == [0.97, 0.91]
    assert bank.status_original.values.tolist() == ["converged", "on a bound"]
    assert bank.attrs["citation"] == "C"
    x, y = np.arange(11) - 5.0, np.arange(11)[:, None] - 5.0
    carrier = np.radians(30 + 90)  # u runs along orientation + 90°, y up
    u = (x - 1.5) * np.cos(carrier) + (y + 1) * np.sin(carrier)
    v = -(x - 1.5) * np.sin(carrier) + (y + 1) * np.cos(carrier)
    profile = 0.5 * np.exp(-(u**2) / 4.5 - v**2 / 12.5) * np.cos(2 * np.pi * 0.2 * u + np.radians(40)) + 0.01
    for channel, weight in zip("rgb", (0.6, 0.7, 0.3872983346207417), strict=True):
        np.testing.assert_allclose(bank.rf.sel(unit="k1", channel=channel), weight * profile, atol=FORMULA_TOLERANCE)
    signed = rfc.to_signed(bank)
    np.testing.assert_allclose(signed.rf.values[0, 0], profile, atol=1e-9)  # the color direction has unit length
    np.testing.assert_allclose(signed.color_direction.values[0], [0.6, 0.7, 0.3872983346207417])


def test_shipped_files_are_checked_against_their_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shipped(tmp_path)
    monkeypatch.setattr(reference, "folder", lambda: folder)
    assert reference.open_reference("simulated").attrs["kind"] == "simulated"
    with pytest.raises(InputError, match="expected a population"):
        reference.open_reference("notes")
    with pytest.raises(InputError, match="there is net"):
        reference.open_reference("nett")
    with (folder / "gabors.csv").open("a") as file:
        file.write("k3,0,0,0,0.1,1,1,0,1,0,1,1,0,0,1,ok\n")
    with pytest.raises(InputError, match="was changed") as error:
        reference.open_reference("net")
    sentence(error)
    (folder / "bank.h5").unlink()
    with pytest.raises(InputError, match="missing"):
        reference.open_reference("simulated")


@pytest.mark.parametrize("name", list(reference.entries()))
def test_what_ships_is_whole(name: str) -> None:
    if "ask" in reference.entries()[name]:
        for verb in (rfc.reference, rfc.open_fields, rfc.fetch):
            with pytest.raises(InputError, match="cannot be downloaded and does not ship; ask"):
                verb(f"reference:{name}")
        return
    path = reference.path_of(name)
    assert path.stat().st_size < 20e6
    if reference.entries()[name].get("format") in reference._FORMATS:
        bank = rfc.open_fields(f"reference:{name}")
        assert bank.attrs["kind"] in rfc.kinds
        assert rfc.fetch(f"reference:{name}") == path


class Downloader:
    """Stands in for the network: copies a file to where the download should go, and counts."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.calls = 0

    def __call__(self, url: str, output_file: Any, _: Any, check_only: bool = False) -> None:
        self.calls += 1
        if self.file is None:
            raise OSError("no route to host")
        shutil.copy(self.file, output_file if isinstance(output_file, str | os.PathLike) else output_file.name)


def saved(path: Path, seed: int) -> Path:
    maps = np.random.default_rng(seed).normal(size=(3, 1, 5, 6))
    rfc.save(rfc.make_bank(maps, channel=("signed",), kind="simulated"), path)
    return path


def test_addresses_go_through_a_cache_with_a_recorded_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    monkeypatch.setenv("RFCOMPARE_CACHE", str(tmp_path / "cache"))
    download = Downloader(saved(tmp_path / "first.h5", 1))
    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: download)
    address = "https://archive.example/a%20file/cells.h5?download=1"
    first = rfc.load(tmp_path / "first.h5")
    xr.testing.assert_equal(rfc.open_fields(address), first)
    xr.testing.assert_equal(rfc.load_kernels(address), first)
    assert download.calls == 1
    local = rfc.fetch(address)
    assert local.name.endswith("-cells.h5")
    record = local.with_name(local.name + ".sha256")
    assert record.read_text().split() == [sources.remote.sha256_of(local), address]
    # A copy that was damaged is downloaded again; a file that changed at its address is refused.
    local.write_bytes(b"damaged")
    xr.testing.assert_equal(rfc.open_fields(address), first)
    assert download.calls == 2
    local.unlink()
    download.file = saved(tmp_path / "other.h5", 2)
    with pytest.raises(InputError, match="has changed") as error:
        rfc.open_fields(address)
    sentence(error)
    download.file = None
    with pytest.raises(InputError, match="cannot download") as error:
        rfc.open_fields("https://archive.example/none.h5")
    assert "offline" in sentence(error)
    for bad, says in (("http://archive.example/a.h5", "https://"), ("https://archive.example/", "names none")):
        with pytest.raises(InputError, match=says):
            remote.fetch_address(bad)


def test_a_download_that_is_none_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login page or half a file would otherwise be found again, with its hash, by every later call."""
    import pooch

    monkeypatch.setenv("RFCOMPARE_CACHE", str(tmp_path / "cache"))
    good = saved(tmp_path / "good.h5", 1)
    (tmp_path / "page").write_text("\n<!DOCTYPE html><html>Sign in</html>")
    (tmp_path / "half").write_bytes(good.read_bytes()[:3000])
    address = "https://archive.example/" + "long-" * 60 + ".h5"
    for name, says in (("page", "a web page"), ("half", "cut off; try again")):
        download = Downloader(tmp_path / name)
        monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, now=download, **__: now)
        with pytest.raises(InputError, match=says) as error:
            rfc.open_fields(address)
        sentence(error)
        assert not list((tmp_path / "cache").iterdir())
    download.file = good
    with pytest.raises(InputError, match="to have the SHA-256 abc") as error:
        rfc.fetch(address, sha256="abc")
    sentence(error)
    xr.testing.assert_equal(rfc.open_fields(address), rfc.load(good))
    # A hash that the caller names takes the place of the recorded one.
    download.file = saved(tmp_path / "newer.h5", 2)
    rfc.fetch(address, sha256=sources.remote.sha256_of(download.file))
    xr.testing.assert_equal(rfc.open_fields(address), rfc.load(download.file))


def test_all_that_ships_is_listed_and_found_by_near_names() -> None:
    listed = sources.available()
    assert set(listed) == {f"reference:{name}" for name in reference.entries()}
    assert next(iter(listed)) == "reference:alexnet"
    shelf = rfc.reference().set_index("name")
    wanted = {
        "ringach2002",
        "devalois1982-frequency",
        "devalois1982-orientation",
        "schiller1976-simple",
        "cavanaugh2002",
    }
    assert {f"published-{name}" for name in wanted} < set(shelf.index)
    assert {"alexnet", "treeshrew-contrast-sensitivity", "treeshrew-vanhooser2013"} < set(shelf.index)
    assert (shelf != "").all(axis=None)  # species, n, stimulus, source and license of every one
    for name, row in shelf.iterrows():
        assert all(row[each] in listed[f"reference:{name}"] for each in ("species", "n", "stimulus", "license"))
    counts = rfc.reference("reference:published-schiller1976-simple")
    assert counts["count"].sum() == 30 and "percent" in counts.attrs["note"]
    assert rfc.reference("alexnet").attrs["kind"] == "parametric"
    with pytest.raises(InputError, match="did you mean reference:treeshrew-simulated") as error:
        rfc.fetch("treeshrew-simulatd")
    sentence(error)
    with pytest.raises(InputError, match="rfcompare fetch survey"):
        rfc.open_fields("reference:survey")


def test_rendered_maps_have_the_sign_and_place_of_their_parameters() -> None:
    one = {"x0": 2.0, "y0": 1.0, "orientation": 0.0, "frequency": 0.2, "sigma_x": 1.0, "sigma_y": 3.0, "phase": 0.0}
    tall, wide = (
        render_gabors({name: [value] for name, value in {**one, "orientation": angle}.items()}, (9, 11))[0]
        for angle in (90.0, 0.0)
    )
    # At 0° the stripes lie along x: the map is wide; at 90° it is tall. Row 5, column 7 is (x, y) = (2, 1).
    assert np.unravel_index(wide.argmax(), wide.shape) == (5, 7)
    assert np.unravel_index(tall.argmax(), tall.shape) == (5, 7)
    assert wide[5, 9] > wide[7, 7]
    assert tall[7, 7] > tall[5, 9]
