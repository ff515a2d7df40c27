"""How a figure is drawn: its style, width, place, colors, title and units, the same for every figure function."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial, update_wrapper
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, Formatter, FuncFormatter

from rfcompare.errors import InputError, KeywordError, meant

_WIDTHS = {"single": 89.0, "double": 183.0}
"""Journal widths in mm: one column and two."""

_NARROW = 120.0
"""Below this many mm panels stand below one another instead of side by side."""

_Width = Literal["single", "double"]

Palette = str | Sequence[str] | Mapping[str, str]

SMALL, MEDIUM, LARGE = 6.0, 7.0, 8.0
"""The three text sizes, in points, that every figure keeps to."""

DIVERGING = "RdBu_r"
"""ColorBrewer's red–blue map, safe for the color-blind, with white at zero."""

_Drawer = TypeVar("_Drawer", bound=Callable[..., Figure])


class Look(TypedDict, total=False):
    """How a figure is drawn: what every function of `rfcompare.figures` takes by keyword.

    Attributes
    ----------
    width : {"single", "double"} or float
        89 mm, 183 mm or any width in mm; the default is the figure's own.
    axes : Axes or SubFigure
        A place to draw into: a subfigure, or axes whose place in its grid is taken over. The outermost figure is
        returned.
    palette : str, sequence or mapping
        Colors: a palette that seaborn knows by name, colors in order, or a color by name: of a population, of a side
        ("cortex", "network", "reference"), or of an answer of the survey.
    title : str
        Written above the figure.
    units : mapping
        How units are written, as in ``{"cycles/°": "cpd", "px": "pixels"}``.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> bank, _ = simulate_population(n=5, size=9, seed=0)
    >>> look = {"width": 120, "palette": {"cortex": "black"}, "title": "Simulated", "units": {"px": "pixels"}}
    >>> figure = rfc.figures.tuning(rfc.fit(bank, "gabor", seed=0), **look)
    >>> figure.get_suptitle(), figure.axes[1].get_xlabel()
    ('Simulated', 'Spatial frequency $f$ (cycles/pixels)')
    """

    width: _Width | float
    axes: Axes | SubFigure | None
    palette: Palette
    title: str
    units: Mapping[str, str]


def drawn(width: _Width) -> Callable[[_Drawer], _Drawer]:
    """Make a function that draws one that anybody may call: it knows its keywords and draws in `style`.

    Raises
    ------
    KeywordError
        When it is called with a keyword that neither it nor `Look` has.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> rfc.figures.ladder({}, ax=None)
    Traceback (most recent call last):
    ...
    rfcompare.errors.KeywordError: ladder has no keyword ax; did you mean axes?
    """

    def decorate(function: _Drawer) -> _Drawer:
        kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        own = [name for name, each in signature(function).parameters.items() if each.kind in kinds]
        known = [*own, *Look.__annotations__]

        def draw(*args: Any, **keywords: Any) -> Figure:
            for name in keywords:
                if name not in known:
                    raise KeywordError(f"{function.__name__} has no keyword {name}; {meant(name, known)}")
            with style():
                return function(*args, **{"width": width, **keywords})

        return cast(_Drawer, update_wrapper(draw, function))

    return decorate


_TICKS = {
    "labelsize": SMALL, "major.width": 0.5, "minor.width": 0.4, "major.size": 2.5, "minor.size": 1.5, "major.pad": 2.0,
}  # fmt: skip

_SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Liberation Sans", "DejaVu Sans"],
    # Unlike "custom" this set is kept by the texts themselves, also where a figure is shown outside the context.
    "mathtext.fontset": "stixsans",
    "font.size": MEDIUM,
    "axes.titlesize": MEDIUM,
    "axes.labelsize": MEDIUM,
    **{f"{axis}tick.{name}": value for axis in "xy" for name, value in _TICKS.items()},
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "figure.titlesize": LARGE,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.borderaxespad": 0.2,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.0,
    "axes.unicode_minus": True,
    # Names come from files, where a dollar is a dollar: only labels written here ask for mathematics.
    "text.parse_math": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "patch.linewidth": 0.5,
    "hatch.linewidth": 0.4,
    "image.interpolation": "nearest",
    "image.cmap": DIVERGING,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "rfcompare",
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}


@contextmanager
def style() -> Iterator[None]:
    """Print settings as a context: 6–8 pt sans-serif text, thin lines, text that stays text in PDF and SVG.

    Every function of `rfcompare.figures` draws and saves inside it; use it for axes of your own that stand beside them.

    Examples
    --------
    >>> import matplotlib
    >>> before = matplotlib.rcParams["pdf.fonttype"]
    >>> with style():
    ...     matplotlib.rcParams["pdf.fonttype"]
    42
    >>> matplotlib.rcParams["pdf.fonttype"] == before
    True
    """
    _bundled_fonts()
    with warnings.catch_warnings(), mpl.rc_context(_SETTINGS):  # type: ignore[arg-type]
        # A name in letters that the font lacks is drawn with boxes; the tables beside the figure have it whole.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        yield


@cache
def _bundled_fonts() -> None:
    """Make the font that ships with the package known: figures are the same wherever they are drawn."""
    for path in sorted((Path(__file__).parents[1] / "fonts").glob("*.ttf")):
        fontManager.addfont(path)


def new_figure(look: Look | None = None, *, height: float) -> Any:
    """Make the place a figure function draws into, `height` mm high, with a layout in which nothing is clipped.

    Examples
    --------
    >>> figure = new_figure({"width": "single"}, height=60)
    >>> (25.4 * figure.get_size_inches()).round().tolist()
    [89.0, 60.0]
    """
    look = look or {}
    figure = _place(look.get("axes"))
    if figure is None:
        figure = Figure(figsize=(width_mm(look) / 25.4, height / 25.4), layout="constrained")
    if "title" in look:
        figure.suptitle(look["title"], fontsize=LARGE)
    return figure


def _place(axes: Axes | SubFigure | None) -> Figure | SubFigure | None:
    if isinstance(axes, Axes):
        place = axes.get_subplotspec()
        if place is None:
            raise InputError(
                "expected axes made by subplots or a grid specification, got axes placed by hand; pass a SubFigure"
            )
        host = axes.get_figure(root=False)
        assert host is not None
        axes.remove()
        return host.add_subfigure(place)
    return axes


def width_mm(look: Look) -> float:
    """Return a figure's width in mm.

    Examples
    --------
    >>> width_mm({"width": "single"}), width_mm({"width": 120})
    (89.0, 120.0)
    """
    width = look.get("width", "double")
    if isinstance(width, str) and width not in _WIDTHS:
        raise InputError(
            f"expected width 'single', 'double' or a number of mm, got {width!r}; the journal widths are 89 and 183 mm"
        )
    return _WIDTHS[width] if isinstance(width, str) else float(width)


def is_narrow(look: Look) -> bool:
    """Whether panels stand below one another."""
    return width_mm(look) < _NARROW


def colors(names: Sequence[Sequence[str]], defaults: Sequence[str], palette: Palette | None) -> list[str]:
    """Give everything its color from a palette (see `Look`), by the narrowest name it goes by there, or its default.

    Examples
    --------
    >>> colors([["net", "network"], ["V1", "cortex"]], ["red", "blue"], {"cortex": "black"})
    ['red', 'black']
    """
    if palette is None:
        return list(defaults)
    if isinstance(palette, Mapping):
        found = [next((palette[each] for each in known if each in palette), None) for known in names]
        return [own or default for own, default in zip(found, defaults, strict=True)]
    if isinstance(palette, str):
        import seaborn as sns

        try:
            return list(sns.color_palette(palette, len(names)).as_hex())
        except ValueError as error:
            raise InputError(
                f"expected a palette that seaborn knows, got {palette!r} ({error}); try 'colorblind'"
            ) from None
    if len(palette) < len(names):
        raise InputError(f"expected a palette of {len(names)} colors or more, got {len(palette)}; add some")
    return list(palette)[: len(names)]


def written(text: str, look: Look) -> str:
    """Write a text with the units that a figure's author wants.

    Examples
    --------
    >>> written("2° of 9 px (cycles/°)", {"units": {"°": " deg", "cycles/°": "cpd"}})
    '2 deg of 9 px (cpd)'
    """
    units = look.get("units", {})
    if not units:
        return text
    known = "|".join(re.escape(name) for name in sorted(units, key=len, reverse=True))
    # Not inside a word: "px" is a unit, the "px" of a name is not.
    return re.sub(rf"(?<![^\W\d_])({known})(?![^\W\d_])", lambda found: units[found[0]], text)


def write_units(figure: Figure | SubFigure, look: Look) -> None:
    """Write every text of a figure with its author's units."""
    if not look.get("units"):
        return
    for text in figure.findobj(Text):
        text.set_text(written(text.get_text(), look))
    for axis in figure.findobj(Axis):
        formatter = axis.get_major_formatter()
        if isinstance(formatter, FixedFormatter | FuncFormatter):  # which write their labels again when drawn
            axis.set_major_formatter(partial(_written_tick, formatter, look))


def _written_tick(formatter: Formatter, look: Look, place: float, index: int | None) -> str:
    return written(str(formatter(place, index)), look)
