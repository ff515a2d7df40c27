"""The models: derivatives against finite differences, bounds, starts, canonical forms, both array libraries."""

import numpy as np
import pytest

from rfcompare.fitting.batched import evaluate, prepare
from rfcompare.models import MODELS, Gabor, Model, map_of

FINITE_DIFFERENCE = 1e-6  # central differences in float64 with a step of 1e-5 are good to about 1e-9 of the value
ROUNDING = 1e-10  # sums over some hundred pixels of order one, in float64

X, Y = np.arange(13.0) - 6, np.arange(9.0) - 4


def draw(model: Model, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Parameters well inside the bounds, and amplitudes with offsets for one channel."""
    rng = np.random.default_rng(seed)
    ranges = {
        "x": (-2, 2), "y": (-1.5, 1.5), "angle": (-4, 4), "frequency": (0.08, 0.35),
        "log_length": (np.log(1.0), np.log(3.0)), "curvature": (-0.15, 0.15),
    }  # fmt: skip
    columns = [rng.uniform(*ranges[parameter.link], n) for parameter in model.parameters]
    p = np.stack(columns, axis=1) if columns else np.zeros((n, 0))
    return p, rng.normal(0, 1, (n, 1, len(model.linear) + 1))


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_those_of_the_basis(name: str) -> None:
    model = MODELS[name]
    p, _ = draw(model, 7)
    _, derivatives = model.evaluate(p, X, Y)
    assert len(derivatives) == len(model.parameters)
    step = 1e-5
    for q in range(p.shape[1]):
        up, down = p.copy(), p.copy()
        up[:, q] += step
        down[:, q] -= step
        higher, lower = (model.evaluate(at, X, Y, slopes=False)[0] for at in (up, down))
        for term, (high, low) in enumerate(zip(higher, lower, strict=True)):
            numeric = (high - low) / (2 * step)
            analytic = derivatives[q][term]
            np.testing.assert_allclose(0.0 if analytic is None else analytic, numeric, atol=FINITE_DIFFERENCE)


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
    even, odd = MODELS["gabor"].evaluate(p, X, Y)[0]
    at = {(x, y): (even[0, y + 4, x + 6], odd[0, y + 4, x + 6]) for x, y in ((1, 0), (0, 2))}
    np.testing.assert_allclose(at[1, 0], (0.0, np.exp(-1 / 8)), atol=ROUNDING)
    np.testing.assert_allclose(at[0, 2], (np.exp(-2), 0.0), atol=ROUNDING)


def test_stripes_curve_to_the_side_of_a_positive_curvature() -> None:
    # ψ = 2πf(u + κv²/2) is constant along u = −κv²/2: at v = ±2 with κ = 0.2 the central stripe is at u = −0.4,
    # so ψ there equals ψ of the straight Gabor at u + 0.4.
    straight = np.array([[0.0, 0.0, 0.0, 0.2, np.log(3.0), np.log(3.0)]])
    curved = np.append(straight, [[0.2]], axis=1)
    x, y = np.array([-0.4, 0.0]), np.array([-2.0, 2.0])
    odd = MODELS["gabor_curved"].evaluate(curved, x, y)[0][1]
    np.testing.assert_allclose(odd[0, :, 0], 0.0, atol=ROUNDING)
    assert (odd[0, :, 1] > 0.1).all()
    assert abs(MODELS["gabor"].evaluate(straight, x, y)[0][1][0, 0, 1]) < ROUNDING


@pytest.mark.parametrize("channels", [1, 3])
def test_the_moment_form_equals_the_jacobian(channels: int) -> None:
    """The Gabor's normal equations from moments, and those of the same model written with its derivatives."""
    rng = np.random.default_rng(3)
    moments, plain = MODELS["gabor"], Gabor()
    p, _ = draw(moments, 40)
    maps = rng.normal(size=(40, channels, len(Y), len(X)))
    mask = (rng.uniform(size=(40, len(Y), len(X))) > 0.2).astype(float)
    index = np.arange(40)
    fast = evaluate(prepare(moments, maps, mask, X, Y), index, p)
    slow = evaluate(prepare(plain, maps, mask, X, Y), index, p)
    for name in ("cost", "linear", "gradient", "hessian"):
        scale = np.abs(getattr(slow, name)).max()
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), atol=1e-8 * scale, err_msg=name)


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
