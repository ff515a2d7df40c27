"""What training does to a first layer, step by step, and whether "certainly not Gabor filters" holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import betabinom

from rfcompare.taxonomy.classes import NO_CLASS, classify
from rfcompare.taxonomy.profile import NOISE_MAPS, STRIPED
from rfcompare.taxonomy.thresholds import value


def training_history(snapshots: Iterable[xr.Dataset], *, progress: bool | None = None) -> pd.DataFrame:
    """What kernels are like along their training, as a tidy table.

    Parameters
    ----------
    snapshots : iterable of xarray.Dataset
        Banks with attributes ``step`` and ``seed``, as in `rfcompare.training.Trained.snapshots`; several seeds may
        come one after another.

    Returns
    -------
    pandas.DataFrame
        ``source, seed, step, kind, n_units, n_alive, quantity, median, q25, q75``. For ``r2`` (of a Gabor),
        ``nx``, ``ny`` (where a Gabor explains at least 70 %) and ``anisotropy`` the quartiles over units that have a
        class; for shares the share of these alone, under ``median``: ``striped_share`` (derivatives and Gabors),
        ``gabor_share``, ``unstructured_share`` and ``oriented_band_pass_share``.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> noise = np.random.default_rng(0).normal(size=(4, 1, 5, 5))
    >>> bank = rfc.make_bank(noise, channel=("luminance",), kind="untrained", attrs={"step": 0, "seed": 0})
    >>> training_history([bank])[["step", "kind", "quantity"]].values[0].tolist()
    [0, 'untrained', 'r2']
    """
    rows: list[dict[str, Any]] = []
    for bank in snapshots:
        table = classify(bank, progress=progress)
        base = {
            "source": str(bank.source.values[0]),
            "seed": int(bank.attrs["seed"]),
            "step": int(bank.attrs["step"]),
            "kind": str(bank.attrs["kind"]),
            "n_units": len(table),
            "n_alive": int(table["alive"].sum()),
        }
        table = table[table["profile"] != NO_CLASS]
        fitted = table["gabor_r2"] >= value("explained")
        columns = {
            "r2": table["gabor_r2"],
            "nx": table["nx"][fitted],
            "ny": table["ny"][fitted],
            "anisotropy": table["anisotropy"],
        }
        for name, numbers in columns.items():
            low, middle, high = (
                numbers.astype(float).quantile([0.25, 0.5, 0.75]) if len(numbers) else (np.nan, np.nan, np.nan)
            )
            rows.append({**base, "quantity": name, "median": middle, "q25": low, "q75": high})
        oriented = (table["direction"] == "anisotropic") & (table["band"] == "band-pass")
        shares = {
            "striped_share": table["profile"].isin(STRIPED).mean(),
            "gabor_share": (table["profile"] == "Gabor").mean(),
            "unstructured_share": (table["profile"] == "unstructured").mean(),
            "oriented_band_pass_share": oriented.mean(),
        }
        rows += [{**base, "quantity": name, "median": share} for name, share in shares.items()]
    return pd.DataFrame(
        rows, columns=["source", "seed", "step", "kind", "n_units", "n_alive", "quantity", "median", "q25", "q75"]
    )


def _chance_of_as_many(count: int, n: int) -> float:
    """Probability that at least `count` of `n` noise maps have p ≤ 0.05 against the noise maps they share.

    Of exchangeable values the share that exceeds the fifth largest of 99 is Beta(5, 95).

    Examples
    --------
    >>> round(_chance_of_as_many(1, 1), 3), round(_chance_of_as_many(11, 96), 3)
    (0.05, 0.046)
    """
    allowed = math.floor(value("noise_level") * (NOISE_MAPS + 1) + 1e-9)
    return float(betabinom.sf(count - 1, n, allowed, NOISE_MAPS + 1 - allowed))


def gabor_verdict(table: pd.DataFrame) -> str:
    """Put the sentence "certainly not Gabor filters" to the test, and say what comes out.

    Each kernel's best form is held against white noise of the same size (p per kernel), and the number of kernels
    that beat 95 % of noise against the 5 % that would by chance. All kernels are held against the same noise maps,
    which err for all of them together: the number is beta-binomial, and a binomial p would call 500 kernels of pure
    noise structured in 22 % of all cases, not in 5 %. Model selection then says what those kernels are.

    Parameters
    ----------
    table : pandas.DataFrame
        From `classify`.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> noise = np.random.default_rng(1).normal(size=(20, 1, 5, 5))
    >>> table = rfc.classify(rfc.make_bank(noise, channel=("luminance",), kind="untrained"))
    >>> print(rfc.taxonomy.gabor_verdict(table).split(";")[0])
    2 of 20 kernels are structured beyond 95 % of noise maps (expected by chance: 1.0, p = 0.26)
    """
    tested = table[table["p_noise"].notna()]
    if tested.empty:
        return "no kernel has enough pixels to tell a form from noise"
    level = value("noise_level")
    structured = tested[tested["p_noise"] <= level]
    p = _chance_of_as_many(len(structured), len(tested))
    text = (
        f"{len(structured)} of {len(tested)} kernels are structured beyond 95 % of noise maps (expected by chance: "
        f"{level * len(tested):.1f}, p = {p:.2g})"
    )
    gabors = int((structured["profile"].isin(("Gabor", "curved"))).sum())
    derivatives = int(structured["profile"].isin([name for name in STRIPED if "derivative" in name]).sum())
    others = structured[~structured["profile"].isin(STRIPED)]["profile"].value_counts()
    listed = ", ".join(f"{count} {name}" for name, count in others.items())
    text += f"; of these {gabors} are Gabors and {derivatives} Gaussian derivatives, a Gabor's limit of few cycles"
    text += f", and {listed}" if listed else ""
    if p > level:
        return f"{text}; the kernels cannot be told from noise, so neither can the claim be"
    share = (gabors + derivatives) / len(structured)
    verdict = "does not hold" if share >= 0.5 else "holds for most of them, but not for all" if share > 0 else "holds"
    return f'{text}; "certainly not Gabor filters" {verdict}'
