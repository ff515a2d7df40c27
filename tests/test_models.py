"""The models: formulas written out, derivatives against finite differences, bounds, starts, canonical forms, both array
libraries.
"""

from collections.abc import Callable

import numpy as np
import pytest

from rfcompare.fitting.batched import evaluate, prepare
from rfcompare.models import MODELS, Model, Parameter, map_of
from rfcompare.models.parameters import position

FINITE_DIFFERENCE = 1e-6  # central differences in float64 with a step of 1e-5 are good to about 1e-9 of the value
NORMAL = 1e-4  # the ridge against collinear terms is 1e-9 of a square, which alike Gaussians multiply by 1e4
ROUNDING = 1e-10  # sums over some hundred pixels of order one, in float64

X, Y = np.arange(13.0) - 6, np.arange(9.0) - 4


def draw(model: Model, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Parameters well inside the bounds, and amplitudes with offsets for one channel."""
    rng = np.random.default_rng(seed)
    ranges = {"x0": (-2, 2), "y0": (-1.5, 1.5), "frequency": (0.08, 0.35), "curvature": (-0.15, 0.15)}

    def range_of(one: Parameter) -> tuple[float, float]:
        if one.circle:
            return -4, 4
        return (np.log(1.0), np.log(3.0)) if one.log and one.power else ranges.get(one.name) or one.plausible(X, Y)

    columns = [rng.uniform(*range_of(parameter), n) for parameter in model.parameters]
    p = np.stack(columns, axis=1) if columns else np.zeros((n, 0))
    return p, rng.normal(0, 1, (n, 1, len(model.linear) + 1))


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_those_of_the_basis(name: str) -> None:
    model = MODELS[name]
    p, linear = draw(model, 7)
    analytic = np.einsum("ncqk,nkyx->ncqyx", model.rows(p, linear), model.table(p, X, Y))
    assert analytic.shape[2] == len(model.parameters)
    step = 1e-5
    for q in range(p.shape[1]):
        up, down = p.copy(), p.copy()
        up[:, q] += step
        down[:, q] -= step
        numeric = (map_of(model, up, linear, X, Y) - map_of(model, down, linear, X, Y)) / (2 * step)
        np.testing.assert_allclose(analytic[:, :, q], numeric, rtol=FINITE_DIFFERENCE, atol=FINITE_DIFFERENCE)


@pytest.mark.parametrize("name", MODELS)
def test_the_canonical_form_is_the_same_map_and_stays(name: str) -> None:
    model = MODELS[name]
    p, linear = draw(model, 50, seed=1)
    q, amplitudes = model.canonical(p, linear)
    np.testing.assert_allclose(map_of(model, q, amplitudes, X, Y), map_of(model, p, linear, X, Y), atol=ROUNDING)
    again, amplitudes_again = model.canonical(q, amplitudes)
    np.testing.assert_allclose(again, q, atol=ROUNDING)
    np.testing.assert_allclose(amplitudes_again, amplitudes, atol=ROUNDING)
    names = [parameter.name for parameter in model.parameters]
    if "theta" in names:
        orientation = np.degrees(q[:, names.index("theta")]) - 90
        assert ((orientation >= 0) & (orientation < 180)).all()


def test_a_gabor_written_out_by_hand() -> None:
    # Carrier along +x (theta 0), f = 1/4: at x = 1, y = 0 the angle is 90°, so even vanishes and odd is the envelope
    # exp(−1/2·(1/2)²) = exp(−1/8); at y = 2, x = 0 the envelope is exp(−1/2·(2/1)²) = exp(−2) and odd vanishes.
    p = np.array([[0.0, 0.0, 0.0, 0.25, np.log(2.0), np.log(1.0)]])
    table = MODELS["gabor"].table(p, X, Y)[0]
    at = {(x, y): table[:2, y + 4, x + 6] for x, y in ((1, 0), (0, 2))}
    np.testing.assert_allclose(at[1, 0], (0.0, np.exp(-1 / 8)), atol=ROUNDING)
    np.testing.assert_allclose(at[0, 2], (np.exp(-2), 0.0), atol=ROUNDING)


def turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along an angle and across it."""
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def envelope(u: np.ndarray, v: np.ndarray, sigma_x: float, sigma_y: float) -> np.ndarray:
    return np.exp(-(u**2) / (2 * sigma_x**2) - v**2 / (2 * sigma_y**2))


def derivative(order: int) -> Callable[..., list[np.ndarray]]:
    # Probabilists' Hermite polynomials He0 to He4.
    hermite = (lambda t: 1 + 0 * t, lambda t: t, lambda t: t**2 - 1, lambda t: t**3 - 3 * t)
    polynomial = (*hermite, lambda t: t**4 - 6 * t**2 + 3)[order]

    def formula(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        u, v = turned(x, y, 0.7)
        return [polynomial(u / 1.5) * envelope(u, v, 1.5, 2.0)]

    return formula


def pair(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    # 3 pixels apart, the second √1.7² = 1.7 times as wide as the first, so both by √1.7 from 1.5 and 2.
    u, v = turned(x, y, 0.7)
    first, second = 1 / np.sqrt(1.7), np.sqrt(1.7)
    return [
        envelope(u + 1.5, v, 1.5 * first, 2.0 * first),
        envelope(u - 1.5, v, 1.5 * second, 2.0 * second),
    ]


def carried(x: np.ndarray, y: np.ndarray, *, tilt: float = 0.0, bend: float = 0.0) -> list[np.ndarray]:
    u, v = turned(x, y, 0.7)
    angle = 2 * np.pi * 0.2 * (u + bend * v**2 / 2)
    field = envelope(*turned(x, y, 0.7 + tilt), 1.5, 2.0)
    return [np.cos(angle) * field, np.sin(angle) * field]


WIDTHS = (np.log(1.5), np.log(2.0))


@pytest.mark.parametrize(
    ("name", "p", "formula"),
    [
        ("gaussian_isotropic", WIDTHS[:1], lambda x, y: [envelope(x, y, 1.5, 1.5)]),
        ("dog", WIDTHS, lambda x, y: [envelope(x, y, 1.5, 1.5), envelope(x, y, 2.0, 2.0)]),
        ("gaussian", (0.7, *WIDTHS), derivative(0)),
        *((f"derivative{order}", (0.7, *WIDTHS), derivative(order)) for order in (1, 2, 3, 4)),
        ("gaussian_pair", (0.7, *WIDTHS, np.log(3.0), np.log(1.7)), pair),
        ("gabor", (0.7, 0.2, *WIDTHS), carried),
        ("gabor_free", (0.7, 0.2, *WIDTHS, 0.3), lambda x, y: carried(x, y, tilt=0.3)),
        ("gabor_curved", (0.7, 0.2, *WIDTHS, 0.1), lambda x, y: carried(x, y, bend=0.1)),
    ],
)
def test_the_basis_is_the_formula_of_the_docstring(
    name: str, p: tuple[float, ...], formula: Callable[..., list[np.ndarray]]
) -> None:
    model = MODELS[name]
    found = model.table(np.array([[0.5, -1.0, *p]]), X, Y)[0, : len(model.linear)]
    np.testing.assert_allclose(found, formula(X - 0.5, (Y + 1.0)[:, None]), atol=ROUNDING)


@pytest.mark.parametrize("pitch", [1.0, 0.5])
def test_a_log_gabor_is_the_sum_of_its_waves(pitch: float) -> None:
    x, y = pitch * X, pitch * Y
    p = np.array([[0.5, -1.0, 0.7, 0.2, np.log(0.4), np.log(0.3)]])
    # Twice as many frequencies a side as the 13 pixels of the longer one, up to Nyquist and half a step from 0.
    line = (np.arange(26) - 12.5) / (26 * pitch)
    k, direction = np.hypot(line, line[:, None]), np.arctan2(line[:, None], line)
    off = np.angle(np.exp(1j * (direction - 0.7)))
    weight = np.exp(-(np.log(k / 0.2) ** 2) / (2 * 0.4**2) - off**2 / (2 * 0.3**2))
    wave = np.zeros((9, 13), complex)
    for row in range(26):
        for column in range(26):
            turns = line[column] * (x - 0.5) + line[row] * (y + 1.0)[:, None]
            wave += weight[row, column] / weight.sum() * np.exp(2j * np.pi * turns)
    np.testing.assert_allclose(MODELS["log_gabor"].table(p, x, y)[0, :2], [wave.real, wave.imag], atol=ROUNDING)
    middle = MODELS["log_gabor"].table(p, np.array([0.5]), np.array([-1.0]))[0, :2]
    np.testing.assert_allclose(middle.ravel(), [1.0, 0.0], atol=ROUNDING)  # even is 1 and odd 0 at the center


def test_stripes_curve_to_the_side_of_a_positive_curvature() -> None:
    # ψ = 2πf(u + κv²/2) is constant along u = −κv²/2: at v = ±2 with κ = 0.2 the central stripe is at u = −0.4,
    # so ψ there equals ψ of the straight Gabor at u + 0.4.
    straight = np.array([[0.0, 0.0, 0.0, 0.2, np.log(3.0), np.log(3.0)]])
    curved = np.append(straight, [[0.2]], axis=1)
    x, y = np.array([-0.4, 0.0]), np.array([-2.0, 2.0])
    odd = MODELS["gabor_curved"].table(curved, x, y)[0, 1]
    np.testing.assert_allclose(odd[:, 0], 0.0, atol=ROUNDING)
    assert (odd[:, 1] > 0.1).all()
    assert abs(MODELS["gabor"].table(straight, x, y)[0, 1, 0, 1]) < ROUNDING


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_normal_equations_are_those_of_the_jacobian(name: str, channels: int) -> None:
    """From products of the functions, and written out with the map's derivatives, the basis projected out."""
    rng, model = np.random.default_rng(3), MODELS[name]
    p = (
        model.spread(rng.uniform(0.2, 0.8, (20, len(model.parameters))), X, Y)
        if model.parameters
        else np.zeros((20, 0))
    )
    maps, mask = rng.normal(size=(20, channels, len(Y), len(X))), rng.uniform(size=(20, len(Y), len(X))) > 0.2
    problem = prepare(model, maps, mask.astype(float), X, Y)
    found = evaluate(problem, np.arange(20), p)
    table = model.table(p, X, Y)
    slopes = np.einsum("ncqk,nkyx->ncqyx", model.rows(p, found.linear), table)
    for row in range(20):
        seen = mask[row]
        basis = np.column_stack([*(one[seen] for one in table[row, : len(model.linear)]), np.ones(seen.sum())])
        gradient, hessian, cost = 0.0, 0.0, 0.0
        for channel in range(channels):
            values = problem.maps[row, channel][seen]
            left = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
            jacobian = slopes[row, channel][:, seen].T
            jacobian = jacobian - basis @ np.linalg.lstsq(basis, jacobian, rcond=None)[0]
            gradient, hessian, cost = gradient + jacobian.T @ left, hessian + jacobian.T @ jacobian, cost + left @ left
        np.testing.assert_allclose(found.cost[row], cost, rtol=NORMAL)
        if model.parameters:
            size = np.sqrt(np.diag(hessian)) + 1e-12
            unit = np.outer(size, size)
            np.testing.assert_allclose(found.gradient[row] / size, gradient / size, atol=NORMAL * np.sqrt(cost))
            np.testing.assert_allclose(found.hessian[row] / unit, hessian / unit, atol=NORMAL)


def test_bounds_are_those_of_the_design() -> None:
    # A map of 13 × 9 pixels: size 13, so f from 0.1/13 to 0.5 and σ from 0.4 to 13; the center between the outer edges.
    low, high = MODELS["gabor"].bounds(X, Y)
    np.testing.assert_allclose(low, [-6.5, -4.5, -np.inf, 0.1 / 13, np.log(0.4), np.log(0.4)])
    np.testing.assert_allclose(high, [6.5, 4.5, np.inf, 0.5, np.log(13), np.log(13)])


def limits_of(name: str, parameter: str, *, size: int = 13) -> list[float]:
    """Its bounds and its plausible range on a map of `size` × 9 pixels about 0."""
    line = np.arange(float(size)) - (size - 1) / 2
    one = MODELS[name].parameters[MODELS[name].index(parameter)]
    return [*one.bounds(line, Y), *one.plausible(line, Y)]


def test_limits_by_hand() -> None:
    # Outer edges of 13 pixels about 0, and 0.8 of the outermost centers.
    np.testing.assert_allclose(limits_of("gabor", "x0"), [-6.5, 6.5, -4.8, 4.8])
    np.testing.assert_allclose(limits_of("gabor", "y0"), [-4.5, 4.5, -3.2, 3.2])
    np.testing.assert_allclose(limits_of("gabor", "theta"), [-np.inf, np.inf, 0, np.pi])
    np.testing.assert_allclose(limits_of("gabor_free", "envelope_angle"), [-np.inf, np.inf, 0, np.pi])
    np.testing.assert_allclose(limits_of("gaussian_pair", "theta"), [-np.inf, np.inf, 0, 2 * np.pi])
    np.testing.assert_allclose(limits_of("gabor", "frequency"), [0.1 / 13, 0.5, 0.3 / 13, 0.5])
    # An SD between 0.06 and 0.4 of the longer side, of 13 or 9 pixels.
    np.testing.assert_allclose(limits_of("gabor", "sigma_x"), np.log([0.4, 13, 0.78, 5.2]))
    np.testing.assert_allclose(limits_of("gabor", "sigma_y", size=3), np.log([0.4, 9, 0.54, 3.6]))
    # Radii from a quarter of the map, mostly from half of it.
    np.testing.assert_allclose(limits_of("gabor_curved", "curvature"), [-4 / 13, 4 / 13, -2 / 13, 2 / 13])
    # Ratios in octaves: a fifth of the range is left out at each end.
    np.testing.assert_allclose(limits_of("gaussian_pair", "size_ratio"), np.log(4) * np.array([-1, 1, -0.6, 0.6]))
    ends = np.log([0.1, 0.8])
    inner = ends + 0.2 * (ends[1] - ends[0]) * np.array([1, -1])
    for name in ("bandwidth_sd", "direction_sd"):
        np.testing.assert_allclose(limits_of("log_gabor", name), [*ends, *inner])


def test_limits_of_the_smallest_maps() -> None:
    # One pixel is taken as a unit wide; a plausible SD is at least half a pixel, and up to one.
    assert position("x0", "x").bounds(np.array([2.0]), Y) == (1.5, 2.5)
    few = np.array([0.0, 1.0])
    low, high = MODELS["gabor"].parameters[4].plausible(few, few)
    np.testing.assert_allclose((low, high), np.log([0.5, 1.0]))


@pytest.mark.parametrize(
    ("name", "parameter", "searched", "public", "words"),
    [
        # Pixels of half a degree: 2 px are 1°, 0.25 cycles per pixel 0.5 per degree, an arc of 1/0.1 = 10 px one of 5°.
        ("gabor", "x0", 2.0, 1.0, "°"),
        ("gabor", "frequency", 0.25, 0.5, "1/°"),
        ("gabor", "sigma_x", np.log(3.0), 1.5, "°"),
        ("gabor_curved", "curvature", 0.1, 0.2, "1/°"),
        ("gaussian_pair", "distance", np.log(3.0), 1.5, "°"),
        # Stripes lie across the carrier: 120° − 90°. Ratios and angles have no length.
        ("gabor", "theta", np.radians(120.0), 30.0, "deg"),
        ("gabor_free", "envelope_angle", np.radians(20.0), 20.0, "deg"),
        ("gaussian_pair", "size_ratio", np.log(1.7), 1.7, ""),
        ("log_gabor", "bandwidth_sd", np.log(0.4), 0.4, ""),
        ("log_gabor", "direction_sd", np.log(np.radians(25.0)), 25.0, "deg"),
    ],
)
def test_parameters_are_published_in_units_of_the_bank(
    name: str, parameter: str, searched: float, public: float, words: str
) -> None:
    one = MODELS[name].parameters[MODELS[name].index(parameter)]
    value, step = np.array([searched]), 1e-6
    assert one.to_public(value, 0.5) == pytest.approx(public)
    assert one.to_searched(one.to_public(value, 1.0)) == pytest.approx(searched)
    numeric = (one.to_public(value + step, 0.5) - one.to_public(value - step, 0.5)) / (2 * step)
    assert one.slope(value, 0.5) == pytest.approx(numeric, rel=FINITE_DIFFERENCE)
    assert one.words("°") == words
    assert one.published == {"theta": "orientation"}.get(parameter, parameter)
    assert one.scale == (0 if one.log else {"x0": 1, "frequency": -1, "curvature": -1}.get(parameter, 0))


def test_angles_come_round_where_the_map_does() -> None:
    for name, model in MODELS.items():
        p, linear = draw(model, 5)
        for i, one in enumerate(model.parameters):
            assert min(one.step, one.apart, one.wide) > 0
            if one.circle:
                assert one.period == 180  # a published axis
                q, same = p.copy(), linear.copy()
                q[:, i] += one.circle
                if model.quadrature and one.name == "theta":
                    same[:, :, 1] *= -1  # half a turn of the carrier turns the odd part
                if model.variant % 2 and name.startswith("derivative"):
                    same[:, :, 0] *= -1
                if name == "gabor_curved":
                    q[:, 6] *= -1
                np.testing.assert_allclose(map_of(model, q, same, X, Y), map_of(model, p, linear, X, Y), atol=ROUNDING)


def corners(name: str, *values: float) -> np.ndarray:
    """What `spread` makes of points with the same value in every dimension, on the map of 13 × 9 pixels."""
    model = MODELS[name]
    return model.spread(np.multiply.outer(values, np.ones(len(model.parameters))), X, Y)


def test_starts_fill_the_range_that_is_said() -> None:
    # Gabor: SDs of 0.03 and 0.3 of 13 pixels, and 0.04 to 0.8 cycles per SD, but no more than 0.9 of Nyquist:
    # 0.04/0.39 = 0.103, at the middle 0.04·√20/(0.39·√10) = 0.145, and 0.8/3.9 = 0.205.
    found = corners("gabor", 0.0, 0.5, 1.0)
    np.testing.assert_allclose(np.exp(found[:, 4]), [0.39, 0.39 * np.sqrt(10), 3.9])
    np.testing.assert_allclose(np.exp(found[:, 5]), np.exp(found[:, 4]))
    np.testing.assert_allclose(found[:, 3], [0.04 / 0.39, 0.04 * np.sqrt(2) / 0.39, 0.8 / 3.9])
    fast = MODELS["gabor"].spread(np.array([[0.5, 0.5, 0.5, 1.0, 0.0, 0.0]]), X, Y)
    assert fast[0, 3] == pytest.approx(0.45)
    np.testing.assert_allclose(found[:, 0], [-4.8, 0, 4.8])
    # Center and surround: 1.15 to 1.15 · 2.5 times as wide.
    found = corners("dog", 0.0, 1.0)
    np.testing.assert_allclose(np.exp(found[:, 3] - found[:, 2]), [1.15, 2.875])
    # Lobes 0.8 to 4 SDs apart.
    found = corners("gaussian_pair", 0.0, 1.0)
    np.testing.assert_allclose(np.exp(found[:, 5] - found[:, 3]), [0.8, 4.0])
    # From one cycle per map to 0.9 of Nyquist, in octaves.
    found = corners("log_gabor", 0.0, 0.5, 1.0)
    np.testing.assert_allclose(found[:, 3], [1 / 13, np.sqrt(0.45 / 13), 0.45])


def test_starts_from_fits_of_the_nested_model() -> None:
    fits = draw(MODELS["gabor"], 3)[0]
    for name, side in (("gabor_free", 0.4), ("gabor_curved", 1 / 13)):
        starts = MODELS[name].extend(fits, 13.0)
        assert MODELS[name].nested == "gabor" and starts.shape == (3, 3, 7)
        np.testing.assert_allclose(starts[:, :, :6], np.repeat(fits[:, None], 3, axis=1))
        np.testing.assert_allclose(np.sort(starts[:, :, 6], axis=1), [[-side, 0, side]] * 3)
    assert MODELS["gabor"].nested is None
    with pytest.raises(TypeError, match="no nested model"):
        MODELS["dog"].extend(fits, 13.0)


def test_the_widest_sd_says_how_wide_a_field_is() -> None:
    p = np.array([[0.0, 0.0, 0.3, 0.2, np.log(2.0), np.log(3.0)], [0.0, 0.0, 0.3, 0.2, np.log(4.0), np.log(1.0)]])
    np.testing.assert_allclose(MODELS["gabor"].widest(p), [3.0, 4.0])
    # Of a log-Gabor as of a Gabor with its bandwidth: 1/(2π·0.2·2) and 1/(2π·0.2·4).
    np.testing.assert_allclose(MODELS["log_gabor"].widest(p), 1 / (2 * np.pi * 0.2 * np.array([2.0, 4.0])))
    wide = {name: [one.name for one in model.parameters if one.width] for name, model in MODELS.items()}
    assert wide["gaussian_pair"] == ["sigma_x", "sigma_y"]  # the distance is a length, not a width
    assert wide["dog"] == ["sigma_center", "sigma_surround"]


def test_of_several_forms_of_a_map_one_is_canonical() -> None:
    def canonical(name: str) -> dict[str, np.ndarray]:
        q, _ = MODELS[name].canonical(*draw(MODELS[name], 200))
        return dict(zip([one.name for one in MODELS[name].parameters], q.T, strict=True))

    assert (np.abs(canonical("gabor_free")["envelope_angle"]) <= np.pi / 4).all()
    found = canonical("dog")
    assert (found["sigma_center"] <= found["sigma_surround"]).all()
    found = canonical("gaussian")
    assert (found["sigma_x"] <= found["sigma_y"]).all()  # stripes lie along the long axis


def test_what_a_model_says_of_itself() -> None:
    assert [model.title for name, model in MODELS.items() if name.startswith("derivative")] == [
        f"{order} derivative of a Gaussian" for order in ("first", "second", "third", "fourth")
    ]
    assert MODELS["gaussian"].title == "elliptical Gaussian" and MODELS["gabor"].title == "Gabor"
    assert MODELS["gabor_free"].title == "Gabor with a free envelope"
    assert MODELS["gabor_curved"].title == "Gabor with curved stripes"
    assert {name for name, model in MODELS.items() if model.quadrature} == {
        "gabor", "gabor_free", "gabor_curved", "log_gabor",
    }  # fmt: skip
    assert MODELS["gabor"].index("frequency") == 3 and MODELS["dog"].index("frequency") == -1
    assert list(MODELS) == sorted(MODELS, key=lambda name: MODELS[name].degrees_of_freedom)


def test_degrees_of_freedom() -> None:
    # Nonlinear parameters + amplitudes + offset
    expected = {
        "constant": 0 + 0 + 1, "gaussian_isotropic": 3 + 1 + 1, "gaussian": 5 + 1 + 1, "dog": 4 + 2 + 1,
        "derivative1": 5 + 1 + 1, "gabor": 6 + 2 + 1, "gabor_free": 7 + 2 + 1, "gabor_curved": 7 + 2 + 1,
    }  # fmt: skip
    assert {name: MODELS[name].degrees_of_freedom for name in expected} == expected


@pytest.mark.parametrize("name", MODELS)
def test_torch_computes_what_numpy_computes(name: str) -> None:
    torch = pytest.importorskip("torch")
    model = MODELS[name]
    p, linear = draw(model, 5)
    tensors = [torch.as_tensor(values) for values in (p, linear, X, Y)]
    expected = map_of(model, p, linear, X, Y)
    np.testing.assert_allclose(map_of(model, *tensors).numpy(), expected, atol=ROUNDING)
    if model.nested is not None:
        there, here = model.extend(tensors[0][:, :6], 13.0), model.extend(p[:, :6], 13.0)
        np.testing.assert_allclose(there.numpy(), here, atol=ROUNDING)
