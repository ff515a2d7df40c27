"""The models: derivatives against finite differences, bounds, starts, canonical forms, both array libraries."""

import numpy as np
import pytest

from rfcompare.fitting.batched import evaluate, prepare
from rfcompare.models import MODELS, Model, Parameter, map_of

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
