"""Statistics between populations: values worked by hand and other packages' values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from sklearn.metrics import roc_auc_score

from rfcompare.comparison import beside_sensitivity, energy, inference, make_space, sampling
from rfcompare.comparison import statistics as one
from rfcompare.comparison.inference import rank_test, student_weights
from rfcompare.comparison.populations import n_subjects, subjects, transformed
from rfcompare.comparison.rows import CONFOUNDED, DEMONSTRATION, Row, dataset, headings
from rfcompare.comparison.sentences import answer, small_print, verdict
from rfcompare.errors import InputError
from rfcompare.quantities import MODEL_FREE

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


def test_a_sample_is_refused_for_what_it_lacks() -> None:
    with pytest.raises(InputError, match="at least one value, got shape \\(0,\\)"):
        one.robust_scale([])
    with pytest.raises(InputError, match="got 2 that are not"):
        one.robust_scale([1.0, np.nan, 2.0, np.inf])
    with pytest.raises(InputError, match="1 equal values"):
        one.robust_scale([3.0])
    with pytest.raises(InputError, match="varies"):
        one.robust_scale([1e6, 1e6 + 1e-7])  # equal but for rounding
    assert one.robust_scale([1e-9, 2e-9, 3e-3]) > 0


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


def test_points_are_refused_for_what_they_lack() -> None:
    for values in ([1.0, 2.0], [[1.0]], np.zeros((2, 0))):
        with pytest.raises(InputError, match="at least two units"):
            energy.points(values, "x")
    with pytest.raises(InputError, match="got 1 units with a missing one"):
        energy.points([[1.0, 2.0], [np.nan, 1.0]], "x")
    assert energy.points([[1, 2], [3, 4]], "x").dtype == float


def test_distances_between_subjects_by_hand() -> None:
    # Subject 0 has cells at 0 and 4, subject 1 one at 1, subject 2 at 2, 3 and 7.
    x, code = np.array([[0.0], [2.0], [1.0], [4.0], [3.0], [7.0]]), np.array([0, 2, 1, 0, 2, 2])
    matrix = energy.subject_matrix(x, code)
    # Within: 4; none; (1 + 5 + 4)/3. Between 0 and 1: (1 + 3)/2; 0 and 2: (2 + 3 + 7 + 2 + 1 + 3)/6; 1 and 2:
    # (1 + 2 + 6)/3.
    assert matrix == pytest.approx(np.array([[4, 2, 3], [2, np.nan, 3], [3, 3, 10 / 3]]), nan_ok=True)
    assert energy.different_subjects_mean(matrix) == pytest.approx((2 + 3 + 3) / 3)
    assert energy.different_subjects_mean(matrix[:1, :1]) == 4
    assert energy.off_diagonal(matrix).tolist() == [[0, 2, 3], [2, 0, 3], [3, 3, 0]]


def test_a_classifier_takes_no_more_neighbors_than_the_other_folds_have() -> None:
    # Folds of four and two units. Those of the larger have the same two neighbors, an a and a b, and one score: half of
    # 2·2 pairs. Of the smaller the b has two b for its nearest two and the a none: its one pair is won.
    x, is_b = np.array([0.0, 0.1, 9.0, 9.1, 0.2, 9.2]), np.array([False, False, True, True, False, True])
    fold = np.array([0, 0, 0, 0, 1, 1])
    found = energy.classifier_auc(np.abs(x[:, None] - x), is_b, fold, k=50)
    assert found == pytest.approx((4 * 0.5 + 1) / 5)


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


def test_missing_p_values_do_not_count_for_holm() -> None:
    # 0.01·3, 0.02·2 and 0.5, never smaller than the one before and no larger than 1.
    assert inference.holm([np.nan, 0.5, 0.01, 0.02]) == pytest.approx([np.nan, 0.5, 0.03, 0.04], nan_ok=True)
    assert inference.holm([0.6, 0.4]) == pytest.approx([0.8, 0.8])
    assert inference.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_changes_of_weights_covary_as_a_mean_of_subjects_does() -> None:
    changes = inference.normal_changes(5, 100_000, np.random.default_rng(0))
    assert np.abs(changes.sum(axis=1)).max() < EXACT
    # The mean of values of variance 1 has variance 1/5, estimated without bias: Var(Σ w x) over w is s²/5, so a
    # weight's variance is (1 − 1/5)/(5·4) and two covary by −(1/5)/(5·4).
    expected = (np.eye(5) - 1 / 5) / 20
    assert np.cov(changes.T) == pytest.approx(expected, abs=5 * 0.04 * np.sqrt(2 / 100_000))
    assert np.array_equal(inference.normal_changes(1, 3, np.random.default_rng(0)), np.zeros((3, 1)))


def test_a_rank_knows_two_ends_only() -> None:
    with pytest.raises(InputError, match="'less' or 'greater', got 'both'"):
        rank_test(1.0, [1.0], alternative="both")


def test_four_subjects_are_enough_for_an_interval() -> None:
    four = inference.jackknife_interval(2.5, [1.0, 2.0, 3.0, 4.0])
    # Variance of the values 1.25, so the error is √(3·1.25); Student's 97.5 % on 3 degrees is 3.182.
    assert four.high - 2.5 == pytest.approx(3.1824463 * np.sqrt(3.75)) and four.low == pytest.approx(5 - four.high)
    three = inference.jackknife_interval(2.0, [1.0, 2.0, 3.0])
    assert np.isnan([three.low, three.high]).all()


# Populations ---------------------------------------------------------------------------------------------------------


def table(subject: list[str], kind: str = "measured", **columns: list[float]) -> xr.Dataset:
    """Descriptors that have these columns."""
    return xr.Dataset(
        {name: ("unit", np.array(values)) for name, values in columns.items()},
        coords={"unit": np.arange(len(subject)), "subject": ("unit", np.array(subject, dtype=object))},
        attrs={"kind": kind, "units": "degree"},
    )


def test_subjects_are_known_or_none() -> None:
    names = subjects(table(["a", "b", "a"]))
    assert names is not None and names.tolist() == ["a", "b", "a"]
    for unknown in (["a", "a"], ["a", "unknown"], ["a", ""]):
        assert subjects(table(unknown)) is None
    assert n_subjects(table(["a", "b", "a"])) == 2 and n_subjects(table(["a", "a"])) == 1
    assert n_subjects(table(["a", "unknown"])) == 0 and n_subjects(table([])) == 0
    # A network is one subject whatever its runs are called.
    assert n_subjects(table([""], "learned")) == n_subjects(table(["unknown"], "untrained")) == 1


def test_logarithms_of_what_has_none_are_missing() -> None:
    values = table(["a"] * 4, nx=[0.25, 2.0, 0.0, -1.0], r2=[0.25, 2.0, 0.0, -1.0])
    assert transformed(values, "nx") == pytest.approx([-2, 1, np.nan, np.nan], nan_ok=True)
    assert transformed(values, "r2").tolist() == [0.25, 2.0, 0.0, -1.0]


def test_units_have_a_position_where_every_axis_is_defined() -> None:
    # log2 of nx is −1, 0, 1 and −4, whose median is −½ and whose median deviation from it is 1: scale 1.4826. Below
    # 0.1 cycles (the last) a carrier is not identified, so that the Gabor form leaves it out: median 0, deviation 1.
    data = table(["a"] * 4, nx=[0.5, 1.0, 2.0, 0.0625], even_symmetry=[0.0, 1.0, np.nan, 3.0])
    chosen = make_space(data, quantities=("nx", "even_symmetry"))
    assert (chosen.name, chosen.quantities) == ("chosen", ("nx", "even_symmetry"))
    assert chosen.scales == pytest.approx((1.4826, 1.4826))
    points, kept = chosen.points(data)
    assert kept.tolist() == [True, True, False, True]
    assert points * 1.4826 == pytest.approx(np.array([[-1, 0], [0, 1], [-4, 3]]))
    form = make_space(data, name="gabor_form", quantities=("nx",))
    assert form.name == "gabor_form" and form.points(data)[1].tolist() == [True, True, True, False]
    # An axis that does not vary is left out, those after it are not.
    flat = table(["a"] * 3, nx=[1.0, 1.0, 1.0], even_symmetry=[0.0, 1.0, 2.0])
    assert make_space(flat, quantities=("nx", "even_symmetry")).quantities == ("even_symmetry",)


def test_an_axis_leaves_the_space_for_everyone() -> None:
    rng = np.random.default_rng(0)
    full = table(["a"] * 9, **{name: rng.uniform(0.1, 1, 9).tolist() for name in MODEL_FREE})
    assert make_space(full).name == "model_free" and make_space(full).left_out == ()
    signless = full.copy(deep=True)
    signless["on_off_balance"][3] = np.nan
    for cortex, other in ((full, signless), (signless, full)):
        space = make_space(cortex, other)
        assert space.left_out == ("on_off_balance: some units have no sign",)
        assert set(space.quantities) == set(MODEL_FREE) - {"on_off_balance"}
    dead = full.copy(deep=True)
    for name in MODEL_FREE:
        dead[name][3] = np.nan  # a unit without any descriptor has no sign because it has no map
    assert make_space(full, dead).left_out == ()
    lacking = full.drop_vars("even_symmetry")
    assert make_space(full, lacking).left_out == ("even_symmetry: not computed for every population",)
    few = full.assign(even_symmetry=("unit", [1.0] + [np.nan] * 8))
    assert make_space(few).left_out == ("even_symmetry: not defined in the cortex",)
    two = full.assign(even_symmetry=("unit", [1.0, 2.0] + [np.nan] * 7))
    assert make_space(two).left_out == ()


def test_frequencies_are_counted_in_half_octaves() -> None:
    # From 1/16 on, half octaves begin at 2^−4, 2^−3.5, …: 0.25 opens the fifth, 3.9 and all beyond lie in the last.
    found = beside_sensitivity(table(["a"] * 5, peak_frequency=[0.01, 0.25, 3.9, 50.0, np.nan]))
    assert len(found) == 12 and found.frequency_low[4] == pytest.approx(0.25)
    assert found.frequency_high[11] == pytest.approx(4.0)
    assert found.share.tolist() == [0.25, 0, 0, 0, 0.25, 0, 0, 0, 0, 0, 0, 0.5]
    assert not beside_sensitivity(table(["a"], peak_frequency=[np.nan])).share.any()
    # The optics are looked up at the geometric middle, where frequencies are the same share from both ends.
    sharp = found.modulation.to_numpy()
    assert (np.diff(sharp) < 0).all() and 0 < sharp[-1] < sharp[0] <= 1
    with pytest.raises(InputError, match="in degrees"):
        beside_sensitivity(table(["a"], peak_frequency=[1.0]).assign_attrs(units="px"))


# Rows and words ------------------------------------------------------------------------------------------------------


def test_what_is_noted_twice_is_said_once() -> None:
    row = Row("nx", "nx", notes=["first"])
    row.note("second", "", "first")
    row.note("second")
    assert row.notes == ["first", "second"]
    made = dataset([row, Row("ny", "ny", number={"effect": 2.0, "n_units_a": 3})], "measured", "learned")
    assert made.note.values.tolist() == ["first; second", ""]
    assert np.isnan(made.effect.values[0]) and made.effect.values[1] == 2.0
    assert made.n_units_a.values.tolist() == [0, 3]
    assert made.kind_a.values.tolist() == ["measured"] * 2 and made.kind_b.values.tolist() == ["learned"] * 2


def bank(kind: str, stimulus: str = "") -> xr.Dataset:
    return xr.Dataset(attrs={"kind": kind, "stimulus": stimulus})


def test_headings_say_what_is_assumed_and_what_is_confounded() -> None:
    flashes, gratings = json.dumps({"class": "Sparse noise "}), "gratings, drifting"
    assert headings(bank("measured", flashes), bank("measured", "sparse noise, 2 deg")) == []
    assert headings(bank("measured", flashes), bank("measured", gratings)) == [CONFOUNDED]
    assert headings(bank("simulated", flashes), bank("in-silico", gratings)) == [DEMONSTRATION, CONFOUNDED]
    # Kernels were shown nothing, so nothing differs.
    assert headings(bank("measured", flashes), bank("learned")) == []
    # A recording that does not say its stimulus is not known to have had the same.
    assert headings(bank("measured", flashes), bank("measured")) == [CONFOUNDED]


def found(**changes: Any) -> xr.Dataset:
    """A likeness with four animals in which nothing is remarkable, but for the changes."""
    numbers: dict[str, Any] = {
        "effect": 0.5, "ci_low": 0.25, "ci_high": 0.75, "p": 0.01, "p_noise": 0.01, "p_noise_smallest": 0.001,
        "n_subjects_a": 4, "on_bound_a": 0.0, "on_bound_b": 0.0,
    }  # fmt: skip
    numbers |= {name: value for name, value in changes.items() if name in numbers}
    scales = changes.get("scales", {1.0: 0.5})
    attrs = {
        "kind_a": "measured", "kind_b": "learned", "noise": "known", "noise_added": 0, "recorded": 0,
        "polarity": "known", "heading": "", "scale": 1.0,
    }  # fmt: skip
    attrs |= {name: value for name, value in changes.items() if name in attrs}
    made = xr.Dataset(
        {name: ("quantity", [value, value]) for name, value in numbers.items()}
        | {"interval": ("quantity", np.array(["over 4 animals"] * 2, dtype=object))},
        coords={"quantity": ["likeness", "nx"], "scale": list(scales)},
        attrs=attrs,
    )
    made["likeness_at_scale"] = ("scale", list(scales.values()))
    return made.assign_attrs(verdict=verdict(made), small_print=small_print(made))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "The learned kernels are nearer to the measured fields than noise of their spectrum, but not as near as "
             "another animal: likeness 0.50."),
        # At the level itself chance is told from: 0.05 is as good as less.
        ({"p_noise": 0.05, "p": 0.05}, "The learned kernels are nearer to the measured fields than noise of their "
                                       "spectrum, but not as near as another animal: likeness 0.50."),
        ({"p_noise": 0.06}, "The learned kernels are no nearer to the measured fields than noise with the same "
                            "spectrum: likeness 0.50."),
        ({"p": 0.06, "effect": -0.25}, "The learned kernels cannot be told from another animal of the measured "
                                       "fields: likeness −0.25."),
        ({"p": np.nan, "n_subjects_a": 1}, "The learned kernels cannot be told from other cells of the measured "
                                           "fields: likeness 0.50."),
        ({"effect": np.nan, "kind_b": "simulated"},
         "Demonstration: the simulated kernels cannot be placed: noise with the spectrum of the measured fields is as "
         "near as an animal."),
        ({"noise": "unknown"}, "No verdict: how noisy the measured fields are is not known; give noise_sd or two "
                               "halves of the recording."),
    ],
)  # fmt: skip
def test_the_verdict_follows_two_questions(changes: dict[str, Any], said: str) -> None:
    assert verdict(found(**changes)) == said


def test_the_answer_gives_its_numbers() -> None:
    assert answer(found(), "both") == (
        "The learned kernels are nearer to the measured fields than noise of their spectrum, but not as near as "
        "another animal: likeness 0.50. Likeness 0.50, 95 % interval 0.25 to 0.75 over 4 animals; 0 is noise with the "
        "cortex's own spectrum and window, 1 is another animal, −1 infinitely far off, all seen through the same "
        "recording. Told apart from "
        "another animal: p = 0.01. Nearer than that noise: p = 0.01, smallest possible 0.001. "
    )
    alone = answer(found(n_subjects_a=1, effect=np.nan, ci_low=-1.0, ci_high=np.inf), "both")
    assert "Likeness undefined; 0 is noise" in alone and "1 is random halves of the cells, −1 infinitely" in alone
    assert "1 is random halves of the cells, −1 infinitely" in answer(found(n_subjects_a=0), "both")
    bare = found()
    del bare.attrs["verdict"]
    assert answer(bare, "both") == answer(None, "both") == "The likeness of both is not yet tested against chance."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"n_subjects_a": 3}, "3 animals are known, fewer than four: intervals and p are for these cells and kernels "
                              "only."),
        ({"n_subjects_a": 0}, "No animals are named, fewer than four: intervals and p are for these cells and kernels "
                              "only."),
        ({"noise": "unknown"}, "Numbers are as if the maps had no noise: no likeness for the species."),
        ({"noise_added": 1}, "Cells cleaner than a signal-to-noise ratio of 3 were given noise up to it."),
        ({"recorded": 1}, "The network was recorded with the cells' stimulus, and its noise raised to theirs."),
        ({"on_bound_a": 0.25}, ""),
        ({"on_bound_a": 0.26}, "26% of the cells with a carrier lie on a bound of nx: medians take them as beyond it."),
        ({"on_bound_b": 0.4},
         "40% of the kernels with a carrier lie on a bound of nx: medians take them as beyond it."),
        ({"polarity": "folded"}, "Some signs are not known, so the balance of ON and OFF counts without its sign."),
        ({"heading": "stimulus confounded"}, "Stimulus confounded."),
        # The best at 2, half an octave beside it 0.4 less; what lies an octave away says nothing.
        ({"scale": 2.0, "scales": {1.0: -5.0, 2**0.5: 0.3, 2.0: 0.7}},
         "The scale of a kernel's pixel is not known: this is the best of an octave either way of equal field radii, 2 "
         "times it, and half an octave away the likeness falls to 0.30: the answer hangs on it."),
        ({"scale": 1.0, "scales": {1.0: 0.5, 2**0.5: 0.3}},
         "The scale of a kernel's pixel is not known: this is the best of an octave either way of equal field radii; "
         "within half an octave it stays above 0.30."),
    ],
)  # fmt: skip
def test_the_small_print_says_what_limits_the_answer(changes: dict[str, Any], said: str) -> None:
    assert small_print(found(**changes)) == said


# Samples of animals and kernels --------------------------------------------------------------------------------------


def line(animals: np.ndarray, kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """One cell an animal on one axis, with squared distances: the "energy distance" is then that of the means."""
    between, to_animals, within = (
        (a[:, None] - b) ** 2 for a, b in ((animals,) * 2, (kernels, animals), (kernels,) * 2)
    )
    return between, np.ones(len(animals), np.intp), to_animals, within


def test_told_apart_is_welchs_test_on_one_axis() -> None:
    rng = np.random.default_rng(3)
    for animals, kernels in ((rng.normal(size=6), 0.8 + rng.normal(size=9)), (rng.normal(size=4), rng.normal(size=30))):
        a, k = animals.var(ddof=1) / animals.size, kernels.var(ddof=1) / kernels.size
        t = (animals.mean() - kernels.mean()) / np.sqrt(a + k)
        # Welch's degrees of freedom without bias: a variance on d degrees squared is d/(d + 2) of its square.
        first, second = animals.size + 1, kernels.size + 1
        degrees = (a + k) ** 2 / (a**2 / first + k**2 / second) - 2
        between, cells, to_animals, within = line(animals, kernels)
        p = sampling.told_apart(between, cells, to_animals, within, 1)
        assert p == pytest.approx(float(stats.f.sf(t**2, 1, degrees)))
    assert np.isnan(sampling.told_apart(between[:1, :1], cells[:1], to_animals[:, :1], within, 1))
    assert np.isnan(sampling.told_apart(between, cells, to_animals[:1], within[:1, :1], 1))
    same = np.zeros(5)
    assert np.isnan(sampling.told_apart(*line(same, same), 1))  # nothing varies


def test_told_apart_has_the_degrees_of_freedom_of_its_moments() -> None:
    rng = np.random.default_rng(8)
    animals, kernels = rng.normal(size=(7, 3)), 0.9 + rng.normal(size=(12, 3))
    between, to_animals, within = (
        ((a[:, None] - b) ** 2).sum(-1) for a, b in ((animals,) * 2, (kernels, animals), (kernels,) * 2)
    )
    found = sampling._moments(between, to_animals, within)
    squared = 2 * ((animals.mean(0) - kernels.mean(0)) ** 2).sum()
    # As a sum of chi² has: tr(C)²/tr(C²), with the square of an unbiased trace twice its `spread` too large.
    first = (found.trace**2 - 2 * found.spread) / found.square
    second = (found.trace**2 - 2 * found.spread) / found.spread
    assert 1.5 < first < 4 and first % 1 > 0.05
    p = sampling.told_apart(between, np.ones(7, np.intp), to_animals, within, 1)
    assert p == pytest.approx(float(stats.f.sf(squared / found.trace, first, second)))


def test_weights_of_a_clear_difference_give_its_error() -> None:
    rng = np.random.default_rng(4)
    animals, kernels = rng.normal(size=9), 40 + rng.normal(size=12)
    zero = (0.5, np.full(9, 5000.0))
    drawn = sampling.weighted_draws(*line(animals, kernels), 1, zero, np.random.default_rng(0))
    # D = 2Δ² and its change 4Δ·δ: with Student's multipliers on d degrees δ has d/(d − 2) times its variance. The
    # bias, 2(a + k), is taken out.
    a, k = animals.var(ddof=1) / 9, kernels.var(ddof=1) / 12
    apart = animals.mean() - kernels.mean()
    error = 4 * abs(apart) * np.sqrt(a * 8 / 6 + k * 11 / 9)
    unbiased = 2 * apart**2 - 2 * (a + k)
    for values in (drawn.excess, drawn.farther):
        assert values.mean() == pytest.approx(unbiased, abs=4 * error / np.sqrt(sampling.N_DRAWS))
        assert values.std() == pytest.approx(error, rel=0.1)
    assert drawn.farther.std() > drawn.excess.std()
    # To the zero: 2·5000 − 0.5 − E|Y − Y'|, whose mean is 2·(9/8)·(variance of the animals about their mean).
    spread = 2 * animals.var(ddof=1)
    assert drawn.reach.mean() == pytest.approx(10_000 - 0.5 - spread, abs=0.5)


def test_weights_of_no_difference_leave_none() -> None:
    """Where kernels are the animals themselves, nothing linear in the weights is left in the nearer end."""
    rng = np.random.default_rng(5)
    animals = rng.normal(size=8)
    between, cells, to_animals, within = line(animals, animals)
    drawn = sampling.weighted_draws(between, cells, to_animals, within, 1, (1.0, np.ones(8)), np.random.default_rng(0))
    unbiased = -4 * animals.var(ddof=1) / 8
    assert drawn.excess.mean() == pytest.approx(unbiased)
    assert np.isfinite(drawn.farther).all()
    many = sampling.weighted_draws(
        100 * between, cells, 100 * to_animals, 100 * within, 1, (100.0, 100 * np.ones(8)), np.random.default_rng(0)
    )
    for one_, other in zip(drawn, many, strict=True):
        assert other == pytest.approx(100 * one_)  # units of distance


def test_the_nearer_end_of_what_is_not_shown_has_nothing_linear() -> None:
    """Of an interval whose distance may be 0, only the farther end varies with where the means are."""
    rng = np.random.default_rng(9)
    animals = rng.normal(size=8)
    kernels = animals.mean() + 0.3 + rng.normal(size=20)
    drawn = sampling.weighted_draws(*line(animals, kernels), 1, (1.0, np.ones(8)), np.random.default_rng(0))
    linear = drawn.farther - drawn.excess
    assert linear.std() > 0.1
    # Uncorrelated but for 4/√2000 = 0.09; were all of it in the nearer end too, by more than a half.
    assert abs(np.corrcoef(linear, drawn.excess)[0, 1]) < 0.09 and np.corrcoef(linear, drawn.farther)[0, 1] > 0.5


def test_moments_are_those_of_the_means() -> None:
    """tr(C) and tr(C²) of the difference of two means, with covariance matrices that are known."""
    rng = np.random.default_rng(6)
    scale, traces, squares = np.array([2.0, 1.0, 0.5]), [], []
    for _ in range(400):
        animals, kernels = rng.normal(size=(6, 3)) * scale, rng.normal(size=(10, 3)) * scale
        squared = [((a[:, None] - b) ** 2).sum(-1) for a, b in ((animals,) * 2, (kernels, animals), (kernels,) * 2)]
        found = sampling._moments(squared[0], squared[1], squared[2])
        traces.append(found.trace)
        squares.append(found.square)
        assert found.plain >= found.square
    # Squared distances are twice inner products, so C is 2·(1/6 + 1/10)·diag(4, 1, 1/4).
    share = 2 * (1 / 6 + 1 / 10)
    assert np.mean(traces) == pytest.approx(share * 5.25, abs=4 * np.std(traces) / 20)
    assert np.mean(squares) == pytest.approx(share**2 * (16 + 1 + 1 / 16), abs=4 * np.std(squares) / 20)


def test_small_sums_of_distances_by_hand() -> None:
    matrix = np.array([[3.0, 1.0], [5.0, np.nan]])
    # Of 3 cells two in three pairs are of different ones; a lone cell has no distance but to itself.
    assert sampling._with_itself(matrix, np.array([3, 1])).tolist() == [[2.0, 1.0], [5.0, 0.0]]
    assert sampling._with_itself(matrix, 2)[0, 0] == 1.5
    assert sampling._pairs(matrix) == 3.0 and sampling._pairs(np.array([[7.0]])) == 7.0
    # Of one degree of freedom: a third.
    assert sampling._squared_trace(np.array([[2.0, 0.0], [0.0, 1.0]]), 1) == pytest.approx(5 / 3)
    # 4²/(3·6)·(5 − 9/4)
    assert sampling._squared_trace(np.array([[2.0, 0.0], [0.0, 1.0]]), 4) == pytest.approx(16 / 18 * (5 - 9 / 4))
    # Evenly spread over more than fifty directions nothing is.
    assert sampling._squared_trace(np.eye(4) / 4, 4) == pytest.approx(1 / 50)


def test_a_difference_needs_two_of_each() -> None:
    animals = np.array([1.0, 2.0, 3.0])
    for few in (
        sampling.difference(animals[:1], 2.0, 1.0, 5),
        sampling.difference(animals, 2.0, 1.0, 1),
        sampling.difference(np.full(3, 2.0), 2.0, 0.0, 5),
    ):
        assert np.isnan(few[1:]).all()
    assert sampling.difference(animals[:1], 2.5, 1.0, 5).effect == 1.5
    assert np.isnan(sampling.difference(np.zeros(0), 2.0, 1.0, 5).effect)
    assert np.isfinite(sampling.difference(animals[:2], 2.5, 1.0, 2).p)
    # What numbers of this size differ by in their last digit is no spread.
    equal = np.array([1e9, np.nextafter(1e9, 2e9), 1e9])
    assert np.isnan(sampling.difference(equal, 1e9, 0.0, 5).p) and np.isfinite(
        sampling.difference(animals, 2, 0.0, 5).p
    )


def test_medians_of_censored_values() -> None:
    assert sampling.median_variance(np.full(5, np.inf), np.random.default_rng(0)) != 0  # no number at all
    assert sampling.median_variance(np.full(5, 2.0), np.random.default_rng(0)) == 0
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=300), np.full(40, np.inf)])
    assert 0 < sampling.median_variance(values, rng) < 0.1
