"""Statistics between populations: values worked by hand and other packages' values."""

import math
from collections.abc import Callable

import dcor
import numpy as np
import ot
import pytest
from astropy.stats import kuiper_two
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

import rfcompare as rfc
from rfcompare.comparison import (
    energy,
    inference,
    similarity,
    similarity_score,
)
from rfcompare.comparison import statistics as one
from rfcompare.errors import InputError

EXACT = 1e-12  # the same arithmetic in another order
ORACLE = 1e-9  # another package's arithmetic in double precision


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260)


# One descriptor ------------------------------------------------------------------------------------------------------


def test_values_worked_by_hand() -> None:
    a, b = [1.0, 2.0, 2.0, 5.0], [2.0, 4.0]
    # medians 2 and 3
    assert one.median_difference(a, b) == 1.0
    # of 8 pairs b is larger in 1 + 3 and smaller in 1 + 1, two are tied
    assert one.cliffs_delta(a, b) == (4 - 2) / 8
    # F_a: 1/4 at 1, 3/4 at 2, 3/4 at 4, 1 at 5; F_b: 0, 1/2, 1, 1
    assert one.kolmogorov_smirnov(a, b) == 0.25
    # |F_b - F_a| is 1/4 over [1, 2], 1/4 over [2, 4], 1/4 over [4, 5]
    assert one.wasserstein(a, b) == 0.25 * 1 + 0.25 * 2 + 0.25 * 1
    # the curve is -1/4, -1/4, +1/4, 0: its range is 1/2
    assert one.kuiper(a, b) == 0.5
    # weights 1, 3, 1, 1 of 6: mean (-1/4 - 3/4 + 1/4)/6 = -1/8; squares (1 + 3)/64 + 9/64 + 1/64 = 14/64; times 8/36
    assert one.watson_u2(a, b) == pytest.approx(8 / 36 * 14 / 64, abs=EXACT)
    # directions of doubled angles: 170 and 10 average to 0, 80 and 100 to 90
    assert abs(one.axial_difference([170, 10], [80, 100])) == pytest.approx(90, abs=EXACT)
    # a mean direction just below 0 is 0, not 180
    assert all(0 <= one.axial_mean([a, 180 - a]) < 180 for a in np.linspace(1, 80, 200))
    # 3 | 1, 2, 100: deviations from the median 2 are 1, 0, 1, 98 -> MAD 1
    assert one.robust_scale([3, 1, 2, 2, 100]) == pytest.approx(1.4826)


def test_scale_of_a_sample_with_many_equal_values_falls_back() -> None:
    # MAD 0; quartiles 0 and 2: interquartile range 2/1.349
    assert one.robust_scale([0] * 6 + [2] * 4) == pytest.approx(2 / 1.349)
    # quartiles equal too: the SD stands in
    assert one.robust_scale([0.0] * 9 + [1.0]) == pytest.approx(np.std([0] * 9 + [1], ddof=1))
    with pytest.raises(InputError, match="varies"):
        one.robust_scale([3.0, 3.0, 3.0])


@pytest.mark.parametrize("ties", [False, True])
def test_other_packages_agree_on_one_descriptor(rng: np.random.Generator, ties: bool) -> None:
    a, b = rng.normal(size=40), rng.normal(0.5, 2, size=25)
    if ties:
        a, b = np.round(a, 1), np.round(b, 1)
    assert one.kolmogorov_smirnov(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=ORACLE)
    assert one.wasserstein(a, b) == pytest.approx(stats.wasserstein_distance(a, b), abs=ORACLE)
    u = stats.mannwhitneyu(b, a).statistic
    assert one.cliffs_delta(a, b) == pytest.approx(2 * u / (40 * 25) - 1, abs=ORACLE)
    assert float(
        one.two_sample_statistic("cliffs_delta", np.append(a, b), np.arange(65) >= 40)
    ) == pytest.approx(one.cliffs_delta(a, b), abs=ORACLE)  # fmt: skip


def test_other_packages_agree_on_a_circle(rng: np.random.Generator) -> None:
    a, b = rng.uniform(0, 180, 40), rng.normal(20, 30, 25) % 180
    assert one.kuiper(a, b) == pytest.approx(kuiper_two(a / 180, b / 180)[0], abs=ORACLE)
    assert one.circular_wasserstein(a, b) == pytest.approx(180 * ot.wasserstein_circle(a / 180, b / 180)[0], abs=1e-6)
    assert one.axial_mean(b) == pytest.approx(stats.circmean(b, high=180, low=0), abs=ORACLE)


@pytest.mark.parametrize("statistic", [one.kuiper, one.watson_u2, one.circular_wasserstein])
def test_circular_statistics_do_not_depend_on_the_cut(
    rng: np.random.Generator, statistic: Callable[..., float]
) -> None:
    a, b = rng.uniform(0, 180, 30), rng.uniform(0, 90, 20)
    for turn in (17.0, 90.0, 171.0):
        assert statistic((a + turn) % 180, (b + turn) % 180) == pytest.approx(statistic(a, b), abs=ORACLE)


@pytest.mark.parametrize("name", ["ks", "kuiper", "wasserstein", "watson_u2", "cliffs_delta", "mean_difference"])
def test_many_labelings_give_what_one_by_one_gives(rng: np.random.Generator, name: str) -> None:
    values = np.round(rng.normal(size=20), 1)
    labels = one.random_labelings(12, 8, 15, rng)
    assert (labels.sum(axis=1) == 8).all()
    together = one.two_sample_statistic(name, values, labels)
    assert together == pytest.approx([float(one.two_sample_statistic(name, values, each)) for each in labels])


def test_labelings_are_uniform(rng: np.random.Generator) -> None:
    # 10 ways to choose 2 of 5, 5,000 draws: chi-square on 9 degrees is below 27.9 in 99.9 %
    labels = one.random_labelings(3, 2, 5000, rng)
    _, counts = np.unique(labels, axis=0, return_counts=True)
    assert len(counts) == 10
    assert stats.chisquare(counts).statistic < 27.9


@pytest.mark.parametrize("bad", [[], [[1.0]], [1.0, np.nan], [np.inf]])
def test_a_bad_sample_is_refused(bad: list[float]) -> None:
    with pytest.raises(InputError):
        one.kolmogorov_smirnov(bad, [1.0])
    with pytest.raises(InputError, match="statistic among"):
        one.two_sample_statistic("unheard", np.arange(3.0), np.array([True, False, True]))


# Several jointly -----------------------------------------------------------------------------------------------------


def test_energy_distance_agrees_with_dcor(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(30, 3)), rng.normal(0.5, 1, size=(20, 3))
    expected = dcor.energy_distance(x, y, estimation_stat=dcor.EstimationStatistic.U_STATISTIC)
    assert energy.energy_distance(x, y) == pytest.approx(expected, abs=ORACLE)


def test_energy_distance_of_one_population_averages_to_zero(rng: np.random.Generator) -> None:
    values = [energy.energy_distance(rng.normal(size=(10, 2)), rng.normal(size=(8, 2))) for _ in range(400)]
    assert min(values) < 0  # never clipped
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


def test_mean_distances_between_subjects(rng: np.random.Generator) -> None:
    x, code = rng.normal(size=(12, 2)), np.array([2, 0, 1] * 4)
    matrix = energy.subject_matrix(x, code)
    every = np.linalg.norm(x[:, None] - x, axis=-1)
    for g in range(3):
        for h in range(3):
            block = every[np.ix_(code == g, code == h)]
            # within a subject the 4 · 3 pairs of different units
            assert matrix[g, h] == pytest.approx(block.sum() / 12 if g == h else block.mean(), abs=EXACT)
    labels = np.array([[False, False, True, True]])
    four = energy.subject_matrix(x, np.arange(12) % 4)
    pairs = [four[g, h] for g, h in ((0, 2), (0, 3), (1, 2), (1, 3))]
    assert float(energy.subject_energy(four, labels)[0]) == pytest.approx(2 * np.mean(pairs) - four[0, 1] - four[2, 3])
    # Subjects of one unit have no distance within, which no distance between subjects needs.
    lone = energy.subject_matrix(x[:4], np.arange(4))
    assert np.isnan(np.diag(lone)).all()
    assert energy.different_subjects_mean(lone) == pytest.approx(every[:4, :4].sum() / 12, abs=EXACT)
    assert np.isfinite(energy.subject_energy(lone, labels)).all()


def test_chunks_change_nothing(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, code = rng.normal(size=(50, 2)), rng.normal(size=(9, 2)), np.arange(9) % 2
    whole = energy.mean_distances(x, y, code)
    monkeypatch.setattr(energy, "CHUNK", 20)
    assert np.array_equal(energy.mean_distances(x, y, code), whole)


@pytest.mark.parametrize(("n_a", "n_b"), [(30, 12), (12, 30)])
def test_permutation_test_is_the_naive_loop(rng: np.random.Generator, n_a: int, n_b: int) -> None:
    points = rng.normal(size=(42, 2))
    points[n_a:] += 0.4
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    statistic, test = energy.permutation_test(distance, n_a, n_permutation=1999, seed=1)
    assert statistic == pytest.approx(energy.energy_distance(points[:n_a], points[n_a:]), abs=ORACLE)
    shuffled = []
    for _ in range(1999):
        mixed = rng.permutation(points)
        shuffled.append(energy.energy_distance(mixed[:n_a], mixed[n_a:]))
    naive = (1 + sum(value >= statistic for value in shuffled)) / 2000
    assert abs(test.p - naive) < 4 * math.sqrt(2 * naive * (1 - naive) / 2000)  # two Monte Carlo errors
    assert test.smallest == 1 / 2000
    assert test.hypothesis.startswith("these cells only")


def test_workers_do_not_change_a_permutation_test(rng: np.random.Generator) -> None:
    points = rng.normal(size=(60, 2))
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    one_worker, two, again = (
        energy.permutation_test(distance, 35, n_permutation=1700, seed=5, workers=n)[1].p for n in (1, 2, 1)
    )
    assert one_worker == two == again


def test_mmd_is_the_energy_of_its_kernel(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(15, 2)), rng.normal(size=(11, 2))

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-((a[:, None] - b) ** 2).sum(-1) / (2 * 1.3**2))

    within = [(kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1)) for a in (x, y)]
    assert energy.squared_mmd(x, y, bandwidth=1.3) == pytest.approx(sum(within) - 2 * kernel(x, y).mean(), abs=EXACT)


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
    assert float(energy.classifier_auc(distance, is_b, fold, k=5)) == pytest.approx(expected, abs=ORACLE)
    with pytest.raises(InputError, match="fewer folds"):
        energy.classifier_auc(distance, is_b, is_b.astype(np.intp), k=5)
    # Of many labelings one that leaves nothing to rank stops none of the others.
    several = energy.classifier_auc(distance, np.stack([is_b, fold == 0]), fold, k=5)
    assert several == pytest.approx([expected, 0.5], abs=ORACLE)


def test_a_bandwidth_of_copies_is_not_zero() -> None:
    x = np.zeros((6, 2))
    x[0] = [3.0, 4.0]
    assert energy.median_bandwidth(x) == 5.0
    assert energy.median_bandwidth(x[1:]) == 1.0  # nothing but copies
    assert energy.squared_mmd(x, x, bandwidth=energy.median_bandwidth(x)) <= 0


def test_coverage_of_a_copy_is_whole(rng: np.random.Generator) -> None:
    x = rng.normal(size=(20, 2))
    assert energy.coverage(x, x) == 1.0
    assert energy.coverage(x, x + 100) == 0.0


# Inference -----------------------------------------------------------------------------------------------------------


def test_adjustments_agree_with_statsmodels(rng: np.random.Generator) -> None:
    p = rng.uniform(size=12) ** 2
    with_gap = np.insert(p, 3, np.nan)
    for ours, theirs in ((inference.holm, "holm"), (inference.benjamini_hochberg, "fdr_bh")):
        adjusted = ours(with_gap)
        assert np.isnan(adjusted[3])
        assert np.delete(adjusted, 3) == pytest.approx(multipletests(p, method=theirs)[1], abs=ORACLE)


def test_one_sample_tests_agree_with_scipy(rng: np.random.Generator) -> None:
    sample = rng.normal(1, 1, 7)
    assert inference.one_sample_test(sample, 0.3).p == pytest.approx(stats.ttest_1samp(sample, 0.3).pvalue, abs=ORACLE)
    low, high = inference.t_limits(sample)
    expected = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=ORACLE)
    other = rng.normal(2, 3, 5)
    welch = stats.ttest_ind(other, sample, equal_var=False).confidence_interval(0.95)
    assert inference.welch_interval(sample, other)[:2] == pytest.approx((welch.low, welch.high), abs=ORACLE)


def test_all_labelings_of_subjects_agree_with_scipy(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=4), rng.normal(1, 1, 5)

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(x.mean(axis) - y.mean(axis))

    expected = stats.permutation_test((a, b), difference, alternative="greater", n_resamples=np.inf).pvalue
    test = inference.label_permutation(a, b, seed=0)
    # 126 labelings; for unequal sizes no two give the same difference
    assert (test.p, test.smallest) == pytest.approx((expected, 1 / 126), abs=EXACT)
    # 4 and 4: swapping the groups changes nothing, so 2 of the 70 labelings are the most extreme
    assert inference.label_permutation([1, 2, 3, 4], [6, 7, 8, 9]).smallest == 2 / 70
    with pytest.raises(InputError, match="at least 4 subjects"):
        inference.label_permutation([1, 2, 3], [6, 7, 8, 9])


def test_few_subjects_give_no_interval() -> None:
    for interval in (
        inference.subject_interval([1.0, 2.0, 3.0]),
        inference.jackknife_interval(1.0, [1.0, 1.1, 0.9]),
        inference.welch_interval([1, 2, 3], [1, 2, 3, 4]),
    ):
        assert np.isnan(interval.low)
        assert np.isnan(interval.high)
        assert interval.method == inference.NO_INTERVAL
    assert np.isnan(inference.one_sample_test([1.0, 2.0, 3.0], 0.0).p)


def test_estimates_that_do_not_vary_give_no_p() -> None:
    for sample, value in (
        ([5.0] * 5, 7.0),
        ([0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2], 7.0),  # but for rounding
        ([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]], [2.5, 1.0]),  # not along the axis on which they differ
    ):
        test = inference.one_sample_test(sample, value, hypothesis="equal")
        assert np.isnan(test.p) and np.isnan(test.smallest)
        assert test.hypothesis == "equal (not tested: the subjects' estimates do not vary)"
    same = [0.1 + 0.2, 0.3, 0.3, 0.3]
    for interval in (inference.subject_interval(same), inference.welch_interval(same, [0.5] * 4)):
        assert np.isnan(interval.low) and interval.method == "no interval: the subjects' estimates do not vary"
    assert np.isfinite(inference.welch_interval(same, [0.5, 0.6, 0.5, 0.5]).low)


def test_intervals_by_number_of_subjects(rng: np.random.Generator) -> None:
    sample = rng.exponential(size=20)
    assert inference.subject_interval(sample[:19]).method == "t over subjects"
    interval = inference.subject_interval(sample, seed=0)
    assert interval.method == "BCa over subjects"
    # Skewed to the right, so the interval reaches farther up than Student's
    low, high = inference.t_limits(sample)
    assert interval.low > low
    assert interval.high > high
    assert inference.subject_interval(sample, seed=0) == interval


def test_jackknife_of_a_mean_is_students_interval(rng: np.random.Generator) -> None:
    sample = rng.normal(size=9)
    left_out = (sample.sum() - sample) / 8
    low, high = inference.t_limits(sample)
    assert inference.jackknife_interval(sample.mean(), left_out)[:2] == pytest.approx((float(low), float(high)))


def test_student_weights_of_a_mean_give_students_interval() -> None:
    sample = np.array([1.0, 2.0, 3.0, 7.0])
    weights = inference.student_weights(4, 400_000, np.random.default_rng(0))
    assert weights.sum(axis=1) == pytest.approx(1.0)
    drawn = np.percentile(weights @ sample, [2.5, 97.5])
    low, high = inference.t_limits(sample)
    assert drawn == pytest.approx([float(low), float(high)], abs=0.05)  # Monte Carlo error of a tail at 400,000 draws


# The score -----------------------------------------------------------------------------------------------------------


def cloud(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    return shift + rng.normal(size=(n, 2))


def test_score_is_its_definition(rng: np.random.Generator) -> None:
    cells, animal = cloud(rng, 60), np.repeat(["a", "b", "c", "d"], 15)
    network, null = cloud(rng, 20, 0.5), cloud(rng, 40, 2)
    seeds = np.repeat(["n0", "n1"], 20)
    result = similarity_score(cells, network, null, cortex_subject=animal, null_subject=seeds)

    def distance(x: np.ndarray, y: np.ndarray) -> float:
        return energy.energy_distance(x, y)

    to_network, to_null, to_others = [], [], []
    for name in "abcd":
        held_out = cells[animal == name]
        to_network.append(distance(network, held_out))
        to_null.append(np.mean([distance(null[seeds == each], held_out) for each in ("n0", "n1")]))
        others = [cells[animal == other] for other in "abcd" if other != name]
        apart = [np.linalg.norm(g[:, None] - h, axis=-1).mean() for g in others for h in others if g is not h]
        toward = np.mean([np.linalg.norm(g[:, None] - held_out, axis=-1).mean() for g in others])
        within = np.linalg.norm(held_out[:, None] - held_out, axis=-1).sum() / (15 * 14)
        to_others.append(2 * toward - np.mean(apart) - within)
    assert result.network_to_animal == pytest.approx(to_network, abs=ORACLE)
    assert result.null_to_animal == pytest.approx(to_null, abs=ORACLE)
    assert result.others_to_animal == pytest.approx(to_others, abs=ORACLE)
    means = np.mean(to_null), np.mean(to_network), np.mean(to_others)
    assert result.value == pytest.approx((means[0] - means[1]) / (means[0] - means[2]), abs=ORACLE)
    assert result.ceiling == "the other animals"


def test_animals_of_one_cell_each_are_scored(rng: np.random.Generator) -> None:
    cells, network, null = cloud(rng, 40), cloud(rng, 20, 0.5), cloud(rng, 20, 2)
    lone = similarity_score(cells, network, null, cortex_subject=np.arange(40))
    # The distance between different cells is that within the sample, so the value is the one without identities.
    assert lone.value == pytest.approx(similarity_score(cells, network, null).value, abs=ORACLE)
    assert lone.interval.low < lone.value < lone.interval.high
    assert np.isnan(lone.cells_interval.low) and np.isnan(lone.single_animal)
    # Of independent cells the jackknife over cells is the jackknife over animals; Student weights agree with it.
    width = lone.jackknife.high - lone.jackknife.low
    assert lone.interval.high - lone.interval.low == pytest.approx(width, rel=0.15)


def test_two_animals_give_the_three_distances_of_their_score(rng: np.random.Generator) -> None:
    cells, network, null = cloud(rng, 30), cloud(rng, 20, 0.5), cloud(rng, 20, 2)
    got = similarity_score(cells, network, null, cortex_subject=np.repeat(["a", "b"], 15))
    part = got.null_distance - got.network_distance
    assert got.value == pytest.approx(part / (got.null_distance - got.others_distance), abs=ORACLE)


def test_score_leaves_each_animal_out_as_if_it_had_not_been_there(rng: np.random.Generator) -> None:
    cells, code = cloud(rng, 60), np.repeat(np.arange(4), 15)
    network, null = cloud(rng, 20, 0.5), cloud(rng, 20, 2)
    means = similarity.mean_distances_of(cells, network, null, cortex_subject=code)
    top, bottom = means.without_each()[0][1]
    without = similarity_score(cells[code != 1], network, null, cortex_subject=code[code != 1])
    assert top / bottom == pytest.approx(without.value, abs=ORACLE)


@pytest.mark.parametrize("identified", [True, False])
def test_score_without_one_cell_is_the_jackknife_of_cells(rng: np.random.Generator, identified: bool) -> None:
    cells, network, null = cloud(rng, 24), cloud(rng, 20, 0.5), cloud(rng, 20, 2)
    code = np.arange(24) % 3 if identified else np.zeros(24, np.intp)
    means = similarity.mean_distances_of(cells, network, null, cortex_subject=code)
    sets = similarity._without_each_cell(means, cells, code, network, None, null, None)
    top, bottom = sets[0][2]
    gone = np.flatnonzero(code == 0)[2]
    kept = np.arange(24) != gone
    without = similarity_score(cells[kept], network, null, cortex_subject=code[kept])
    assert top / bottom == pytest.approx(without.value, abs=ORACLE)


def test_null_scores_zero_and_the_cortex_itself_one(rng: np.random.Generator) -> None:
    animal = np.repeat(np.arange(8), 40)
    shared = math.sqrt(0.2) * rng.normal(size=(8, 2))
    cells = shared[animal] + math.sqrt(0.8) * cloud(rng, 320)
    null = cloud(rng, 20 * 96, 1.5)
    seeds = np.repeat(np.arange(20), 96)
    of_null = similarity_score(cells, cloud(rng, 96, 1.5), null, cortex_subject=animal, null_subject=seeds)
    assert of_null.interval.low < 0 < of_null.interval.high
    of_cortex = similarity_score(cells, cloud(rng, 96), null, cortex_subject=animal, null_subject=seeds)
    assert of_cortex.interval.low < 1 < of_cortex.interval.high
    assert of_cortex.single_animal < 1  # animals differ


def test_score_rises_along_mixtures_of_null_and_cortex(rng: np.random.Generator) -> None:
    cells, animal, null = cloud(rng, 400), np.repeat(np.arange(5), 80), cloud(rng, 400, 2)
    near, far = cloud(rng, 200), cloud(rng, 200, 2)
    values = []
    for share in (0, 50, 100, 150, 200):
        network = np.concatenate([near[:share], far[share:]])
        values.append(similarity_score(cells, network, null, cortex_subject=animal).value)
    assert all(np.diff(values) > 0)
    assert abs(values[0]) < 0.1
    assert abs(values[-1] - 1) < 0.1


def test_score_above_one_is_said(rng: np.random.Generator) -> None:
    # Animals far apart with a network like all of them, also like the one held out: nearer than the others together
    animal = np.repeat(np.arange(4), 50)
    corner = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])[animal]
    cells, network = (0.3 * cloud(rng, 200) + corner for _ in range(2))
    result = similarity_score(cells, network, cloud(rng, 100, 6), cortex_subject=animal)
    assert result.value > 1
    assert result.verdict.startswith("above 1")


def test_score_is_undefined_where_the_null_is_no_farther_than_animals(rng: np.random.Generator) -> None:
    cells, animal = cloud(rng, 100), np.repeat(np.arange(5), 20)
    result = similarity_score(cells, cloud(rng, 30, 1), cloud(rng, 30), cortex_subject=animal)
    assert result.verdict.startswith("undefined")
    assert np.isnan(result.value)
    assert np.isnan(result.interval.low)


def test_score_without_identities_uses_halves(rng: np.random.Generator) -> None:
    cells, network, null = cloud(rng, 200), cloud(rng, 60, 0.7), cloud(rng, 60, 2)
    result = similarity_score(cells, network, null, seed=0)
    assert result.ceiling == similarity.WITHIN_SAMPLE
    assert np.isnan(result.interval.low)
    assert result.interval.method == inference.NO_INTERVAL
    assert result.cells_interval.low < result.value < result.cells_interval.high
    # Of random halves all three mean distances are the same, so their D averages to 0
    halves = result.others_to_animal
    assert abs(halves.mean()) < 4 * halves.std() / math.sqrt(halves.size)
    expected = (energy.energy_distance(null, cells) - energy.energy_distance(network, cells)) / energy.energy_distance(
        null, cells
    )
    assert result.value == pytest.approx(expected, abs=ORACLE)


def test_training_seeds_widen_the_interval(rng: np.random.Generator) -> None:
    cells, animal, null = cloud(rng, 300), np.repeat(np.arange(10), 30), cloud(rng, 300, 3)
    networks = np.concatenate([cloud(rng, 40, shift) for shift in (0.2, 0.6, 1.0, 1.4)])
    many = similarity_score(cells, networks, null, cortex_subject=animal, network_subject=np.repeat(np.arange(4), 40))
    single = similarity_score(cells, networks, null, cortex_subject=animal)
    assert many.interval.high - many.interval.low > 2 * (single.interval.high - single.interval.low)


def test_headline_p_counts_untrained_networks(rng: np.random.Generator) -> None:
    cells = cloud(rng, 60)
    untrained = np.concatenate([cloud(rng, 20, shift) for shift in (0.1, 4, 4, 4)])
    means = similarity.mean_distances_of(cells, cloud(rng, 20, 2), untrained, null_subject=np.repeat(np.arange(4), 20))
    test = similarity.nearer_than_untrained(means)
    # one of four untrained networks is nearer: (1 + 1)/(4 + 1)
    assert (test.p, test.smallest) == (2 / 5, 1 / 5)


def test_score_refuses_what_it_cannot_use(rng: np.random.Generator) -> None:
    good = cloud(rng, 10)
    bad = good.copy()
    bad[0, 0] = np.nan
    for arguments in ((bad, good, good), (good, good[:1], good), (good[:, 0], good, good)):
        with pytest.raises(InputError):
            similarity_score(*arguments)
    with pytest.raises(InputError, match="two units in every null"):
        similarity_score(good, good, good, null_subject=["a"] * 9 + ["b"])
    with pytest.raises(InputError, match="one subject for each"):
        similarity_score(good, good, good, cortex_subject=["a"])


def test_a_choice_that_leaves_one_kernel_spoils_no_other() -> None:
    from rfcompare.comparison import multiverse
    from rfcompare.simulation import simulate_null, simulate_population

    cells, kernels = (simulate_population(n=n, size=9, seed=seed)[0] for n, seed in ((30, 0), (8, 1)))
    a, b = (rfc.describe(rfc.fit(bank, "gabor", seed=0)) for bank in (cells, kernels))
    drawn = simulate_null(kernels, "pixel_shuffled", n_populations=3, seed=0)
    null = rfc.describe(rfc.fit(drawn, "gabor", seed=0))
    b["nx"][1:] = 0.05  # an odd phase without a carrier: not identifiable
    b["polarity_phase"][1:] = np.nan
    b["folded_phase"][1:] = np.nan
    table = multiverse(a, b, {"pixel_shuffled": null}, selections={"all units": None})
    assert np.isfinite(table[table.space == "model-free"].score).all()
    undefined = table[table.score.isna()]
    assert len(undefined) and undefined.verdict.str.startswith("not made: expected at least two units").all()
