"""The interactive plane: its marks, its maps, and their colors."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import colormaps
from numpy.typing import NDArray

from rfcompare.figures.drawing import Population
from rfcompare.figures.look import DIVERGING
from rfcompare.figures.maps import shown_map
from rfcompare.figures.populations import PLANE
from rfcompare.quantities import KAPPA, QUANTITIES
from rfcompare.reporting.templates import filled

_MAP_BYTES = 1_200_000
"""Maps in the page together take at most this many bytes; of more units, evenly spaced ones keep their maps."""

SHAPES = {
    "o": ("circle", "M12 7a5 5 0 1 1-10 0a5 5 0 1 1 10 0z"),
    "s": ("square", "M2.5 2.5h9v9h-9z"),
    "^": ("triangle-up", "M7 2l6 10h-12z"),
    "D": ("diamond", "M7 1l5 6l-5 6l-5-6z"),
    "v": ("triangle-down", "M7 12l6-10h-12z"),
    "P": ("cross", "M5 2h4v3h3v4h-3v3h-4v-3h-3v-4h3z"),
    "<": ("triangle-left", "M2 7l10-6v12z"),
    ">": ("triangle-right", "M12 7l-10-6v12z"),
    "d": ("M0-1l.5 1l-.5 1l-.5-1z", "M7 1l3 6l-3 6l-3-6z"),
}
"""The figures' markers in the plane: Vega's name, and the same as an SVG path for the legend."""


def plane_specification(
    units: pd.DataFrame,
    styles: Sequence[Population],
    published: xr.Dataset | None,
    contours: Sequence[Sequence[NDArray[np.floating[Any]]]],
) -> dict[str, Any]:
    """Write the (nx, ny) plane in Vega-Lite: the template with its values."""
    labels = [population.label for population in styles]
    text = filled(
        "plane.json.j2",
        plane=PLANE,
        kappa=KAPPA,
        titles={name: [QUANTITIES[name].title, f"{name} = σ{name[1]}·f"] for name in ("nx", "ny")},
        labels=labels,
        colors=[population.color for population in styles],
        shapes=[SHAPES[population.marker][0] for population in styles],
        simulated=any(population.kind == "simulated" for population in styles),
        units=_marks(units, styles),
        published=_published_cells(published),
        contours=[
            {"line": f"{index} {part}", "order": order, "population": labels[index], "nx": float(x), "ny": float(y)}
            for index, found in enumerate(contours)
            for part, line in enumerate(found)
            for order, (x, y) in enumerate(line.round(4))
        ],
    )
    specification: dict[str, Any] = json.loads(text)
    return specification


def _published_cells(published: xr.Dataset | None) -> list[dict[str, Any]]:
    """The cells of a published histogram, or none."""
    if published is None:
        return []
    count = published["count"].transpose("nx_bin", "ny_bin").values
    nx, ny = (published[f"{name}_edge"].values.astype(float) for name in ("nx", "ny"))
    return [
        {"nx": nx[i], "nx2": nx[i + 1], "ny": ny[j], "ny2": ny[j + 1], "count": int(count[i, j])}
        for i, j in zip(*np.nonzero(count), strict=True)
    ]


def _marks(units: pd.DataFrame, styles: Sequence[Population]) -> list[dict[str, Any]]:
    """A mark for every unit that has a place in the plane, put on its edge where that lies beyond."""
    starts = np.cumsum([0, *(population.n_units for population in styles)])
    values = []
    for index, population in enumerate(styles):
        block = units.iloc[starts[index] : starts[index + 1]]
        for position, (nx, ny, unit, r2, status) in enumerate(
            zip(block["nx"], block["ny"], block["unit"], block["r2"], block["status"], strict=True)
        ):
            if not (math.isfinite(nx) and math.isfinite(ny) and nx > 0 and ny > 0):
                continue
            values.append(
                {
                    "row": int(starts[index]) + position,
                    "population": population.label,
                    "unit": str(unit),
                    "nx": float(f"{min(max(nx, PLANE[0]), PLANE[1]):.5g}"),
                    "ny": float(f"{min(max(ny, PLANE[0]), PLANE[1]):.5g}"),
                    "r2": None if not math.isfinite(r2) else float(f"{r2:.4g}"),
                    "status": str(status),
                }
            )
    return values


def palette() -> str:
    """Return the 255 colors of the diverging map as base64 RGB bytes: −127 is OFF blue, +127 is ON red."""
    colors = (colormaps[DIVERGING](np.linspace(0, 1, 255))[:, :3] * 255).round().astype(np.uint8)
    return base64.b64encode(colors.tobytes()).decode("ascii")


def packed_maps(fits: Sequence[xr.Dataset], styles: Sequence[Population]) -> list[dict[str, Any]]:
    """Pack data and fit of the units as signed bytes, rows from the top, within `_MAP_BYTES` for the page."""
    share = _MAP_BYTES / len(fits)
    packed = []
    for fitted, population in zip(fits, styles, strict=True):
        height, width = fitted.sizes["y"], fitted.sizes["x"]
        count = fitted.sizes["unit"]
        kept = min(count, int(share / (2 * height * width * 4 / 3 + 40)))
        units: dict[str, list[Any]] = {}
        for unit in np.unique(np.linspace(0, count - 1, kept).round().astype(int)) if kept else []:
            data = shown_map(fitted, int(unit))
            model = np.asarray(fitted["rf_fit"].isel(unit=int(unit), channel=0).transpose("y", "x").values, dtype=float)
            finite = np.concatenate([values[np.isfinite(values)] for values in (data, model)])
            limit = float(np.abs(finite).max(initial=0.0)) or 1.0
            units[str(int(unit))] = [_bytes(data, limit), _bytes(model, limit)]
        packed.append(
            {
                "count": count,
                "height": height,
                "width": width,
                "units": units,
                "simulated": population.kind == "simulated",
                "pixel": _pixel_text(fitted),
            }
        )
    return packed


def _pixel_text(fitted: xr.Dataset) -> str:
    x = np.asarray(fitted["x"].values, dtype=float)
    if fitted.attrs.get("units") == "degree" and x.size > 1:
        return f"{fitted.sizes['x'] * (x[1] - x[0]):.3g}° wide"
    return f"{fitted.sizes['x']} px wide"


def _bytes(values: NDArray[np.floating[Any]], limit: float) -> str:
    scaled = np.where(np.isfinite(values), np.clip(np.round(127 * values / limit), -127, 127), -128)
    return base64.b64encode(scaled[::-1].astype(np.int8).tobytes()).decode("ascii")
