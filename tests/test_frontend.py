"""`to_module`: a first layer whose kernels are the fields."""

import numpy as np
import pytest
import torch
import torchvision
import xarray as xr

import rfcompare as rfc

EXACT = 1e-6
"""Float32 weights against float64 maps of a scale of one."""


def gabors(n: int = 5, size: int = 11) -> xr.Dataset:
    x = np.arange(size) - (size - 1) / 2
    maps = [
        np.exp(-(x**2 + x[:, None] ** 2) / 10)
        * np.cos(2 * np.pi * 0.15 * (x * np.cos(a) + x[:, None] * np.sin(a)) + 0.7 * a + 0.3)
        for a in np.linspace(0, 2.5, n)
    ]
    return rfc.make_bank(np.array(maps)[:, None], channel=("signed",), kind="simulated", deg_per_px=2.0)


@pytest.fixture(scope="module")
def bank() -> xr.Dataset:
    return gabors()


@pytest.fixture(scope="module")
def fits(bank: xr.Dataset) -> xr.Dataset:
    return rfc.fit(bank, "gabor", seed=0)


def test_kernels_of_fits_are_what_predict_gives_and_are_frozen(bank: xr.Dataset, fits: xr.Dataset) -> None:
    layer = rfc.to_module(fits)
    expected = rfc.predict(fits, bank).values[:, :, ::-1]
    assert np.abs(layer.weight.numpy() - expected).max() < EXACT
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_a_bank_gives_its_own_maps_and_a_filter_of_them_is_correlation(bank: xr.Dataset) -> None:
    layer = rfc.to_module(bank)
    image = torch.from_numpy(rfc.weights(bank)[2][None].astype(np.float32))  # the field itself, as an image
    response = layer(image)[0, :, 0, 0]
    # A field answers itself with its energy: sum of squares; by Cauchy–Schwarz, of equal norm, most.
    assert float(response[2]) == pytest.approx(float((bank.rf[2] ** 2).sum()), rel=1e-5)


def test_degrees_become_pixels_of_the_image(fits: xr.Dataset) -> None:
    # The fields have 2° a pixel; in an image of 1° a pixel the same field is twice as many pixels wide.
    layer = rfc.to_module(fits, deg_per_px=1.0)
    assert layer.kernel_size == (23, 23)  # 11 × 2° = 22°, which an odd number of 1° pixels covers
    again = rfc.fit(rfc.to_signed(rfc.load_kernels(layer, kind="simulated")), "gabor", seed=0)
    assert np.allclose(again.frequency, fits.frequency, rtol=1e-4)  # cycles per pixel of 1° = cycles per degree
    with pytest.raises(rfc.InputError, match="in degrees"):
        rfc.to_module(rfc.make_bank(np.eye(5)[None, None], channel=("signed",), kind="analytic"), deg_per_px=1.0)


def test_a_quadrature_pair_answers_any_phase_of_a_grating_alike(fits: xr.Dataset) -> None:
    layer = rfc.to_module(fits, quadrature=True)
    assert layer.out_channels == 2 * fits.sizes["unit"]
    x = torch.arange(41) - 20.0
    f, theta = float(fits.frequency[0]) * 2, np.radians(float(fits.orientation[0]) + 90)
    energy = []
    for phase in np.linspace(0, np.pi, 5):
        across = x * np.cos(theta) - x[:, None] * np.sin(theta)  # y up
        grating = torch.cos(2 * np.pi * f * across + phase)[None, None].float()
        even, odd = layer(grating)[0, :2, 20, 20].double()
        energy.append(float(even**2 + odd**2))
    # exp(-2π²f²σ²·4) of the carrier leaks into the other frequency: under 5 % for nx = .15·√5 ≈ .34
    assert max(energy) / min(energy) < 1.05


def test_drawn_units_come_from_the_fits_and_the_seed(fits: xr.Dataset) -> None:
    one, same, other = (rfc.to_module(fits, n=40, seed=seed).weight for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.shape[0] == 40
    drawn = rfc.fit(rfc.to_signed(rfc.load_kernels(rfc.to_module(fits, n=40, seed=1), kind="simulated")), seed=0)
    low, high = float(fits.frequency.min()) * 2, float(fits.frequency.max()) * 2
    assert ((drawn.frequency > 0.9 * low) & (drawn.frequency < 1.1 * high)).all()


@pytest.mark.parametrize("name", ["alexnet", "resnet18"])
def test_it_stands_in_for_conv1_of_a_network(fits: xr.Dataset, name: str) -> None:
    network = getattr(torchvision.models, name)(weights=None).eval()
    old = network.features[0] if name == "alexnet" else network.conv1
    layer = rfc.to_module(fits, n=64, seed=0, like=old)
    assert (layer.in_channels, layer.stride, layer.out_channels) == (3, old.stride, 64)
    if name == "alexnet":
        network.features[0] = layer
    else:
        network.conv1 = layer
    with torch.no_grad():
        assert torch.isfinite(network(torch.zeros(1, 3, 128, 128) + 0.5)).all()
    assert rfc.load_kernels(network, kind="simulated").sizes["unit"] == 64


def test_gray_images_and_the_same_images_in_color_are_answered_alike(bank: xr.Dataset) -> None:
    gray = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    one, three = rfc.to_module(bank), rfc.to_module(bank, in_channels=3)
    assert torch.allclose(one(gray), three(gray.expand(-1, 3, -1, -1)), atol=1e-5)


def test_what_cannot_be_a_layer_is_said(bank: xr.Dataset, fits: xr.Dataset) -> None:
    with pytest.raises(rfc.InputError, match="fits of a Gabor"):
        rfc.to_module(bank, quadrature=True)
    with pytest.raises(rfc.InputError, match="positive"):
        rfc.to_module(fits, n=0)
    lagged = rfc.make_bank(np.arange(75.0).reshape(1, 1, 3, 5, 5), channel=("signed",), kind="simulated")
    with pytest.raises(rfc.InputError, match="without lags"):
        rfc.to_module(lagged)
