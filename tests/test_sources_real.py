"""The real kernels and recordings beside the checkout: every fact that their description states, and their readers."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

import rfcompare as rfc
from rfcompare import InputError, sources
from rfcompare.sources import hdf5, matlab
from tests.sample_maps import FORMULA_TOLERANCE, sentence

LAYOUTS = Path(__file__).parent / "layouts"

# Real files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def horwitz(shared_data: Path) -> Path:
    return shared_data / "fields" / "macaque_v1_horwitz"


def test_a_real_keras_file(shared_data: Path) -> None:
    path = shared_data / "kernels" / "squeezenet11_keras_tf_notop.h5"
    bank = rfc.load_kernels(path)
    assert (bank.attrs["layer"], dict(bank.rf.sizes)) == (
        "/conv1/uniform1", {"unit": 64, "channel": 3, "y": 3, "x": 3},
    )  # fmt: skip
    with h5py.File(path) as file:
        np.testing.assert_array_equal(rfc.weights(bank), file["conv1/uniform1"][()].transpose(3, 2, 0, 1))
    assert rfc.load_kernels(path, layer="fire2/expand3x3").sizes["unit"] == 64


def gabor_parameters(folder: Path) -> dict[str, np.ndarray]:
    cells = scipy.io.loadmat(folder / "Gaborparams.mat")["Gaborparams"].ravel()
    return {name: np.array([float(cell[name].item().item()) for cell in cells]) for name in cells[0].dtype.names}


def test_horwitz_formula_reproduces_every_image(horwitz: Path) -> None:
    images = np.stack(scipy.io.loadmat(horwitz / "modelfits.mat")["modelfits"][:, 1])
    p = {name: values[:, None, None] for name, values in gabor_parameters(horwitz).items()}
    column, row = np.arange(1, 11), np.arange(1, 11)[:, None]
    x, y = column - 6 - p["xoffset"], row - 6 + p["yoffset"]
    along = x * np.sin(p["theta"]) + y * np.cos(p["theta"])
    across = x * np.cos(p["theta"]) - y * np.sin(p["theta"])
    made = np.exp(-(across**2 + p["gamma"] ** 2 * along**2) / (2 * p["sigma"] ** 2))
    made = p["amplitude"] * made * np.cos(2 * np.pi * along / p["lambda"] - p["phi"])
    made /= np.sqrt((made**2).sum((1, 2), keepdims=True))
    assert images.shape == (333, 10, 10)
    np.testing.assert_allclose(made, images, rtol=0, atol=4.5e-16)  # the data's description: 4e-16
    assert p["lambda"].max() < 20


def test_horwitz_images_open_by_layout(horwitz: Path) -> None:
    bank = rfc.open_fields(horwitz / "modelfits.mat", layout=LAYOUTS / "horwitz_modelfits.toml")
    images = np.stack(scipy.io.loadmat(horwitz / "modelfits.mat")["modelfits"][:, 1])
    np.testing.assert_array_equal(bank.rf.values[:, 0, ::-1], images)
    assert (bank.attrs["kind"], bank.attrs["units"]) == ("parametric", "px")
    assert set(bank.subject.values) == {"unknown"}
    assert set(bank.source.values) == {"modelfits.mat"}
    assert not bank.polarity_known.any()
    assert "mixture" in bank.attrs["population"]


def test_horwitz_parameters_render_the_same_images(horwitz: Path) -> None:
    images = rfc.open_fields(horwitz / "modelfits.mat", layout=LAYOUTS / "horwitz_modelfits.toml")
    rendered = rfc.open_fields(horwitz / "Gaborparams.mat", layout=LAYOUTS / "horwitz_gaborparams.toml")
    np.testing.assert_allclose(rendered.rf.values, images.rf.values, atol=FORMULA_TOLERANCE)
    assert rendered.attrs["kind"] == "parametric"
    assert set(np.unique(rendered.exit_flag)) == {1, 2}


def test_horwitz_shape_of_the_population(horwitz: Path) -> None:
    p = gabor_parameters(horwitz)
    r_square = scipy.io.loadmat(horwitz / "R_square.mat")["R_square"]
    kept = r_square[:, 1] > 0.7  # column 1 belongs to the Gabor, as in modelfits
    nx, ny = p["sigma"] / (p["gamma"] * p["lambda"]), p["sigma"] / p["lambda"]
    assert (r_square.shape, int(kept.sum())) == ((333, 6), 300)
    np.testing.assert_allclose(np.percentile(nx[kept], [10, 50, 90]), [0.062, 0.210, 0.513], atol=0.0006)
    np.testing.assert_allclose(np.percentile(ny[kept], [10, 50, 90]), [0.083, 0.192, 0.494], atol=0.0006)
    assert int(scipy.io.loadmat(horwitz / "Singleopponent.mat")["Singleopponent"].sum()) == 55


def test_a_fit_gives_the_published_parameters_back(horwitz: Path) -> None:
    """From the stored images through reader and fitter to the published numbers: shape, angle, place."""
    p = gabor_parameters(horwitz)
    nx, ny = p["sigma"] / (p["gamma"] * p["lambda"]), p["sigma"] / p["lambda"]
    # Cells whose Gabor is well determined: more than 0.2 cycles both ways and a center inside the map.
    clear = np.flatnonzero((nx > 0.2) & (ny > 0.2) & (np.abs(p["xoffset"]) < 3) & (np.abs(p["yoffset"]) < 3))[:40]
    bank = rfc.open_fields(horwitz / "modelfits.mat", layout=LAYOUTS / "horwitz_modelfits.toml")
    fits = rfc.fit(bank.isel(unit=clear), "gabor", seed=0)
    one = fits.isel(channel=0)
    np.testing.assert_allclose(np.median(np.abs(np.log(one.sigma_x * one.frequency / nx[clear]))), 0, atol=1e-3)
    np.testing.assert_allclose(np.median(np.abs(np.log(one.sigma_y * one.frequency / ny[clear]))), 0, atol=1e-3)
    # y up, the carrier runs along theta - 90 degrees, so the stripes along theta; compared as axes.
    turned = np.radians(one.orientation.values - np.degrees(p["theta"][clear]))
    assert np.median(np.abs(np.sin(turned))) < 1e-3
    assert np.median(np.abs(one.x0 - (p["xoffset"][clear] + 0.5))) < 1e-2
    assert np.median(np.abs(one.y0 - (p["yoffset"][clear] - 0.5))) < 1e-2


@pytest.mark.parametrize("name", ["R_square", "Singleopponent"])
def test_horwitz_tables_hold_no_maps(horwitz: Path, name: str) -> None:
    for described in (None, {"maps": f"/{name}", "dims": "unit y x", "stimulus": "unknown"}):
        with pytest.raises(InputError, match=r"no array that could be|the shape \(333") as error:
            rfc.open_fields(horwitz / f"{name}.mat", layout=described)
        sentence(error)
    assert "333" in sources.inspect(horwitz / f"{name}.mat")


@pytest.mark.parametrize(
    ("name", "count", "bad"),
    [("parasol", 94, [9, 15, 20, 25, 71, 86, 89]), ("midget", 236, [13, 23])],
)
def test_ganglion_cells_open_by_layout(shared_data: Path, name: str, count: int, bad: list[int]) -> None:
    path = shared_data / "fields" / "macaque_rgc" / f"{name.capitalize()}_ON_spatial.mat"
    bank = rfc.open_fields(path, layout=LAYOUTS / f"rgc_{name}_on.toml")
    stored = scipy.io.loadmat(path)["c"]
    good = [index for index in range(count) if index not in bad]
    assert stored.shape == (13, 13, count)
    np.testing.assert_array_equal(bank.rf.values[:, 0, ::-1], stored.transpose(2, 0, 1)[good])
    assert (bank.attrs["kind"], bank.sizes["unit"]) == ("measured", count - len(bad))
    assert rfc.bank.pitch(bank)[0] == pytest.approx(0.3)  # 60 µm / 200 µm per degree
    assert not bank.polarity_known.any()
    flat = bank.rf.values.reshape(bank.sizes["unit"], -1)
    peak = np.take_along_axis(flat, np.abs(flat).argmax(1)[:, None], 1)[:, 0]
    assert 0.4 < (peak < 0).mean() < 0.6  # about half are stored upside down


def test_the_rust_file_is_matlab_v73_whatever_its_header_says(shared_data: Path) -> None:
    from rfcompare.sources.matlab import V73Store

    path = shared_data / "fields" / "macaque_v1_rust" / "544l029.p21_stc.mat"
    assert path.read_bytes()[:10] == b"MATLAB 7.0"
    with hdf5.Reader(path) as reader:
        assert reader.file.userblock_size == 512
        store = V73Store(reader)
        stimulus = store.locate("/stim", (), None)
        times = store.locate("/spk_tms", (), None)
        assert stimulus.shape == (294912, 24)  # the file has 24 × 294912
        assert set(np.unique(stimulus)) <= {-1.0, 0.0, 1.0}
        assert times.items.size == 18
        assert times.items.ravel()[0].shape == (1, 13012)
        # The spikes counted per frame are those of the 18 trials, but for the few outside the stimulus.
        counted, listed = store.column("/spikes_per_frm").sum(), sum(item.size for item in times.items.ravel())
        assert (counted, listed) == (212337, 212342)
    assert "MATLAB v7.3" in sources.inspect(path)
    with pytest.raises(InputError, match="no array that could be"):
        rfc.open_fields(path)


def test_real_kernels_load(shared_data: Path) -> None:
    folder = shared_data / "kernels"
    caffenet = rfc.load_kernels(folder / "caffenet_conv1_96x3x11x11_bgr_f32.npy", channel_order="bgr")
    stored = np.load(folder / "caffenet_conv1_96x3x11x11_bgr_f32.npy")
    np.testing.assert_array_equal(caffenet.rf.sel(channel="b").values[:, ::-1], stored[:, 0])
    assert caffenet.rf.shape == (96, 3, 11, 11)
    squeezenet = rfc.load_kernels(folder / "squeezenet10_conv1_96x3x7x7_bgr_f32.npy", channel_order="bgr")
    assert squeezenet.rf.shape == (96, 3, 7, 7)
    nin = folder / "nin_imagenet_conv1_96x11x11x3_bgr_u8.npy"
    with pytest.raises(InputError, match="unit y x channel"):
        rfc.load_kernels(nin)
    with pytest.raises(InputError, match="both signs"):  # it is a picture, whose gray stands for zero
        rfc.load_kernels(nin, channel_order="bgr", dims="unit y x channel")
    stored = np.load(nin)
    signed = stored.astype(np.float32) - np.float32(np.median(stored))
    bank = rfc.load_kernels(signed, channel_order="bgr", dims="unit y x channel")
    np.testing.assert_array_equal(bank.rf.sel(channel="r").values[:, ::-1], signed[..., 2])
    assert bank.rf.dtype == np.float32
    assert (stored.dtype, stored.min(), stored.max()) == (np.uint8, 0, 255)  # one affine for the whole layer


def test_the_photographs_are_fifty_of_one_size(shared_data: Path) -> None:
    from PIL import Image

    sizes = []
    for path in (shared_data / "images").glob("*.jpg"):
        with Image.open(path) as image:
            sizes.append(sorted(image.size))
    assert sizes == [[321, 481]] * 50


CLASSES = ("dynamic", "enum", "maps", "string", "tables", "time", "type_systems", "user_defined")


@pytest.mark.parametrize("name", CLASSES)
def test_files_of_matlab_classes_are_listed(shared_data: Path, name: str) -> None:
    path = shared_data / "fields" / "matlab_classes" / f"test_{name}_v7.mat"
    text = sources.inspect(path)
    assert "MATLAB object (" in text and "), not read" in text
    named = next(line.split()[0] for line in text.splitlines() if "MATLAB object" in line)
    with pytest.raises(InputError, match="which only MATLAB reads") as error:
        rfc.open_fields(path, layout={"maps": f"/{named}", "dims": "unit y x"})
    sentence(error)


def test_plain_arrays_beside_matlab_objects_open(shared_data: Path) -> None:
    path = shared_data / "fields" / "matlab_classes" / "treeshrew_tsData.mat"
    assert "theMosaic  MATLAB object (coneMosaicHex), not read" in sources.inspect(path)
    store = matlab.V5Store(path)
    assert store.locate("/PSF", (), None).size == 1


@pytest.mark.parametrize(("name", "n", "size"), [("apricot_sbc", 27, 13), ("RPE_onSBC", 44, 17)])
def test_maps_deep_in_structs_are_found_and_open(shared_data: Path, name: str, n: int, size: int) -> None:
    path = shared_data / "fields" / "macaque_rgc" / f"mosaicGLM_{name}-1-mat.mat"
    place = "/mosaicGLM/linearfilters/Stimulus/space_rk1"
    text = sources.inspect(path)
    assert f'maps = "{place}"' in text and f"of shape {(n, size, size)}" in text
    bank = rfc.open_fields(path, layout={"maps": place, "dims": "unit y x", "polarity": "unknown"}, kind="measured")
    assert bank.rf.shape == (n, 1, size, size)
    stored = scipy.io.loadmat(path)["mosaicGLM"][0, 3]["linearfilters"][0, 0]["Stimulus"][0, 0]["space_rk1"][0, 0]
    np.testing.assert_array_equal(bank.rf.values[3, 0, ::-1], stored)


def test_recordings_and_tables_are_not_offered_as_maps(shared_data: Path) -> None:
    for path, says in (
        ("other/RGC_dendrite.h5", "rfcompare estimate RGC_dendrite.h5"),
        ("fields/macaque_v1_rust/544l029.p21_stc.mat", "rfcompare estimate 544l029.p21_stc.mat"),
        ("nwb/496908818s.nwb", "format: NWB 1"),
        ("nwb/mock_ttl.nwb", "No array here"),
        ("treeshrew/csfData_Casagrande1984.mat", "No array here"),
        ("kernels/squeezenet11_keras_tf_notop.h5", "The first layer is (3, 3, 3, 64), entry /conv1/uniform1"),
    ):
        text = sources.inspect(shared_data / path)
        assert says in text and "maps =" not in text
