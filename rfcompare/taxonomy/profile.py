"""Profile: which simple form a map has, from the fitter's model selection, and how straight its stripes are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from rfcompare.bank import is_recorded, make_bank
from rfcompare.errors import InputError
from rfcompare.fitting import engine_by_size, fit, fit_models, fits_of, predict
from rfcompare.models import MODELS
from rfcompare.taxonomy.thresholds import value

FORMS = (
    "constant", "gaussian_isotropic", "gaussian", "dog", "derivative1", "derivative2", "derivative3", "derivative4",
    "gabor", "gabor_curved",
)  # fmt: skip
"""Models that name a form."""

NOISE_FORMS = ("gabor", "gaussian", "gaussian_isotropic")
"""Noise is fitted with the first of these that the pixels allow, which follows it most closely: its r² is the test."""

NOISE_MAPS = 99
"""White-noise maps per map size: p no smaller than 0.01."""

SURROGATES = 39
"""Maps of the same power spectrum per doubtful unit: p no smaller than 0.025."""

BLOBS = ("gaussian_isotropic", "gaussian", "dog")
STRIPED = ("first derivative", "second derivative", "higher derivative", "Gabor", "curved")


def forms_for(pixels: int) -> tuple[str, ...]:
    """Models with few enough parameters to be told on maps of so many pixels.

    Examples
    --------
    >>> forms_for(9), forms_for(16), "gabor" in forms_for(25)
    (('constant',), ('constant', 'gaussian_isotropic'), True)
    """
    per = value("pixels_per_parameter")
    return tuple(name for name in FORMS if per * MODELS[name].degrees_of_freedom <= pixels)


def select_forms(signed: xr.Dataset, *, progress: bool | None = None) -> xr.Dataset:
    """Model selection by the fitter's own rule; by r² where a recording's noise correlation is unknown.

    Noise that cannot be counted is then allowed for by a wider margin, or a few noisy pixels make a blob a Gabor.
    """
    forms, engine = forms_for(signed.sizes["y"] * signed.sizes["x"]), engine_by_size(signed)
    try:
        return fit_models(signed, forms, seed=0, engine=engine, progress=progress)
    except InputError as error:
        if "noise correlation unknown" not in str(error):
            raise
        margin = value("noisy_margin")
        return fit_models(signed, forms, criterion="r2", tolerance=margin, seed=0, engine=engine, progress=progress)


def draw_forms(signed: xr.Dataset, table: xr.Dataset, chosen: NDArray[Any]) -> NDArray[np.float64]:
    """The fitted map (unit, y, x) of each unit's chosen model; NaN where none is chosen."""
    drawn = np.full((signed.sizes["unit"], signed.sizes["y"], signed.sizes["x"]), np.nan)
    for name in sorted({str(name) for name in chosen if name}):
        rows = np.flatnonzero(chosen == name)
        some = signed.isel(unit=rows)
        fitted = predict(fits_of(table.isel(unit=rows), name), some)
        drawn[rows] = fitted.isel(channel=0).transpose("unit", "y", "x").values
    return drawn


def count_lobes(values: NDArray[np.float64], largest: float) -> int:
    """Number of lobes of alternating sign along a line whose peaks reach the visible share of `largest`.

    Examples
    --------
    >>> import numpy as np
    >>> count_lobes(np.cos(np.linspace(-4.0, 4.0, 50)), 1.0), count_lobes(np.array([0.01, 1.0, 0.05]), 1.0)
    (3, 1)
    """
    visible = np.where(np.abs(values) >= value("visible") * largest, np.sign(values), 0)
    signs = visible[visible != 0]
    return int(1 + (np.diff(signs) != 0).sum()) if signs.size else 0


def lobes_seen(drawn: NDArray[np.float64], orientation: float) -> tuple[int, int]:
    """Most lobes on any line across a direction, and on any line along it, of a map (y, x) with y up.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(-5, 6.0)
    >>> lobes_seen(np.exp(-(x[:, None] ** 2) / 8) * np.cos(1.2 * x), 90.0)
    (5, 1)
    """
    largest = float(np.abs(drawn).max())
    height, width = drawn.shape
    reach = np.arange(-max(height, width), max(height, width) + 0.25, 0.5)
    turned = np.radians(orientation + 90)
    across, along = np.meshgrid(reach, reach)
    rows = (height - 1) / 2 + across * np.sin(turned) - along * np.cos(turned)
    columns = (width - 1) / 2 + across * np.cos(turned) + along * np.sin(turned)
    inside = (rows >= -1e-9) & (rows <= height - 1 + 1e-9) & (columns >= -1e-9) & (columns <= width - 1 + 1e-9)
    values = np.where(inside, map_coordinates(drawn, [rows, columns], order=1, mode="nearest"), 0.0)
    return max(count_lobes(line, largest) for line in values), max(count_lobes(line, largest) for line in values.T)


def name_form(model: str, across: int, along: int, *, oriented: bool, low_pass: bool = False) -> str:
    """The word for a model and the lobes that the window shows of it.

    A form cut by the window's edge is called by what is seen: half of a second derivative is an edge, and a blob on
    ground of the opposite sign is an edge where that makes the map prefer a direction, and center–surround where not;
    where that ground does not keep the filter from being low-pass, it stays a blob.

    Examples
    --------
    >>> name_form("derivative2", 3, 1, oriented=True), name_form("derivative2", 2, 1, oriented=True)
    ('second derivative', 'first derivative')
    >>> name_form("gaussian", 3, 2, oriented=False), name_form("dog", 1, 1, oriented=False)
    ('center–surround', 'center–surround')
    >>> name_form("gaussian", 1, 1, oriented=True)
    'blob'
    """
    most = max(across, along)
    if model == "constant" or most == 0:
        return "flat"
    if model == "dog" and not oriented and not low_pass:
        return "center–surround"  # a surround that cancels the center's volume is fainter than a visible lobe
    if most == 1:
        return "blob"
    if model == "gabor_curved":
        return "curved" if most > 2 else "first derivative"
    if model == "gabor":
        return "Gabor"
    if model in BLOBS:
        if low_pass:
            return "blob"
        if not oriented or min(across, along) >= 3:
            return "center–surround"
        return "first derivative" if most == 2 else "second derivative"
    order = min(int(model[-1]), most - 1)
    return ("blob", "first derivative", "second derivative", "higher derivative", "higher derivative")[order]


def noise_form(pixels: int) -> str:
    """The form that noise is fitted with on maps of so many pixels; "" where there is none.

    Examples
    --------
    >>> noise_form(121), noise_form(16), noise_form(9)
    ('gabor', 'gaussian_isotropic', '')
    """
    allowed = forms_for(pixels)
    return next((name for name in NOISE_FORMS if name in allowed), "")


def noise_fits(maps: NDArray[np.float64], form: str) -> NDArray[np.float64]:
    """r² of a form on noise maps (n, y, x)."""
    bank = make_bank(maps[:, None], channel=("signed",), kind="analytic")
    result: NDArray[np.float64] = fit(bank, form, seed=0, engine=engine_by_size(bank), progress=False).r2.values
    return result


@lru_cache(maxsize=16)
def noise_r2(height: int, width: int) -> tuple[float, ...]:
    """Sorted r² of white-noise maps of one size: what chance explains."""
    noise = np.random.default_rng(0).normal(size=(NOISE_MAPS, height, width))
    return tuple(np.sort(noise_fits(noise, noise_form(height * width))).tolist())


def chance(found: NDArray[np.float64], null: Sequence[float]) -> NDArray[np.float64]:
    """p = (1 + #{null ≥ found})/(N + 1); NaN where nothing was found."""
    above = len(null) - np.searchsorted(np.asarray(null), found, side="left")
    result: NDArray[np.float64] = np.where(np.isnan(found), np.nan, (1 + above) / (len(null) + 1))
    return result


def surrogates(image: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`n` noise maps of a map's own power spectrum: its transform with the phases of white noise.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.eye(5)
    >>> noise = surrogates(image, 3, np.random.default_rng(0))
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

    Parameters
    ----------
    signed : xarray.Dataset
        One channel; every unit can be used.
    table : xarray.Dataset
        From `select_forms`.
    spectra : dict of str to array (unit,)
        From `measure_spectra`.

    Returns
    -------
    dict of str to array (unit,)
        ``form``, ``model`` (the selected one), ``indistinguishable`` (others that cannot be told from the best),
        ``r2``, ``gabor_r2``, ``p_noise`` (against white noise), ``p_spectrum`` (against noise of the same
        spectrum; only where r² < 0.7), ``uniform_share``, ``lobes`` (most on a line across the stripes),
        ``peak_sign``, ``aspect``, ``nx``, ``ny``, ``fit_orientation``, and ``bend`` with ``bend_low`` and
        ``bend_high`` (95 %), the degrees by which stripes turn over ± 1 SD of their envelope or over the window
        where that is shorter.
    """
    maps = np.nan_to_num(signed.rf.isel(channel=0).transpose("unit", "y", "x").values.astype(float))
    names = [str(name) for name in table.model.values]
    units = np.arange(len(maps))
    selected = table["selected"].values.astype(str)
    at = np.array([names.index(name) for name in selected], dtype=int)
    tested = noise_form(maps.shape[1] * maps.shape[2])

    def fitted(name: str, model: str | None = None) -> NDArray[np.float64]:
        """A variable of the selected model or of a named one; NaN where it has none."""
        if name not in table or (model is not None and model not in names):
            return np.full(len(maps), np.nan)
        values = table[name].transpose("unit", "model", ...).values.reshape(len(maps), len(names))
        result: NDArray[np.float64] = values[units, at if model is None else names.index(model)].astype(float)
        return result

    with np.errstate(invalid="ignore"):
        half_window = (float(signed.y[-1]) - float(signed.y[0])) / 2
        turned = np.degrees(2 * np.minimum(fitted("sigma_y", "gabor_curved"), half_window))
        bend = fitted("curvature", "gabor_curved") * turned
        spread = 1.96 * fitted("curvature_se", "gabor_curved") * turned
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
        # Where stripes bend, the direction at the center of their arc says little about the whole.
        "fit_orientation": np.where(selected == "gabor_curved", fitted("orientation", "gabor"), fitted("orientation")),
        "bend": bend,
        "bend_low": bend - spread,
        "bend_high": bend + spread,
    }
    drawn = draw_forms(signed, table, selected)
    if is_recorded(signed):
        drawn = drawn - fitted("offset")[:, None, None]
    direction = np.where(np.isfinite(numbers["fit_orientation"]), numbers["fit_orientation"], spectra["orientation"])
    lobes = np.array([lobes_seen(image, angle) for image, angle in zip(drawn, direction, strict=True)]).reshape(-1, 2)
    numbers["lobes"], numbers["lobes_along"] = lobes[:, 0], lobes[:, 1]
    numbers["peak_sign"] = np.array([np.sign(image.flat[np.abs(image).argmax()]) for image in drawn])
    numbers["p_noise"], numbers["p_spectrum"] = np.full(len(maps), np.nan), np.full(len(maps), np.nan)
    if tested:
        found = fitted("r2", tested)
        numbers["p_noise"] = chance(found, noise_r2(*maps.shape[1:]))
        doubtful = np.flatnonzero((numbers["r2"] < value("explained")) & (numbers["p_noise"] <= value("noise_level")))
        if doubtful.size:
            # A stream for each unit, so that its form does not depend on its neighbors in the bank.
            noise = np.concatenate([surrogates(maps[u], SURROGATES, np.random.default_rng(0)) for u in doubtful])
            null = np.sort(noise_fits(noise, tested).reshape(doubtful.size, SURROGATES))
            for u, row in zip(doubtful, null, strict=True):
                numbers["p_spectrum"][u] = chance(found[u : u + 1], row.tolist())[0]
    numbers["form"] = np.array(
        [
            _form(
                {name: column[u] for name, column in numbers.items()},
                kernel=not is_recorded(signed),
                tested=bool(tested),
                oriented=bool(spectra["anisotropy"][u] >= value("anisotropic")),
                low_pass=bool(spectra["dc_gain"][u] >= value("half_gain")),
            )
            for u in units
        ],
        dtype=object,
    )
    return numbers


def _form(numbers: dict[str, Any], *, kernel: bool, tested: bool, oriented: bool, low_pass: bool) -> str:
    """The word for one unit's profile."""
    if kernel and numbers["uniform_share"] >= value("uniform"):
        return "flat"
    if not tested:
        return "too few pixels"
    if numbers["p_noise"] > value("noise_level"):
        return "unstructured"
    if numbers["r2"] < value("explained"):
        return "irregular" if numbers["p_spectrum"] <= value("noise_level") else "unstructured"
    form = name_form(
        str(numbers["model"]), int(numbers["lobes"]), int(numbers["lobes_along"]), oriented=oriented, low_pass=low_pass
    )
    course = name_straightness(form, *(float(numbers[name]) for name in ("bend", "bend_low", "bend_high")))
    # A bend that improves the fit but is too small to be seen does not make a Gabor something else.
    return "Gabor" if form == "curved" and course != "curved" else form


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
