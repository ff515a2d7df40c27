"""Do the tests reject as often as they say, and do the intervals cover? Simulated nested data with known truth.

``pytest`` runs 300 studies of each case, ``pytest -m calibration`` all 2,000 and compares with the committed table.
``python tests/test_comparison_calibration.py`` writes that table.
"""

import csv
import datetime
import functools
import io
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rfcompare.comparison import energy, inference, similarity
from rfcompare.comparison import statistics as sample_statistics

TABLE = Path(__file__).resolve().parents[1] / "reference_data" / "calibration_comparison.csv"
COMMAND = "python tests/test_comparison_calibration.py"
RUNS, QUICK_RUNS = 2000, 300
LEVELS = (0.01, 0.05, 0.1)
CENTRAL = 0.999  # of the binomial distribution of the number of rejections
POWER = 0.8
COVERAGE = 0.93  # of nominal 95 % intervals
SUBJECTS = (5, 7, 8, 20)
CORRELATIONS = (0.0, 0.2, 0.5)
CELLS = 20  # of each animal
SEED = 20260

Row = dict[str, str | int | float]


def nested(rng: np.random.Generator, n_subjects: int, icc: float, *, cells: int = CELLS, axes: int = 2) -> np.ndarray:
    """(subject, cell, axis) of unit variance, a share `icc` of it between subjects."""
    shared = rng.standard_normal((n_subjects, 1, axes))
    return math.sqrt(icc) * shared + math.sqrt(1 - icc) * rng.standard_normal((n_subjects, cells, axes))


def flat(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return cells.reshape(-1, cells.shape[-1]), np.repeat(np.arange(len(cells)), cells.shape[1])


# Tests: each returns p for a study without (shift 0) and with an effect ----------------------------------------------

N_UNTRAINED = 199


def nearer_than_untrained(rng: np.random.Generator, effect: float) -> float:
    """199 untrained networks 2 SD away; the trained one is one of them, or `effect` SD nearer."""
    cortex, animal = flat(nested(rng, 5, 0.2, cells=8))
    kernels = 2 + rng.standard_normal(((N_UNTRAINED + 1) * 12, 2))
    kernels[:12] -= effect
    seed = np.repeat(np.arange(N_UNTRAINED), 12)
    means = similarity.mean_distances_of(cortex, kernels[:12], kernels[12:], cortex_subject=animal, null_subject=seed)
    return similarity.nearer_than_untrained(means).p


def like_another_animal(rng: np.random.Generator, effect: float) -> float:
    """19 animals and a network that is a twentieth, moved by `effect` SD."""
    cells = nested(rng, 20, 0.2, cells=8)
    cells[-1] += effect
    points, code = flat(cells)
    matrix = energy.subject_matrix(points, code)
    return similarity.like_another_animal(matrix[:-1, :-1], matrix[-1, :-1], float(matrix[-1, -1])).p


def subject_labels_energy(rng: np.random.Generator, effect: float) -> float:
    """Energy distance between 5 and 5 animals, all 252 labelings of animals."""
    cells = nested(rng, 10, 0.2, cells=10)
    cells[5:] += effect
    matrix = energy.subject_matrix(*flat(cells))
    labelings, exhaustive = inference.subject_labelings(5, 5, n_permutation=999, generator=rng)
    return inference.permuted_subjects(
        energy.subject_energy(matrix, labelings), exhaustive=exhaustive, hypothesis="alike"
    ).p


def subject_labels_median(rng: np.random.Generator, effect: float) -> float:
    """Medians of one descriptor, 5 and 7 animals, all 792 labelings."""
    medians = np.median(nested(rng, 12, 0.2, axes=1)[..., 0], axis=1)
    return inference.label_permutation(medians[:5], medians[5:] + effect, seed=rng).p


def one_sample(rng: np.random.Generator, effect: float, *, n_subjects: int) -> float:
    """Medians of the animals against a fixed value."""
    medians = np.median(nested(rng, n_subjects, 0.2, axes=1)[..., 0], axis=1)
    return inference.one_sample_test(medians, effect).p


def one_sample_circular(rng: np.random.Generator, effect: float) -> float:
    """Mean resultants of 8 animals' uniform orientations against a fixed population's, here `effect` long."""
    angle = rng.uniform(0, 2 * np.pi, (8, CELLS))
    resultants = np.stack([np.cos(angle).mean(axis=1), np.sin(angle).mean(axis=1)], axis=1)
    return inference.one_sample_test(resultants, [effect, 0.0]).p


def cells_energy(rng: np.random.Generator, effect: float) -> float:
    """Unit labels permuted where cells do not nest: energy distance."""
    points = np.concatenate([rng.standard_normal((60, 2)), effect + rng.standard_normal((40, 2))])
    return energy.permutation_test(distances(points), 60, n_permutation=99, seed=rng)[1].p


def cells_mmd(rng: np.random.Generator, effect: float) -> float:
    """Unit labels permuted where cells do not nest: MMD."""
    points = np.concatenate([rng.standard_normal((60, 2)), effect + rng.standard_normal((40, 2))])
    matrix = energy.gaussian_dissimilarity(points, bandwidth=1.5)
    return energy.permutation_test(matrix, 60, n_permutation=99, seed=rng)[1].p


def cells_distribution(rng: np.random.Generator, effect: float, *, statistic: str) -> float:
    """Unit labels permuted where cells do not nest: one descriptor; a circular one is given a preferred direction."""
    sample = rng.standard_normal(70)
    sample[40:] += effect
    values = (sample * 30) % 180 if statistic in ("watson_u2", "kuiper") else sample
    labels = np.vstack([np.arange(70) >= 40, sample_statistics.random_labelings(40, 30, 199, rng)])
    permuted = sample_statistics.two_sample_statistic(statistic, values, labels)
    return float((permuted >= permuted[0] - 1e-12).mean())


def cells_classifier(rng: np.random.Generator, effect: float) -> float:
    """Unit labels permuted where cells do not nest: cross-validated classifier, folds blind to the labels."""
    points = np.concatenate([rng.standard_normal((50, 2)), effect + rng.standard_normal((40, 2))])
    fold = rng.permutation(np.arange(90) % 5)
    labels = np.vstack([np.arange(90) >= 50, sample_statistics.random_labelings(50, 40, 99, rng)])
    auc = energy.classifier_auc(distances(points), labels, fold, k=6)
    return float((auc >= auc[0] - 1e-12).mean())


def distances(points: np.ndarray) -> np.ndarray:
    return np.sqrt(((points[:, None] - points) ** 2).sum(axis=-1))


# Case, effect of the alternative, its description, and how many equally likely p there are (None: any).
TESTS: dict[str, tuple[Callable[[np.random.Generator, float], float], float, int | None]] = {
    "(a) nearer than 199 untrained networks": (nearer_than_untrained, 1.5, N_UNTRAINED + 1),
    "(b) like another of 19 animals": (like_another_animal, 2.5, 20),
    "(c) subject labels, energy, 5 and 5 animals": (subject_labels_energy, 1.5, 126),
    "(c) subject labels, medians, 5 and 7 animals": (subject_labels_median, 1.5, 792),
    "(d) one fixed network, medians, 5 animals": (functools.partial(one_sample, n_subjects=5), 1.5, None),
    "(d) one fixed network, medians, 8 animals": (functools.partial(one_sample, n_subjects=8), 1.0, None),
    "(d) one fixed network, medians, 20 animals": (functools.partial(one_sample, n_subjects=20), 0.5, None),
    "(d) one fixed network, orientation, 8 animals": (one_sample_circular, 0.3, None),
    "(e) these cells only, energy": (cells_energy, 1.0, 100),
    "(e) these cells only, MMD": (cells_mmd, 1.0, 100),
    "(e) these cells only, KS": (functools.partial(cells_distribution, statistic="ks"), 1.2, 200),
    "(e) these cells only, Watson U2": (functools.partial(cells_distribution, statistic="watson_u2"), 1.2, 200),
    "(e) these cells only, Kuiper": (functools.partial(cells_distribution, statistic="kuiper"), 1.2, 200),
    "(e) these cells only, classifier": (cells_classifier, 1.2, 100),
}


def attainable(level: float, count: int | None) -> float:
    """The largest attainable level not above the nominal one, where p takes `count` equally likely values."""
    return level if count is None else math.floor(level * count + 1e-9) / count


def rejections(name: str, runs: int) -> list[Row]:
    function, effect, count = TESTS[name]
    rng = np.random.default_rng([SEED, list(TESTS).index(name)])
    null = np.array([function(rng, 0.0) for _ in range(runs)])
    alternative = np.array([function(rng, effect) for _ in range(max(100, runs // 4))])
    rows: list[Row] = []
    for level in LEVELS:
        expected = attainable(level, count)
        low, high = stats.binom.ppf([(1 - CENTRAL) / 2, (1 + CENTRAL) / 2], runs, expected)
        row: Row = {"what": "rejection of a true null", "case": name, "nominal": level, "runs": runs}
        row |= {"expected": round(expected, 6), "low": low / runs, "high": high / runs}
        rows.append(row | {"observed": float((null <= level + 1e-12).mean())})
    row = {"what": "power at 0.05", "case": f"{name}; effect {effect} SD", "nominal": 0.05, "runs": alternative.size}
    rows.append(row | {"expected": POWER, "low": POWER, "high": 1.0, "observed": float((alternative <= 0.05).mean())})
    return rows


def cell_level_p(rng: np.random.Generator) -> float:
    """What happens when cells are permuted though they nest: 7 animals of 30 cells, ICC 0.2, 96 kernels of the species.

    The variance of the difference of means is 0.2/7 + 0.8/210 + 1/96 = 0.0428 where the permutation assumes
    1/210 + 1/96 = 0.0152, so that |z| > 1.96 happens as often as |z| > 1.96 · √(0.0152/0.0428) = 1.17: in 24 %.
    """
    cells = nested(rng, 7, 0.2, cells=30, axes=1).reshape(-1)
    values = np.concatenate([cells, rng.standard_normal(96)])
    labels = np.vstack([np.arange(306) >= 210, sample_statistics.random_labelings(210, 96, 199, rng)])
    permuted = np.abs(sample_statistics.two_sample_statistic("mean_difference", values, labels))
    return float((permuted >= permuted[0]).mean())


def cell_level(runs: int) -> Row:
    rng = np.random.default_rng([SEED, 100])
    rate = float(np.mean([cell_level_p(rng) <= 0.05 for _ in range(runs)]))
    row: Row = {"what": "rejection of a true null by permuting nested cells", "case": "7 animals, ICC 0.2, 30 cells"}
    return row | {"nominal": 0.05, "runs": runs, "expected": 0.243, "low": 0.15, "high": 0.35, "observed": rate}


# Intervals -----------------------------------------------------------------------------------------------------------

# A network half an SD from the cortex, where distances are least linear in the animals' means, and a null 3 SD away.
NETWORK, NULL = 0.5, 3.0
AXES = (1, 5)
DRAWS = 1000


@functools.cache
def fixed_populations(axes: int) -> tuple[np.ndarray, np.ndarray, float, float, float]:
    """Kernels, null units, 2E|X − Y| − E|X − X'| of both to the species (standard normal), and its E|Y − Y'|."""
    rng = np.random.default_rng([SEED, 300, axes])
    species = rng.standard_normal((200_000, axes))
    pairs = float(np.linalg.norm(species[::2] - species[1::2], axis=1).mean())
    kernels, null = (shift / math.sqrt(axes) + rng.standard_normal((60, axes)) for shift in (NETWORK, NULL))
    one, everyone = np.zeros(60, np.intp), np.zeros(len(species), np.intp)
    parts = [
        float(2 * energy.mean_distances(x, species, everyone).mean() - energy.within_means(x, one)[0])
        for x in (kernels, null)
    ]
    return kernels, null, parts[0], parts[1], pairs


def coverage_of_medians(n_subjects: int, icc: float, runs: int) -> list[Row]:
    """Mean of the animals' medians, whose true value is 0: the interval used, and the bootstrap-t beside it."""
    rng = np.random.default_rng([SEED, 200, n_subjects, round(10 * icc)])
    medians = np.median(np.stack([nested(rng, n_subjects, icc, axes=1)[..., 0] for _ in range(runs)]), axis=2)
    used, beside = (limits(medians, seed=rng) for limits in (inference.subject_limits, inference.bootstrap_t_limits))
    return [
        coverage_row("difference of medians", used, 0.0, n_subjects, icc),
        coverage_row("difference of medians, bootstrap-t", beside, 0.0, n_subjects, icc, relied_on=False),
    ]


def coverage_of_distances(axes: int, n_subjects: int, icc: float, runs: int) -> list[Row]:
    """Energy distance to the species and similarity score, and the score's jackknife beside it."""
    rng = np.random.default_rng([SEED, 201, axes, n_subjects, round(10 * icc)])
    kernels, null, network_part, null_part, pairs = fixed_populations(axes)
    ends = []
    for _ in range(runs):
        points, code = flat(nested(rng, n_subjects, icc, axes=axes))
        means = similarity.mean_distances_of(points, kernels, null, cortex_subject=code)
        to_null, to_network, between = means.draws(DRAWS, rng)
        left_out = means.without_each()[0]
        top, bottom = means.parts(slice(None), slice(None), slice(None))
        ends.append(
            [
                similarity.percentiles(to_network - between, 0.95)[:2],
                similarity.percentiles((to_null - to_network) / (to_null - between), 0.95)[:2],
                inference.jackknife_interval(top / bottom, left_out[:, 0] / left_out[:, 1])[:2],
            ]
        )
    limits = np.array(ends).transpose(1, 2, 0)
    score = (null_part - network_part) / (null_part - pairs)
    label = f"{axes} ax{'i' if axes == 1 else 'e'}s"
    return [
        coverage_row(f"energy distance, {label}", limits[0], network_part - pairs, n_subjects, icc),
        coverage_row(f"similarity score, {label}", limits[1], score, n_subjects, icc),
        coverage_row(f"similarity score by jackknife, {label}", limits[2], score, n_subjects, icc, relied_on=False),
    ]


def coverage_row(
    name: str, limits: np.ndarray | tuple[np.ndarray, np.ndarray], truth: float, n_subjects: int, icc: float,
    *, relied_on: bool = True,
) -> Row:  # fmt: skip
    low, high = limits
    row: Row = {"what": "coverage of 95 % intervals" + ("" if relied_on else " not relied on")}
    row |= {"case": f"{name}; {n_subjects} animals, ICC {icc}", "nominal": 0.95, "runs": len(low), "expected": 0.95}
    return row | {"low": COVERAGE, "high": 1.0, "observed": float(((low <= truth) & (truth <= high)).mean())}


def table(runs: int) -> list[Row]:
    rows = [row for name in TESTS for row in rejections(name, runs)]
    rows.append(cell_level(runs))
    studies = list(itertools.product(SUBJECTS, CORRELATIONS))
    rows += [row for study in studies for row in coverage_of_medians(*study, runs)]
    return rows + [row for axes in AXES for study in studies for row in coverage_of_distances(axes, *study, runs)]


def as_csv(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["what", "case", "nominal", "runs", "expected", "low", "high", "observed"])
    writer.writeheader()
    writer.writerows({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)
    return text.getvalue().replace("\r\n", "\n")


def committed() -> list[dict[str, str]]:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# {COMMAND}; 20")
    return list(csv.DictReader(lines[1:]))


@pytest.mark.parametrize("name", TESTS)
def test_a_true_null_is_rejected_as_often_as_attainable(name: str) -> None:
    for row in rejections(name, QUICK_RUNS):
        assert row["low"] <= row["observed"] <= row["high"], row


def test_permuting_nested_cells_rejects_a_true_null_in_a_quarter() -> None:
    row = cell_level(QUICK_RUNS)
    assert row["low"] <= row["observed"] <= row["high"], row


def quick_floor(runs: int) -> float:
    """The coverage that 300 studies show at least, all but once in 2,000 times, if the true one is 93 %."""
    return float(stats.binom.ppf((1 - CENTRAL) / 2, runs, COVERAGE)) / runs


@pytest.mark.parametrize("icc", CORRELATIONS)
@pytest.mark.parametrize("n_subjects", SUBJECTS)
def test_intervals_of_medians_cover(n_subjects: int, icc: float) -> None:
    used = coverage_of_medians(n_subjects, icc, QUICK_RUNS)[0]
    assert used["observed"] >= quick_floor(QUICK_RUNS), used


@pytest.mark.parametrize("icc", CORRELATIONS)
@pytest.mark.parametrize("n_subjects", (5, 8))
def test_intervals_of_distances_cover(n_subjects: int, icc: float) -> None:
    for row in coverage_of_distances(1, n_subjects, icc, QUICK_RUNS)[:2]:
        assert row["observed"] >= quick_floor(QUICK_RUNS), row


def test_the_committed_table_keeps_its_promises() -> None:
    rows = committed()
    assert len(rows) == 4 * len(TESTS) + 1 + (2 + 3 * len(AXES)) * len(SUBJECTS) * len(CORRELATIONS)
    for row in rows:
        if not row["what"].endswith("not relied on"):
            assert float(row["low"]) - 1e-6 <= float(row["observed"]) <= float(row["high"]) + 1e-6, row
        if not row["what"].startswith("power"):
            assert int(row["runs"]) == RUNS


@pytest.mark.calibration
def test_the_committed_table_is_what_the_command_gives() -> None:
    assert as_csv(table(RUNS)).splitlines() == TABLE.read_text(encoding="utf-8").splitlines()[1:]


if __name__ == "__main__":
    full = table(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
    header = f"# {COMMAND}; {datetime.date.today().isoformat()}; nested null data, every run kept\n"
    if len(sys.argv) > 1:
        print(as_csv(full))
    else:
        TABLE.write_text(header + as_csv(full), encoding="utf-8")
