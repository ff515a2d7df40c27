"""What figures are drawn from in these tests: a simulated cortex, a small network, and what was made of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare.simulation import simulate_population


@pytest.fixture(scope="session")
def cortex() -> xr.Dataset:
    bank, _ = simulate_population(n=36, n_subjects=4, size=13, snr=3, deg_per_px=0.5, seed=1)
    return bank.assign_attrs(title="simulated cortex", citation="assumed parameters")


@pytest.fixture(scope="session")
def network() -> xr.Dataset:
    rng = np.random.default_rng(3)
    bank, _ = simulate_population(n=20, size=11, seed=2)
    direction = rng.normal(size=(20, 3, 1, 1))
    weights = direction / np.linalg.norm(direction, axis=1, keepdims=True) * bank.rf.values
    return rfc.make_bank(
        weights, channel=("r", "g", "b"), kind="learned", source="small net", attrs={"citation": "A 2001"}
    )


@pytest.fixture(scope="session")
def fitted(cortex: xr.Dataset, network: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    return rfc.fit(cortex, "gabor", seed=0), rfc.fit(rfc.to_signed(network), "gabor", seed=0)


@pytest.fixture(scope="session")
def result(cortex: xr.Dataset, network: xr.Dataset) -> xr.Dataset:
    return rfc.likeness(cortex, network, seed=0)


@pytest.fixture(scope="session")
def matched(cortex: xr.Dataset, network: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    a, b = rfc.to_signed(network).isel(unit=slice(0, 4)), cortex.isel(unit=slice(0, 5))
    null, _ = simulate_population("gaussian", n=4, size=11, seed=7)
    return rfc.match(a, b, nulls=null, seed=0, progress=False), a, b


@pytest.fixture(scope="session")
def survey_table() -> pd.DataFrame:
    rows = [
        ("net", "learned", 96, "all", "profile", "Gabor", 0.75, "classified"),
        ("net", "learned", 96, "all", "profile", "blob", 0.25, "classified"),
        ("net", "learned", 96, "all", "band", "band-pass", 1.0, "classified"),
        ("cortex", "simulated", 40, "all", "profile", "first derivative", 1.0, "classified"),
        ("cortex", "simulated", 40, "all", "band", "low-pass", 1.0, "classified"),
        ("untrained 11×11 px", "untrained", 96, "all", "profile", "unstructured", 1.0, "classified"),
        ("untrained 11×11 px", "untrained", 96, "all", "band", "all-pass", 1.0, "classified"),
        ("absent", "learned", pd.NA, None, None, None, None, "weights not in the cache"),
    ]
    names = ["population", "kind", "n_units", "group", "question", "answer", "share", "status"]
    return pd.DataFrame(rows, columns=names).astype({"n_units": "Int64"})


@pytest.fixture(scope="session")
def snapshots() -> list[xr.Dataset]:
    def bank(step: int) -> xr.Dataset:
        values = np.random.default_rng(step).normal(size=(5, 1, 7, 7))
        kind = "learned" if step else "untrained"
        return rfc.make_bank(
            values, channel=("signed",), kind=kind, source="lines net", attrs={"step": step, "seed": 0}
        )

    return [bank(step) for step in (0, 10, 100)]


@pytest.fixture(scope="session")
def history() -> pd.DataFrame:
    rows = [
        {"step": step, "seed": 0, "quantity": name, "median": value, "q25": value - 0.1, "q75": value + 0.1}
        for name, values in {"r2": (0.2, 0.6, 0.9), "nx": (0.1, 0.3, 0.4)}.items()
        for step, value in zip((0, 10, 100), values, strict=True)
    ]
    return pd.DataFrame(rows)
