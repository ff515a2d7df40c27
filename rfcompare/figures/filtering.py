"""What one kernel does to a photograph: image, kernel, response, spectrum and a sentence side by side."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rfcompare.errors import InputError
from rfcompare.figures.artists import bare, draw_map, letter, map_extent, mark_kind, scale_bar
from rfcompare.figures.drawing import Array, record
from rfcompare.figures.look import LARGE, Look, drawn, is_narrow, new_figure, width_mm
from rfcompare.quantities import kind_words

_RESPONSE_PERCENTILE = 99.5
"""A few extreme pixels would make the rest of the response gray."""

_KERNEL_SHARE = 0.6
"""Width of the kernel's panel over the height of the image's."""

_POWER_DECADES = 6.0
"""Depth of the gray scale of the spectrum."""


@drawn("double")
def filter_response(seen: xr.Dataset, **look: Unpack[Look]) -> Figure:
    """Show an image, a kernel, the response of the one to the other, and the response's spectrum.

    Parameters
    ----------
    seen : Dataset
        From `rfcompare.filtering.filter_image`.
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

    Returns
    -------
    matplotlib Figure
        (a) the image, (b) the kernel, (c) the response, positive red and negative blue, (d) the response's power
        spectrum with the kernel's half-gain contour, and the kernel's sentence above them.

    Raises
    ------
    InputError
        If the Dataset is not a response.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.filtering import filter_image
    >>> step = np.zeros((24, 32)); step[:, 16:] = 1.0
    >>> kernel = np.array([[-1.0, 0.0, 1.0]] * 3)
    >>> bank = rfc.make_bank(kernel[None, None], channel=("luminance",), kind="analytic", unit=["edge"])
    >>> figure = filter_response(filter_image(step, bank, "edge"))
    >>> [panel.get_title() for panel in figure.axes]
    ['image', 'kernel', 'response', 'spectrum']
    """
    missing = [name for name in ("image", "response", "kernel", "gain", "response_power") if name not in seen]
    if missing:
        raise InputError(f"expected a response with {', '.join(missing)}, got none; pass what filter_image gave")
    units = str(seen.attrs["units"])
    kind = str(seen.attrs["kind"])
    height, breadth = seen.sizes["y"], seen.sizes["x"]
    narrow = is_narrow(look)
    ratios = [breadth / height, 1] if narrow else [breadth / height, _KERNEL_SHARE, breadth / height, 1]
    rows = 2 if narrow else 1
    # Panels share one height, which the width leaves room for; the rest is for titles, bars and the sentence.
    figure = new_figure(look, height=24 * rows + rows * 0.82 * width_mm(look) / sum(ratios))
    panels = figure.subplots(rows, len(ratios), width_ratios=ratios).ravel()
    extent = map_extent(seen)
    panels[0].imshow(np.clip(seen["image"].values, 0, 1), origin="lower", extent=extent, interpolation="nearest")
    bare(panels[0])
    kernel = np.moveaxis(seen["kernel"].values.astype(float), 0, -1)
    place = map_extent(seen[["kernel_x", "kernel_y"]].rename(kernel_x="x", kernel_y="y"))
    draw_map(panels[1], kernel if kernel.shape[-1] == 3 else kernel[..., 0], extent=place)
    response = seen["response"].values.astype(float)
    limit = float(np.nanpercentile(np.abs(response), _RESPONSE_PERCENTILE)) or 1.0
    draw_map(panels[2], response, extent=extent, limit=limit)
    _draw_spectrum(panels[3], seen, units)
    mark_kind(panels[2], kind, corner="below")
    titles = ("image", "kernel", "response", "spectrum")
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title)
    letter(*panels)
    for panel in panels[:2]:
        scale_bar(panel, units)
    named = f"{seen.attrs['unit']}{_source(seen)} ({kind_words(kind)}): {seen.attrs['sentence']}"
    if "title" not in look:
        letters = 120 if not narrow else 58
        figure.suptitle("\n".join(textwrap.wrap(named, letters, break_on_hyphens=False)), fontsize=LARGE)
    return record(figure, look, numbers=_numbers(seen, response), caption=_caption(seen, limit))


def _draw_spectrum(panel: Axes, seen: xr.Dataset, units: str) -> None:
    fx, fy = seen["frequency_x"].values, seen["frequency_y"].values
    power = seen["response_power"].values.astype(float)
    top = float(power.max())
    level = np.log10(np.maximum(power, top * 10**-_POWER_DECADES) / top) if top > 0 else np.zeros_like(power)
    extent = (float(fx[0]), float(fx[-1]), float(fy[0]), float(fy[-1]))
    panel.imshow(level, origin="lower", extent=extent, cmap="gray", vmin=-_POWER_DECADES, vmax=0, aspect="equal")
    panel.contour(fx, fy, seen["gain"].values, levels=[0.5], colors=["#e69f00"], linewidths=0.9)
    unit = "px" if units == "px" else "°"
    panel.set_xlabel(f"horizontal (cycles/{unit})")
    panel.set_ylabel("vertical")


def _numbers(seen: xr.Dataset, response: Array) -> pd.DataFrame:
    inside = response[np.isfinite(response)]
    names = ("p0.5", "p25", "median", "p75", "p99.5")
    quantiles = np.quantile(inside, [0.005, 0.25, 0.5, 0.75, 0.995])
    about = {"unit": seen.attrs["unit"], "kind": seen.attrs["kind"]}
    return pd.DataFrame({**about, "quantity": names, "value": quantiles})


def _source(seen: xr.Dataset) -> str:
    """Whose unit it is: the title of the bank, or the source of the unit."""
    name = str(seen.attrs.get("title") or Path(str(seen.attrs.get("source", ""))).name)
    return f" of {name}" if name and name != "unknown" else ""


def _caption(seen: xr.Dataset, limit: float) -> str:
    sight = "in color, less the network's mean" if seen.sizes["channel"] == 3 else "in luminance (Rec. 601)"
    return (
        f"What unit {seen.attrs['unit']}{_source(seen)} ({kind_words(seen.attrs['kind'])}) does to an image seen "
        f"{sight}. (a) Image, {seen.sizes['x']}×{seen.sizes['y']} pixels. (b) Kernel. (c) Response at stride 1 "
        f"(correlation), positive red, negative blue, full color at ±{limit:.3g} ({_RESPONSE_PERCENTILE:g}th "
        "percentile); gray: the kernel would reach beyond the image. (d) Power spectrum of the response over "
        f"{_POWER_DECADES:g} decades; orange, where the kernel's gain is half its largest. {seen.attrs['sentence']}"
    )
