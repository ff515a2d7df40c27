"""Names, symbols, units and definitions: everything in rfcompare that is written down only once.

Conventions
-----------
* y points up and angles run anticlockwise from +x. ``orientation`` is that of the stripes, in [0°, 180°).
* The Gabor is ``amplitude · exp(−u²/2σx² − v²/2σy²) · cos(360°·frequency·u + phase) + offset`` with u along
  ``orientation + 90°`` (the carrier's direction) and v along the stripes; ``nx = σx·f``, ``ny = σy·f`` (Ringach 2002).
* ``phase`` means something only together with its carrier's direction, because (orientation + 180°, −phase) is the same
  map. Statistics use ``polarity_phase`` = arccos(cos phase) in [0°, 180°], or ``folded_phase`` = min(p, 180° − p) where
  the sign of the map is unknown. Both are NaN where nx < `FEW_CYCLES`: there phase cannot be told from position.
* With κ = √(ln 2 / 2) / π ≈ 0.1874 the full octave bandwidth at half *amplitude* is log2((nx + κ)/(nx − κ)), undefined
  for nx ≤ κ (`LESS_THAN_ONE_CYCLE`); the orientation half-width is atan(κ/ny). Both follow from nx and ny: no joint
  space counts them again.
* ON is positive and red, OFF is negative and blue; color limits are symmetric about 0.
* A quantity with a scale is in the units of its Dataset (``attrs["units"]``: ``"degree"`` of visual angle or ``"px"``).
  A network's first layer has no degrees, so across populations only dimensionless quantities are compared by default.

Examples
--------
>>> from rfcompare.quantities import QUANTITIES
>>> QUANTITIES["nx"].label("px")
'Carrier cycles in the envelope SD, $n_x = \\\\sigma_x f$'
>>> QUANTITIES["frequency"].label("degree")
'Spatial frequency $f$ (cycles/°)'
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

KAPPA = math.sqrt(math.log(2) / 2) / math.pi
"""Half the full width, in cycles, of a Gaussian envelope's spectrum at half amplitude: √(ln 2 / 2) / π."""

LESS_THAN_ONE_CYCLE = "less than one visible cycle"
"""What is said of nx ≤ κ; which band a filter passes comes from its spectrum, never from this line."""

FEW_CYCLES = 0.1
"""Below this nx the phase of a Gabor cannot be told from its position (Ringach 2002)."""

POLARITY_SHARE = 0.1
"""Below this luminance share the sign of a color kernel's spatial profile is arbitrary."""

REC601 = (0.299, 0.587, 0.114)
"""Luminance weights of R, G and B (ITU-R BT.601)."""

kinds: Mapping[str, str] = MappingProxyType(
    {
        "measured": "maps recorded from neurons",
        "learned": "kernels of a trained network",
        "parametric": "maps rendered from published or shipped parameters, not the original arrays",
        "simulated": "maps drawn by a simulation from assumed parameters",
        "untrained": "kernels of a network as initialized, before any training",
        "analytic": "maps written down as a formula",
        "in-silico": "maps estimated from a model's responses to stimuli, as a recording's would be",
        "model-derived": "maps or stimuli optimized through a model of the recorded cells, not recorded themselves",
        "not stated": "nobody said what these maps come from",
    }
)
"""What a bank is, in words; every table, figure and page shows it."""

GLOSSARY: Mapping[str, str] = MappingProxyType(
    {
        "unit": "One cell, one kernel or one map of any other population: a row of every table.",
        "field": "The receptive field of a cell, as a map over visual space.",
        "kernel": "One filter of a network's first layer.",
        "bank": "A population of maps on one grid, with kind and provenance: the Dataset that all starts from.",
        "kind": "What a population is: measured, learned, parametric, … It stands in every table, figure and page.",
        "signed map": "One map a unit: ON minus OFF, or a color kernel along the color that explains most of it.",
        "nx, ny": "Width and height of a fitted Gabor's envelope in cycles of its carrier: σx·f and σy·f.",
        "visible cycle": "A Gabor shows one from nx = κ = 0.187 on. Below, its envelope is too narrow for its carrier, "
        "and it has no octave bandwidth. Nothing is said by this about the band.",
        "band": "What a filter passes, read off its spectrum: low-pass, band-pass, high-pass or all-pass.",
        "edge, bar": "Maps of two and of three lobes across one direction, like a Gaussian's first and second "
        "derivative.",
        "lobe": "A region of one sign that both the map and its model show at a visible height.",
        "null": "Maps that share some statistics of the data, named with it, but not its structure: what chance gives.",
        "ceiling": "How alike two measurements of the same kind are, so that no network can be expected to be nearer.",
        "ladder": "What is held against one recording, seen through it and in order of distance: another animal, the "
        "network, its zero, and references of every kind.",
        "likeness": "Where a network stands between the ladder's zero (0) and another animal (1).",
        "subject": "The animal a cell was recorded from; a network is one subject. Cells nest in subjects.",
        "stimulus confounded": "Said where recordings differ in stimulus class: a difference may be the stimulus's.",
        "fixed by construction": "A quantity that rendering a bank from parameters decides: it is not computed.",
        "censored": "A quantity that follows from a parameter on its bound: a limit, not a value.",
        "status": "What a fit is worth: converged, on a bound, several minima, and so on; no unit is dropped for it.",
        "layout": "A few lines of TOML that say what a file of maps does not: order, scale, kind.",
    }
)
"""Terms that tables, figures, pages and the documentation use, each for one idea."""

NOT_STATED = "not stated"
"""The kind of maps of which neither their file nor who opened them said what they are."""


def kind_words(kind: str) -> str:
    """A kind as sentences, labels and captions name it.

    Examples
    --------
    >>> kind_words("measured"), kind_words("not stated")
    ('measured', 'kind not stated')
    """
    return f"kind {kind}" if kind == NOT_STATED else kind


Scaling = Literal["none", "length", "frequency", "angle", "map"]

_UNIT_TEXT: Mapping[str, Mapping[Scaling, str]] = {
    "degree": {"none": "", "length": "°", "frequency": "cycles/°", "angle": "deg", "map": "a.u."},
    "px": {"none": "", "length": "px", "frequency": "cycles/px", "angle": "deg", "map": "a.u."},
}


@dataclass(frozen=True)
class Quantity:
    """One number per unit: how it is named, drawn, compared and defined.

    Attributes
    ----------
    name : str
        The variable's name in fits and descriptors.
    title : str
        Full words for a figure or a table.
    symbol : str
        Matplotlib math text, or "".
    scaling : {"none", "length", "frequency", "angle", "map"}
        What its units are made of; only "none" and "angle" are free of the bank's scale.
    definition : str
        How it is computed.
    reference : str
        Where the definition comes from, or "".
    period : float or None
        Period in degrees of a circular quantity.
    log : bool
        Whether it is drawn and averaged on a logarithmic axis.
    source : {"fit", "map", "color", "grating"}
        What it is computed from: a fitted Gabor, the map itself, the color direction, or responses to gratings alone.
    space : {"model_free", "gabor_form", ""}
        The joint space that counts it.
    spread : float
        What counts as one unit of distance along it in the model-free space (of log2 where `log`). It is written down
        and not taken from the populations: a scale estimated from the cells would move with their noise and number.
    fixed_by_rendering : bool
        Whether rendering a bank from a table of Gabor parameters fixes it, so that it says nothing there.
    follows : mapping of str to {-1, 0, 1}
        The searched parameters that it is computed from, and whether it rises (1) or falls (−1) with them; 0 where it
        does neither. A parameter on its bound censors it.
    """

    name: str
    title: str
    symbol: str = ""
    scaling: Scaling = "none"
    definition: str = ""
    reference: str = ""
    period: float | None = None
    log: bool = False
    source: Literal["fit", "map", "color", "grating"] = "fit"
    space: Literal["model_free", "gabor_form", ""] = ""
    spread: float = math.nan
    fixed_by_rendering: bool = False
    follows: Mapping[str, int] = field(default_factory=dict)

    @property
    def dimensionless(self) -> bool:
        """Whether the quantity means the same on every grid."""
        return self.scaling in ("none", "angle")

    def units(self, units: str) -> str:
        """Its units on a Dataset whose ``attrs["units"]`` is `units` ("px" or "degree")."""
        return _UNIT_TEXT[units][self.scaling]

    def label(self, units: str) -> str:
        """An axis label with symbol and units.

        Examples
        --------
        >>> QUANTITIES["sigma_x"].label("px")
        'Envelope SD along the carrier $\\\\sigma_x$ (px)'
        """
        text = (
            f"{self.title} {self.symbol}".strip()
            if not self.symbol.startswith("$n_")
            else f"{self.title}, {self.symbol}"
        )
        unit = self.units(units)
        return f"{text} ({unit})" if unit else text


def _by_name(*quantities: Quantity) -> Mapping[str, Quantity]:
    return MappingProxyType({quantity.name: quantity for quantity in quantities})


_RINGACH = "Ringach 2002, doi:10.1152/jn.2002.88.1.455"

_PHASE_FOLLOWS = {"x0": 0, "y0": 0, "frequency": 0}
"""Phase trades off with the center and the carrier, in either direction."""

QUANTITIES: Mapping[str, Quantity] = _by_name(
    # Of the fitted Gabor, dimensionless
    Quantity(
        "nx",
        "Carrier cycles in the envelope SD",
        r"$n_x = \sigma_x f$",
        definition="σx·f",
        reference=_RINGACH,
        log=True,
        space="gabor_form",
        follows={"sigma_x": 1, "frequency": 1},
    ),
    Quantity(
        "ny",
        "Stripe length in carrier cycles",
        r"$n_y = \sigma_y f$",
        definition="σy·f",
        reference=_RINGACH,
        log=True,
        space="gabor_form",
        follows={"sigma_y": 1, "frequency": 1},
    ),
    Quantity(
        "aspect",
        "Aspect ratio",
        r"$n_y/n_x$",
        definition="ny/nx = σy/σx",
        log=True,
        follows={"sigma_x": -1, "sigma_y": 1},
    ),
    Quantity(
        "bandwidth_octaves",
        "Octave bandwidth at half amplitude",
        definition="log2((nx+κ)/(nx−κ)); NaN for nx ≤ κ",
        follows={"sigma_x": -1, "frequency": -1},
    ),
    Quantity(
        "cutoff_ratio",
        "Low over high cutoff, percent",
        definition="100·(nx−κ)/(nx+κ), the frequencies of half the peak; 0 for nx ≤ κ",
        reference="Schiller, Finlay & Volman 1976, doi:10.1152/jn.1976.39.6.1334",
        follows={"sigma_x": 1, "frequency": 1},
    ),
    Quantity(
        "suppression_index",
        "Surround suppression",
        definition="1 − response to the largest grating over that to the best size",
        reference="Cavanaugh, Bair & Movshon 2002, doi:10.1152/jn.00692.2001",
        source="grating",
    ),
    Quantity(
        "summation_field_deg",
        "Grating summation field",
        scaling="length",
        definition="diameter of the grating with the largest response, in degrees",
        reference="Cavanaugh, Bair & Movshon 2002, doi:10.1152/jn.00692.2001",
        log=True,
        source="grating",
    ),
    Quantity(
        "orientation_half_width",
        "Orientation half-width",
        scaling="angle",
        definition="atan(κ/ny)",
        follows={"sigma_y": -1, "frequency": -1},
    ),
    Quantity(
        "orientation",
        "Orientation of the stripes",
        r"$\theta$",
        "angle",
        definition="direction of the stripes",
        period=180.0,
    ),
    Quantity(
        "polarity_phase",
        "Phase with polarity",
        r"$\varphi$",
        "angle",
        definition="arccos(cos phase): 0 ON-center even, 90 odd, 180 OFF-center even; NaN for nx < 0.1",
        space="gabor_form",
        follows=_PHASE_FOLLOWS,
    ),
    Quantity(
        "folded_phase",
        "Phase without polarity",
        "",
        "angle",
        definition="min(p, 180 − p) of the polarity phase; NaN for nx < 0.1",
        follows=_PHASE_FOLLOWS,
    ),
    Quantity(
        "r2",
        "Share explained by the fit",
        "$r^2$",
        definition="1 − SSE / sum of squares about the map's mean",
        fixed_by_rendering=True,
    ),
    # Of the map itself, defined for every unit
    Quantity(
        "centroid_cycles",
        "Spectral centroid × field radius",
        "",
        definition="power-weighted mean radial frequency times the RMS radius of the map's energy",
        log=True,
        source="map",
        space="model_free",
        spread=0.5,
    ),
    Quantity(
        "spectral_bandwidth",
        "Relative spectral bandwidth",
        "",
        definition="power-weighted SD of radial frequency over its mean",
        source="map",
        space="model_free",
    ),
    Quantity(
        "spectral_anisotropy",
        "Spectral anisotropy",
        "",
        definition="(λ1 − λ2)/(λ1 + λ2) of the power-weighted second-moment (structure) tensor of the frequency plane",
        source="map",
        space="model_free",
        spread=1 / 3,
    ),
    Quantity(
        "fourfold_anisotropy",
        "Fourfold spectral anisotropy",
        definition="|Σ P f² exp(4iθ)| / Σ P f² over the frequency plane: plaids of two orthogonal gratings have it too",
        source="map",
        spread=0.125,
    ),
    Quantity(
        "even_symmetry",
        "Even-symmetry index",
        "",
        definition="(even − odd)/(even + odd) energy about the energy centroid",
        source="map",
        space="model_free",
        spread=0.75,
    ),
    Quantity(
        "on_off_balance",
        "Signed ON/OFF balance",
        "",
        definition="Σ rf / Σ |rf|: +1 all ON, −1 all OFF",
        source="map",
        space="model_free",
        spread=0.5,
    ),
    Quantity(
        "low_pass_share",
        "Low-pass share",
        "",
        definition="share of spectral power below 0.2 cycles per field radius",
        source="map",
        space="model_free",
        spread=0.5,
    ),
    Quantity(
        "localization",
        "Localization",
        definition="share of the map's energy within two field radii of its centroid",
        source="map",
        spread=0.1,
    ),
    # With a scale
    Quantity(
        "frequency",
        "Spatial frequency",
        "$f$",
        "frequency",
        definition="carrier frequency of the Gabor",
        log=True,
        follows={"frequency": 1},
    ),
    Quantity(
        "peak_frequency",
        "Peak of the spectrum",
        "",
        "frequency",
        definition="radial frequency of the largest power: what a grating measures",
        log=True,
        source="map",
    ),
    Quantity(
        "sigma_x",
        "Envelope SD along the carrier",
        r"$\sigma_x$",
        "length",
        definition="SD along the carrier",
        log=True,
        follows={"sigma_x": 1},
    ),
    Quantity(
        "sigma_y",
        "Envelope SD along the stripes",
        r"$\sigma_y$",
        "length",
        definition="SD along the stripes",
        log=True,
        follows={"sigma_y": 1},
    ),
    Quantity(
        "field_radius",
        "Field radius",
        "",
        "length",
        definition="RMS distance of the map's energy from its centroid",
        log=True,
        source="map",
        spread=0.5,
    ),
    Quantity(
        "x0",
        "Center, horizontal",
        "$x_0$",
        "length",
        definition="horizontal position of the envelope's center",
        follows={"x0": 1},
    ),
    Quantity(
        "y0",
        "Center, vertical",
        "$y_0$",
        "length",
        definition="vertical position of the envelope's center",
        follows={"y0": 1},
    ),
    # Of the color direction
    Quantity(
        "rank_one_share",
        "Share of one color direction",
        "",
        definition="first singular value squared over the sum of squares",
        source="color",
        fixed_by_rendering=True,
    ),
    Quantity(
        "luminance_share",
        "Luminance share",
        "",
        definition="squared cosine of the color direction with Rec. 601 luminance",
        reference="ITU-R BT.601",
        source="color",
    ),
)
"""Every descriptor by name, dimensionless first."""

MODEL_FREE: tuple[str, ...] = tuple(name for name, quantity in QUANTITIES.items() if quantity.space == "model_free")
"""The joint space that every unit has, blobs and noise included."""

LIKENESS_AXES: tuple[str, ...] = tuple(name for name, quantity in QUANTITIES.items() if not math.isnan(quantity.spread))
"""The space of the likeness: the dimensionless descriptors of a map that have a spread, and the field radius, which the
unknown scale of a kernel's pixel leaves free but for its spread over units."""

GABOR_FORM: tuple[str, ...] = tuple(name for name, quantity in QUANTITIES.items() if quantity.space == "gabor_form")
"""The joint space of identifiable Gabors: nx, ny (both as log2) and polarity phase."""


@dataclass(frozen=True)
class Schema:
    """What one of the four Datasets must hold.

    Attributes
    ----------
    name : str
        Value of ``attrs["schema"]``, with its version.
    dims : tuple of str
        Dimensions that must be present.
    variables : mapping of str to tuple of tuples
        Required variables and the dims each may have.
    optional : mapping of str to tuple of tuples
        Variables whose dims are checked when present.
    coords : tuple of str
        Coordinates that must be present.
    attrs : tuple of str
        Attributes that must be present.
    """

    name: str
    dims: tuple[str, ...]
    variables: Mapping[str, tuple[tuple[str, ...], ...]]
    optional: Mapping[str, tuple[tuple[str, ...], ...]]
    coords: tuple[str, ...]
    attrs: tuple[str, ...]


_MAP = (("unit", "channel", "y", "x"), ("unit", "channel", "lag", "y", "x"))
_UNIT_COORDS = ("unit", "subject", "source")
_RESULT_NUMBERS = ("effect", "ci_low", "ci_high", "p", "p_adjusted", "null", "ceiling")
_MATCH_NUMBERS = ("similarity", "sign", "rotation", "scale", "shift_x", "shift_y", "assigned")
_RESULT_COUNTS = ("n_units_a", "n_units_b", "n_subjects_a", "n_subjects_b")

SCHEMAS: Mapping[str, Schema] = MappingProxyType(
    {
        "bank": Schema(
            "rfcompare-bank/1",
            ("unit", "channel", "y", "x"),
            {"rf": _MAP},
            {
                "noise_sd": (("unit",),),
                "noise_acf": (("unit", "channel", "lag_y", "lag_x"),),
                "rf_half": tuple(("half", *dims) for dims in _MAP),
                "discarded": (("unit",),),
                "overlap": (("unit",),),
                "color_direction": (("unit", "color"),),
                "rank_one_share": (("unit",),),
                "luminance_share": (("unit",),),
                "polarity_known": (("unit",),),
                "dead": (("unit",),),
                "cortex_x": (("unit",),),
                "cortex_y": (("unit",),),
                "field_of_view": (("unit",),),
            },
            (*_UNIT_COORDS, "channel", "y", "x"),
            ("schema", "kind", "units"),
        ),
        "fits": Schema(
            "rfcompare-fits/1",
            ("unit", "channel"),
            {"r2": (("unit",), ("unit", "channel")), "status": (("unit",), ("unit", "channel"))},
            {
                "rf": (_MAP[0],),
                "rf_fit": (_MAP[0],),
                "n_agree": (("unit",), ("unit", "channel")),
                "at_bound": (("unit", "parameter"),),
                "bound": (("parameter", "side"),),
                "bound_reason": (("parameter", "side"),),
            },
            _UNIT_COORDS,
            ("schema", "kind", "units", "model"),
        ),
        "descriptors": Schema(
            "rfcompare-descriptors/1",
            ("unit",),
            {},
            {**dict.fromkeys(QUANTITIES, (("unit",),)), "censored": (("unit", "quantity"),)},
            _UNIT_COORDS,
            ("schema", "kind", "units"),
        ),
        "results": Schema(
            "rfcompare-results/1",
            ("quantity",),
            dict.fromkeys((*_RESULT_NUMBERS, *_RESULT_COUNTS, "kind_a", "kind_b"), (("quantity",),)),
            {},
            ("quantity",),
            ("schema",),
        ),
        "match": Schema(
            "rfcompare-match/1",
            ("unit_a", "unit_b"),
            dict.fromkeys(_MATCH_NUMBERS, (("unit_a", "unit_b"),)),
            dict.fromkeys(("chance", "ceiling", "ceiling_low", "ceiling_high"), (("unit_b",),)),
            ("unit_a", "unit_b"),
            ("schema", "units", "kind_a", "kind_b"),
        ),
    }
)
"""The schemas, checked at every door by `rfcompare.bank.check`."""
