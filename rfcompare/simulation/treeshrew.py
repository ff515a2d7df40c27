"""A simulated population of tree-shrew visual cortex, built from published statements, with its truth beside it.

No receptive-field map of a tree shrew is openly available, so this stands in for one wherever the analysis has to be
shown to work. What a publication states enters the construction and is cited at its parameter; every number that no
source we could open states is a named parameter whose basis reads "assumed". `parameter_table` lists them all.

The construction, per field of view of the cortex:

* cells lie at random positions; their whole fields advance linearly over visual space (visuotopy), and orientation
  preference is a Gaussian random wave whose pinwheels have density π/Λ²; the two maps know nothing of each other
  (Bosking 2002);
* the OFF subfield's center sits on the visuotopic map, the ON subfield's is displaced from it along the axis
  orthogonal to the cell's preferred orientation, to a random side, and scattered besides (Lee 2016). With `anchor` =
  0.5 the displacement is shared equally by both signs, and with it and equal scatters the two are exchangeable;
* subfields are Gaussians elongated along the preferred orientation, seen through the stimulus's element and through the
  measured optics of a tree shrew's eye.

The same cells can be shown as two classes of stimulus would show them: `stimulus="sparse noise"` renders the ON and OFF
maps, with subfields as segregated as `segregation` says (1: as in Lee 2016; 0: coinciding and round, as Veit 2014
reports); `stimulus="hartley"` renders one signed map whose subregions are several, elongated and always aligned with
the preferred orientation (Veit 2014; Yeh 2009 in macaque).

References
----------
Lee 2016: Lee, Huang & Fitzpatrick, Nature 533:90, doi:10.1038/nature17941 (abstract; the legend of its first figure as
reproduced by the authors' institute is marked "reported"). Van Hooser 2013: doi:10.1523/JNEUROSCI.1464-13.2013
(abstract). Veit 2014: doi:10.1093/cercor/bht133 (abstract). Yeh 2009: PMC2732842. Bosking 2002: doi:10.1038/nn908
(abstract). Petry 1984: doi:10.1016/0042-6989(84)90080-4 (abstract). Pinwheel density: Afgoustidis 2015,
doi:10.1186/s13408-015-0022-9. Preference for dark: "Receptive fields of neurons in areas 17 and 18 of tree shrews
(Tupaia glis)" (abstract: cells in area 17 preferred dark over light stimuli).
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfcompare.bank import HDF5, Array, ending_in, make_bank, make_rng, write_hdf5
from rfcompare.errors import InputError
from rfcompare.simulation.assumptions import TreeShrew, checked_parameters, parameter_table
from rfcompare.simulation.eye import point_spread

_STIMULI = ("sparse noise", "hartley")
_LAYERS = ("2/3", "4")
_N_WAVES = 64
"""Plane waves summed into one orientation map: enough for their sum to be Gaussian to well under a percent."""


def simulate_treeshrew(
    *,
    stimulus: str = "sparse noise",
    layer: str = "2/3",
    seed: int | np.random.Generator | None = None,
    **parameters: Any,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Draw a population of simulated tree-shrew cells and return its maps with the truth behind them.

    Parameters
    ----------
    stimulus : {"sparse noise", "hartley"}
        How the cells are seen: ON and OFF maps of sparse noise, or one signed map of a Hartley subspace. With the same
        integer seed and parameters both show the same cells.
    layer : {"2/3", "4"}
        Layer 2/3 cells are oriented and mostly have both signs; layer 4 cells are round and mostly have one.
    seed : int, numpy.random.Generator or None
        Source of randomness; None draws a seed and records it.
    **parameters
        Any field of `TreeShrew`, by name.

    Returns
    -------
    bank : xarray.Dataset
        rfcompare-bank of kind "simulated", in degrees, with ``cortex_x``, ``cortex_y`` (µm about the field's center),
        ``field_of_view``, ``preferred_orientation`` (as gratings would measure it), ``noise_sd``, ``noise_acf`` and two
        halves with independent noise whose mean is ``rf``.
    truth : xarray.Dataset
        Per unit: subfield centers and weights, whole-field center, orientation, separation, side, cell class, absolute
        phase, noise-free map (``signal``) and noise (``noise``). Per field of view: the visuotopic matrix (° per mm),
        the orientation map on a grid, and its pinwheels.

    Raises
    ------
    InputError
        If a parameter's name or value, or the stimulus, is not one of those described.

    Examples
    --------
    >>> bank, truth = simulate_treeshrew(n_cells=4, seed=1)
    >>> dict(bank.rf.sizes)
    {'unit': 32, 'channel': 2, 'y': 22, 'x': 22}
    >>> bank.attrs["kind"], len(set(bank.subject.values.tolist()))
    ('simulated', 7)
    """
    model = checked_parameters(parameters)
    if stimulus not in _STIMULI:
        raise InputError(f"expected stimulus to be one of {', '.join(_STIMULI)}, got {stimulus!r}; choose one of them")
    if layer not in _LAYERS:
        raise InputError(f"expected layer to be one of {', '.join(_LAYERS)}, got {layer!r}; choose one of them")
    if layer == "4":
        off_share = 1 / (1 + model.on_weight)
        model = replace(
            model,
            off_only=off_share * model.layer4_single_sign,
            on_only=(1 - off_share) * model.layer4_single_sign,
            elongation=1.0,
        )
    generator, recorded = make_rng(seed)
    # Cells, noise and grating measurements draw from separate streams: the same seed gives the same cells however
    # they are rendered.
    cells_rng, noise_rng, grating_rng = generator.spawn(3)
    cells, maps = _draw_cells(model, cells_rng)
    lobes = _lobes(cells, model, stimulus)
    axis = np.asarray((np.arange(model.size) - (model.size - 1) / 2) * model.pitch, dtype=np.float64)
    blur = model.element**2 / 12 if stimulus == "sparse noise" else 0.0
    channel = ("on", "off") if stimulus == "sparse noise" else ("signed",)
    share, sd = point_spread()
    seen = zip(share, blur + (model.optics * sd) ** 2, strict=True)
    signal = np.asarray(sum(part * _render(lobes, axis, blur=wide, n_channels=len(channel)) for part, wide in seen))
    peak = np.abs(signal).max(axis=(1, 2, 3))
    noise_sd = peak / (model.snr * np.exp(model.snr_spread * cells["snr_deviate"]))
    kernel = _noise_kernel(model, stimulus)
    halves = np.stack(
        [_noise(noise_rng, signal.shape, kernel) * noise_sd[:, None, None, None] * np.sqrt(2.0) for _ in range(2)]
    )
    half = signal + halves
    acf = _autocorrelation(kernel, reach=min(4, model.size - 1))
    n_units = signal.shape[0]
    orientation = cells["orientation"]
    measured = (orientation + model.grating_error * grating_rng.standard_normal(n_units)) % 180.0
    bank = make_bank(
        half.mean(axis=0).astype(np.float32),
        channel=channel,
        kind="simulated",
        x=axis,
        y=axis,
        units="degree",
        unit=cells["unit"],
        subject=cells["subject"],
        source="simulated tree shrew V1",
        noise_sd=noise_sd,
        noise_acf=np.broadcast_to(acf, (n_units, len(channel), *acf.shape)).copy(),
        half=half.astype(np.float32),
        cortex_x=cells["cortex_x"],
        cortex_y=cells["cortex_y"],
        field_of_view=cells["field_of_view"],
        attrs={
            "citation": "rfcompare.simulate_treeshrew: built from statements of Lee 2016 (doi:10.1038/nature17941) and "
            "assumed numbers; not a recording",
            "license": "BSD-3-Clause",
            "stimulus": _stimulus(model, stimulus, layer),
            "history": f"simulate_treeshrew(stimulus={stimulus!r}, layer={layer!r}, seed={recorded})",
        },
    )
    bank["preferred_orientation"] = ("unit", measured, {"units": "deg", "long_name": "preferred orientation, gratings"})
    bank["preferred_frequency"] = ("unit", cells["frequency"], {"units": "cycles/degree"})
    truth = _truth(bank, model, cells, maps, lobes, signal, halves.mean(axis=0))
    truth.attrs |= {"seed": str(recorded), "stimulus": stimulus, "layer": layer}
    return bank, truth


_STORED_STEP = 1 / 64
"""Resolution of a stored half map, in OFF peaks: about a quarter of a pixel's noise SD, which it widens by 0.3 %."""

_STORED_OFFSET = -128 * _STORED_STEP
"""Stored integers count steps from here, so that all are positive and compress well."""


def write_treeshrew(path: str | os.PathLike[str], **options: Any) -> tuple[xr.Dataset, xr.Dataset]:
    """Simulate a population and write it with its truth to one small HDF5 file.

    The bank is the file's root, as `rfcompare.load` reads it; the truth is its group ``truth``, as
    ``xarray.open_dataset(path, group="truth")`` reads it, without noise and noise-free maps, which the recorded seed
    gives back. Maps are stored as whole multiples of a step (CF packing), so that the file stays under a megabyte.

    Parameters
    ----------
    path : path
        Where to write, ending in ``.h5``, ``.hdf5`` or ``.nc``.
    **options
        As for `simulate_treeshrew`.

    Returns
    -------
    bank, truth : xarray.Dataset
        As `simulate_treeshrew` returns them, before rounding to the step.

    Raises
    ------
    InputError
        If an option is wrong or the file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib, rfcompare as rfc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     bank, truth = write_treeshrew(pathlib.Path(folder) / "shrew.h5", n_cells=3, seed=0)
    ...     rfc.load(pathlib.Path(folder) / "shrew.h5").sizes["unit"]
    24
    """
    target = ending_in(path, *HDF5)
    bank, truth = simulate_treeshrew(**options)
    stored = bank.copy()
    halves = np.round(bank.rf_half.values / _STORED_STEP) * _STORED_STEP
    stored["rf_half"] = (bank.rf_half.dims, halves.astype(np.float32))
    stored["rf"] = (bank.rf.dims, halves.mean(axis=0).astype(np.float32))
    packed = {"dtype": "uint16", "zlib": True, "complevel": 9, "shuffle": True, "_FillValue": 65535}
    encoding: dict[Any, dict[str, Any]] = {
        name: {**packed, "scale_factor": np.float32(step), "add_offset": np.float32(_STORED_OFFSET)}
        for name, step in (("rf_half", _STORED_STEP), ("rf", _STORED_STEP / 2))
    }
    encoding["noise_acf"] = {"zlib": True, "complevel": 9}
    again = [name for name in truth.coords if name in bank.coords and name != "unit"]
    small = truth.drop_vars(["signal", "noise", *again])
    for dataset in (stored, small):
        for text in [name for name, variable in dataset.variables.items() if variable.dtype.kind in "OU"]:
            dataset[text] = (dataset[text].dims, dataset[text].values.astype(object), dataset[text].attrs)
    small["orientation_map"] = (small.orientation_map.round() % 180).astype(np.uint8)
    compressed = {"orientation_map": {"zlib": True, "complevel": 9}}
    write_hdf5(target, [(None, stored, encoding), ("truth", small, compressed)])
    return bank, truth


@dataclass(frozen=True)
class _Waves:
    """One field's orientation map: the argument of a sum of plane waves with one wavelength."""

    k: Array  # (_N_WAVES, 2), cycles per µm
    weight: NDArray[np.complex128]

    def value(self, x: Array, y: Array) -> NDArray[np.complex128]:
        phase = 2 * np.pi * (x[..., None] * self.k[:, 0] + y[..., None] * self.k[:, 1])
        return np.asarray((np.exp(1j * phase) * self.weight).sum(axis=-1))

    def orientation(self, x: Array, y: Array) -> Array:
        return np.asarray(np.rad2deg(np.angle(self.value(x, y))) / 2 % 180.0)


def _waves(rng: np.random.Generator, spacing: float) -> _Waves:
    direction = rng.uniform(0, 2 * np.pi, _N_WAVES)
    k = np.stack([np.cos(direction), np.sin(direction)], axis=1) / spacing
    weight = rng.standard_normal(_N_WAVES) + 1j * rng.standard_normal(_N_WAVES)
    return _Waves(k, weight)


def _draw_cells(model: TreeShrew, rng: np.random.Generator) -> tuple[dict[str, Any], list[tuple[Array, _Waves]]]:
    """Cells with all that holds for them whatever stimulus shows them, and each field's visuotopy and waves."""
    cells: dict[str, list[Any]] = {}
    maps = []
    animal_effect = model.animal_spread * rng.standard_normal(model.n_animals)
    for number in range(model.n_fields):
        animal = number % model.n_animals
        # Cortical mm to visual degrees: a rotation or reflected rotation, as the patch of the hemisphere decides.
        turn = rng.uniform(0, 2 * np.pi)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) / model.magnification
        matrix[:, 1] *= rng.choice([-1.0, 1.0])
        waves = _waves(rng, model.map_spacing)
        n = model.n_cells
        cortex = rng.uniform(-0.5, 0.5, (n, 2)) * model.field_size
        visuotopic = cortex / 1000 @ matrix.T
        orientation = waves.orientation(cortex[:, 0], cortex[:, 1])
        orientation = (orientation + model.orientation_scatter * rng.standard_normal(n)) % 180.0
        separation = model.separation * np.exp(animal_effect[animal] + model.separation_spread * rng.standard_normal(n))
        draw = rng.uniform(size=n)
        cell_class = np.where(
            draw < model.off_only, "off only", np.where(draw < model.off_only + model.on_only, "on only", "both")
        )
        columns = {
            "unit": [f"shrew{animal + 1}-field{number + 1}-cell{cell + 1:02d}" for cell in range(n)],
            "subject": [f"shrew{animal + 1}"] * n,
            "field_of_view": [f"field{number + 1}"] * n,
            "cortex_x": cortex[:, 0],
            "cortex_y": cortex[:, 1],
            "visuotopic_x": visuotopic[:, 0],
            "visuotopic_y": visuotopic[:, 1],
            "orientation": orientation,
            "separation": separation,
            "frequency": 0.5 / separation,
            "side": rng.choice([-1.0, 1.0], n),
            "off_deviate": rng.standard_normal((n, 2)),
            "on_deviate": rng.standard_normal((n, 2)),
            "weight_deviate": rng.standard_normal(n),
            "snr_deviate": rng.standard_normal(n),
            "cell_class": cell_class,
        }
        for name, values in columns.items():
            cells.setdefault(name, []).append(values)
        maps.append((matrix, waves))
    return {name: np.concatenate(values) for name, values in cells.items()}, maps


def _lobes(cells: dict[str, Any], model: TreeShrew, stimulus: str) -> dict[str, Array]:
    """The Gaussians of every cell: centers (unit, lobe, 2), weights, covariances (unit, 2, 2) and channels."""
    seen = model.segregation if stimulus == "sparse noise" else 1.0
    angle = np.deg2rad(cells["orientation"])
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    displacement = (seen * cells["separation"] * cells["side"])[:, None] * across
    visuotopic = np.stack([cells["visuotopic_x"], cells["visuotopic_y"]], axis=1)
    # Subfields that coincide share one scattered position, as far as they coincide.
    off = visuotopic - (1 - model.anchor) * displacement + model.off_scatter * cells["off_deviate"]
    on_own = visuotopic + model.anchor * displacement + model.on_scatter * cells["on_deviate"]
    on = seen * on_own + (1 - seen) * off
    weight_on = model.on_weight * np.exp(model.weight_spread * cells["weight_deviate"])
    weight_on = np.where(cells["cell_class"] == "off only", 0.0, weight_on)
    weight_off = np.where(cells["cell_class"] == "on only", 0.0, 1.0)
    elongation = 1 + (model.elongation - 1) * seen
    sigma = model.width * cells["separation"]
    long = sigma * elongation
    center, weight, channel = np.stack([on, off], axis=1), np.stack([weight_on, weight_off], axis=1), [0, 1]
    if stimulus == "hartley":
        long = long * model.hartley_elongation
        gap = on - off
        outer = np.stack([off - gap, on + gap], axis=1)
        outer_weight = model.hartley_flank * np.stack([weight_on, -weight_off], axis=1)
        center = np.concatenate([center, outer], axis=1)
        weight = np.concatenate([weight * [1.0, -1.0], outer_weight], axis=1)
        channel = [0, 0, 0, 0]
    covariance = (sigma**2)[:, None, None] * across[:, :, None] * across[:, None, :]
    covariance = covariance + (long**2)[:, None, None] * along[:, :, None] * along[:, None, :]
    return {
        "center": center,
        "weight": weight,
        "covariance": covariance,
        "channel": np.asarray(channel),
        "on": on,
        "off": off,
        "weight_on": weight_on,
        "weight_off": weight_off,
        "sigma": sigma,
        "long": long,
    }


def _render(lobes: dict[str, Array], axis: Array, *, blur: float, n_channels: int) -> Array:
    """Sum the Gaussians, each seen through a blur of this variance per axis, on the grid.

    The convolution of a Gaussian with a square element is taken as the Gaussian of the same integral and covariance.
    """
    covariance = lobes["covariance"]
    wide = covariance + blur * np.eye(2)
    dimming = np.sqrt(np.linalg.det(covariance) / np.linalg.det(wide))
    inverse = np.linalg.inv(wide)
    out = np.zeros((len(wide), n_channels, axis.size, axis.size))
    for lobe, channel in enumerate(lobes["channel"]):
        dx = axis[None, None, :] - lobes["center"][:, lobe, 0, None, None]
        dy = axis[None, :, None] - lobes["center"][:, lobe, 1, None, None]
        a, b, c = (inverse[:, i, j, None, None] for i, j in ((0, 0), (0, 1), (1, 1)))
        gaussian = np.exp(-0.5 * (a * dx**2 + 2 * b * dx * dy + c * dy**2))
        out[:, channel] += (lobes["weight"][:, lobe] * dimming)[:, None, None] * gaussian
    return out


def _noise_kernel(model: TreeShrew, stimulus: str) -> Array:
    """What white noise is filtered by, with unit energy: the element of sparse noise, the pass band of Hartley."""
    if stimulus == "sparse noise":
        n = max(1, round(model.element / model.pitch))
        return np.full((n, n), 1.0 / n)
    n = 2 * max(1, model.size // 4) + 1
    frequency = np.fft.fftfreq(n, model.pitch)
    inside = np.hypot(*np.meshgrid(frequency, frequency)) <= model.hartley_cutoff
    kernel = np.fft.fftshift(np.fft.ifft2(inside).real)
    return np.asarray(kernel / np.sqrt((kernel**2).sum()))


def _noise(rng: np.random.Generator, shape: tuple[int, ...], kernel: Array) -> Array:
    """Gaussian noise of unit variance, stationary over the map, with the kernel's autocorrelation."""
    n, m = kernel.shape
    white = rng.standard_normal((*shape[:2], shape[2] + n - 1, shape[3] + m - 1))
    out = np.zeros(shape)
    for i in range(n):
        for j in range(m):
            out += kernel[i, j] * white[:, :, i : i + shape[2], j : j + shape[3]]
    return out


def _autocorrelation(kernel: Array, *, reach: int) -> Array:
    from scipy.signal import correlate2d

    return np.asarray(correlate2d(np.pad(kernel, reach), kernel, mode="valid"))


def _stimulus(model: TreeShrew, stimulus: str, layer: str) -> str:
    described: dict[str, Any] = {"class": stimulus, "indicator": "none (simulated)", "layer": layer}
    if stimulus == "sparse noise":
        described["element_deg"] = model.element
    else:
        described["highest_frequency_cycles_per_deg"] = model.hartley_cutoff
    return json.dumps(described)


def absolute_phase(transform: NDArray[np.complex128]) -> Array:
    """Phase (degrees, in [−180, 180)) of the grating about the visual origin that drives a field best.

    Parameters
    ----------
    transform : array of complex
        Σ rf · exp(−2πi k·r) of the signed map at the grating's wave vector k.

    Returns
    -------
    array
        φ of the best grating cos(2π k·r + φ): 0 where light at the origin drives it best, ±180 where dark does.

    Examples
    --------
    >>> absolute_phase(np.array([1 + 0j, 1j]))
    array([ 0., 90.])
    """
    # Σ rf cos(2πk·r + φ) = Re(e^{iφ} conj(F)) is largest at φ = arg F.
    return np.asarray((np.rad2deg(np.angle(transform)) + 180.0) % 360.0 - 180.0)


def _truth(
    bank: xr.Dataset,
    model: TreeShrew,
    cells: dict[str, Any],
    maps: list[tuple[Array, _Waves]],
    lobes: dict[str, Array],
    signal: Array,
    noise: Array,
) -> xr.Dataset:
    names = ("orientation", "separation", "frequency", "side", "cell_class", "visuotopic_x", "visuotopic_y")
    truth = xr.Dataset(
        {name: ("unit", cells[name]) for name in names},
        coords={name: bank[name] for name in ("unit", "subject", "channel", "x", "y")},
    )
    truth["field_of_view"] = ("unit", cells["field_of_view"])
    for sign in ("on", "off"):
        present = lobes[f"weight_{sign}"] > 0
        for column, axis_name in enumerate("xy"):
            truth[f"{sign}_{axis_name}"] = ("unit", np.where(present, lobes[sign][:, column], np.nan))
        truth[f"{sign}_weight"] = ("unit", lobes[f"weight_{sign}"])
    truth["sigma"] = ("unit", lobes["sigma"])
    truth["length"] = ("unit", lobes["long"])
    total = lobes["weight_on"] + lobes["weight_off"]
    whole = (lobes["weight_on"][:, None] * lobes["on"] + lobes["weight_off"][:, None] * lobes["off"]) / total[:, None]
    truth["field_x"], truth["field_y"] = ("unit", whole[:, 0]), ("unit", whole[:, 1])
    # In closed form: equal Gaussians differ in their transforms only by weight and by the phase of their centers.
    angle = np.deg2rad(cells["orientation"])
    k = (cells["frequency"] * np.stack([-np.sin(angle), np.cos(angle)])).T
    signed_weight = lobes["weight"] * (np.array([1.0, -1.0]) if len(bank.channel) == 2 else 1.0)
    phase = np.exp(-2j * np.pi * np.einsum("ua,ula->ul", k, lobes["center"]))
    truth["absolute_phase"] = ("unit", absolute_phase((signed_weight * phase).sum(axis=1)))
    truth["signal"] = (("unit", "channel", "y", "x"), signal)
    truth["noise"] = (("unit", "channel", "y", "x"), noise)
    grid = np.linspace(-0.5, 0.5, 31) * model.field_size
    xx, yy = np.meshgrid(grid, grid)
    truth = truth.assign_coords(
        field=[f"field{number + 1}" for number in range(model.n_fields)], map_x=("map_x", grid), map_y=("map_y", grid)
    )
    truth["visuotopy"] = (("field", "visual_axis", "cortical_axis"), np.stack([matrix for matrix, _ in maps]))
    orientation = [waves.orientation(xx, yy) for _, waves in maps]
    truth["orientation_map"] = (("field", "map_y", "map_x"), np.stack(orientation))
    rows = [
        (number, *point)
        for number, one in enumerate(orientation)
        for point in zip(*find_pinwheels(one, grid, grid), strict=True)
    ]
    table = np.array(rows, dtype=float).reshape(-1, 4)
    truth["pinwheel_field"] = ("pinwheel", [f"field{int(row) + 1}" for row in table[:, 0]])
    for column, axis_name in enumerate(("x", "y", "charge"), start=1):
        truth[f"pinwheel_{axis_name}"] = ("pinwheel", table[:, column])
    truth.attrs = {
        "kind": "simulated",
        "units": "degree",
        "parameters": json.dumps(asdict(model)),
        "basis": json.dumps({row["name"]: row["basis"] for row in parameter_table(model)}),
        "visuotopy_units": "degree per mm",
        "note": "what the simulated maps were made from; assumptions, not findings",
    }
    return truth


def find_pinwheels(orientation: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Find where orientation turns by half a circle around one cell of a grid.

    Parameters
    ----------
    orientation : array (y, x)
        Orientation map in degrees; NaN where unknown.
    x, y : array
        Coordinates of the grid, ascending.

    Returns
    -------
    x, y, charge : array
        Centers of the grid cells around which the winding number is ±1/2, and its sign.

    Examples
    --------
    >>> axis = np.array([-1.0, 1.0])
    >>> find_pinwheels(np.rad2deg(np.arctan2(axis[:, None], axis[None, :])) / 2 % 180, axis, axis)
    (array([0.]), array([0.]), array([1.]))
    """
    corners = [orientation[:-1, :-1], orientation[:-1, 1:], orientation[1:, 1:], orientation[1:, :-1]]
    turn = np.zeros_like(corners[0])
    for first, second in zip(corners, corners[1:] + corners[:1], strict=True):
        turn = turn + ((second - first + 90.0) % 180.0 - 90.0)
    with np.errstate(invalid="ignore"):
        row, column = np.nonzero(np.abs(turn) > 90.0)
    middle_x, middle_y = (x[:-1] + x[1:]) / 2, (y[:-1] + y[1:]) / 2
    return middle_x[column], middle_y[row], np.sign(turn[row, column])
