"""Analysis files of the Allen Institute's two-photon survey: ON and OFF fields from locally sparse noise.

Per cell ``/analysis/<stimulus>/<cell>/{on,off}/rts_convolution/data`` holds the response-triggered stimulus, smoothed;
summary arrays ``/analysis/receptive_field_lsn…`` (row, column, cell, [on, off]) hold the same or mean responses. Row 0
is the lowest row of the screen: the survey's own software draws these arrays with their origin at the bottom.
The stimulus called 4deg has pixels of 4.65°, the one called 8deg of 9.3°. In a stimulus template 64 means off screen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfcompare.bank import add_history
from rfcompare.errors import InputError
from rfcompare.sources.applying import apply
from rfcompare.sources.hdf5 import HDF5Store, Reader, natural
from rfcompare.sources.layout import Layout

_PIXEL = {(16, 28): 4.65, (8, 14): 9.3}
"""Degrees of visual angle per pixel by the grid's (rows, columns)."""

_OFF_SCREEN = 64

_FIELD = "rts_convolution/data"
_GROUP = re.compile(r"locally_sparse_noise(_4deg|_8deg)?$")
_SUMMARY = re.compile(r"receptive_field_lsn(4|8)?$")


@dataclass(frozen=True)
class _Stimulus:
    """One mapping stimulus in a file: its path, and whether it is a summary array."""

    path: str
    summary: bool


def stimuli(reader: Reader) -> list[_Stimulus]:
    """The mapping stimuli in a file, per-cell fields before summary arrays."""
    names = reader.children("/analysis")
    per_cell = [
        _Stimulus(f"/analysis/{name}", False)
        for name in names
        if _GROUP.match(name) and _cells(reader, f"/analysis/{name}")
    ]
    summaries = [
        _Stimulus(f"/analysis/{name}", True)
        for name in names
        if _SUMMARY.match(name) and reader.is_dataset(f"/analysis/{name}")
    ]
    return per_cell + summaries


def _cells(reader: Reader, group: str, polarity: str = "on") -> list[str]:
    """Cells of a stimulus that have a field of the polarity, 10 after 9."""
    there = [name for name in reader.children(group) if reader.is_dataset(f"{group}/{name}/{polarity}/{_FIELD}")]
    return sorted(there, key=natural)


def open_allen(reader: Reader, path: str | None, chunks: Any) -> xr.Dataset:
    """ON and OFF fields of the stimulus at `path`, or of the only one, by the layout that the format stands for."""
    found = stimuli(reader)
    if path is not None:
        found = [stimulus for stimulus in found if stimulus.path == path.rstrip("/")]
    elif any(not stimulus.summary for stimulus in found):
        found = [stimulus for stimulus in found if not stimulus.summary]
    if len(found) != 1:
        there = ", ".join(stimulus.path for stimulus in stimuli(reader)) or "none"
        raise InputError(
            f"expected one mapping stimulus to open in {reader.name}, it has {there}; choose with "
            "layout={'maps': '/analysis/…'}"
        )
    (stimulus,) = found
    where, notes, grid = _summary(reader, stimulus.path) if stimulus.summary else _per_cell(reader, stimulus.path)
    pixel = _pixel(reader, stimulus.path, grid)
    subject = "/general/subject/subject_id"
    layout = Layout(
        channel=("on", "off"),
        y="up",
        deg_per_px=pixel,
        kind="measured",
        subject=subject if reader.is_dataset(subject) else None,
        stimulus={"class": "locally sparse noise", "element_deg": pixel, "indicator": "GCaMP6 (two-photon)"},
        citation="de Vries et al. 2020, Nature Neuroscience 23:138 (Allen Brain Observatory, two-photon)",
        doi="10.1038/s41593-019-0550-9",
        attrs={"species": "Mus musculus"},
        **where,
    )
    bank = apply(HDF5Store(reader), layout, chunks)
    on_screen = _on_screen(reader, stimulus.path, grid)
    if not on_screen.all():
        bank = bank.assign(rf=bank.rf.where(xr.DataArray(on_screen, dims=("y", "x"))))
        notes.append(f"{int((~on_screen).sum())} pixels off the screen set to NaN")
    if not stimulus.summary:
        significant = _significance(reader, stimulus.path)
        bank = bank.assign_coords({f"{name}_significant": ("unit", each) for name, each in significant.items()})
    return add_history(bank, f"open_fields: {'; '.join(notes)}") if notes else bank


def _per_cell(reader: Reader, group: str) -> tuple[dict[str, Any], list[str], tuple[int, ...]]:
    """Where a layout finds the fields of each cell, what there is to say of them, and the first one's grid."""
    cells, off = _cells(reader, group), _cells(reader, group, "off")
    if cells != off:
        raise InputError(
            f"expected ON and OFF fields of the same cells in {group} of {reader.name}, "
            f"{sorted(set(cells) ^ set(off))[:5]} have one"
        )
    named = [_name(reader, f"{group}/{cell}", cell) for cell in cells]
    maps = tuple(f"{group}/*/{polarity}/{_FIELD}" for polarity in ("on", "off"))
    return {"maps": maps, "dims": ("unit", "y", "x"), "unit": named}, [], reader.shape(maps[0].replace("*", cells[0]))


def _name(reader: Reader, path: str, name: str) -> str:
    """A cell's specimen id where the group states it, else the group's own name."""
    specimen = reader.attrs(path).get("csid", reader.attrs(path).get("cell_specimen_id"))
    return f"cell {int(specimen)}" if isinstance(specimen, int | float) and specimen == specimen else f"cell {name}"


def _significance(reader: Reader, group: str) -> dict[str, NDArray[np.bool_]]:
    """Whether each cell's ON and OFF fields have a significant pixel; False where the file does not say it."""

    def found(path: str) -> bool:
        return reader.is_dataset(path) and bool(np.any(reader.values(path)))

    return {
        polarity: np.array([found(f"{group}/{cell}/{polarity}/fdr_mask/data") for cell in _cells(reader, group)])
        for polarity in ("on", "off")
    }


def _summary(reader: Reader, path: str) -> tuple[dict[str, Any], list[str], tuple[int, ...]]:
    """As `_per_cell`, for an array (row, column, cell, [on, off])."""
    shape = reader.shape(path)
    if len(shape) != 4 or shape[3] != 2:
        raise InputError(
            f"expected (row, column, cell, [on, off]) at {path} in {reader.name}, got the shape {shape}; open it with "
            "a layout"
        )
    where: dict[str, Any] = {"maps": (path,), "dims": ("y", "x", "unit", "channel")}
    n, note = shape[2], "masked to significant pixels"
    if not np.isnan(np.asarray(reader.array(path, None))).any():
        # Unmasked summaries are mean responses, which carry the running speed behind the last cell.
        where["select"] = ":,:,:-1"
        n, note = n - 1, "mean responses; the last column, the running speed, left out"
    return {**where, "unit": [f"cell {index}" for index in range(n)]}, [note], shape[:2]


def _on_screen(reader: Reader, path: str, grid: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels that lay on the screen, where the file keeps the stimulus template; else all of them."""
    stimulus = path.rpartition("/")[2]
    lsn = _SUMMARY.match(stimulus)
    if lsn:
        stimulus = "locally_sparse_noise" + {"4": "_4deg", "8": "_8deg", None: ""}[lsn.group(1)]
    template = f"/stimulus/templates/{stimulus}_image_stack/data"
    if not reader.is_dataset(template) or reader.shape(template)[1:] != grid:
        return np.ones(grid, bool)
    first: NDArray[Any] = np.asarray(reader.read(reader.dataset(template), 0))
    return np.asarray(first != _OFF_SCREEN)


def _pixel(reader: Reader, path: str, grid: tuple[int, ...]) -> float:
    """Degrees per pixel of the survey's grids, one of which the stimulus's name may promise."""
    if grid not in _PIXEL:
        raise InputError(
            f"expected fields of one of the survey's grids {list(_PIXEL)} at {path} in {reader.name}, got {grid}; open "
            "other grids with a layout"
        )
    promised = {"4deg": 4.65, "lsn4": 4.65, "8deg": 9.3, "lsn8": 9.3}.get(path[-4:], _PIXEL[grid])
    if _PIXEL[grid] != promised:
        raise InputError(
            f"expected the grid of {path} to fit its name in {reader.name}, got {grid[0]} × {grid[1]} pixels; open it "
            "with a layout"
        )
    return _PIXEL[grid]
