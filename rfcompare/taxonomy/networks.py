"""`survey`: what the first layers of many networks, untrained ones and cortex are made of, side by side."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from tqdm import tqdm

from rfcompare import __version__
from rfcompare.bank import fingerprint, make_bank, make_rng, to_signed, write_text
from rfcompare.errors import InputError, named_strictly
from rfcompare.quantities import NOT_STATED
from rfcompare.sources import load_kernels
from rfcompare.sources.torchvision_models import model_names, weights_file
from rfcompare.taxonomy.classes import ANSWERS, NO_CLASS, classify
from rfcompare.taxonomy.profile import STRIPED, forms_for, select_forms
from rfcompare.taxonomy.sentences import FIXED

_COLUMNS = (
    "population", "kind", "kernel", "n_units", "n_alive", "group", "n_group", "question", "answer", "n", "share",
    "status",
)  # fmt: skip

_PAIRED = ("gabor", "gaussian_pair")
"""Models of as many numbers, but for one, that draw unequal ON and OFF lobes badly and well."""

_MOST_LOBES = 6
"""Larger counts of visible lobes are pooled."""


@named_strictly
def survey(
    populations: Mapping[str, xr.Dataset],
    *,
    torchvision: bool = True,
    download: bool = False,
    untrained: bool = True,
    seed: int | np.random.Generator | None = 0,
    progress: bool | None = None,
    keep: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Classify many populations and count what each is made of.

    Parameters
    ----------
    populations : mapping of str to xarray.Dataset
        Banks of networks and of cortex under the names they are to be shown by.
    torchvision : bool
        Add every torchvision classification model whose published weights are in torchvision's cache; a row says so for
        each whose are not.
    download : bool
        Fetch those weights (tens of gigabytes in all).
    untrained : bool
        Add, for every size of learned kernels, as many as PyTorch initializes a convolution of that size with.
    seed : int, numpy.random.Generator or None
        For the untrained kernels.
    progress : bool, optional
        Show progress; by default where stderr is a terminal.
    keep : path, optional
        Folder for what is counted, where a later survey finds every population that it has seen.

    Returns
    -------
    pandas.DataFrame
        Long form, one row per population, group, question and answer: ``population, kind, kernel`` (its size),
        ``n_units``, ``n_alive`` (see `rfcompare.bank.dead_units`), ``group`` ("all" that have a class, or
        "achromatic"), ``n_group``, ``question`` (one of the five of `classify`,
        "lobes": visible lobes of striped profiles, "order": their number less one, for the derivatives that they are,
        or "pair": whether a pair of unequal Gaussians describes a unit better than a Gabor), ``answer``, ``n``,
        ``share`` (of the group) and ``status``: "classified", what such small kernels cannot show, or why there are no
        kernels. A population without kernels has one row with counts of 0 and no question.

    Raises
    ------
    InputError
        When there is nothing to survey.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-3, 4.0)
    >>> blob = np.exp(-(x**2 + x[:, None] ** 2) / 4)
    >>> bank = rfc.make_bank(blob[None, None], channel=("luminance",), kind="learned")
    >>> table = rfc.survey({"toy": bank}, torchvision=False, untrained=False)
    >>> table.query("question == 'profile'")[["population", "answer", "share"]].values.tolist()
    [['toy', 'blob', 1.0]]
    """
    banks = dict(populations)
    absent: list[dict[str, Any]] = []
    if torchvision:
        for name in tqdm(model_names(), desc="torchvision", unit="model", disable=_quiet(progress)):
            found = _published(name, download=download)
            if isinstance(found, str):
                absent.append({"population": name, "kind": "learned", "kernel": _first_kernel(name), "status": found})
            else:
                banks.setdefault(name, found)
    if untrained:
        banks |= dict(_untrained(banks, seed))
    if not banks and not absent:
        raise InputError("expected populations to survey, got none; give a mapping of names to banks")
    rows: list[dict[str, Any]] = []
    for name, bank in tqdm(banks.items(), desc="survey", unit="population", disable=_quiet(progress)):
        rows += [{**row, "population": name} for row in _counted(bank, None if keep is None else Path(keep))]
    counts = {"n_units": 0, "n_alive": 0, "n_group": 0, "n": 0}
    table = pd.DataFrame([*rows, *({**counts, **row} for row in absent)]).reindex(columns=list(_COLUMNS))
    return table.astype(dict.fromkeys(counts, int))


def _counted(bank: xr.Dataset, keep: Path | None) -> list[dict[str, Any]]:
    """Rows of one population, from the folder `keep` where they were counted before."""
    file = None if keep is None else keep / f"{_digest(bank)}.json"
    if file is not None and file.exists():
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(kept, list):
                return kept
        except (OSError, ValueError):
            pass  # a damaged file is written anew
    table = classify(bank, progress=False)
    table["pair"] = _better_as_pairs(bank, table["profile"].to_numpy() != NO_CLASS)
    rows = _count_classes(table, name="", size=(bank.sizes["y"], bank.sizes["x"]))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(rows))
    return rows


def _digest(bank: xr.Dataset) -> str:
    """What the classes of a bank depend on: the bank, and the rules themselves."""
    said = hashlib.sha256(
        json.dumps([__version__, fingerprint(bank), bank.attrs], sort_keys=True, default=str).encode()
    )
    for file in sorted(Path(__file__).parent.glob("*.py")):
        said.update(file.read_bytes())
    return said.hexdigest()


def _quiet(progress: bool | None) -> bool | None:
    return None if progress is None else not progress


def _count_classes(table: pd.DataFrame, *, name: str, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Rows of the survey for one population's table of classes."""
    rows: list[dict[str, Any]] = []
    base = {
        "population": name,
        "kind": str(table["kind"].iloc[0]),
        "kernel": f"{size[0]}×{size[1]}",
        "n_units": len(table),
        "n_alive": int(table["alive"].sum()),
        "status": _what_shows(size),
    }
    table = table[table["profile"] != NO_CLASS]
    groups = {"all": table, "achromatic": table[table["color"] == "achromatic"]}
    if (table["color"] == "not applicable").all():
        groups.pop("achromatic")
    for group, part in groups.items():
        if part.empty:
            continue
        # On a parametric bank the form is fixed by construction, the number of its stripes is not.
        striped = part[part["profile"].isin((*STRIPED, FIXED)) & (part["lobes"].fillna(0) > 1)]
        lobes = striped["lobes"].astype(int).clip(upper=_MOST_LOBES)
        questions = {answer: part[answer] for answer in ANSWERS}
        if "pair" in part and (part["pair"] != "").any():
            questions["pair"] = part["pair"]
        questions["color"] = questions["color"].str.replace(r" \S+–\S+$", "", regex=True)
        questions["lobes"] = lobes.map(lambda count: f"{count}+" if count == _MOST_LOBES else str(count))
        questions["order"] = (lobes - 1).map(lambda order: f"{order}+" if order == _MOST_LOBES - 1 else str(order))
        for question, answers in questions.items():
            counts = answers.value_counts()
            for answer in sorted(counts.index):
                rows.append(
                    {
                        **base,
                        "group": group,
                        "n_group": len(part),
                        "question": question,
                        "answer": answer,
                        "n": int(counts[answer]),
                        "share": counts[answer] / len(part),
                    }
                )
    return rows


def _better_as_pairs(bank: xr.Dataset, among: np.ndarray) -> np.ndarray:
    """Which units `among` (unit,) a pair of unequal Gaussians describes better than a Gabor, or a Gabor better.

    "pair of Gaussians", "Gabor" or "either" by the fitter's own rule; "" for other units, for maps of too few pixels,
    and for maps that were drawn from Gabors.
    """
    out = np.full(bank.sizes["unit"], "", dtype=object)
    rows = np.flatnonzero(among)
    # The curved Gabor has as many numbers as the pair: forms_for knows what the pixels can tell.
    if (
        len(rows)
        and bank.attrs["kind"] != "parametric"
        and "gabor_curved" in forms_for(bank.sizes["y"] * bank.sizes["x"])
    ):
        close = select_forms(to_signed(bank).isel(unit=rows), _PAIRED, progress=False)["indistinguishable"]
        pair, gabor = (close.sel(model=name).values for name in reversed(_PAIRED))
        out[rows] = np.where(pair & gabor, "either", np.where(pair, "pair of Gaussians", "Gabor"))
    return out


def _what_shows(size: tuple[int, int]) -> str:
    """What kernels of a size can show.

    Examples
    --------
    >>> _what_shows((3, 3))
    'classified; 9 pixels show band, direction and color but are too few to tell a form'
    >>> _what_shows((11, 11))
    'classified'
    """
    pixels = size[0] * size[1]
    forms = forms_for(pixels)
    if "gabor_curved" in forms:
        return "classified"
    if "gaussian_isotropic" in forms:
        return f"classified; {pixels} pixels can tell a blob from noise but no stripes"
    return f"classified; {pixels} pixels show band, direction and color but are too few to tell a form"


def _published(name: str, *, download: bool) -> xr.Dataset | str:
    """A torchvision model's first layer, or why there is none."""
    file = weights_file(name)
    if file is None:
        return "torchvision publishes no weights"
    if not file.exists() and not download:
        return "published weights not in the cache; fetch them or survey with download"
    try:
        return load_kernels(name)
    except InputError as error:
        return str(error)


def _first_kernel(name: str) -> str:
    """Size of a torchvision model's first kernels, without building the rest of the model.

    Examples
    --------
    >>> _first_kernel("alexnet"), _first_kernel("vit_b_16")
    ('11×11', '16×16 patch')
    """
    from torch import nn
    from torch.nn.modules.module import register_module_parameter_registration_hook
    from torchvision import models

    class Found(Exception):
        """Raised from inside the constructor as soon as the first convolution has its weight."""

    def stop(module: nn.Module, _: str, parameter: Any) -> None:
        if isinstance(module, nn.Conv2d) and parameter is not None and parameter.ndim == 4:
            size, stride = module.kernel_size, module.stride
            # A patch embedding does not overlap: its stride is its size.
            raise Found(f"{size[0]}×{size[1]}{' patch' if stride == size else ''}")

    handle = register_module_parameter_registration_hook(stop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            models.get_model(name, weights=None)
    except Found as found:
        return str(found)
    finally:
        handle.remove()
    return ""


def _untrained(
    banks: Mapping[str, xr.Dataset], seed: int | np.random.Generator | None
) -> Iterator[tuple[str, xr.Dataset]]:
    """One untrained layer for every size of learned kernels."""
    import torch

    rng, _ = make_rng(seed)
    done: set[tuple[int, ...]] = set()
    for bank in banks.values():
        kernels = bank.attrs["kind"] in ("learned", "parametric", NOT_STATED)
        if not kernels or tuple(bank.channel.values) == ("on", "off"):
            continue
        if "color_direction" not in bank and "signed" in bank.channel.values:
            continue
        size = (bank.sizes["y"], bank.sizes["x"])
        if size in done or bank.attrs["units"] != "px":
            continue
        done.add(size)
        channels = ("r", "g", "b") if "color_direction" in bank or bank.sizes["channel"] == 3 else ("luminance",)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            layer = torch.nn.Conv2d(len(channels), bank.sizes["unit"], size)
        yield (
            f"untrained {size[0]}×{size[1]}",
            make_bank(
                layer.weight.detach().numpy(),
                channel=channels,
                kind="untrained",
                rows="down",
                subject="PyTorch's default initialization",
                attrs={"citation": "torch.nn.Conv2d as initialized (uniform, He et al. 2015)"},
            ),
        )
