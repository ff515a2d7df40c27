"""What every test may use: the folder of real data (or a skip that says why) and xarray's strict arithmetic."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
import xarray as xr

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
