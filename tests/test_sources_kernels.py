"""Kernels from every place that keeps weights.

The kernels are oblique and off-center, different in every channel, on a grid that is wider than tall: a flip, a
transposition or a swap of channels changes them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare import InputError, sources
from rfcompare.sources import checkpoints
from rfcompare.sources.torchvision_models import read_network
from tests.sample_maps import gabor, sentence

# Weights ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernels() -> np.ndarray:
    """(unit, channel r g b, row, column), oblique and different in every channel."""
    column, row = np.arange(9) - 4.0, (np.arange(7) - 3.0)[:, None]
    colors = np.array([[1.0, 0.5, -0.2], [0.1, -0.8, 0.9], [0.3, 0.3, 0.3], [1.0, 0.0, 0.0]])
    maps = np.array([gabor(2 * column, -2 * row, 2.0, 1.0, 30.0 + 20 * unit, 0.3) for unit in range(4)])
    return (colors[:, :, None, None] * maps[:, None]).astype(np.float32)


def loaded(kernels: Any, bank: xr.Dataset) -> None:
    """The bank's maps are the kernels, in the network's own order and with y up."""
    np.testing.assert_array_equal(rfc.bank.weights(bank), kernels)
    np.testing.assert_array_equal(bank.rf.sel(channel="g", y=3, x=-4).values, kernels[:, 1, 0, 0])  # top left
    assert tuple(bank.channel.values) == ("r", "g", "b")


def test_arrays_in_every_order(kernels: Any, tmp_path: Path) -> None:
    loaded(kernels, rfc.load_kernels(kernels))
    loaded(kernels, rfc.load_kernels(kernels.transpose(0, 2, 3, 1), dims="unit y x channel"))
    loaded(
        kernels,
        rfc.load_kernels(kernels.transpose(2, 3, 1, 0)[:, :, ::-1], dims="y x channel unit", channel_order="bgr"),
    )
    np.save(tmp_path / "k.npy", kernels[:, ::-1])
    bank = rfc.load_kernels(tmp_path / "k.npy", channel_order="bgr")
    loaded(kernels, bank)
    assert bank.attrs["kind"] == "not stated"  # weights do not show whether they were trained
    assert rfc.load_kernels(tmp_path / "k.npy", kind="learned").attrs["kind"] == "learned"
    assert len(bank.attrs["sha256"]) == 64
    assert "b, g, r" in bank.attrs["history"]
    gray = rfc.load_kernels(kernels[:, 0], dims="unit y x")
    assert tuple(gray.channel.values) == ("luminance",)


def test_npz_pth_and_safetensors(kernels: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    tensor = torch.from_numpy(kernels)
    state = {"bn.weight": torch.ones(64), "conv1.weight": tensor, "conv2.weight": torch.ones(8, 4, 3, 3)}
    np.savez(tmp_path / "k.npz", bias=np.ones(4), conv1=kernels)
    torch.save(state, tmp_path / "plain.pth")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "nested.pt"
    )
    torch.save(tensor, tmp_path / "alone.pt")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    # safetensors sorts its entries: the first 4-D one here is not the first layer.
    save_file(
        {"a.late.weight": torch.ones(8, 4, 3, 3), "stem.weight": tensor.half().float()}, tmp_path / "k.safetensors"
    )
    for name in ("k.npz", "plain.pth", "nested.pt", "alone.pt", "old.pth"):
        loaded(kernels, rfc.load_kernels(tmp_path / name))
    bank = rfc.load_kernels(tmp_path / "k.safetensors")
    np.testing.assert_allclose(rfc.bank.weights(bank), kernels, atol=1e-3)  # float16 keeps three digits
    assert bank.attrs["layer"] == "stem.weight"
    assert rfc.load_kernels(tmp_path / "plain.pth", key="conv1.weight").attrs["layer"] == "conv1.weight"


def test_modules_grouped_and_gray_convolutions(kernels: Any) -> None:
    import torch
    from torch import nn

    module = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, (7, 9)), nn.Conv2d(4, 2, 3))
    with torch.no_grad():
        module[1].weight.copy_(torch.from_numpy(kernels))
    loaded(kernels, rfc.load_kernels(module))
    depthwise = nn.Conv2d(3, 6, 5, groups=3)  # units 0, 1 see r; 2, 3 see g; 4, 5 see b
    bank = rfc.load_kernels(depthwise)
    array = rfc.bank.weights(bank)
    own = depthwise.weight.detach().numpy()[:, 0]
    for unit in range(6):
        np.testing.assert_array_equal(array[unit, unit // 2], own[unit])
        assert not np.delete(array[unit], unit // 2, axis=0).any()
    assert tuple(rfc.load_kernels(nn.Conv2d(1, 4, 5)).channel.values) == ("luminance",)
    for fault, says in (
        (nn.Conv2d(2, 4, 5), "3 \\(r, g, b\\) or 1"),
        (nn.Linear(3, 3), "none"),
        (nn.LazyConv2d(4, 5), "no values yet"),
        (nn.Conv2d(3, 4, 5, device="meta"), "with values"),
        (nn.Conv2d(3, 4, 1), "at least 2 pixels"),
    ):
        with pytest.raises(InputError, match=says) as error:
            rfc.load_kernels(fault)
        sentence(error)


def test_untrained_networks_are_repeatable_and_leave_torch_alone() -> None:
    import torch

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = rfc.load_kernels("squeezenet1_1", weights=None, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.attrs["kind"] == "untrained"
    assert first.attrs["seed"] == 3
    xr.testing.assert_identical(first, rfc.load_kernels("squeezenet1_1", weights=None, seed=3))
    assert np.abs(first.rf.values - rfc.load_kernels("squeezenet1_1", weights=None, seed=4).rf.values).max() > 0.01


def cached_weights(folder: Path, kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch cache that holds a file under AlexNet's published name."""
    import torch
    from torchvision.models import AlexNet_Weights

    monkeypatch.setenv("TORCH_HOME", str(folder))
    torch.hub.set_dir(str(folder / "hub"))
    place = folder / "hub" / "checkpoints"
    place.mkdir(parents=True)
    state = {"features.0.weight": torch.from_numpy(kernels), "features.3.weight": torch.ones(8, 4, 3, 3)}
    torch.save(state, place / Path(AlexNet_Weights.IMAGENET1K_V1.url).name)


@pytest.fixture
def torch_cache() -> Iterator[None]:
    import torch

    before = torch.hub.get_dir()
    yield
    torch.hub.set_dir(before)


@pytest.mark.usefixtures("torch_cache")
def test_torchvision_weights_come_from_its_cache(kernels: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_weights(tmp_path, kernels, monkeypatch)
    bank = rfc.load_kernels("alexnet")
    loaded(kernels, bank)
    assert bank.attrs["weights"] == "AlexNet_Weights.IMAGENET1K_V1"
    assert bank.attrs["layer"] == "features.0.weight"
    divided = rfc.load_kernels("alexnet", divide_by_std=True)
    expected = kernels / np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
    np.testing.assert_allclose(rfc.bank.weights(divided), expected, rtol=1e-6)
    assert json.loads(divided.attrs["divided_by_std"]) == [0.229, 0.224, 0.225]
    assert rfc.fetch("alexnet").is_file()
    next((tmp_path / "hub" / "checkpoints").iterdir()).write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(InputError, match="damaged") as error:
        rfc.load_kernels("alexnet")
    sentence(error)


@pytest.mark.usefixtures("torch_cache")
def test_offline_without_cached_weights_says_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    import torch

    def no_network(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    torch.hub.set_dir(str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(InputError, match="cannot download the weights of alexnet") as error:
        rfc.load_kernels("alexnet")
    text = sentence(error)
    assert "reference:alexnet" in text
    assert "weights=None" in text


def test_a_network_to_be_recorded_is_no_file() -> None:
    with pytest.raises(InputError, match="or in Python a module") as error:
        read_network("mine.pth")
    sentence(error)


def test_weight_faults_are_one_sentence(kernels: Any, tmp_path: Path) -> None:
    import torch
    from torch import nn

    torch.save({"fc.weight": torch.ones(3, 3)}, tmp_path / "linear.pth")
    torch.save(nn.Conv2d(3, 4, 5), tmp_path / "pickled.pth")
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "short.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "zip.pth").write_bytes(b"PK\x05\x06" + bytes(18))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    np.save(tmp_path / "flat.npy", np.ones((3, 3)))
    np.savez(tmp_path / "many.npz", a=np.ones((2, 5, 3, 3)), b=np.ones((2, 6, 3, 3)))
    header = (
        np.lib.format.magic(1, 0)
        + b"v\x00"
        + str({"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}).encode().ljust(117)
        + b"\n"
    )
    (tmp_path / "absurd.npy").write_bytes(header)
    cases = {
        "linear.pth": "4-D convolution weight",
        "pickled.pth": "never runs",
        "text.pt": r"never runs|cannot read",
        "short.npy": "NumPy array",
        "text.npz": "NumPy archive",
        "text.safetensors": "safetensors",
        "zip.pth": "cannot read",
        "objects.npy": "NumPy array",
        "words.npy": "real numbers",
        "flat.npy": "4 dims",
        "many.npz": "pass the first layer's entry",
        "absurd.npy": r"NumPy array|at most",
    }
    for name, says in cases.items():
        with pytest.raises(InputError, match=says) as error:
            rfc.load_kernels(tmp_path / name)
        sentence(error)
    for fault, says in (
        ({"channel_order": "grb"}, "'rgb' or 'bgr'"),
        ({"dims": "unit x y"}, "4 dims|3 dims"),
        ({"dims": ["unit", "channel", "y", "x"]}, "a text such as"),
        ({"dims": "n c h w"}, "unit, channel, y and x"),
        ({"divide_by_std": True}, "not known"),
        ({"divide_by_std": [1.0, 2.0]}, "3 positive"),
        ({"divide_by_std": [1.0, 2.0, 0.0]}, "3 positive"),
        ({"dims": "channel unit y x"}, "input channels"),
        ({"kind": "guessed"}, "kind"),
    ):
        with pytest.raises(InputError, match=says) as error:
            rfc.load_kernels(kernels, **fault)
        sentence(error)
    with pytest.raises(InputError, match="torchvision has no weights"):
        rfc.load_kernels("alexnet", weights="IMAGENET99")
    with pytest.raises(InputError, match="no seed"):
        rfc.load_kernels("alexnet", seed=1)
    with pytest.raises(InputError, match="no entry"):
        rfc.load_kernels(tmp_path / "linear.pth", key="conv1.weight")
    (tmp_path / "maps.mat").write_text("maps")
    with pytest.raises(InputError, match="open_fields"):
        rfc.load_kernels(tmp_path / "maps.mat")


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    """A checkpoint that would run code when unpickled is refused before the code runs."""
    import torch

    marker = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (marker,))

    torch.save({"conv.weight": Bomb()}, tmp_path / "bomb.pth")
    np.save(tmp_path / "bomb.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    for name in ("bomb.pth", "bomb.npy"):
        with pytest.raises(InputError):
            rfc.load_kernels(tmp_path / name)
    assert not marker.exists()


def test_the_first_layer_among_the_entries_of_a_checkpoint() -> None:
    def chosen(shapes: dict[str, tuple[int, ...]], key: str | None = None, layer: str | None = None) -> str:
        entries = {name: checkpoints.Entry.of(shape, lambda: np.empty(0)) for name, shape in shapes.items()}
        return checkpoints._pick(entries, key, layer, "x")[0]

    assert chosen({"a": (8, 1, 3, 3), "b": (8, 3, 3, 3)}) == "b"
    assert chosen({"a": (8, 1, 3, 3), "b": (8, 8, 3, 3)}) == "a"
    assert chosen({"a": (8, 8, 3, 3), "b": (8, 3, 3, 3)}, "a") == "a"
    assert chosen({"video": (8, 3, 2, 3, 3), "image": (8, 3, 3, 3)}) == "image"
    shapes = {"net.a.weight": (8, 3, 3, 3), "net.a.bias": (8,), "net.b.weight": (8, 8, 3, 3), "fc.weight": (9, 75)}
    assert chosen(shapes, layer="net.b") == chosen(shapes, layer="b") == "net.b.weight"
    assert chosen(shapes, layer="fc") == "fc.weight"
    for fault, says in (
        ({"layer": "net"}, "several weights"),
        ({"layer": "net.c"}, "no layer 'net.c' with kernels; it has net.b"),
        ({"key": "net.b.weigth"}, "it has net.b.weight"),
        ({"key": "fc.weight", "layer": "fc"}, "either key or layer"),
    ):
        with pytest.raises(InputError, match=says) as error:
            chosen(shapes, **fault)
        sentence(error)


def test_training_checkpoints_give_their_weights(kernels: Any, tmp_path: Path) -> None:
    """What training scripts save beside the weights is not mistaken for them, nor does it hide them."""
    import torch

    state = {"conv1.weight": torch.from_numpy(kernels), "conv2.weight": torch.ones(8, 4, 3, 3)}
    moments = {"state": {0: {"exp_avg": 5 + state["conv1.weight"]}}, "param_groups": []}
    parallel = {f"module.{name}": value for name, value in state.items()}
    compiled = {f"_orig_mod.{name}": value.bfloat16() for name, value in state.items()}
    average = {name: value + 1 for name, value in state.items()}
    checkpoints_by_name = {
        # As the ImageNet example of PyTorch saves it: the best accuracy is a tensor.
        "imagenet": {"epoch": 3, "state_dict": parallel, "best_acc1": torch.tensor(76.1), "optimizer": moments},
        "optimizer first": {"optimizer": moments, "network": state},
        "average first": {"ema": average, "model": state},
        "deep": {"checkpoint": {"model": {"state_dict": state}}},
    }
    for name, content in checkpoints_by_name.items():
        torch.save(content, tmp_path / f"{name}.pth")
        loaded(kernels, rfc.load_kernels(tmp_path / f"{name}.pth"))
    average_bank = rfc.load_kernels(tmp_path / "average first.pth", key="ema.conv1.weight")
    np.testing.assert_array_equal(rfc.weights(average_bank), kernels + 1)
    torch.save(compiled, tmp_path / "compiled.pth")
    np.testing.assert_allclose(rfc.weights(rfc.load_kernels(tmp_path / "compiled.pth")), kernels, atol=4e-3)
    circle: dict[str, Any] = {}
    circle["again"] = circle
    torch.save(circle, tmp_path / "circle.pth")
    with pytest.raises(InputError, match="4-D") as error:
        rfc.load_kernels(tmp_path / "circle.pth")
    sentence(error)


def test_the_choice_among_several_first_layers_is_said(kernels: Any, tmp_path: Path) -> None:
    import torch

    tensor = torch.from_numpy(kernels)
    torch.save({"teacher.conv1.weight": tensor, "student.conv1.weight": tensor + 1}, tmp_path / "two.pth")
    bank = rfc.load_kernels(tmp_path / "two.pth")
    assert bank.attrs["layer"] == "teacher.conv1.weight"
    assert "before student.conv1.weight" in bank.attrs["history"]
    assert "student.conv1.weight" in sources.inspect(tmp_path / "two.pth")
    chosen = rfc.load_kernels(tmp_path / "two.pth", key="student.conv1.weight")
    assert "before" not in chosen.attrs["history"]
    np.testing.assert_array_equal(rfc.weights(chosen), kernels + 1)


def test_a_deeper_layer_says_what_its_channels_are(
    kernels: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from torch import nn

    rng = np.random.default_rng(0)
    mix, maps = rng.normal(size=(4, 64)), kernels[:, 0]
    deep = (mix[:, :, None, None] * maps[:, None]).astype(np.float32)  # of rank one: its component is the map
    state = {"conv1.weight": torch.from_numpy(kernels), "features.3.weight": torch.from_numpy(deep)}
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "net.pth.tar")
    for source in (state, {name: value.numpy() for name, value in state.items()}, tmp_path / "net.pth.tar"):
        bank = rfc.load_kernels(source, layer="features.3")
        assert tuple(bank.channel.values) == ("signed",)
        size = (
            np.linalg.norm(mix, axis=1)[:, None, None]
            * np.sign(mix[np.arange(4), np.abs(mix).argmax(1)])[:, None, None]
        )
        np.testing.assert_allclose(rfc.weights(bank)[:, 0], size * maps, atol=1e-4)  # float32 sums of 64 numbers
        np.testing.assert_allclose(bank.rank_one_share.values, 1.0, atol=1e-6)
        assert not bank.polarity_known.values.any()
        assert bank.attrs["inputs"].startswith("its 64 input channels are another layer's output, no color; first sing")
        assert "first singular component" in capsys.readouterr().err
    parts = rfc.load_kernels(state, layer="features.3", channels="maps")
    assert (parts.sizes["unit"], parts.unit.values[65]) == (256, "u001 c001")
    np.testing.assert_array_equal(rfc.weights(parts)[65, 0], deep[1, 1])
    loaded(kernels, rfc.load_kernels(state))
    assert capsys.readouterr().err.count("read ") == 1  # nothing to say of a first layer
    grouped = nn.Conv2d(64, 8, 5, groups=2)  # each kernel sees 32 of 64
    assert (
        "its 64 input channels"
        in rfc.load_kernels(nn.Sequential(nn.Conv2d(3, 64, 5), grouped), layer="1").attrs["inputs"]
    )
    depthwise = nn.Conv2d(8, 8, 5, groups=8)
    bank = rfc.load_kernels(nn.Sequential(nn.Conv2d(3, 8, 5), depthwise), layer="1")
    np.testing.assert_array_equal(rfc.weights(bank), depthwise.weight.detach().numpy())
    assert "each kernel sees one of them" in bank.attrs["inputs"]
    with pytest.raises(InputError, match="channels='component' or 'maps'") as error:
        rfc.load_kernels(deep)
    sentence(error)
    assert rfc.load_kernels(deep, channels="component").sizes["unit"] == 4


def test_two_candidates_are_named_and_the_choice_is_printed(kernels: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from torch import nn

    class Streams(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 4, 5), nn.Conv2d(3, 4, 5)

    two = Streams()
    assert rfc.load_kernels(two).attrs["layer"] == "left.weight"
    said = capsys.readouterr().err
    assert "left.weight" in said and "before right.weight" in said and "choose with key" in said
    assert rfc.load_kernels(two, layer="right").attrs["layer"] == "right.weight"
    assert not capsys.readouterr().err


def test_whether_a_module_was_trained_is_not_guessed() -> None:
    from torchvision.models import resnet18

    net = resnet18(weights=None)
    assert rfc.load_kernels(net).attrs["kind"] == "not stated"
    assert rfc.load_kernels(net, kind="untrained").attrs["kind"] == "untrained"
    deeper = rfc.load_kernels(net, layer="layer2.0.conv1")
    assert (deeper.attrs["layer"], deeper.sizes["unit"]) == ("layer2.0.conv1.weight", 128)


def test_kernels_over_frames_have_lags(kernels: Any) -> None:
    from torch import nn

    net = nn.Conv3d(3, 4, (2, 7, 9))
    array = net.weight.detach().numpy()
    bank = rfc.load_kernels(net)
    assert bank.rf.dims == ("unit", "channel", "lag", "y", "x")
    np.testing.assert_array_equal(rfc.weights(rfc.load_kernels(net, lag=0)), array[:, :, 1])  # the latest frame
    peak = rfc.load_kernels(net, lag="peak")
    energy = (array**2).sum((1, 3, 4))  # (unit, frame)
    np.testing.assert_array_equal(rfc.weights(peak), array[np.arange(4), :, energy.argmax(1)])
    for given in (5, "last"):
        with pytest.raises(InputError, match="from 0 to 1 or 'peak'"):
            rfc.load_kernels(net, lag=given)
    with pytest.raises(InputError, match="leave lag out"):
        rfc.load_kernels(kernels, lag=0)


def test_embeddings_of_flat_patches(kernels: Any) -> None:
    from torch import nn

    flat = nn.Linear(7 * 9 * 3, 4, bias=False)  # rows, columns, colors, the last varying fastest
    with np.errstate(all="raise"):
        flat.weight.data = flat.weight.data.new_tensor(kernels.transpose(0, 2, 3, 1).reshape(4, -1))
    net = nn.Sequential(nn.Flatten(), flat)
    loaded(kernels, rfc.load_kernels(net, layer="1", dims="unit (y=7 x=9 channel=3)"))
    with pytest.raises(InputError, match=r"dims='unit \(y=16 x=16 channel=3\)'") as error:
        rfc.load_kernels(net, layer="1")
    sentence(error)
    with pytest.raises(InputError, match="whose product is the 189 values") as error:
        rfc.load_kernels(net, layer="1", dims="unit (y=7 x=8 channel=3)")
    sentence(error)


def test_keras_files_say_their_order(kernels: Any, tmp_path: Path) -> None:
    import io
    import zipfile

    own = kernels.transpose(2, 3, 1, 0)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["layer_names"] = [b"stem", b"deep"]
        file["deep/kernel"] = np.arange(288.0, dtype="f4").reshape(3, 3, 4, 8)
        file["stem/stem/kernel:0"] = own
        file["stem/stem/bias:0"] = np.zeros(4)
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["model_weights/stem/kernel"] = own
        file["optimizer_weights/stem/kernel"] = own + 1
    packed = io.BytesIO()
    with h5py.File(packed, "w") as file:
        file["layers/conv2d/vars/0"] = own
        file["layers/conv2d_1/vars/0"] = np.arange(288.0, dtype="f4").reshape(3, 3, 4, 8)
        file["layers/depthwise_conv2d/vars/0"] = np.arange(72.0, dtype="f4").reshape(3, 3, 4, 2)
        file["optimizer/vars/2"] = own
    (tmp_path / "new.weights.h5").write_bytes(packed.getvalue())
    with zipfile.ZipFile(tmp_path / "new.keras", "w") as archive:
        archive.writestr("model.weights.h5", packed.getvalue())
    for name, key in (
        ("old.h5", "/stem/stem/kernel:0"),
        ("whole.h5", "/stem/kernel"),
        ("new.weights.h5", "/layers/conv2d/vars/0"),
        ("new.keras", "/layers/conv2d/vars/0"),
    ):
        bank = rfc.load_kernels(tmp_path / name)
        loaded(kernels, bank)
        assert bank.attrs["layer"] == key
    assert rfc.load_kernels(tmp_path / "old.h5", layer="deep").sizes["unit"] == 8
    each = rfc.load_kernels(tmp_path / "new.keras", layer="depthwise_conv2d")
    # Multiplier 2: unit 3 is the second kernel of channel 1.
    np.testing.assert_array_equal(rfc.weights(each)[3, 0], np.arange(72.0).reshape(3, 3, 4, 2)[:, :, 1, 1])


def test_onnx(kernels: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Conv", ["image", "w0"], ["seen"]), helper.make_node("Conv", ["seen", "w1"], ["out"])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.arange(288.0, dtype="f4").reshape(8, 4, 3, 3), "w1"),
            numpy_helper.from_array(kernels, "w0"),
        ],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "net.onnx"))
    bank = rfc.load_kernels(tmp_path / "net.onnx")
    loaded(kernels, bank)
    assert bank.attrs["layer"] == "w0"
    assert rfc.load_kernels(tmp_path / "net.onnx", key="w1").sizes["unit"] == 8
    (tmp_path / "bad.onnx").write_bytes(b"no model at all")
    with pytest.raises(InputError, match="ONNX model") as error:
        rfc.load_kernels(tmp_path / "bad.onnx")
    sentence(error)


def test_tensors_and_computed_weights(kernels: Any) -> None:
    import torch
    from torch import nn
    from torch.nn.utils import parametrizations

    loaded(kernels, rfc.load_kernels(nn.Parameter(torch.from_numpy(kernels))))
    half = rfc.load_kernels(torch.from_numpy(kernels).bfloat16())
    np.testing.assert_allclose(rfc.weights(half), kernels, atol=4e-3)
    convolution = nn.Conv2d(3, 4, (7, 9))
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(kernels))
    normalized = rfc.load_kernels(parametrizations.weight_norm(convolution))
    np.testing.assert_allclose(rfc.weights(normalized), kernels, rtol=1e-5, atol=1e-7)
    with pytest.raises(InputError, match="dense real weights"):
        rfc.load_kernels(torch.from_numpy(kernels).to_sparse())
    for given in ([[1.0], [2.0, 3.0]], rfc.load_kernels(kernels)):
        with pytest.raises(InputError, match="which is no array") as error:
            rfc.load_kernels(given)
        sentence(error)


def test_wide_numbers_keep_their_digits() -> None:
    fine = 1 + np.arange(75.0).reshape(1, 3, 5, 5) * 1e-12
    np.testing.assert_array_equal(rfc.weights(rfc.load_kernels(fine.astype(">f8"))), fine)
    whole = 2**24 + np.arange(75).reshape(1, 3, 5, 5)
    np.testing.assert_array_equal(rfc.weights(rfc.load_kernels(whole)), whole)
    assert rfc.load_kernels(fine.astype("f2") + np.arange(5, dtype="f2")).rf.dtype == np.float32


def test_provenance_replaces_what_is_recorded_by_itself(kernels: Any) -> None:
    bank = rfc.load_kernels(kernels, subject="AlexNet", attrs={"network": "AlexNet", "layer": "conv1", "citation": "C"})
    assert set(bank.subject.values) == {"AlexNet"}
    assert [bank.attrs[name] for name in ("network", "layer", "citation")] == ["AlexNet", "conv1", "C"]
    with pytest.raises(InputError, match="got history, which") as error:
        rfc.load_kernels(kernels, attrs={"history": "up"})
    sentence(error)


def test_a_bank_takes_no_options_about_its_axes(tmp_path: Path) -> None:
    path = tmp_path / "bank.h5"
    maps = np.random.default_rng(1).normal(size=(3, 1, 5, 6))
    rfc.save(rfc.make_bank(maps, channel=("signed",), kind="simulated"), path)
    for given in ("reference:alexnet", path):
        with pytest.raises(InputError, match="leave out dims, channel_order") as error:
            rfc.load_kernels(given, dims="unit y x channel", channel_order="bgr")
        sentence(error)


def test_the_order_of_tensorflow_is_suggested(kernels: Any) -> None:
    square = kernels[:, :, :3, :3].transpose(2, 3, 1, 0)  # 3 × 3 kernels look like three units in PyTorch's order
    for array in (kernels.transpose(2, 3, 1, 0), square):
        with pytest.raises(InputError, match="y x channel unit") as error:
            rfc.load_kernels(array)
        sentence(error)
    np.testing.assert_array_equal(
        rfc.weights(rfc.load_kernels(square, dims="y, x, channel, unit")), kernels[:, :, :3, :3]
    )


# What ships, and addresses ----------------------------------------------------------------------------------------
