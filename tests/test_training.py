"""Small networks learn what they must, every time the same, and take up where they stopped."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

import rfcompare as rfc
from rfcompare.errors import InputError
from rfcompare.taxonomy import gabor_verdict
from rfcompare.taxonomy.spectrum import measure_spectra
from rfcompare.training import code_patches, read_digits, train_digits, train_images, train_lines
from rfcompare.training.digits import _IDX_FILES
from rfcompare.training.images import _cut_tiles, read_photographs
from rfcompare.training.loop import watched_steps

LINES_ACCURACY = 0.99
LINES_TOLERANCE = 10.0
"""Degrees from horizontal or vertical: kernels of 7×7 px in which initial noise has decayed, measured within 4°."""


def write_idx(path: Path, array: np.ndarray) -> None:
    """An IDX file of unsigned bytes: 0, 0, 8, the number of dims, big-endian sizes, the data."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    data = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Two "digits" of 16×16 px: a vertical stroke (1) and a horizontal one (0), at random places."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 200), ("test", 60)):
        labels = rng.integers(0, 2, n)
        images = rng.integers(0, 30, (n, 16, 16))
        for image, label in zip(images, labels, strict=True):
            place = rng.integers(4, 12)
            if label:
                image[2:14, place : place + 2] = 255
            else:
                image[place : place + 2, 2:14] = 255
        write_idx(tmp_path / _IDX_FILES[part][0], images)
        write_idx(tmp_path / f"{_IDX_FILES[part][1]}.gz", labels)
    return tmp_path


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Six pictures of smooth random contours."""
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        field = gaussian_filter(rng.normal(size=(170, 190, 3)), (4, 4, 0))
        array = (255 / (1 + np.exp(-40 * field))).astype(np.uint8)
        Image.fromarray(array).save(folder / f"{index}.png")
    (folder / "notes.txt").write_text("no photograph")
    (folder / "broken.jpg").write_bytes(b"not an image")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / "tiny.png")
    return folder


def test_lines_become_horizontal_and_vertical() -> None:
    result = train_lines(seed=0)
    assert result.bank.attrs["accuracy"] > LINES_ACCURACY
    assert result.bank.attrs["kind"] == "learned"
    assert result.snapshots[0].attrs["kind"] == "untrained"
    maps = result.bank.rf.values[:, 0].astype(float)
    orientation = measure_spectra(maps)["orientation"]
    from_axis = np.minimum(orientation % 90, 90 - orientation % 90)
    assert from_axis.max() < LINES_TOLERANCE
    # Both directions are found, and they were not there before.
    assert set(np.round(orientation / 90).astype(int) % 2) == {0, 1}
    before = measure_spectra(result.snapshots[0].rf.values[:, 0].astype(float))["orientation"]
    assert np.minimum(before % 90, 90 - before % 90).max() > LINES_TOLERANCE
    assert result.log.loss.iloc[-1] < 0.2 * result.log.loss.iloc[0]


def test_training_is_repeatable_and_seeds_differ() -> None:
    one, again, other = (train_lines(steps=8, seed=seed).bank.rf.values for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)


def test_a_generator_is_a_seed_and_torch_keeps_its_own_state() -> None:
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = train_lines(steps=2, seed=np.random.default_rng(5)).bank.rf.values
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(one, train_lines(steps=2, seed=np.random.default_rng(5)).bank.rf.values)


def test_an_interrupted_run_ends_like_one_that_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rfcompare.training import lines

    whole = train_lines(steps=40, seed=1)
    draw = lines._draw_lines
    drawn = 0

    def interrupted(n: int, random: object) -> object:
        nonlocal drawn
        drawn += 1
        if drawn > 25:
            raise KeyboardInterrupt
        return draw(n, random)  # type: ignore[arg-type]

    checkpoint = tmp_path / "lines.pt"
    monkeypatch.setattr(lines, "_draw_lines", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_lines(steps=40, seed=1, checkpoint=checkpoint)
    drawn = -1000
    resumed = train_lines(steps=40, seed=1, checkpoint=checkpoint)
    # 40 steps are checkpointed every 2: 24 of the 25 survive, the other 16 and the test pictures are drawn now.
    assert drawn == -1000 + 16 + 1
    assert np.array_equal(resumed.bank.rf.values, whole.bank.rf.values)
    assert list(resumed.snapshots) == list(whole.snapshots)
    assert resumed.log.equals(whole.log)


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "c.pt"
    train_lines(steps=2, checkpoint=checkpoint)
    with pytest.raises(InputError, match="other steps"):
        train_lines(steps=3, checkpoint=checkpoint)
    checkpoint.write_bytes(b"nothing that torch wrote")
    with pytest.raises(InputError, match="expected a checkpoint"):
        train_lines(steps=2, checkpoint=checkpoint)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import torch

    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "harmed"),)

    torch.save({"rfcompare_training": Harmful()}, tmp_path / "harm.pt")
    with pytest.raises(InputError, match="expected a checkpoint"):
        train_lines(steps=2, checkpoint=tmp_path / "harm.pt")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("options", [{"steps": 0}, {"n_kernels": -1}, {"seed": -1}, {"steps": "many"}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected"):
        train_lines(**options)  # type: ignore[arg-type]


def test_watched_steps_hold_both_ends() -> None:
    for steps in (1, 5, 9, 10, 11, 100, 4000):
        watched = watched_steps(steps)
        assert watched[0] == 0 and watched[-1] == steps and list(watched) == sorted(set(watched))


def test_digits_are_learned_from_idx_files(digits: Path) -> None:
    result = train_digits(digits, steps=60, seed=0)
    assert result.bank.attrs["accuracy"] > 0.95
    assert dict(result.bank.sizes) == {"unit": 20, "channel": 1, "y": 5, "x": 5}
    assert "200 handwritten digits" in result.bank.attrs["trained_on"]
    verdict = gabor_verdict(rfc.classify(result.bank, progress=False))
    assert "of 20 kernels are structured beyond 95 % of noise maps" in verdict


def test_idx_files_are_read_as_written(digits: Path) -> None:
    images, labels = read_digits(digits, part="test")
    assert images.shape == (60, 16, 16) and labels.shape == (60,)
    upright = images[labels == 1].max(1).astype(int)  # a vertical stroke lights few columns
    assert ((upright > 200).sum(1) == 2).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\0\0\x0d\x03" + bytes(12), "IDX file of unsigned bytes"),
        (b"\0\0\x08\x03\0\0", "whole header"),
        (b"\0\0\x08\x03" + np.array([9, 16, 16], ">u4").tobytes() + bytes(7), "truncated"),
        (b"\x1f\x8bbroken", "gzipped IDX file"),
    ],
)
def test_broken_idx_files_are_refused(digits: Path, content: bytes, message: str) -> None:
    (digits / _IDX_FILES["train"][0]).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_digits(digits)


def test_missing_and_mismatched_idx_files_are_refused(digits: Path, tmp_path: Path) -> None:
    write_idx(digits / _IDX_FILES["train"][0], np.zeros((3, 16, 16), np.uint8))
    with pytest.raises(InputError, match="as many labels"):
        read_digits(digits)
    with pytest.raises(InputError, match="got none"):
        read_digits(tmp_path / "nowhere")
    with pytest.raises(InputError, match="part 'train' or 'test'"):
        read_digits(digits, part="all")


def test_photographs_are_read_whatever_lies_beside_them(photographs: Path) -> None:
    read = read_photographs(photographs)
    assert len(read) == 6 and all(image.shape == (170, 190, 3) for image in read)
    # 170×190 px: two tiles of 160 px reach across each side, the four of them overlap.
    tiles = _cut_tiles(read)
    assert tiles.shape == (24, 3, 160, 160)
    assert np.array_equal(tiles[3], read[0][10:170, 30:190].transpose(2, 0, 1))


def test_large_photographs_are_reduced(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((960, 1920, 3), np.uint8)).save(tmp_path / "large.png")
    assert read_photographs(tmp_path)[0].shape == (480, 960, 3)


def test_a_front_end_takes_steps_on_photographs(photographs: Path) -> None:
    result = train_images(photographs, steps=12, n_kernels=8, seed=0)
    assert dict(result.bank.sizes) == {"unit": 8, "channel": 3, "y": 11, "x": 11}
    assert np.isfinite(result.bank.rf.values).all()
    assert "without labels" in result.bank.attrs["trained_on"]
    assert not np.allclose(result.bank.rf.values, result.snapshots[0].rf.values, rtol=0.01)
    again = train_images(photographs, steps=12, n_kernels=8, seed=0)
    assert np.array_equal(result.bank.rf.values, again.bank.rf.values)


@pytest.mark.parametrize("method", ["ica", "sparse"])
def test_codes_of_patches_are_oriented(photographs: Path, method: str) -> None:
    bank = code_patches(photographs, method=method, size=8, n_kernels=16, color=False, n_patches=2000, seed=0)
    assert dict(bank.sizes) == {"unit": 16, "channel": 1, "y": 8, "x": 8}
    again = code_patches(photographs, method=method, size=8, n_kernels=16, color=False, n_patches=2000, seed=0)
    assert np.array_equal(bank.rf.values, again.rf.values)
    anisotropy = measure_spectra(bank.rf.values[:, 0])["anisotropy"]
    assert np.median(anisotropy) > 0.28  # above 95 % of noise maps of this size


def test_folders_without_photographs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="got none among 0 image files"):
        train_images(tmp_path)
    with pytest.raises(InputError, match="expected a folder"):
        code_patches(tmp_path / "a.txt")
    with pytest.raises(InputError, match="method 'ica' or 'sparse'"):
        code_patches(tmp_path, method="pca")


def test_more_components_than_pixels_are_refused(photographs: Path) -> None:
    with pytest.raises(InputError, match="at most 15 kernels"):
        code_patches(photographs, size=4, n_kernels=16, color=False)
