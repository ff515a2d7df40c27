"""Statistics between populations: values worked by hand and other packages' values."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from rfcompare.comparison import (
    energy,
    inference,
)
from rfcompare.comparison import statistics as one
from rfcompare.comparison.inference import rank_test, student_weights
from rfcompare.errors import InputError

EXACT = 1e-12  # the same arithmetic in another order
ORACLE = 1e-9  # another package's arithmetic in double precision


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260)


# One descriptor ------------------------------------------------------------------------------------------------------


def test_scale_of_a_sample_with_many_equal_values_falls_back() -> None:
    # MAD 0; quartiles 0 and 2: interquartile range 2/1.349
    assert one.robust_scale([0] * 6 + [2] * 4) == pytest.approx(2 / 1.349)
    # quartiles equal too: the SD stands in
    assert one.robust_scale([0.0] * 9 + [1.0]) == pytest.approx(np.std([0] * 9 + [1], ddof=1))
    with pytest.raises(InputError, match="varies"):
        one.robust_scale([3.0, 3.0, 3.0])


# Several jointly -----------------------------------------------------------------------------------------------------


def test_energy_distance_of_one_population_averages_to_zero(rng: np.random.Generator) -> None:
    values = [energy.energy_distance(rng.normal(size=(10, 2)), rng.normal(size=(8, 2))) for _ in range(400)]
    assert min(values) < 0  # never clipped
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


def test_chunks_change_nothing(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, code = rng.normal(size=(50, 2)), rng.normal(size=(9, 2)), np.arange(9) % 2
    whole = energy.mean_distances(x, y, code)
    monkeypatch.setattr(energy, "CHUNK", 20)
    assert np.array_equal(energy.mean_distances(x, y, code), whole)


def test_classifier_auc_ranks_as_scikit_learn_does(rng: np.random.Generator) -> None:
    points = rng.normal(size=(60, 2))
    is_b = np.arange(60) >= 35
    points[is_b] += 1.0
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    fold = rng.permutation(np.arange(60) % 2)
    votes = np.array(
        [is_b[np.argsort(np.where(fold == fold[i], np.inf, distance[i]))[:5]].sum() for i in range(60)]
    )  # fmt: skip
    pairs = [is_b[fold == f].sum() * (~is_b[fold == f]).sum() for f in (0, 1)]
    expected = np.average([roc_auc_score(is_b[fold == f], votes[fold == f]) for f in (0, 1)], weights=pairs)
    assert energy.classifier_auc(distance, is_b, fold, k=5) == pytest.approx(expected, abs=ORACLE)
    with pytest.raises(InputError, match="fewer folds"):
        energy.classifier_auc(distance, is_b, is_b.astype(np.intp), k=5)


# Inference -----------------------------------------------------------------------------------------------------------


def test_jackknife_of_a_mean_is_students_interval(rng: np.random.Generator) -> None:
    sample = rng.normal(size=9)
    left_out = (sample.sum() - sample) / 8
    low, high = stats.t.interval(0.95, 8, sample.mean(), stats.sem(sample))
    assert inference.jackknife_interval(sample.mean(), left_out)[:2] == pytest.approx((float(low), float(high)))


def test_student_weights_of_a_mean_give_students_interval() -> None:
    sample = np.array([1.0, 2.0, 3.0, 7.0])
    weights = inference.student_weights(4, 400_000, np.random.default_rng(0))
    assert weights.sum(axis=1) == pytest.approx(1.0)
    drawn = np.percentile(weights @ sample, [2.5, 97.5])
    low, high = stats.t.interval(0.95, 3, sample.mean(), stats.sem(sample))
    assert drawn == pytest.approx([float(low), float(high)], abs=0.05)  # Monte Carlo error of a tail at 400,000 draws


@pytest.mark.parametrize(("alternative", "p"), [("less", 3 / 5), ("greater", 4 / 5)])
def test_a_tie_counts_as_extreme_either_way(alternative: str, p: float) -> None:
    # Of 1, 2, 4, 5 two are at most 2, (1 + 2)/5, and three at least 2, (1 + 3)/5; of 1, 2, 2, 3 three either way.
    found = rank_test(2.0, [1.0, 2.0, 4.0, 5.0], alternative=alternative)
    assert (found.p, found.smallest) == (p, 1 / 5)
    assert rank_test(2.0, [1.0, 2.0, 2.0, 3.0], alternative=alternative).p == 4 / 5


def test_one_subject_has_one_weight() -> None:
    assert np.array_equal(student_weights(1, 3, np.random.default_rng(0)), np.ones((3, 1)))
