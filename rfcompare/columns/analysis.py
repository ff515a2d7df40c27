"""`analyze_columns`: all about ON, OFF and cortical position that a bank allows, and a sentence for what it lacks."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from rfcompare.bank import Array, check, make_rng, to_signed, without_lags
from rfcompare.columns.aggregates import aggregate, flank_test, growing_averages, growth_table, profiles
from rfcompare.columns.cortical_maps import (
    axial_angle,
    axial_difference,
    orientation_agreement,
    orientation_maps,
    phase_maps,
    preferences,
)
from rfcompare.columns.sentences import (
    agreement_sentence,
    column_sentences,
    phase_sentence,
    subfield_sentence,
    topology_sentences,
)
from rfcompare.columns.subfields import subfields
from rfcompare.columns.topology import (
    MIN_CELLS,
    Patch,
    as_published,
    patches,
    split_fields,
    topology_tests,
    visuotopy,
)
from rfcompare.errors import InputError, named_strictly
from rfcompare.fitting import fit, fit_models, fits_of, predict

_MODELS = ("constant", "gaussian", "dog", "derivative1", "derivative2", "gabor")
"""What a column's average may be: nothing, a blob, center and surround, an edge, a center with flanks, a wavelet."""

_DEMONSTRATION = "Demonstration on simulated maps: depends on assumed parameters, no finding about an animal. "


@named_strictly
def analyze_columns(
    bank: xr.Dataset,
    *,
    radius: float = 125.0,
    smoothing: float = 60.0,
    alpha: float = 0.01,
    n_permutations: int = 999,
    n_seeds: int = 4,
    seed: int | np.random.Generator | None = None,
) -> xr.DataTree:
    """Analyze ON and OFF subfields, their topology over cortex, and the average fields of cortical columns.

    The analysis of Lee, Huang & Fitzpatrick 2016 (doi:10.1038/nature17941) on any bank of ON and OFF maps with cortical
    positions. Inference permutes cells within each field of view and averages over animals.

    Parameters
    ----------
    bank : xarray.Dataset
        A bank, best with channels on, off and ``cortex_x``, ``cortex_y`` (µm), ``field_of_view`` and ``subject``; what
        it lacks is left out, and ``attrs["missing"]`` says what and why. Optional ``preferred_orientation(unit)``
        (degrees, as measured with gratings) and ``preferred_frequency(unit)`` (cycles per unit of x).
    radius : float
        Radius of a column in cortex, µm; also the distance up to which cells are neighbors.
    smoothing : float
        SD of the Gaussian that smooths the orientation map, µm.
    alpha : float
        Probability of a false subfield per map, and of a false center or flank per profile.
    n_permutations : int
        Permutations of every test.
    n_seeds : int
        Places per field of view at which averages of growing numbers of cells are followed.
    seed : int, numpy.random.Generator or None
        Source of randomness; None draws a seed and records it.

    Returns
    -------
    xarray.DataTree
        ``subfields`` always; with positions also ``topology``, ``as_published``, ``visuotopy``, ``scatter_ratio``,
        ``columns`` (aggregate maps, profiles and structure at every position; fitted Gabor ``rf_fit`` and chosen
        model of those that share no cell), ``growth``, ``orientation`` and ``phase``. Attributes: ``kind``,
        ``units``, ``missing`` and ``conclusion`` (JSON lists of sentences), ``seed``, and the options.

    Raises
    ------
    InputError
        If the bank has lags or an option makes no sense.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> bank, _ = rfc.simulate_treeshrew(n_cells=4, seed=0)
    >>> bare = bank.drop_vars(["cortex_x", "cortex_y"])
    >>> tree = analyze_columns(bare, seed=0)
    >>> sorted(tree.children)
    ['subfields']
    >>> print(json.loads(tree.attrs["missing"])[0])
    no cortical positions (cortex_x, cortex_y): topology, columns and cortical maps need them and were left out
    """
    check(bank)
    without_lags(bank)
    if not (radius > 0 and smoothing > 0):
        raise InputError(f"expected radius and smoothing above 0 µm, got {radius} and {smoothing}; change them")
    if n_permutations < 19 or n_seeds < 1:
        raise InputError(
            f"expected at least 19 permutations and 1 place, got {n_permutations} and {n_seeds}; raise them"
        )
    rng, recorded = make_rng(seed)
    found = subfields(bank, alpha=alpha)
    parts: dict[str, xr.Dataset] = {"subfields": found}
    missing = _missing(bank, found)
    head = _DEMONSTRATION if bank.attrs["kind"] == "simulated" else ""
    conclusion = [head + subfield_sentence(found)]
    if _has_positions(bank):
        signed = to_signed(bank)
        fields = patches(signed)
        if fields:
            how = _How(radius, smoothing, alpha, n_permutations, n_seeds)
            more, sentences, lacks = _with_positions(bank, signed, found, fields, how, rng)
            parts |= more
            conclusion += sentences
            missing += lacks
        else:
            missing.append(f"no field of view with {MIN_CELLS} cells of known position: topology and columns left out")
    tree = xr.DataTree.from_dict(parts)
    tree.attrs = {
        "kind": str(bank.attrs["kind"]),
        "units": str(bank.attrs["units"]),
        "citation": str(bank.attrs.get("citation", "")),
        "stimulus": str(bank.attrs.get("stimulus", "")),
        "missing": json.dumps(missing, ensure_ascii=False),
        "conclusion": json.dumps(conclusion, ensure_ascii=False),
        "radius": float(radius),
        "smoothing": float(smoothing),
        "alpha": float(alpha),
        "n_permutations": int(n_permutations),
        "n_units": bank.sizes["unit"],
        "n_animals": len(set(bank.subject.values.astype(str).tolist())),
        "seed": recorded,
    }
    return tree


def _has_positions(bank: xr.Dataset) -> bool:
    return all(name in bank.variables and np.isfinite(bank[name].values).any() for name in ("cortex_x", "cortex_y"))


def _missing(bank: xr.Dataset, found: xr.Dataset) -> list[str]:
    missing = []
    if not _has_positions(bank):
        missing.append(
            "no cortical positions (cortex_x, cortex_y): topology, columns and cortical maps need them and were left "
            "out"
        )
    elif "field_of_view" not in bank.variables:
        missing.append("no field_of_view: cells of one subject are taken as one field of view")
    channel = tuple(str(name) for name in bank.channel.values)
    if channel != ("on", "off"):
        missing.append(
            f"no separate ON and OFF maps (channels {', '.join(channel)}): the positive and negative parts of the "
            "signed map stand for them, so that overlap is not defined and a subfield under the other sign is not seen"
        )
    signed = to_signed(bank)
    if "polarity_known" in signed.variables and not bool(signed.polarity_known.all()):
        n = int((~signed.polarity_known.astype(bool)).sum())
        missing.append(f"polarity unknown for {n} of {bank.sizes['unit']} units: their ON and OFF may be exchanged")
    if set(bank.subject.values.astype(str).tolist()) <= {"unknown", ""}:
        missing.append(
            "animals unknown (subject): all cells count as one animal, so that no interval over animals exists"
        )
    if not np.isfinite(found.attrs["element"]):
        missing.append("no element_deg in the stimulus: subfields are not held against the stimulus's resolution")
    if "preferred_orientation" not in bank.variables:
        missing.append(
            "no preferred_orientation measured apart: orientation is read from the fields, and the axis of ON and OFF "
            "is held against the orientation of the other cells nearby"
        )
    return missing


def _leave_one_out(theta: Array, fields: list[Patch], smoothing: float) -> Array:
    """Orientation of the cells around every cell, itself left out: independent of its own map's noise."""
    out = np.full(theta.size, np.nan)
    for field in fields:
        kernel = np.exp(-0.5 * (cdist(field.cortex, field.cortex) / smoothing) ** 2)
        np.fill_diagonal(kernel, 0.0)
        vector = kernel @ np.exp(2j * np.deg2rad(theta[field.rows]))
        out[field.rows] = axial_angle(vector)
    return out


class _How(NamedTuple):
    """The options of an analysis, as `analyze_columns` explains them."""

    radius: float
    smoothing: float
    alpha: float
    n_permutations: int
    n_seeds: int


def _with_positions(
    bank: xr.Dataset, signed: xr.Dataset, found: xr.Dataset, fields: list[Patch], how: _How, rng: np.random.Generator
) -> tuple[dict[str, xr.Dataset], list[str], list[str]]:
    """What only a bank with cortical positions tells: the parts, their sentences, and what is missing."""
    # A stream for every part: what one draws changes nothing in another.
    distances, fits, maps, own, phases, flanks, averages_rng = rng.spawn(7)
    parts: dict[str, xr.Dataset] = {}
    sentences: list[str] = []
    missing: list[str] = []
    n = how.n_permutations
    preferred = preferences(bank, signed)
    theta = np.asarray(preferred.orientation.values, dtype=np.float64)
    frequency = np.asarray(preferred.frequency.values, dtype=np.float64)
    apart = "preferred_orientation" in bank.variables
    reference = theta if apart else _leave_one_out(theta, fields, how.smoothing)
    found["preferred_orientation"] = ("unit", theta)
    found["field_orientation"] = preferred.field_orientation
    found["axis_to_orientation"] = ("unit", np.abs(axial_difference(found.axis.values, reference)))
    found.attrs["axis_reference"] = "orientation " + (
        str(preferred.attrs["source"]) if apart else "of the other cells nearby"
    )
    chosen = split_fields(found)
    if chosen:
        parts["topology"] = topology_tests(chosen, radius=how.radius, n_permutations=n, rng=distances)
        parts["as_published"] = as_published(chosen)
        parts["visuotopy"], parts["scatter_ratio"] = visuotopy(chosen, n_permutations=n, rng=fits)
        sentences += topology_sentences(parts["topology"], parts["scatter_ratio"])
    else:
        missing.append(f"no field of view with {MIN_CELLS} cells that have both subfields: topology left out")
    parts["orientation"] = orientation_maps(preferred, fields, smoothing=how.smoothing, n_permutations=n, rng=maps)
    if apart:
        of_fields = np.asarray(preferred.field_orientation.values)
        related = orientation_agreement(of_fields, theta, fields, n_permutations=n, rng=own)
        parts["orientation"].attrs |= {f"field_{name}": value for name, value in related.items()}
        parts["orientation"].attrs["field_hypothesis"] = "the field's own orientation is unrelated to the preferred one"
        sentences.append(agreement_sentence(related))
    parts["phase"] = phase_maps(signed, preferred, fields, radius=how.radius, n_permutations=n, rng=phases)
    if "p" in parts["phase"].attrs:
        sentences.append(phase_sentence(parts["phase"].attrs))
    axis_test = flank_test(
        signed,
        fields,
        orientation=reference,
        frequency=frequency,
        off_center=np.stack([found.off_x.values, found.off_y.values], axis=1),
        n_permutations=n,
        rng=flanks,
    )
    columns = _columns(signed, found, fields, theta, frequency, how)
    columns.attrs |= {f"flank_{name}": value for name, value in axis_test.items()}
    parts["columns"] = columns
    averages = growing_averages(
        signed,
        fields,
        orientation=theta,
        centers=np.stack([found.field_x.values, found.field_y.values], axis=1),
        n_seeds=how.n_seeds,
        rng=averages_rng,
    )
    r2 = np.asarray(fit(averages, "gabor", seed=0, progress=False).r2.values, dtype=np.float64).reshape(-1)
    parts["growth"] = growth_table(averages, r2)
    sentences += column_sentences(columns, parts["growth"])
    return parts, sentences, missing


def _columns(
    signed: xr.Dataset,
    found: xr.Dataset,
    fields: list[Patch],
    theta: Array,
    frequency: Array,
    how: _How,
) -> xr.Dataset:
    """Aggregates with profiles, structure, fitted Gabor and the chosen model."""
    columns, members = aggregate(signed, fields, radius=how.radius)
    vector = np.array([np.exp(2j * np.deg2rad(theta[row])).mean() for row in members])
    orientation = axial_angle(vector)
    cycles = np.array([np.median(frequency[row]) for row in members])
    origin = np.zeros((len(members), 2))
    for column, row in enumerate(members):
        for axis, name in enumerate("xy"):
            off, whole = found[f"off_{name}"].values[row], found[f"field_{name}"].values[row]
            usable = off if np.isfinite(off).any() else whole
            origin[column, axis] = np.nanmean(usable) if np.isfinite(usable).any() else 0.0
    across = profiles(columns, orientation=orientation, frequency=cycles, origin=origin, alpha=how.alpha)
    # Overlapping averages repeat each other: only those that share no cell are fitted (the first where none is apart).
    rows = np.flatnonzero(columns.disjoint.values)
    rows = rows if rows.size else np.array([0])
    bank = columns.drop_vars(["n_cells", "disjoint"]).isel(unit=rows)
    # Likelihoods need to know how many pixels are independent; without that r² decides, as on maps without noise.
    known = "noise_acf" in bank.variables or "rf_half" in bank.variables
    if "noise_acf" in bank.variables:
        bank = bank.drop_vars("rf_half", errors="ignore")  # halves would only be fitted once more
    table = fit_models(bank, _MODELS, criterion="auto" if known else "r2", seed=0, progress=False)
    gabor = fits_of(table, "gabor")
    result = columns.assign({name: across[name] for name in across.data_vars}).assign_coords(cycle=across.cycle)
    result["orientation"] = ("unit", orientation)
    result["coherence"] = ("unit", np.abs(vector))
    result["frequency"] = ("unit", cycles)
    result["origin_x"], result["origin_y"] = ("unit", origin[:, 0]), ("unit", origin[:, 1])

    def spread(values: NDArray[Any], missing: Any) -> NDArray[Any]:
        full = np.full((columns.sizes["unit"], *values.shape[1:]), missing, dtype=values.dtype)
        full[rows] = values
        return full

    result["rf_fit"] = (("unit", "y", "x"), spread(predict(gabor, bank).values[:, 0], np.nan))
    result["r2"] = ("unit", spread(np.asarray(gabor.r2.values, dtype=np.float64).reshape(-1), np.nan))
    result["fit_status"] = ("unit", spread(gabor.status.values.reshape(-1).astype(object), ""))
    result["model"] = ("unit", spread(table.selected.values.astype(object), ""))
    result["decided"] = ("unit", spread(table.decided.values, False))
    result = result.assign_coords(candidate=("candidate", table.model.values))
    result["candidate_r2"] = (("unit", "candidate"), spread(table.r2.values, np.nan))
    result.attrs |= {f"profile_{name}": value for name, value in across.attrs.items()}
    result.attrs["criterion"] = str(table.attrs["criterion"])
    return result
