"""Large populations: parts that are found again, workers, streaming to a file, and being killed at any moment."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare import pipeline
from rfcompare.bank import fingerprint
from rfcompare.fitting.engines import Engine
from rfcompare.pipeline import parts
from rfcompare.simulation import simulate_population

ROUNDING = 1e-9  # relative; parts are fitted apart and read back
SINGLE = 1e-6  # of a map's largest value: fitted maps are kept in the precision of the bank
KILLS = 20


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 10)
    # One engine for a part and the whole, which are jobs of two sizes: two engines differ in their last digits.
    monkeypatch.setattr(Engine, "compiles", lambda *_: False)


def population(n: int = 24) -> xr.Dataset:
    bank, _ = simulate_population(n=n, size=9, seed=3)
    bank = bank.assign(rf=bank.rf.astype("float32"))
    bank.rf.values[4] *= 1e-8  # dead, in a part whose others are alive
    bank.rf.values[10:20] *= 1e-8  # and a part without any other
    bank.rf.values[7] = np.nan
    return bank


def same(streamed: xr.Dataset, whole: xr.Dataset) -> None:
    for name in whole.data_vars:
        if whole[name].dtype.kind in "fi":
            limit = SINGLE if str(name) == "rf_fit" else ROUNDING
            np.testing.assert_allclose(streamed[name], whole[name], rtol=limit, atol=limit, err_msg=str(name))
    assert streamed.status.values.tolist() == whole.status.values.tolist()
    assert streamed.coords.equals(whole.coords)


def test_a_streamed_file_is_the_fit_of_the_whole(tmp_path: Path) -> None:
    bank = population()
    told = pipeline.fit_to_file(bank, tmp_path / "f.nc", model="gaussian", workers=2)
    fits = rfc.load(tmp_path / "f.nc")
    whole = rfc.fit(bank, "gaussian", seed=0, engine="compiled")  # by name: several parts never choose
    same(fits, whole)
    assert fits.status.values[[4, 7, 12]].tolist() == ["dead", "not measured", "dead"]
    assert fits.attrs == whole.attrs and fits.attrs["bank_sha256"] == fingerprint(bank)
    assert pipeline.fits_sentence(told) == pipeline.fits_sentence(fits)
    assert [path.name for path in tmp_path.iterdir()] == ["f.nc"]


def test_a_lazy_bank_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rfc.save(population(), tmp_path / "bank.nc")
    most: list[int] = []
    compute = xr.Dataset.compute

    def watched(dataset: xr.Dataset, **how: Any) -> xr.Dataset:
        most.append(dataset.sizes["unit"])
        return compute(dataset, **how)

    monkeypatch.setattr(xr.Dataset, "compute", watched)
    lazy = rfc.open_fields(tmp_path / "bank.nc", chunks=5)
    pipeline.fit_to_file(lazy, tmp_path / "f.nc", model="gaussian")
    assert max(most) == 10
    same(rfc.load(tmp_path / "f.nc"), rfc.fit(population(), "gaussian", seed=0))


def test_color_is_reduced_part_by_part(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).normal(size=(14, 3, 7, 7))
    bank = rfc.make_bank(maps, channel=("r", "g", "b"), kind="learned")
    pipeline.fit_to_file(bank, tmp_path / "f.nc", model="gaussian")
    same(rfc.load(tmp_path / "f.nc"), rfc.fit(rfc.to_signed(bank), "gaussian", seed=0))


def test_workers_of_a_cluster_give_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    bank = population()
    pipeline.fit_to_file(bank, tmp_path / "threads.nc", model="gaussian")
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        pipeline.fit_to_file(bank, tmp_path / "dask.nc", model="gaussian", scheduler=cluster.scheduler_address)
    assert rfc.load(tmp_path / "dask.nc").identical(rfc.load(tmp_path / "threads.nc"))


def test_no_scheduler_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_PATIENCE", 0.5)
    with pytest.raises(rfc.InputError, match="expected a dask scheduler"):
        pipeline.fit_to_file(population(), tmp_path / "f.nc", scheduler="tcp://127.0.0.1:9")


def test_a_full_disk_is_met_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(rfc.InputError, match="make room"):
        pipeline.fit_to_file(population(), tmp_path / "f.nc", model="gaussian")
    assert not (tmp_path / "f.nc").exists()


class Killer:
    """Kills this process at its n-th line of writing; before that it counts them."""

    files = ("parts.py", "writing.py")
    names = ("_keep", "_begun", "_write", "write_bytes", "write_beside", "fit_to_file", "fitted_parts")

    def __init__(self, at: int) -> None:
        self.at, self.lines = at, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            code = frame.f_code
            return self if Path(code.co_filename).name in self.files and code.co_name in self.names else None
        self.lines += event == "line"
        if self.lines == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return self


def lines_of(bank: xr.Dataset, path: Path, at: int = -1) -> int:
    killer = Killer(at)
    before = sys.gettrace()
    sys.settrace(killer)
    try:
        pipeline.fit_to_file(bank, path, model="constant")
    finally:
        sys.settrace(before)
    return killer.lines


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_at_any_moment_of_writing_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank, target = population(), tmp_path / "f.nc"
    total = lines_of(bank, tmp_path / "whole.nc")
    whole = xr.load_dataset(tmp_path / "whole.nc", engine="h5netcdf")
    fitted: list[int] = []
    fit = parts.fit

    def counted(part: xr.Dataset, **how: Any) -> xr.Dataset:
        fitted.append(part.sizes["unit"])
        return fit(part, **how)

    for at in np.linspace(1, total - 1, KILLS).astype(int):
        if (child := os.fork()) == 0:
            lines_of(bank, target, int(at))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        done = len(list(tmp_path.glob(".f.nc.parts/*/*.npz")))
        monkeypatch.setattr(parts, "fit", counted)
        fitted.clear()
        pipeline.fit_to_file(bank, target, model="constant")
        monkeypatch.setattr(parts, "fit", fit)
        assert len(fitted) == 3 - done  # what was renamed into place is not fitted again
        same(xr.load_dataset(target, engine="h5netcdf"), whole)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["f.nc", "whole.nc"]
        target.unlink()


@pytest.fixture
def half_done(tmp_path: Path) -> Iterator[Path]:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_write", stopped)
        with pytest.raises(KeyboardInterrupt):
            pipeline.fit_to_file(population(), tmp_path / "f.nc", model="gaussian")
    yield tmp_path


def test_other_maps_or_options_find_nothing_and_damage_is_mended(half_done: Path) -> None:
    kept = list(half_done.glob(".f.nc.parts/*/*.npz"))
    assert len(kept) == 1
    kept[0].write_bytes(kept[0].read_bytes()[:1000])
    pipeline.fit_to_file(population(), half_done / "f.nc", model="gaussian")
    same(rfc.load(half_done / "f.nc"), rfc.fit(population(), "gaussian", seed=0))
    bank = population()
    options = parts.Options("gaussian", False, 0)
    folder = half_done / "parts"
    list(parts.fitted_parts(bank, folder, options))
    list(parts.fitted_parts(bank, folder, parts.Options("gaussian", False, 1)))
    bank.rf.values[0, 0, 0, 0] += 1
    list(parts.fitted_parts(bank, folder, options))
    assert len(list(folder.iterdir())) == 3
