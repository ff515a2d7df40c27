"""The layout: what a file of maps does not say about itself, in TOML or as a mapping, and how it turns into a bank.

=================================  ====================================================================================
key                                meaning
=================================  ====================================================================================
``maps``                           path of the maps; a ``*`` gathers one dataset per unit and names the units; a list
                                   holds one path per channel
``dims``                           order of the array's axes, such as ``"unit channel y x"`` (also ``lag``, ``half``); a
                                   missing channel means one channel, a missing unit one cell. MATLAB arrays count as
                                   MATLAB's ``size`` does
``shape``, ``order``               of flat maps (``"unit pixel"``) rows and columns, as in ``[52, 52]``, and ``"C"``
                                   (default) or ``"F"``: whether columns or rows lie next to each other
``select``                         index into the raw array or cell before its axes are named, such as ``":,1"``
``channel``                        ``["on", "off"]``, ``["r", "g", "b"]``, ``"luminance"`` or ``"signed"`` (default)
``y``, ``x``                       ``"down"`` (rows from the top; default), ``"up"``; ``"right"`` (default), ``"left"``
``deg_per_px``                     degrees of visual angle per pixel, or ``[x, y]``; absent: pixels
``um_per_px``, ``um_per_deg``      the same for retinal maps, whose pixels are known in µm
``lag``                            index of the lag to keep, or ``"peak"``: per unit the lag of most energy
``half``                           path of independent halves (first axis ``half``), or a list of two paths
``kind``                           one of `rfcompare.kinds`; default ``"not stated"``
``polarity``                       ``"known"`` (default) or ``"unknown"``: the maps' sign is arbitrary
``unit``, ``subject``, ``source``  a text for all units or the path of one value per unit; so also ``field_of_view``,
                                   ``cortex_x``, ``cortex_y``, ``noise_sd``
``per_unit``                       table of further coordinates, each a text, a number or a path
``exclude``                        indices of bad units, counted from 0, that are left out
``stimulus``                       text or table; required when measured; ``"unknown"`` is an answer
``title``, ``citation``, ``doi``,  text: what the maps are called, and where they come from; any other provenance in a
``license``                        table ``attrs``
``parameters``, ``gabor``,         instead of ``maps``: path of a table of Gabor parameters, formulas that turn its
``size``, ``normalize``            columns into rfcompare's, the maps' size ``[y, x]``, ``"l2"`` for maps of unit norm
=================================  ====================================================================================
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfcompare.bank import CHANNELS, existing_file, make_bank
from rfcompare.errors import InputError, meant
from rfcompare.quantities import NOT_STATED
from rfcompare.sources.axes import axis_names, flat_names

if TYPE_CHECKING:
    pass

_MAX_BYTES = 2**22
"""Of a layout; more is another file."""

DIMS = ("half", "unit", "channel", "lag", "y", "x")
_CHANNEL_SETS = sorted(" ".join(names) for names in CHANNELS)
LABELS = ("unit", "subject", "source", "field_of_view")
NUMBERS = ("cortex_x", "cortex_y", "noise_sd")
RESERVED = frozenset({*signature(make_bank).parameters, "dims", "schema"} - {"attrs"})
"""Names that mean something to a bank's making, so that an attribute called so is no mere provenance."""

_PROVENANCE = ("stimulus", "title", "citation", "doi", "license", "um_per_px", "um_per_deg")


@dataclass(frozen=True)
class Layout:
    """A checked layout; the module's table says what each field means."""

    maps: tuple[str, ...] = ()
    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    order: str = "C"
    select: str = ""
    channel: tuple[str, ...] = ("signed",)
    y: str = "down"
    x: str = "right"
    deg_per_px: Any = None
    um_per_px: float | None = None
    um_per_deg: float | None = None
    lag: int | str | None = None
    half: tuple[str, ...] = ()
    kind: str = NOT_STATED
    polarity: str = "known"
    unit: Any = None
    subject: Any = None
    source: Any = None
    field_of_view: Any = None
    cortex_x: Any = None
    cortex_y: Any = None
    noise_sd: Any = None
    per_unit: Mapping[str, Any] = field(default_factory=dict)
    exclude: tuple[int, ...] = ()
    stimulus: Any = None
    title: str | None = None
    citation: str | None = None
    doi: str | None = None
    license: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    parameters: str | None = None
    gabor: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, ...] = ()
    normalize: str | None = None

    @property
    def index(self) -> tuple[Any, ...]:
        """What `select` chooses, as slices and integers.

        Examples
        --------
        >>> Layout(select=":,1").index
        (slice(None, None, None), 1)
        """
        index: list[Any] = []
        for part in [piece.strip() for piece in self.select.split(",")] if self.select.strip() else []:
            if part == "...":
                index.append(Ellipsis)
            elif re.fullmatch(r"-?\d+", part):
                index.append(int(part))
            elif re.fullmatch(r"(-?\d+)?:(-?\d+)?(:0*[1-9]\d*)?", part):
                index.append(slice(*(int(number) if number else None for number in part.split(":"))))
            else:
                # No steps backwards: labels by path would stay in the file's order.
                raise InputError(f"expected select to be an index such as ':,1', '0:50' or '::2', got {self.select!r}")
        return tuple(index)


def read_layout(layout: str | Path | Mapping[str, Any]) -> Layout:
    """A checked `Layout` from a TOML file or a mapping.

    Examples
    --------
    >>> read_layout({"maps": "/units/rf", "dims": "unit y x", "stimulus": "sparse noise"}).dims
    ('unit', 'y', 'x')
    """
    return _checked(given_keys(layout), "the layout" if isinstance(layout, Mapping) else str(layout))


def given_keys(layout: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """A layout as it was given, its keys not yet checked."""
    if isinstance(layout, Mapping):
        return {str(key): value for key, value in layout.items()}
    path = existing_file(layout)
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"expected a layout in TOML, got {path} of {path.stat().st_size / 1e6:.3g} MB; name another")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"expected a layout in TOML, but {path} is not TOML ({error})") from None


def _checked(given: dict[str, Any], where: str) -> Layout:
    known = [item.name for item in fields(Layout)]
    for key in given:
        if key not in known:
            raise InputError(f"{where} has the unknown key {key!r}; {meant(key, known)}")
    for key, value in given.items():
        expected = _wrong_type(key, value)
        if expected:
            raise InputError(f"expected {key} in {where} to be {expected}, got {value!r}")
    for key in ("maps", "half", "channel"):
        if isinstance(given.get(key), str):
            given[key] = given[key].replace(",", " ").split() if key == "channel" else [given[key]]
    if "dims" in given:
        given["dims"] = axis_names(tuple(given["dims"]) if isinstance(given["dims"], list) else given["dims"])
    for key in ("maps", "half", "channel", "dims", "exclude", "size", "shape"):
        if key in given:
            given[key] = tuple(given[key])
    # NumPy's whole numbers count as Python's.
    for key in ("exclude", "size", "shape"):
        if key in given:
            given[key] = tuple(int(item) for item in given[key])
    if isinstance(given.get("lag"), Integral):
        given["lag"] = int(given["lag"])
    given["select"] = str(given.get("select", ""))
    if "parameters" in given:
        given.setdefault("kind", "parametric")
    layout = Layout(**given)
    for fault in _faults(layout, given, where):
        raise InputError(fault)
    _ = layout.index  # a mistake in it is reported before a file is read
    return layout


def _wrong_type(key: str, value: Any) -> str:
    """What a key's value should be, when it is something else."""
    several = list(value) if isinstance(value, list | tuple) else None
    if key in ("maps", "dims", "channel", "half"):
        fits = isinstance(value, str) or (several is not None and all(isinstance(item, str) for item in several))
        return "" if fits else "a text or a list of texts"
    if key in ("exclude", "size", "shape"):
        fits = several is not None and all(isinstance(item, Integral) for item in several)
        return "" if fits else "a list of whole numbers"
    if key in ("um_per_px", "um_per_deg", "deg_per_px"):
        pair = several if key == "deg_per_px" and several is not None and len(several) == 2 else [value]
        fits = all(type(item) is not bool and isinstance(item, Real) and float(item) > 0 for item in pair)
        return "" if fits else "a positive number" + (" or [x, y]" if key == "deg_per_px" else "")
    if key in ("per_unit", "attrs", "gabor"):
        named = {*RESERVED, *_PROVENANCE} & set(value) if isinstance(value, Mapping) and key == "attrs" else set()
        if named:
            return f"a table without {', '.join(sorted(named))}, which the layout itself names"
        return "" if isinstance(value, Mapping) else "a table"
    if key == "lag":
        return "an index or 'peak'" if isinstance(value, bool) or not isinstance(value, Integral | str) else ""
    if key == "select":
        return "" if isinstance(value, Integral | str) else "an index such as ':,1'"
    if key == "stimulus":
        return "" if isinstance(value, str | Mapping) else "a text or a table"
    if key in (*LABELS, *NUMBERS):
        return "a text, a path or one value for each unit" if isinstance(value, Mapping) else ""
    return "" if isinstance(value, str) else "a text"


def _faults(layout: Layout, given: dict[str, Any], where: str) -> Iterator[str]:
    """What does not go together, one sentence each."""
    if bool(layout.maps) == (layout.parameters is not None):
        yield f"expected {where} to name either maps or parameters, the path of what to read"
    if layout.maps and not layout.dims:
        yield f"expected {where} to give dims, the order of the axes of the maps, such as 'unit channel y x'"
    flat = flat_names(layout.dims)
    if flat and (not set(flat) <= set(DIMS) or len(set(flat)) < len(flat) or not {"y", "x"} <= set(flat)):
        yield (
            f"expected dims in {where} to name unit, y and x (or pixel), with channel, lag, half where the array has "
            f"them, got {' '.join(layout.dims)!r}"
        )
    if layout.shape and len(flat) == len(layout.dims):
        yield f"expected pixel in dims beside shape in {where}, got {' '.join(layout.dims)!r}"
    if "channel" in flat and (len(layout.maps) > 1 or "channel" not in given):
        yield (
            f"expected {where} to name the channels along the axis channel, as in channel = ['on', 'off'], and all in "
            "one array"
        )
    if " ".join(sorted(layout.channel)) not in [" ".join(sorted(names.split())) for names in _CHANNEL_SETS]:
        yield f"expected channel in {where} to be one of {'; '.join(_CHANNEL_SETS)}, got {layout.channel}"
    if len(layout.maps) > 1 and len(layout.maps) != len(layout.channel):
        yield f"expected one path in maps of {where} for each channel {layout.channel}, got {len(layout.maps)}"
    words = {
        "y": ("down", "up"),
        "x": ("right", "left"),
        "polarity": ("known", "unknown"),
        "normalize": (None, "l2"),
        "order": ("C", "F"),
    }
    for key, allowed in words.items():
        value = getattr(layout, key)
        if value not in allowed:
            choices = " or ".join(repr(choice) for choice in allowed if choice is not None)
            yield f"expected {key} in {where} to be {choices}, got {value!r}"
    if layout.um_per_deg is not None and layout.um_per_px is None:
        yield f"expected um_per_px beside um_per_deg in {where}: how many µm a pixel has on the retina"
    if layout.deg_per_px is not None and layout.um_per_deg is not None:
        yield f"expected either deg_per_px or um_per_px with um_per_deg in {where}, got both"
    if layout.lag is not None and "lag" not in flat:
        yield f"{where} chooses lag = {layout.lag!r}, but its dims {' '.join(layout.dims)!r} have no lag"
    if isinstance(layout.lag, str) and layout.lag != "peak":
        yield f"expected lag in {where} to be an index or 'peak', got {layout.lag!r}"
    if layout.parameters is not None and len(layout.channel) != 1:
        yield (f"expected channel in {where} to be 'signed' or 'luminance' beside parameters, which make one map")
    if layout.parameters is not None and (layout.kind != "parametric" or len(layout.size) != 2 or not layout.gabor):
        yield (
            f"expected a table gabor, size = [y, x] and the kind parametric beside parameters in {where}: maps that "
            "are rendered from parameters are no measurements"
        )


def channel_order(channel: tuple[str, ...]) -> tuple[list[int], tuple[str, ...]]:
    """Where a bank's channels lie among a file's, and their names in the bank's order.

    Examples
    --------
    >>> channel_order(("off", "on"))
    ([1, 0], ('on', 'off'))
    """
    known = next(names for names in CHANNELS if sorted(names) == sorted(channel))
    return [channel.index(name) for name in known], known
