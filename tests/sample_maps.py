"""What the tests of sources write into files, how they describe it, and how they judge what was read.

The pattern of all format tests is one pair of oblique, off-center fields, ON and OFF different, on a grid that is wider
than tall: any flip, transposition or swap of axes or channels changes it. Files hold it as images, rows from the top.
The fixtures `truth` and `images` in ``conftest.py`` hold the maps themselves.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from rfcompare import InputError

UNITS, ROWS, COLUMNS, PITCH = 5, 7, 9, 2.0
STIMULUS = {"class": "sparse noise", "element_deg": PITCH}

# Rendered maps agree with the written-out formula to rounding: 1e-12 leaves room for another order of sums.
FORMULA_TOLERANCE = 1e-12


def gabor(x: Any, y: Any, x0: float, y0: float, angle: float, phase: float) -> Any:
    """An oblique wavelet in degrees, y up, its carrier along `angle`."""
    along = (x - x0) * np.cos(np.radians(angle)) + (y - y0) * np.sin(np.radians(angle))
    across = -(x - x0) * np.sin(np.radians(angle)) + (y - y0) * np.cos(np.radians(angle))
    return np.exp(-(along**2) / 8 - across**2 / 18) * np.cos(0.9 * along + phase)


def layout(**more: Any) -> dict[str, Any]:
    basic = {
        "dims": "unit channel y x", "channel": ["on", "off"], "deg_per_px": PITCH, "kind": "measured",
        "stimulus": STIMULUS,
    }  # fmt: skip
    if "parameters" in more:
        del basic["kind"]  # what is rendered is parametric
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
