"""Profile: which simple form a map has, from the fitter's model selection, and how straight its stripes are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfcompare.bank import is_recorded, make_bank, pitch, signed_maps
from rfcompare.errors import InputError
from rfcompare.fitting import fit, fit_models, fits_of, predict
from rfcompare.models import MODELS
from rfcompare.taxonomy.lobes import FINER, cut_off, lobes_seen, zero_line
from rfcompare.taxonomy.spectrum import name_direction
from rfcompare.taxonomy.thresholds import value

_FORMS = (
    "constant", "gaussian_isotropic", "gaussian", "dog", "derivative1", "derivative2", "derivative3", "derivative4",
    "gabor", "gabor_curved",
)  # fmt: skip
"""Models that name a form."""

_NOISE_FORMS = ("gabor", "gaussian", "gaussian_isotropic")
"""Noise is fitted with the first of these that the pixels allow, which follows it most closely: its r² is the test."""

NOISE_MAPS = 99
"""White-noise maps per map size: p no smaller than 0.01."""

_SURROGATES = 39
"""Maps of the same power spectrum per doubtful unit: p no smaller than 0.025."""

_LEVELS = ("visible", "flank", "half_lobe", "faint")
"""Thresholds of what counts as a lobe."""

_TRACED_AT_ONCE = 500
"""Units whose curved stripes are drawn finely at a time."""

_BLOBS = ("gaussian_isotropic", "gaussian", "dog")
_BLOB_WORDS = ("blob", "center–surround")
STRIPED = ("first derivative", "second derivative", "higher derivative", "Gabor", "curved")


def forms_for(pixels: int) -> tuple[str, ...]:
    """Models with few enough parameters to be told on maps of so many pixels.

    Examples
    --------
    >>> forms_for(9), forms_for(16), "gabor" in forms_for(25)
    (('constant',), ('constant', 'gaussian_isotropic'), True)
    """
    per = value("pixels_per_parameter")
    return tuple(name for name in _FORMS if per * MODELS[name].degrees_of_freedom <= pixels)


def select_forms(
    signed: xr.Dataset, forms: tuple[str, ...] | None = None, *, progress: bool | None = None
) -> xr.Dataset:
    """Model selection by the fitter's own rule; by r² where a recording's noise correlation is unknown.

    Noise that cannot be counted is then allowed for by a wider margin, or a few noisy pixels make a blob a Gabor. Among
    `forms`, by default all that its pixels can tell.
    """
    forms = forms or forms_for(signed.sizes["y"] * signed.sizes["x"])
    try:
        return fit_models(signed, forms, seed=0, progress=progress)
    except InputError as error:
        if "noise correlation unknown" not in str(error):
            raise
        margin = value("noisy_margin")
        return fit_models(signed, forms, criterion="r2", tolerance=margin, seed=0, progress=progress)


def draw_forms(signed: xr.Dataset, table: xr.Dataset, chosen: NDArray[Any]) -> NDArray[np.float64]:
    """The fitted map (unit, y, x) of each unit's chosen model; NaN where none is chosen."""
    drawn = np.full((signed.sizes["unit"], signed.sizes["y"], signed.sizes["x"]), np.nan)
    for name in sorted({str(name) for name in chosen if name}):
        rows = np.flatnonzero(chosen == name)
        some = signed.isel(unit=rows)
        fitted = predict(fits_of(table.isel(unit=rows), name), some)
        drawn[rows] = fitted.isel(channel=0).transpose("unit", "y", "x").values
    return drawn


def _name_form(
    model: str, lobes: NDArray[np.int_], r2: Mapping[str, float], *, direction: str, low_pass: bool = False
) -> str:
    """The word for a model and the lobes that the window shows of it.

    A form cut by the window's edge is called by what is seen: half of a second derivative is an edge, and a blob on
    ground of the opposite sign is an edge where that makes the map prefer a direction, and center–surround where not;
    where that ground does not keep the filter from being low-pass, it stays a blob.

    `lobes` are those of `lobes_seen` for each of `_LEVELS`; `r2` is what each model explains; `low_pass` where zero
    frequency keeps half the peak's gain.

    Examples
    --------
    >>> import numpy as np
    >>> def name(model, across, along, **words):
    ...     return _name_form(model, np.array([[across, along]] * 4), dict.fromkeys(_FORMS, 0.9), **words)
    >>> name("derivative2", 3, 1, direction="anisotropic"), name("derivative2", 2, 1, direction="anisotropic")
    ('second derivative', 'first derivative')
    >>> name("gaussian", 3, 2, direction="isotropic"), name("dog", 1, 1, direction="isotropic")
    ('center–surround', 'center–surround')
    >>> name("gaussian", 1, 1, direction="anisotropic")
    'blob'
    """
    (across, along), flanks, halves = lobes[0], int(lobes[1].max()), int(lobes[2].max())
    most = max(across, along)
    explained = {name for name in r2 if r2[name] >= value("explained")}
    if model == "constant" or most == 0:
        return "flat"
    if model == "dog" and direction != "anisotropic" and not low_pass:
        return "center–surround"  # a surround that cancels the center's volume is fainter than a visible lobe
    if most == 1 or (low_pass and halves == 1):
        return "blob"  # one side that outweighs the other by so much is what is seen
    if model in _BLOBS or (direction == "isotropic" and min(across, along) > 1 and explained & set(_BLOBS)):
        if low_pass:
            return "blob"
        if direction != "anisotropic" or min(across, along) >= 3 or "derivative1" not in explained:
            return "center–surround"
        return ("blob", "first derivative", "second derivative")[min(flanks, 3) - 1]
    orders = [max(r2.get(name, 0.0) for name in _BLOBS), *(r2.get(f"derivative{order}", 0.0) for order in range(1, 5))]
    faint = int(lobes[3].max())
    more, fewer = (orders[min(count, 5) - 1] for count in (faint, flanks))
    if faint > flanks and more > fewer + value("noisy_margin"):
        flanks = faint  # a faint lobe without which much less is explained
    if flanks == 1:
        return "blob"
    if flanks == 2:
        return "first derivative"
    if model in ("gabor", "gabor_curved"):
        return "Gabor" if model == "gabor" else "curved"
    order = min(int(model[-1]), flanks - 1)
    if order == 2 and "derivative2" not in explained and "derivative1" in explained:
        return "first derivative"
    return "second derivative" if order == 2 else "higher derivative"


def _noise_form(pixels: int) -> str:
    """The form that noise is fitted with on maps of so many pixels; "" where there is none.

    Examples
    --------
    >>> _noise_form(121), _noise_form(16), _noise_form(9)
    ('gabor', 'gaussian_isotropic', '')
    """
    allowed = forms_for(pixels)
    return next((name for name in _NOISE_FORMS if name in allowed), "")


def _noise_fits(maps: NDArray[np.float64], form: str) -> NDArray[np.float64]:
    """r² of a form on noise maps (n, y, x)."""
    bank = make_bank(maps[:, None], channel=("signed",), kind="analytic")
    result: NDArray[np.float64] = fit(bank, form, seed=0, progress=False).r2.values
    return result


@lru_cache(maxsize=16)
def _noise_r2(height: int, width: int) -> tuple[float, ...]:
    """Sorted r² of white-noise maps of one size: what chance explains."""
    noise = np.random.default_rng(0).normal(size=(NOISE_MAPS, height, width))
    return tuple(np.sort(_noise_fits(noise, _noise_form(height * width))).tolist())


def _chance(found: NDArray[np.float64], null: Sequence[float]) -> NDArray[np.float64]:
    """p = (1 + #{null ≥ found})/(N + 1); NaN where nothing was found."""
    above = len(null) - np.searchsorted(np.asarray(null), found, side="left")
    result: NDArray[np.float64] = np.where(np.isnan(found), np.nan, (1 + above) / (len(null) + 1))
    return result


def _surrogates(image: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`n` noise maps of a map's own power spectrum: its transform with the phases of white noise.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.eye(5)
    >>> noise = _surrogates(image, 3, np.random.default_rng(0))
    >>> np.allclose(np.abs(np.fft.fft2(noise)), np.abs(np.fft.fft2(image)))
    True
    """
    phases = np.fft.fft2(rng.normal(size=(n, *image.shape)))
    result: NDArray[np.float64] = np.fft.ifft2(np.abs(np.fft.fft2(image)) * phases / np.abs(phases)).real
    return result


def measure_profiles(
    signed: xr.Dataset, table: xr.Dataset, spectra: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[Any]]:
    """Numbers behind profile and straightness.

    Returns
    -------
    dict of str to array (unit,)
        ``form``, ``model`` (the selected one), ``indistinguishable`` (others that cannot be told from the best),
        ``r2``, ``gabor_r2``, ``named`` (the model that the form's word stands for) with ``named_r2``, ``p_noise``
        (against white noise), ``p_spectrum`` (against noise of the same spectrum; only where r² < 0.7),
        ``uniform_share``, ``lobes`` (most on a line across the stripes), ``cut_off`` (the border or corner of the
        window that cuts the map), ``aspect``, ``nx``, ``ny``, ``fit_orientation``, and ``bend`` with ``bend_low`` and
        ``bend_high`` (95 %), the degrees by which the clearest line between two lobes turns where it is seen; and
        ``drawn`` (unit, y, x), the selected model's maps.
    """
    maps = np.nan_to_num(signed_maps(signed.rf))
    kernel = not is_recorded(signed)
    names = [str(name) for name in table.model.values]
    selected = table["selected"].values.astype(str)
    at = np.array([names.index(name) for name in selected], dtype=int)

    def fitted(name: str, model: str | None = None) -> NDArray[np.float64]:
        """A variable of the selected model or of a named one; NaN where it has none."""
        if name not in table or (model is not None and model not in names):
            return np.full(len(maps), np.nan)
        values = table[name].transpose("unit", "model", ...).values.reshape(len(maps), len(names))
        result: NDArray[np.float64] = values[np.arange(len(maps)), at if model is None else names.index(model)].astype(
            float
        )
        return result

    with np.errstate(invalid="ignore"):
        numbers: dict[str, NDArray[Any]] = {
            "model": selected.astype(object),
            "indistinguishable": np.array(
                [
                    " ".join(name for name, close in zip(names, row, strict=True) if close and name != chosen)
                    for chosen, row in zip(selected, table.indistinguishable.values.astype(bool), strict=True)
                ],
                dtype=object,
            ),
            "r2": fitted("r2"),
            "gabor_r2": fitted("r2", "gabor"),
            "uniform_share": np.square(maps.mean((1, 2))) / np.square(maps).mean((1, 2)),
            "aspect": fitted("sigma_y") / fitted("sigma_x"),
            "nx": fitted("nx", "gabor"),
            "ny": fitted("ny", "gabor"),
            "fit_orientation": np.where(
                selected == "gabor_curved", fitted("orientation", "gabor"), fitted("orientation")
            ),
        }
    drawn = draw_forms(signed, table, selected)
    if not kernel:
        drawn = drawn - fitted("offset")[:, None, None]
    numbers["drawn"] = drawn
    direction = np.where(np.isfinite(numbers["fit_orientation"]), numbers["fit_orientation"], spectra["orientation"])
    lobes, striped_lobes = _lobes(drawn, maps if kernel else None, direction)
    r2 = {name: fitted("r2", name) for name in names}
    own = np.full(len(maps), np.nan)
    if kernel and "gabor_curved" in r2:
        edges = lobes[:, _LEVELS.index("flank")].max(1, initial=0) <= 2
        own = np.array([zero_line(image)[0] if edge else np.nan for image, edge in zip(maps, edges, strict=True)])
        own = np.where(edges | (r2["gabor_curved"] >= r2["gabor"] + value("noisy_margin")), own, 0.0)
    numbers |= _bends(signed, table, fitted("curvature_se", "gabor_curved"), own)
    numbers["cut_off"] = np.array([cut_off(image) for image in (maps if kernel else drawn)], dtype=object)
    tested = _noise_form(maps.shape[1] * maps.shape[2])
    numbers |= _against_noise(maps, tested, numbers["r2"], r2.get(tested, np.full(len(maps), np.nan)))
    numbers |= _named(numbers, spectra, lobes, r2, kernel=kernel, tested=bool(tested))
    # An edge's direction is that of the line between its sides; the axis of a form that the window cuts may be another.
    edges = (numbers["form"] == "first derivative") & np.isfinite(numbers["contour"])
    numbers["fit_orientation"] = np.where(edges, numbers["contour"], numbers["fit_orientation"])
    numbers["lobes"] = lobes[:, 0, 0]
    for words, counts in (
        (("first derivative",), 2),
        (("second derivative",), 3),
        (("higher derivative", "Gabor", "curved"), np.maximum(striped_lobes, 3)),
    ):
        numbers["lobes"] = np.where(np.isin(numbers["form"], words), counts, numbers["lobes"])
    return numbers


def _named(
    numbers: dict[str, NDArray[Any]],
    spectra: dict[str, NDArray[np.float64]],
    lobes: NDArray[np.int_],
    r2: dict[str, NDArray[np.float64]],
    *,
    kernel: bool,
    tested: bool,
) -> dict[str, NDArray[Any]]:
    """The word for each unit's form, the model that it stands for, and what that explains."""
    forms, named = [], []
    for u in range(len(lobes)):
        row = {name: column[u] for name, column in numbers.items()}
        explained = {name: float(column[u]) for name, column in r2.items()}
        form = _form(
            row, lobes[u], explained, kernel=kernel, tested=tested,
            direction=name_direction(spectra["anisotropy"][u]),
            low_pass=bool(spectra["dc_gain"][u] >= value("half_gain")),
        )  # fmt: skip
        forms.append(form)
        named.append(_stands_for(form, str(row["model"]), int(lobes[u, 0].max()), explained))
    return {
        "form": np.array(forms, dtype=object),
        "named": np.array(named, dtype=object),
        "named_r2": np.array([r2[name][u] for u, name in enumerate(named)]),
    }


def _lobes(
    drawn: NDArray[np.float64], maps: NDArray[np.float64] | None, direction: NDArray[np.float64]
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Lobes that both model and kernel show (unit, level, 2), and those across that the model alone shows (unit,).

    What the model alone shows is not in the kernel, nor is what single pixels alone show; but stripes are counted on
    the model, since pixels break faint ones. A recording's noise is no part of its field, so that its model stands for
    both.
    """
    sizes = np.array([value(name) for name in _LEVELS])
    largest = np.abs(drawn).max((1, 2), initial=0.0)
    shown = drawn
    if maps is not None:
        largest = np.maximum(largest, np.abs(maps).max((1, 2), initial=0.0))
        shown = np.where(drawn * maps > 0, np.sign(drawn) * np.minimum(np.abs(drawn), np.abs(maps)), 0.0)
    counts = [
        np.array([lobes_seen(*row) for row in zip(images, direction, sizes * largest[:, None], strict=True)])
        for images in (shown, drawn)
    ]
    both, model = (count.reshape(-1, len(_LEVELS), 2) for count in counts)
    return both, model[:, 0, 0]


def _against_noise(
    maps: NDArray[np.float64], tested: str, r2: NDArray[np.float64], found: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """p of every map against white noise, and of doubtful ones against noise of their own spectrum."""
    p = {"p_noise": np.full(len(maps), np.nan), "p_spectrum": np.full(len(maps), np.nan)}
    if not tested:
        return p
    p["p_noise"] = _chance(found, _noise_r2(*maps.shape[1:]))
    doubtful = np.flatnonzero((r2 < value("explained")) & (p["p_noise"] <= value("noise_level")))
    if doubtful.size:
        # A stream for each unit, so that its form does not depend on its neighbors in the bank.
        noise = np.concatenate([_surrogates(maps[u], _SURROGATES, np.random.default_rng(0)) for u in doubtful])
        null = np.sort(_noise_fits(noise, tested).reshape(doubtful.size, _SURROGATES))
        for u, row in zip(doubtful, null, strict=True):
            p["p_spectrum"][u] = _chance(found[u : u + 1], row.tolist())[0]
    return p


def _bends(
    signed: xr.Dataset, table: xr.Dataset, error: NDArray[np.float64], own: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """How far the curved Gabor's clearest zero line turns, with its 95 % interval, and its direction.

    The interval reaches to what the kernel's own zero line does where that turns less, or the other way; between many
    stripes, where that line cannot be followed, to none where curving them explains little more.
    """
    if "gabor_curved" not in table.model.values:
        names = ("bend", "own_bend", "bend_low", "bend_high", "contour")
        return dict.fromkeys(names, np.full(table.sizes["unit"], np.nan))
    bend, length, direction = np.array(list(_traced(signed, table))).reshape(-1, 3).T
    spread = 1.96 * np.degrees(error * length * pitch(signed)[0])
    low, high = bend - spread, bend + spread
    return {
        "bend": bend,
        "own_bend": own,
        "contour": direction,
        "bend_low": np.where(bend > 0, np.fmin(low, own), low),
        "bend_high": np.where(bend < 0, np.fmax(high, own), high),
    }


def _traced(signed: xr.Dataset, table: xr.Dataset) -> Iterator[tuple[float, float, float]]:
    """The clearest zero line of each unit's curved Gabor, drawn finely: at its pixels thin stripes are broken."""
    y, x = (np.linspace(float(axis[0]), float(axis[-1]), (axis.size - 1) * FINER + 1) for axis in (signed.y, signed.x))
    for start in range(0, table.sizes["unit"], _TRACED_AT_ONCE):
        some = signed.isel(unit=slice(start, start + _TRACED_AT_ONCE))
        fine = some.interp(y=y, x=x)
        drawn = predict(fits_of(table.isel(unit=slice(start, start + _TRACED_AT_ONCE)), "gabor_curved"), fine)
        for image in np.nan_to_num(drawn.isel(channel=0).transpose("unit", "y", "x").values):
            yield zero_line(image, FINER)


def _form(
    numbers: dict[str, Any],
    lobes: NDArray[np.int_],
    r2: dict[str, float],
    *,
    kernel: bool,
    tested: bool,
    direction: str,
    low_pass: bool,
) -> str:
    """The word for one unit's profile."""
    if kernel and numbers["uniform_share"] >= value("uniform"):
        return "flat"
    if not tested:
        return "too few pixels"
    if numbers["p_noise"] > value("noise_level"):
        return "unstructured"
    if numbers["r2"] < value("explained"):
        return "irregular" if numbers["p_spectrum"] <= value("noise_level") else "unstructured"
    form = _name_form(str(numbers["model"]), lobes, r2, direction=direction, low_pass=low_pass)
    explained = any(r2.get(name, 0.0) >= value("explained") for name in _BLOBS)
    around = np.fmin(abs(numbers["bend"]), abs(numbers["own_bend"])) >= value("around")
    if form == "first derivative" and explained and around:
        form = "blob" if low_pass else "center–surround"
    course = name_straightness(form, *(float(numbers[name]) for name in ("bend", "bend_low", "bend_high")))
    # A bend that improves the fit but is too small to be seen does not make a Gabor something else.
    form = "Gabor" if form == "curved" and course != "curved" else form
    named = _stands_for(form, str(numbers["model"]), int(lobes[0].max()), r2)
    return form if r2.get(named, 0.0) >= value("explained") else "irregular"


def _stands_for(form: str, model: str, lobes: int, r2: dict[str, float]) -> str:
    """The model that a form's word names, whose r² is quoted beside it.

    Examples
    --------
    >>> _stands_for("first derivative", "gabor", 2, {"gabor": 0.95, "derivative1": 0.9})
    'derivative1'
    >>> _stands_for("irregular", "gabor", 2, {"gabor": 0.65, "derivative1": 0.6})
    'gabor'
    """
    if form in _BLOB_WORDS:
        known = {name: r2[name] for name in (_BLOBS if form != "blob" else _BLOBS[:2]) if name in r2}
        return model if model in known else max(known, key=lambda name: known[name], default=model)
    return {
        "first derivative": "derivative1",
        "second derivative": "derivative2",
        "higher derivative": f"derivative{min(4, max(3, lobes - 1))}",
        "Gabor": "gabor",
        "curved": "gabor_curved",
    }.get(form, model)


def name_straightness(form: str, bend: float, low: float, high: float) -> str:
    """The word for the stripes' course.

    Examples
    --------
    >>> name_straightness("Gabor", 2.0, -3.0, 7.0), name_straightness("curved", 40.0, 30.0, 50.0)
    ('straight', 'curved')
    >>> name_straightness("Gabor", 10.0, -30.0, 50.0), name_straightness("blob", 0.0, 0.0, 0.0)
    ('undecided', 'no stripes')
    """
    if form not in STRIPED:
        return "no stripes"
    if not (np.isfinite(low) and np.isfinite(high)):
        return "undecided"
    limit = value("straight")
    if max(abs(low), abs(high)) <= limit:
        return "straight"
    return "curved" if low > limit or high < -limit else "undecided"
