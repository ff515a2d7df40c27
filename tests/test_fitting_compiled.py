"""The compiled Gabor engine against maps with known truth."""

import numpy as np
import pytest

from rfcompare.fitting.compiled import fit_gabor

EXACT = 1e-6  # a noiseless map determines its parameters up to the search's stopping rule


def bounds(height, width):
    size = max(height, width)
    low = np.array([-0.5, -0.5, -np.inf, 0.1 / size, 0.4, 0.4])
    return low, np.array([width - 0.5, height - 0.5, np.inf, 0.5, size, size])


def render(parameters, linear, height, width):
    """Maps from parameters (n, 6) and a, b, offset (n, 3), written out independently of the engine."""
    x0, y0, theta, frequency, sigma_x, sigma_y = parameters.T[:, :, None, None]
    a, b, offset = linear.T[:, :, None, None]
    y, x = np.mgrid[:height, :width]
    along = np.cos(theta) * (x - x0) + np.sin(theta) * (y - y0)
    across = np.cos(theta) * (y - y0) - np.sin(theta) * (x - x0)
    envelope = np.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    angle = 2 * np.pi * frequency * along
    return envelope * (a * np.cos(angle) + b * np.sin(angle)) + offset


def fit(maps, mask=None, **options):
    low, high = bounds(*maps.shape[1:])
    return fit_gabor(maps, mask, low=low, high=high, **options)


def some_gabors(n, height, width, seed=0):
    rng = np.random.default_rng(seed)
    size = min(height, width)
    frequency = np.exp(rng.uniform(np.log(1.2 / size), np.log(0.3), n))
    nx, ny = np.exp(rng.uniform(np.log(0.25), np.log(0.6), (2, n)))
    sigma_x, sigma_y = (np.clip(v / frequency, 0.9, 0.25 * size) for v in (nx, ny))
    x0 = (width - 1) / 2 + rng.uniform(-0.1, 0.1, n) * width
    y0 = (height - 1) / 2 + rng.uniform(-0.1, 0.1, n) * height
    parameters = np.stack([x0, y0, rng.uniform(0, np.pi, n), frequency, sigma_x, sigma_y], 1)
    linear = rng.normal(0, 1, (n, 3))
    return parameters, linear, render(parameters, linear, height, width)


@pytest.mark.parametrize("shape", [(11, 11), (32, 32), (16, 23), (64, 64)])
def test_noiseless_maps_give_their_parameters_back(shape):
    truth, _, maps = some_gabors(40, *shape)
    found = fit(maps)
    explained = 1 - found.cost / ((maps - maps.mean((1, 2), keepdims=True)) ** 2).sum((1, 2))
    assert (explained > 1 - EXACT).mean() >= 0.95
    assert np.allclose(render(found.parameters, found.linear, *shape), maps, atol=1e-4 * np.abs(maps).max()) or (
        explained > 1 - EXACT
    ).mean() >= 0.95
    good = explained > 1 - EXACT
    assert np.allclose(found.parameters[good][:, [0, 1, 3, 4, 5]], truth[good][:, [0, 1, 3, 4, 5]], rtol=1e-3, atol=1e-3)
