"""Mutated files of every format: each is opened or is one sentence, and nothing else of the machine is touched.

The suite takes `IN_SUITE` of them; ``python -m tests.fuzz --n 10080 --minutes 60 -o tests/fuzz.csv`` takes many and
writes how each format fared: what opened, what was refused, and every other end, which is a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import random
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import rfcompare as rfc
from rfcompare import bank
from rfcompare.errors import InputError
from rfcompare.pipeline import load_many, save_many

IN_SUITE = 200

MESSAGE = 2000
"""Characters of the longest message."""

ODD = (
    b"\x00" * 8,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"nan",
    b"../..",
    b"\xf0\x9f\x92\xa9",
    b"$_{",
)
LAYOUT = {"maps": "/maps", "dims": "unit y x", "kind": "simulated"}


def samples(folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """A small sound file of every format, and what opens it."""
    import onnx
    import torch
    from PIL import Image
    from safetensors.numpy import save_file
    from scipy.io import savemat

    maps, _ = rfc.simulation.simulate_population(n=3, size=7, seed=0)
    fits = rfc.fit(maps, "gabor", seed=0)
    values = maps.rf.values[:, 0]
    color = maps.rf.values.repeat(3, axis=1).astype(np.float32)
    rfc.save(maps, folder / "bank.nc")
    rfc.save(fits, folder / "fits.nc")
    rfc.save(rfc.describe(fits), folder / "descriptors.nc")
    save_many({"one": maps, "two": maps}, folder / "many.h5")
    with h5py.File(folder / "hand.h5", "w") as file:
        file["rf"] = maps.rf.values
        file["subject"] = ["A", "B", "C"]
        file["x"] = file["y"] = np.arange(7) - 3.0
        file.attrs["units"], file.attrs["kind"] = "px", "simulated"
    with h5py.File(folder / "plain.h5", "w") as file:
        file.create_dataset("maps", data=values, compression="gzip", shuffle=True)
    savemat(folder / "v5.mat", {"maps": values}, do_compression=True)
    np.save(folder / "kernels.npy", color)
    np.savez_compressed(folder / "kernels.npz", w=color)
    torch.save({"conv1.weight": torch.from_numpy(color)}, folder / "net.pth")
    save_file({"conv1.weight": color}, folder / "net.safetensors")
    with h5py.File(folder / "net.h5", "w") as file:
        file.attrs["layer_names"] = ["conv1"]
        file["conv1/conv1/kernel:0"] = color.transpose(2, 3, 1, 0)
    with h5py.File(folder / "v73.mat", "w", userblock_size=512) as file:
        cells = file.create_dataset("maps", (1, 3), h5py.ref_dtype)
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
        cells[0] = [file.create_dataset(f"#refs#/{index}", data=each.T).ref for index, each in enumerate(values)]
    with (folder / "v73.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    with zipfile.ZipFile(folder / "net.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "net.h5", "model.weights.h5")
    weight = onnx.numpy_helper.from_array(color, "w")
    convolution = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    seen_by, made = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy")
    graph = onnx.helper.make_graph([convolution], "net", [seen_by], [made], [weight])
    onnx.save(onnx.helper.make_model(graph), str(folder / "net.onnx"))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 30, 3), np.uint8)).save(folder / "photo.png")
    for suffix in ("jpg", "tif"):
        Image.open(folder / "photo.png").save(folder / f"photo.{suffix}")
    (folder / "layout.toml").write_text('maps = "/maps"\ndims = "unit y x"\nkind = "simulated"\ndeg_per_px = [1, 2]\n')
    plain = folder / "plain.h5"
    # What `filter` and the training do with a photograph once it is read does not depend on its file.
    seen = lambda path: bank.picture(path, most_pixels=10**6)  # noqa: E731
    with_layout = lambda path: rfc.open_fields(path, layout=LAYOUT)  # noqa: E731
    doors: dict[str, Callable[[Path], Any]] = {
        "bank.nc": rfc.open_fields, "fits.nc": rfc.load, "descriptors.nc": rfc.load, "many.h5": load_many,
        "hand.h5": rfc.open_fields, "plain.h5": with_layout, "v5.mat": with_layout, "kernels.npy": rfc.load_kernels,
        "kernels.npz": rfc.load_kernels, "net.pth": rfc.load_kernels, "net.safetensors": rfc.load_kernels,
        "photo.png": seen, "photo.jpg": seen, "photo.tif": seen, "net.h5": rfc.load_kernels,
        "net.keras": rfc.load_kernels, "net.onnx": rfc.load_kernels, "v73.mat": with_layout,
        "layout.toml": lambda path: rfc.open_fields(plain, layout=path),
    }  # fmt: skip
    return {name: (folder / name, door) for name, door in doors.items()}


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, cut out, doubled, moved or replaced by odd ones."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at = chance.randrange(len(data) or 1)
        length = min(chance.choice((1, 2, 4, 8, 64)), len(data) - at)
        match chance.randrange(7):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([data[at] ^ (1 << chance.randrange(8))]) if data else b""
            case 2:
                odd = chance.choice(ODD)
                data[at : at + len(odd)] = odd
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length]
            case 5:
                other = chance.randrange(len(data) or 1)
                data[at : at + length] = data[other : other + length]
            case _:
                del data[chance.randrange(len(data) // 2, len(data) + 1) :]
    return bytes(data)


def attempt(path: Path, door: Callable[[Path], Any]) -> str:
    """How opening a file ends: "opened", "refused", or what else happened."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            opened = door(path)
            if path.suffix in (".nc", ".h5", ".mat", ".npy", ".npz", ".pth") and "rf" in opened:
                opened.load()
            rfc.sources.inspect(path) if path.suffix not in (".toml", ".png", ".jpg", ".tif") else None
    except InputError as error:
        text = str(error)
        return "refused" if len(text) < MESSAGE and "\n" not in text else f"message: {text[:200]}"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {str(error)[:160]}"
    return "opened"


def fuzz(n: int, *, seed: int, minutes: float = 60.0, keep: Path | None = None) -> dict[str, Counter[str]]:
    """Open `n` mutated files, the formats in turn; what ends otherwise than it should is kept in the folder `keep`."""
    counts: dict[str, Counter[str]] = {}
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sound = samples(folder)
        for name, (path, door) in sound.items():
            if attempt(path, door) != "opened":
                raise AssertionError(f"the sound {name} does not open: {attempt(path, door)}")
        contents = {name: path.read_bytes() for name, (path, _) in sound.items()}
        for index in range(n):
            if time.monotonic() > end:
                break
            name = list(sound)[index % len(sound)]
            content = mutated(contents[name], random.Random(f"{seed}/{index}"))
            path = folder / f"case{index}{Path(name).suffix}"
            path.write_bytes(content)
            how = attempt(path, sound[name][1])
            counts.setdefault(name, Counter())[how] += 1
            if how not in ("opened", "refused") and keep is not None:
                keep.mkdir(exist_ok=True)
                (keep / path.name).write_bytes(content)
            path.unlink()
    return counts


def main() -> None:
    """Fuzz as the options say and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("tests/fuzz.csv"))
    given = parser.parse_args()
    counts = fuzz(given.n, seed=given.seed, minutes=given.minutes, keep=given.keep)
    with given.output.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "seed", "n", "opened", "refused", "faults"])
        for name, ends in counts.items():
            others = {how: count for how, count in ends.items() if how not in ("opened", "refused")}
            row = [name, given.seed, ends.total(), ends["opened"], ends["refused"], sum(others.values())]
            table.writerow(row)
            print(*row, json.dumps(others) if others else "")


if __name__ == "__main__":
    main()
