"""What every test may use: real data (or a skip that says why), the fields written to files, strict arithmetic."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import xarray as xr

import rfcompare as rfc
from tests.sample_maps import COLUMNS, PITCH, ROWS, STIMULUS, UNITS, gabor

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def exact_arithmetic() -> Iterator[None]:
    """Two grids never join silently: mismatched coordinates raise in every test."""
    with xr.set_options(arithmetic_join="exact"):
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real kernels and recordings are not at ../shared/data")
    return folder


@pytest.fixture(scope="session")
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
        maps,
        channel=("on", "off"),
        kind="measured",
        attrs={"stimulus": STIMULUS},
        deg_per_px=PITCH,
        subject=list("AABBC"),
    )


@pytest.fixture(scope="session")
def images(truth: xr.Dataset) -> np.ndarray:
    """(unit, channel, row, column), row 0 on top, as a file holds the truth."""
    return truth.rf.values[:, :, ::-1].copy()
