"""Analysis files of the Allen Institute's two-photon survey: ON and OFF fields from locally sparse noise.

Per cell ``/analysis/<stimulus>/<cell>/{on,off}/rts_convolution/data`` holds the response-triggered stimulus, smoothed;
summary arrays ``/analysis/receptive_field_lsn…`` (row, column, cell, [on, off]) hold the same or mean responses. Row 0
is the lowest row of the screen: the survey's own software draws these arrays with their origin at the bottom.
The stimulus called 4deg has pixels of 4.65°, the one called 8deg of 9.3°. In a stimulus template 64 means off screen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.bank import add_history, make_bank
from rfcompare.errors import InputError
from rfcompare.sources.hdf5 import Cell, HDF5Store, Reader, indexed, settled, stack

if TYPE_CHECKING:
    import xarray as xr

PIXEL = {(16, 28): 4.65, (8, 14): 9.3}
"""Degrees of visual angle per pixel by the grid's (rows, columns)."""

OFF_SCREEN = 64

_GROUP = re.compile(r"locally_sparse_noise(_4deg|_8deg)?$")
_SUMMARY = re.compile(r"receptive_field_lsn(4|8)?$")
_CITATION = "de Vries et al. 2020, Nature Neuroscience 23:138 (Allen Brain Observatory, two-photon)"


@dataclass(frozen=True)
class Stimulus:
    """One mapping stimulus in a file: its path, and whether it is a summary array."""

    path: str
    summary: bool


def stimuli(reader: Reader) -> list[Stimulus]:
    """The mapping stimuli in a file, per-cell fields before summary arrays."""
    names = reader.children("/analysis")
    per_cell = [
        Stimulus(f"/analysis/{name}", False)
        for name in names
        if _GROUP.match(name) and _cells(reader, f"/analysis/{name}")
    ]
    summaries = [
        Stimulus(f"/analysis/{name}", True)
        for name in names
        if _SUMMARY.match(name) and reader.is_dataset(f"/analysis/{name}")
    ]
    return per_cell + summaries


def _cells(reader: Reader, group: str) -> list[str]:
    return [name for name in reader.children(group) if reader.is_dataset(f"{group}/{name}/on/rts_convolution/data")]


def open_allen(reader: Reader, path: str | None, chunks: Any) -> xr.Dataset:
    """A bank of ON and OFF fields from one mapping stimulus.

    Parameters
    ----------
    reader : Reader
        The open file.
    path : str or None
        Which stimulus, such as "/analysis/locally_sparse_noise_8deg"; None takes the only one.
    chunks
        Not None keeps the maps in their file until they are computed.

    Raises
    ------
    InputError
        Several stimuli and none chosen, or a grid that is none of the survey's.
    """
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
    return (
        _from_summary(reader, found[0].path, chunks) if found[0].summary else _per_cell(reader, found[0].path, chunks)
    )


def _per_cell(reader: Reader, group: str, chunks: Any) -> xr.Dataset:
    store = HDF5Store(reader)
    maps, labels = [], []
    for polarity in ("on", "off"):
        cell: Cell = store.locate(f"{group}/*/{polarity}/rts_convolution/data", (), chunks)
        labels.append(cell.labels)
        shapes = {tuple(item.shape) for item in cell.items}
        if len(shapes) != 1 or next(iter(shapes)) not in PIXEL:
            raise InputError(
                f"expected fields of one of the survey's grids {list(PIXEL)} in {group} of {reader.name}, got "
                f"{sorted(shapes)}; open other grids with a layout"
            )
        maps.append(stack(list(cell.items)))
    if labels[0] != labels[1]:
        lonely = sorted(set(labels[0]) ^ set(labels[1]))
        raise InputError(
            f"expected ON and OFF fields of the same cells in {group} of {reader.name}, {lonely[:5]} have one"
        )
    on_screen, mask_note = _on_screen(reader, group, maps[0].shape[1:])
    array = np.where(on_screen, 1.0, np.nan) * settled(stack(maps, axis=1), chunks)
    significant = np.array(
        [
            [bool(np.any(reader.values(f"{group}/{name}/{polarity}/fdr_mask/data"))) for polarity in ("on", "off")]
            if reader.is_dataset(f"{group}/{name}/on/fdr_mask/data")
            and reader.is_dataset(f"{group}/{name}/off/fdr_mask/data")
            else [False, False]
            for name in labels[0]
        ]
    )
    bank = _bank(reader, array, [_name(reader, f"{group}/{name}", name) for name in labels[0]], group)
    bank = bank.assign_coords(on_significant=("unit", significant[:, 0]), off_significant=("unit", significant[:, 1]))
    return add_history(
        bank, f"open_fields: {reader.name}, {group}/*/on|off/rts_convolution/data, row 0 lowest{mask_note}"
    )


def _name(reader: Reader, path: str, name: str) -> str:
    """A cell's specimen id where the group states it, else the group's own name."""
    specimen = reader.attrs(path).get("csid", reader.attrs(path).get("cell_specimen_id"))
    return f"cell {int(specimen)}" if isinstance(specimen, int | float) and specimen == specimen else f"cell {name}"


def _from_summary(reader: Reader, path: str, chunks: Any) -> xr.Dataset:
    shape = reader.shape(path)
    if len(shape) != 4 or shape[:2] not in PIXEL or shape[3] != 2:
        raise InputError(
            f"expected (row, column, cell, [on, off]) on one of the survey's grids {list(PIXEL)} at {path} in "
            f"{reader.name}, got the shape {shape}"
        )
    array = indexed(reader.array(path, chunks), (), path).transpose(2, 3, 0, 1)
    masked = bool(np.isnan(np.asarray(array)).any())
    note = ", masked to significant pixels"
    if not masked:
        # Unmasked summaries are mean responses, which carry the running speed behind the last cell.
        array = array[:-1]
        note = ", mean responses; the last column, the running speed, left out"
    on_screen, mask_note = _on_screen(reader, path, shape[:2])
    array = np.where(on_screen, 1.0, np.nan) * settled(array, chunks)
    bank = _bank(reader, array, [f"cell {index}" for index in range(array.shape[0])], path)
    return add_history(bank, f"open_fields: {reader.name}, {path}, row 0 lowest{note}{mask_note}")


def _on_screen(reader: Reader, path: str, grid: tuple[int, ...]) -> tuple[Any, str]:
    """Pixels that lay on the screen, where the file keeps the stimulus template; else all of them."""
    stimulus = path.rpartition("/")[2]
    lsn = _SUMMARY.match(stimulus)
    if lsn:
        stimulus = "locally_sparse_noise" + {"4": "_4deg", "8": "_8deg", None: ""}[lsn.group(1)]
    template = f"/stimulus/templates/{stimulus}_image_stack/data"
    if not reader.is_dataset(template):
        return np.ones(grid, bool), ""
    frames = reader.dataset(template)
    if tuple(frames.shape[1:]) != tuple(grid):
        return np.ones(grid, bool), ""
    on_screen = np.asarray(reader.read(frames, 0)) != OFF_SCREEN
    return on_screen, f", {int((~on_screen).sum())} pixels off the screen set to NaN"


def _bank(reader: Reader, array: Any, names: list[str], path: str) -> xr.Dataset:
    pixel = PIXEL[tuple(array.shape[-2:])]
    stated = path.rpartition("/")[2]
    if (stated.endswith(("8deg", "lsn8")) and pixel != 9.3) or (stated.endswith(("4deg", "lsn4")) and pixel != 4.65):
        raise InputError(
            f"expected the grid of {stated} to fit its name in {reader.name}, got {array.shape[-2]} × "
            f"{array.shape[-1]} pixels"
        )
    subject = "unknown"
    for where in ("/general/subject/subject_id", "/general/subject/genotype"):
        if where.endswith("id") and reader.is_dataset(where):
            subject = str(reader.values(where).ravel()[0])
    return make_bank(
        array,
        channel=("on", "off"),
        kind="measured",
        deg_per_px=pixel,
        unit=names,
        subject=subject,
        source=reader.name,
        attrs={
            "stimulus": {"class": "locally sparse noise", "element_deg": pixel, "indicator": "GCaMP6 (two-photon)"},
            "species": "Mus musculus",
            "citation": _CITATION,
            "doi": "10.1038/s41593-019-0550-9",
        },
    )
