"""Filtering a photograph: the right sign, place, direction and color, and clear words for what cannot be filtered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from numpy.typing import NDArray

import rfcompare as rfc
from rfcompare.cli import main
from rfcompare.errors import InputError
from rfcompare.figures.filtering import filter_response
from rfcompare.filtering import _NETWORK_MEAN, filter_image

OBLIQUE = np.array([[3.0, 1.0, 0.0], [1.0, 0.0, -1.0], [0.0, 0.0, -2.0]])
"""Row 0 on top; no mirror image, turn or negative of it is itself."""


def bank_of(weights: NDArray[np.float64], channel: tuple[str, ...] = ("luminance",), **how: object) -> xr.Dataset:
    return rfc.make_bank(weights[None], channel=channel, kind="learned", rows="down", unit=["k"], **how)  # type: ignore[arg-type]


def test_response_is_that_of_a_convolutional_layer() -> None:
    import torch

    rng = np.random.default_rng(0)
    image = rng.random((12, 17, 3))
    weights = rng.normal(size=(3, 5, 5))
    seen = filter_image(image, bank_of(weights, ("r", "g", "b")), "k")
    planes = torch.from_numpy((image - _NETWORK_MEAN).transpose(2, 0, 1))[None]
    expected = torch.nn.functional.conv2d(planes, torch.from_numpy(weights)[None])[0, 0].numpy()
    response = seen.response.values[::-1]  # rows from the top, as torch has them
    assert np.allclose(response[2:-2, 2:-2], expected)
    assert np.isnan(response[:2]).all() and np.isnan(response[:, -2:]).all()


def test_a_kernel_finds_itself_where_it_is_and_upright() -> None:
    image = np.full((15, 20), 0.5)
    image[4:7, 12:15] += OBLIQUE / 10  # its middle is row 5, column 13, from the top left
    seen = filter_image(image, bank_of(OBLIQUE[None]), 0)
    at = seen.response.where(seen.response == seen.response.max(), drop=True)
    # y points up: row 5 of 15 is 7 − 5 = 2 above the middle; column 13 of 20 is 13 − 9.5 = 3.5 to the right.
    assert (float(at.y[0]), float(at.x[0])) == (2.0, 3.5)


def test_images_and_kernels_are_shown_upright() -> None:
    image = np.zeros((6, 8, 3))
    image[0, :, 0] = 1.0  # a red line on top
    seen = filter_image(image, bank_of(OBLIQUE[None]), "k")
    assert (seen.image.sel(rgb="r").isel(y=-1) == 1).all() and float(seen.image.isel(y=0).sum()) == 0
    assert float(seen.y[-1]) > float(seen.y[0])
    # Row 0 on top in the weights is the highest y here.
    assert float(seen.kernel.isel(channel=0, kernel_y=-1, kernel_x=0)) == 3.0


def test_color_kernels_see_color_and_others_luminance() -> None:
    red, green = np.zeros((9, 9, 3)), np.zeros((9, 9, 3))
    red[:, :, 0] = 1.0
    green[:, :, 1] = 1.0
    opponent = np.multiply.outer([1.0, -1.0, 0.0], np.full((3, 3), 1 / 9) + OBLIQUE * 1e-9)
    answers = [
        float(filter_image(image, bank_of(opponent, ("r", "g", "b")), "k", mean=(0, 0, 0)).response.mean())
        for image in (red, green)
    ]
    assert answers == pytest.approx([1, -1], abs=1e-6)
    gray = bank_of((np.full((3, 3), 1 / 9) + OBLIQUE * 1e-9)[None])
    luminance = [float(filter_image(image, gray, "k", mean=(0, 0, 0)).response.mean()) for image in (red, green)]
    assert luminance == pytest.approx([0.299, 0.587], abs=1e-6)  # Rec. 601


def test_spectrum_of_the_response_lies_where_the_kernel_passes() -> None:
    axis = np.arange(15) - 7.0
    envelope = np.exp(-(axis[None, :] ** 2 + axis[:, None] ** 2) / 18)
    gabor = envelope * np.cos(2 * np.pi * 0.2 * axis)[None, :]  # vertical stripes, 0.2 cycles/px along x
    image = np.random.default_rng(0).random((80, 100))
    seen = filter_image(image, bank_of(gabor[None]), "k")
    assert float(seen.gain.max()) == 1
    peak = seen.gain.where(seen.gain == 1, drop=True)
    assert abs(float(peak.frequency_x[0])) == pytest.approx(0.2, abs=0.015) and float(peak.frequency_y[0]) == 0
    passed = seen.gain > 0.5
    share = float(seen.response_power.where(passed).sum() / seen.response_power.sum())
    # A Gaussian lobe keeps 1 − 0.5² = 3/4 of its power within its half-gain contour; noise has equal power everywhere.
    assert share == pytest.approx(0.75, abs=0.08)


def test_a_field_in_degrees_sees_the_image_at_its_own_scale() -> None:
    axis = np.arange(9) - 4.0
    field = axis[None, :] * np.exp(-(axis[None, :] ** 2 + axis[:, None] ** 2) / 6)
    bank = rfc.make_bank(
        field[None, None],
        channel=("signed",),
        kind="measured",
        attrs={"stimulus": "sparse noise"},
        deg_per_px=0.5,
        unit=["cell"],
    )
    edge = np.zeros((60, 120))
    edge[:, 60:] = 1.0
    seen = filter_image(edge, bank, "cell", width_deg=40)
    # 40° at 0.5° per pixel are 80 pixels; the height follows: 40 pixels, 20°.
    assert dict(seen.response.sizes) == {"y": 40, "x": 80}
    assert float(seen.x[-1] - seen.x[0]) == pytest.approx(39.5)
    assert seen.attrs["kind"] == "measured" and seen.x.attrs["units"] == "degree"
    best = seen.response.mean("y").idxmax()
    assert abs(float(best)) <= 0.5  # the edge is in the middle
    with pytest.raises(InputError, match="width in degrees"):
        filter_image(edge, bank, "cell")
    with pytest.raises(InputError, match="positive"):
        filter_image(edge, bank, "cell", width_deg=-1)
    with pytest.raises(InputError, match="at least 9×9 px"):
        filter_image(edge, bank, "cell", width_deg=2)


def test_what_cannot_be_filtered_is_said(tmp_path: Path) -> None:
    bank = bank_of(OBLIQUE[None])
    image = np.zeros((5, 5))
    with_empty = rfc.make_bank(np.stack([OBLIQUE, np.zeros((3, 3))])[:, None], channel=("luminance",), kind="learned")
    (tmp_path / "text.png").write_text("not an image")
    for call, message in (
        (lambda: filter_image(image, bank, "nobody"), "expected a unit among k … k"),
        (lambda: filter_image(image, bank, 7), "position from 0 to 0"),
        (lambda: filter_image(tmp_path / "none.png", bank, 0), "does not exist"),
        (lambda: filter_image(tmp_path / "text.png", bank, 0), "expected an image file"),
        (lambda: filter_image(np.zeros((2, 2)), bank, 0), "at least 3×3 px"),
        (lambda: filter_image(np.full((5, 5), 7.0), bank, 0), r"\[0, 1\]"),
        (lambda: filter_image(np.zeros((5, 5, 4)), bank, 0), "row, column, 3"),
        (lambda: filter_image(image, bank, 0, width_deg=3.0), "deg_per_px"),
        (lambda: filter_image(image, with_empty, 1), "usable map, got unit u001"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_a_camera_s_rotation_mark_is_obeyed(tmp_path: Path) -> None:
    from PIL import Image

    array = np.zeros((10, 20, 3), np.uint8)
    array[:, :4] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90° for viewing: the left side becomes the top
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    seen = filter_image(tmp_path / "turned.png", bank_of(OBLIQUE[None]), 0)
    assert dict(seen.response.sizes) == {"y": 20, "x": 10}
    assert float(seen.image.isel(y=-1).mean()) == 1 and float(seen.image.isel(y=0).mean()) == 0


def test_the_figure_holds_the_four_maps_and_the_sentence() -> None:
    rng = np.random.default_rng(0)
    bank = rfc.make_bank(rng.normal(size=(1, 1, 5, 5)), channel=("signed",), kind="simulated", deg_per_px=1, unit=["c"])
    seen = filter_image(rng.random((30, 40)), bank, "c", width_deg=40)
    figure = filter_response(seen)
    image, kernel, response, spectrum = figure.axes
    assert np.allclose(image.images[0].get_array(), seen.image.values)
    assert np.allclose(kernel.images[0].get_array(), seen.kernel.values[0])
    assert np.allclose(
        response.images[0].get_array().compressed(), seen.response.values[np.isfinite(seen.response.values)]
    )
    low, high = response.images[0].get_clim()
    assert low == -high < 0
    assert "cycles/°" in spectrum.get_xlabel()
    assert str(seen.attrs["sentence"])[:20] in figure.get_suptitle().replace("\n", " ")
    assert any("SIMULATED" in text.get_text() for text in response.texts)
    assert "simulated" in rfc.figures.caption(figure)


def test_the_command_draws_and_says(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray((255 * np.random.default_rng(0).random((40, 50, 3))).astype(np.uint8)).save(tmp_path / "photo.png")
    rng = np.random.default_rng(1)
    np.save(tmp_path / "kernels.npy", rng.normal(size=(2, 3, 5, 5)))
    common = ["filter", str(tmp_path / "photo.png"), "--kernels", str(tmp_path / "kernels.npy")]
    done = CliRunner().invoke(main, [*common, "--unit", "1", "-o", str(tmp_path / "out.png")])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("u001: ")
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.size[0] > 1000
    failed = CliRunner().invoke(main, [*common, "--unit", "9", "-o", str(tmp_path / "no.png")])
    assert failed.exit_code == 2 and "expected a unit among" in failed.output and not (tmp_path / "no.png").exists()
    failed = CliRunner().invoke(main, [*common, "--unit", "1", "-o", str(tmp_path / "out.xyz")])
    assert failed.exit_code == 2 and "ending in .png" in failed.output
