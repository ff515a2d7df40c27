"""Statistics between populations: values worked by hand and other packages' values."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from sklearn.metrics import roc_auc_score

from rfcompare.alignment import Grid
from rfcompare.bank import make_bank
from rfcompare.comparison import beside_sensitivity, energy, inference, make_space, sampling, structure
from rfcompare.comparison import ladder as ladder_module
from rfcompare.comparison import statistics as one
from rfcompare.comparison.inference import rank_test, student_weights
from rfcompare.comparison.ladder import Cells, Sample
from rfcompare.comparison.nearness import _references, analyses, coverage, kind_rows, population_rows, rungs_of
from rfcompare.comparison.populations import n_subjects, subjects, transformed
from rfcompare.comparison.rows import CONFOUNDED, DEMONSTRATION, Row, dataset, headings
from rfcompare.comparison.sentences import answer, small_print, verdict
from rfcompare.comparison.setting import Setting, field_pixels, recorded_alike, set_up, side_of
from rfcompare.errors import InputError
from rfcompare.quantities import LIKENESS_AXES, MODEL_FREE
from tests.sample_populations import cortex_of, gabor_maps, kernels_of

EXACT = 1e-12  # the same arithmetic in another order
SHARED = 1e-6  # what rounding leaves of a share of an amplitude
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
        "cortex's own spectrum and window, 1 is another animal, all seen through the same recording. Told apart from "
        "another animal: p = 0.01. Nearer than that noise: p = 0.01, smallest possible 0.001. "
    )
    alone = answer(found(n_subjects_a=1, effect=np.nan, ci_low=-1.0, ci_high=np.inf), "both")
    assert "Likeness undefined; 0 is noise" in alone and "1 is random halves of the cells, all" in alone
    assert "1 is random halves of the cells, all" in answer(found(n_subjects_a=0), "both")
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


# Populations beside the cells of a recording -------------------------------------------------------------------------


def test_a_population_is_placed_by_hand() -> None:
    # Cells at 0 and 2 of one animal and at 10 of another, which has a second at 14.
    cells = Cells.of(np.array([[0.0], [2.0], [10.0], [14.0]]), np.array([0, 0, 1, 1]))
    assert cells.between.tolist() == [[2, 11], [11, 4]]
    assert (cells.within, cells.apart) == (3, 11)
    placed = cells.place(np.array([[1.0], [np.nan], [5.0], [6.0]]), 1)
    # The map without a place is left out. To animals: 1 and 11; 4 and 7; 5 and 6; within 4, 5, 1.
    assert placed.to_animals.tolist() == [[1, 11], [4, 7], [5, 6]]
    assert placed.within.tolist() == [[0, 4, 5], [4, 0, 1], [5, 1, 0]]
    assert placed.term == pytest.approx(2 * 34 / 6 - 20 / 6)
    with pytest.raises(InputError, match="at least two maps that are not flat, got 1"):
        cells.place(np.array([[1.0], [np.nan]]), 1)


def test_draws_of_one_map_are_no_pairs_of_maps() -> None:
    cells = Cells.of(np.array([[[0.0], [1.0]], [[4.0], [5.0]], [[9.0], [9.0]]]), np.array([0, 0, 1]))
    # Cells 0 and 4 of an animal: 4, 5, 3, 4 between their draws; a lone cell has no other.
    assert cells.between[0, 0] == 4 and np.isnan(cells.between[1, 1])
    assert cells.between[0, 1] == pytest.approx((9 + 8 + 5 + 4) / 4)
    assert cells.points.ravel().tolist() == [0, 4, 9]
    placed = cells.place(np.array([[1.0], [3.0], [7.0], [8.0]]), 2)
    # Two maps of two draws: 2 and 1 apart within themselves; 6, 7, 4, 5 between them.
    assert placed.within == pytest.approx(np.array([[2, 5.5], [5.5, 1]]))
    # From 1 to 0, 1, 4, 5: 2; from 3: 2; from 1 and 3 to 9: 7.
    assert placed.to_animals[0] == pytest.approx([2.0, 7.0])
    assert placed.points.ravel().tolist() == [1, 7]


def test_of_a_narrow_window_counts_what_it_covers() -> None:
    grid = Grid.regular((9, 9), pitch=1.0, units="degree")
    ladder = ladder_on(grid)
    # 3 pixels of 2° reach to 3°: those of the recording at 3° are half covered, those at 4° not.
    sample = Sample(np.zeros((2, 3, 5)), Grid.regular((3, 5), pitch=1.0, units="px"), 2.0, False)
    seen = ladder.aperture(sample, 1.0)
    assert seen.covered is not None and seen.pixels is not None
    assert (seen.covered == (np.abs(grid.y) <= 3)[:, None]).all()
    # A flat map shows the window. Pixels at 3, 2 and 1° have ½, 1½ and 2½ pixels to the end of the fading, of three:
    # sin²(π/12), sin²(π/4), sin²(5π/12). 5 pixels of 2° reach to 5°, so that the recording's own edge at 4.5° counts:
    # at 4 and 3° one pixel and two, sin²(π/6) and sin²(π/3).
    quarter = np.sqrt(3) / 4
    down, across = np.array([0, 0.5 - quarter, 0.5, 0.5 + quarter, 1]), np.array([0.25, 0.75, 1, 1, 1])
    flat = seen(np.ones((1, 9, 9)))[0]
    assert flat == pytest.approx(np.outer([*down, *down[-2::-1]], [*across, *across[-2::-1]]), abs=1e-12)
    assert seen.pixels.grid.x.tolist() == [-4, -2, 0, 2, 4] and seen.pixels.grid.y.tolist() == [-2, 0, 2]
    # As fine as the recording's own and as wide: no coarser pixels, nothing left uncovered.
    fine = ladder.aperture(sample._replace(source=Grid.regular((9, 9), pitch=1.0, units="px")), 0.5)
    assert fine.pixels is None and fine.covered is None and fine.key != seen.key
    maps = np.random.default_rng(0).normal(size=(2, 9, 9))
    assert np.array_equal(ladder_module.WHOLE(maps), maps) and ladder_module.WHOLE.key == b""
    # Within the fading such pixels keep a map as it is.
    assert fine(maps)[:, 2:-2, 2:-2] == pytest.approx(maps[:, 2:-2, 2:-2])
    # Pixels outside the recording's own edge, at 4.5, are none of its map's.
    wide = ladder.aperture(sample._replace(source=Grid.regular((3, 7), pitch=1.0, units="px")), 1.0)
    assert wide.pixels is not None and wide.pixels.grid.x.tolist() == [-4, -2, 0, 2, 4]


def test_coarse_pixels_keep_a_smooth_map() -> None:
    grid, own = Grid.regular((21, 21), pitch=1.0, units="px"), Grid.regular((11, 11), pitch=2.0, units="px")
    pixels = ladder_module.Pixels.within(grid, own)
    line = grid.x
    blob = np.exp(-(line**2 + line[:, None] ** 2) / (2 * 4.0**2))[None]
    coarse = pixels.sample(blob)
    assert coarse[0] == pytest.approx(blob[0, ::2, ::2], abs=0.01)
    seen = ladder_on(grid).aperture(Sample(np.zeros((2, 11, 11)), own, 1.0, False), 1.0)
    assert seen(blob) == pytest.approx(blob * seen(np.ones_like(blob)), abs=0.01)


def test_maps_of_a_bank_are_zero_where_nothing_was_measured() -> None:
    maps = np.ones((2, 1, 3, 3))
    maps[:, 0, 1, 1], maps[0, 0, 0, 0] = 2, np.nan
    given = make_bank(maps, channel=("signed",), kind="simulated")
    found, known = ladder_module.signed_maps(given)
    assert found[0, 0, 0] == 0 and found.sum() == 19 and known.all()
    maps[1, 0, 0, :2] = np.inf, -np.inf
    found, _ = ladder_module.signed_maps(make_bank(maps, channel=("signed",), kind="simulated"))
    assert found[1].tolist() == [[0, 0, 1], [1, 2, 1], [1, 1, 1]]
    found, known = ladder_module.signed_maps(given.assign(polarity_known=("unit", [True, False])))
    assert known.tolist() == [True, False]


def ladder_on(grid: Grid) -> ladder_module.Ladder:
    """A recording of nothing, on a grid."""
    recording: Any = SimpleNamespace(grid=grid)
    maps = np.zeros((2, 1, grid.y.size, grid.x.size))
    return ladder_module.Ladder(recording, maps, np.zeros(2, np.intp), False, True, np.random.default_rng(0), 0)


def test_a_kind_reaches_as_far_as_there_are_neighbors() -> None:
    # Of three units the farthest other is the last neighbor: 2, 1 and 2 away. A unit 2 below the first is as near to it
    # as its reach, and 3 and 4 from the others.
    own = np.array([[0.0], [1.0], [2.0]])
    assert coverage(own, np.array([[-2.0]])) == pytest.approx(1 / 3)
    assert coverage(own, np.array([[-2.1]])) == 0


def recorded_like(cortex: xr.Dataset, **attrs: Any) -> xr.Dataset:
    """A network's units on the grid of a recording, as `rfcompare.record` stores them."""
    stimulus = json.dumps({"class": "sparse noise", "pitch_px": 2.0})
    return cortex.assign(noise_sd=("unit", np.full(cortex.sizes["unit"], 0.1))).assign_attrs(
        {"kind": "in-silico", "field": "[7, 5]", "stimulus": stimulus} | attrs
    )


def test_what_was_recorded_alike_is_not_recorded_again() -> None:
    rng = np.random.default_rng(0)
    cortex = make_bank(rng.normal(size=(3, 1, 9, 9)), channel=("signed",), kind="simulated", deg_per_px=0.5)
    alike = recorded_like(cortex)
    assert recorded_alike(alike, cortex)
    other_grid = make_bank(rng.normal(size=(3, 1, 9, 9)), channel=("signed",), kind="simulated", deg_per_px=0.25)
    smaller = make_bank(rng.normal(size=(3, 1, 9, 7)), channel=("signed",), kind="simulated", deg_per_px=0.5)
    assert not recorded_alike(alike, other_grid) and not recorded_alike(alike, smaller)
    for other in (
        recorded_like(cortex, kind="learned"),
        recorded_like(cortex, units="px"),
        alike.drop_vars("noise_sd"),
        alike.assign_attrs({name: value for name, value in alike.attrs.items() if name != "kind"}, kind="measured"),
    ):
        assert not recorded_alike(other, cortex)
    del alike.attrs["field"]
    assert not recorded_alike(alike, cortex)


def test_the_pixels_that_a_recorded_network_sees() -> None:
    cortex = make_bank(np.eye(9)[None, None], channel=("signed",), kind="simulated", deg_per_px=0.5)
    # The recording's pixel of 0.5° is two of the image's: 7 rows and 5 columns of 0.25°.
    grid = field_pixels(recorded_like(cortex))
    assert grid.pitch == (0.25, 0.25) and (grid.y.size, grid.x.size) == (7, 5) and grid.units == "degree"
    for attrs in ({"field": "7"}, {"field": "[7]"}, {"stimulus": "noise"}, {"stimulus": "{}"}):
        with pytest.raises(InputError, match="record it again"):
            field_pixels(recorded_like(cortex, **attrs))


# One small answer ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def setting() -> Setting:
    """100 cells of four animals, without noise, and 50 kernels of the same population, in pixels both."""
    rng = np.random.default_rng(7)
    maps, subject = gabor_maps(100, 15, rng, subjects=4)
    a, b = side_of(cortex_of(maps, subject, np.inf, rng), "a"), side_of(kernels_of(gabor_maps(50, 11, rng)[0]), "b")
    ladder, sample = set_up(a, b, rng)
    return Setting(a, b, ladder, sample, ladder.curve(sample), rng)


def test_the_best_scale_is_about_that_of_equal_radii(setting: Setting) -> None:
    assert [step.scale for step in setting.curve] == pytest.approx([2 ** (step / 4) for step in range(-4, 5)])
    assert setting.best.likeness == max(step.likeness for step in setting.curve)
    assert setting.species and setting.n_animals == 4
    assert setting.whose() == "over 4 animals and the kernels"
    # The same population on 11 pixels as on 15.
    assert setting.sample.base == pytest.approx(15 / 11, rel=0.1) and 0.8 < setting.best.scale < 1.2
    for step in setting.curve:
        far, apart = setting.ladder.zero(step.aperture).placed.term, setting.ladder.cells(step.aperture).apart
        assert step.likeness == pytest.approx((far - step.placed.term) / (max(far, step.placed.term) - apart))
        assert step.placed.draws == 3  # of fewer than 128 kernels


def test_white_noise_is_fitted_as_white(setting: Setting) -> None:
    whole = setting.best._replace(aperture=ladder_module.WHOLE)
    fine = Setting(setting.a, setting.b, setting.ladder, setting.sample, [whole], setting.generator)
    # Of 2000 draws the power at one frequency is good to 1/√2000 = 2 %.
    assert fine.noise == pytest.approx((1, 1, 1), abs=0.1)
    # Between coarser pixels a spline weights several of the recording's, which is less than one alone.
    assert 0.6 < setting.noise.variance < 1


def test_rungs_are_one_scale_from_noise_to_another_animal(setting: Setting) -> None:
    rungs = {rung["reference"]: rung for rung in rungs_of(setting, False, setting.a.bank)}
    animal, noise = rungs["another_animal"]["distance"], rungs["spectrum_noise"]["distance"]
    assert animal == pytest.approx(setting.cells.apart - setting.cells.within)
    for rung in rungs.values():
        assert rung["likeness"] == pytest.approx((noise - rung["distance"]) / (max(noise, rung["distance"]) - animal))
        assert "gabor_share" not in rung
    assert rungs["network"]["likeness"] == pytest.approx(setting.best.likeness)
    assert rungs["network"]["scale"] == setting.best.scale and rungs["another_animal"]["scale"] == 1
    # The cells' own maps, as a truth that is seen like the kernels, lie with the cells.
    assert rungs["truth"]["likeness"] == pytest.approx(1, abs=0.1) and rungs["truth"]["kind"] == "simulated"
    distances = [rung["distance"] for rung in rungs.values()]
    assert distances == sorted(distances)


def test_rungs_are_fitted_and_say_their_kind(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = np.exp(-((np.arange(15) - 7) ** 2 + (np.arange(15)[:, None] - 7) ** 2) / 8.0) * np.ones((6, 1, 1))
    white = np.random.default_rng(0).normal(size=(6, 15, 15))
    samples = {"blobs": setting.ladder.own(blobs), "untrained": setting.ladder.own(white)}
    monkeypatch.setattr("rfcompare.comparison.nearness._references", lambda _: samples)
    monkeypatch.setattr("rfcompare.comparison.nearness.N_FITTED", 6)
    rungs = {rung["reference"]: rung for rung in rungs_of(setting, True, None)}
    assert {name: rungs[name]["kind"] for name in rungs} == {
        "another_animal": "simulated", "network": "simulated", "spectrum_noise": "simulated", "blobs": "simulated",
        "untrained": "untrained",
    }  # fmt: skip
    # A Gabor is a blob and explains all of one, of noise with the cells' spectrum most, and little of white noise.
    shares = [rungs[name]["gabor_share"] for name in ("untrained", "spectrum_noise", "blobs")]
    assert 0 < shares[0] < 0.5 < shares[1] < 0.95 < shares[2] < 1.01


def test_the_rows_of_a_likeness_belong_together(setting: Setting) -> None:
    likeness, distance, auc = (row.number for row in population_rows(setting))
    within = setting.cells.within
    assert distance["effect"] == pytest.approx(setting.best.placed.term - within)
    assert distance["ceiling"] == pytest.approx(setting.cells.apart - within)
    assert distance["null"] == pytest.approx(setting.zero.placed.term - within)
    zero, one_ = distance["null"], distance["ceiling"]
    assert likeness["effect"] == pytest.approx((zero - distance["effect"]) / (zero - one_))
    assert (likeness["null"], likeness["ceiling"], auc["ceiling"]) == (0, 1, 0.5)
    assert likeness["ci_low"] < likeness["effect"] < likeness["ci_high"]
    assert distance["ci_low"] < distance["effect"] < distance["ci_high"]
    # Kernels of the species: nearer than nearly all of 999 populations of noise, and not told apart.
    assert likeness["p_noise_smallest"] == 1 / 1000 <= likeness["p_noise"] <= 0.005 and likeness["p"] > 0.05
    assert auc["effect"] == pytest.approx(0.5, abs=0.15) and auc["null"] > 0.65


def test_references_are_maps_on_the_pixels_they_stand_on(setting: Setting) -> None:
    samples = _references(setting)
    assert {"random_gabors", "phase_scrambled", "untrained", "blobs", "plaids"} <= set(samples)
    for name, sample in samples.items():
        side = 11 if name in ("phase_scrambled", "untrained") else 15  # the network's pixels, or the recording's
        assert sample.maps.shape == (150, side, side) and (sample.source.y.size, sample.source.x.size) == (side, side)
        assert np.isfinite(sample.maps).all() and (np.ptp(sample.maps, axis=(1, 2)) > 0).all()
        assert sample.sharp == (side == 15) and sample.noise is None
    # A scrambled kernel keeps the shares of its amplitudes.
    scrambled, kept = (
        np.abs(np.fft.fft2(each[:50])) for each in (samples["phase_scrambled"].maps, setting.sample.maps)
    )
    for one_, other in zip(scrambled, kept, strict=True):
        assert one_ / np.linalg.norm(one_) == pytest.approx(other / np.linalg.norm(other), abs=SHARED)


def test_every_choice_of_an_analysis_stands_once(setting: Setting) -> None:
    rows = analyses(setting)
    keys = [(row["axes"], row["scale"], row["zero"]) for row in rows]
    assert len(set(keys)) == len(keys) and keys[0] == ("all", "best", "at its nearest scale")
    assert rows[0]["likeness"] == setting.best.likeness
    # All axes and each left out, at every pair of scales.
    assert len(rows) % (1 + len(LIKENESS_AXES)) == 0
    assert {row["axes"] for row in rows} == {"all"} | {f"without {name.replace('_', ' ')}" for name in LIKENESS_AXES}
    for row in rows:
        assert row["likeness"] == pytest.approx(1, abs=0.2), row


def test_kinds_are_shared_as_with_another_animal(setting: Setting) -> None:
    for row in kind_rows(setting):
        assert row.number["effect"] == pytest.approx(row.number["ceiling"], abs=0.2)
        assert 0.3 < row.number["ceiling"] <= 1


# Gabor structure -----------------------------------------------------------------------------------------------------


def of(species: bool) -> Any:
    return SimpleNamespace(species=species, generator=np.random.default_rng(0))


CODE = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])


def test_shares_are_means_of_animals_or_of_cells() -> None:
    cells = np.array([1.0, 0, np.nan, 1, 1, 1, 0, 0, 1, 0, 0, 0])
    values = structure._Values(cells, CODE, np.array([1.0, 1.0, 0.0, np.nan]))
    row = structure._mean_row(of(True), "share", "Share", values)
    # Animals: 1/2, 1, 1/3, 0; kernels 2/3.
    assert row.number["estimate_a"] == pytest.approx((1 / 2 + 1 + 1 / 3) / 4)
    assert row.number["effect"] == pytest.approx(2 / 3 - 11 / 24)
    expected = sampling.difference(np.array([1 / 2, 1, 1 / 3, 0]), 2 / 3, (1 / 3) / 3, 3)
    assert (row.number["ci_low"], row.number["p"]) == pytest.approx((expected.ci_low, expected.p))
    row = structure._mean_row(of(False), "share", "Share", values)
    assert row.number["estimate_a"] == pytest.approx(5 / 11)
    alone = structure._mean_row(of(True), "share", "Share", structure._Values(cells, CODE, np.array([1.0])))
    assert alone.number["estimate_b"] == 1 and np.isnan(alone.number["p"])
    none = structure._mean_row(of(True), "share", "Share", structure._Values(cells, CODE, np.array([np.nan])))
    assert np.isnan(none.number["estimate_b"]) and np.isnan(none.number["effect"])


def test_medians_are_compared_as_ratios_where_an_axis_is_logarithmic() -> None:
    cells = np.array([0.25, 0.5, 1.0] * 3 + [1.0, 2.0, np.nan])
    kernels = np.array([0.5, 1.0, 2.0, np.inf, 1.0, 0.0])
    values = structure._Values(cells, CODE, kernels, (0.1, 0.2))
    row = structure._median_row(of(True), "nx", values)
    # Median log2 of three animals −1, the fourth has but two numbers; of the kernels 0 (1), one of them beyond all.
    assert (row.number["estimate_a"], row.number["estimate_b"]) == pytest.approx((0.5, 1.0))
    assert row.number["effect"] == pytest.approx(2.0) and row.statistic == "ratio of medians" and row.units == ""
    assert (row.number["on_bound_a"], row.number["on_bound_b"]) == (0.1, 0.2)
    assert row.number["ci_low"] * row.number["ci_high"] == pytest.approx(4.0)  # even about log2 of the effect
    row = structure._median_row(of(False), "nx", values)
    # Of eleven cells the sixth is 0.5.
    assert row.number["estimate_a"] == pytest.approx(0.5) and row.number["effect"] == pytest.approx(2.0)
    assert row.number["ci_low"] < 2 < row.number["ci_high"]
    plain = structure._median_row(of(True), "folded_phase", structure._Values(60 * cells, CODE, 60 * kernels))
    assert plain.statistic == "difference of medians" and plain.number["effect"] == pytest.approx(60 - 30)
    none = structure._median_row(of(False), "nx", structure._Values(cells[:0], CODE[:0], kernels))
    assert np.isnan([none.number["effect"], none.number["estimate_a"]]).all()
    beyond = structure._median_row(of(False), "nx", structure._Values(cells, CODE, np.full(5, np.inf)))
    assert np.isnan(beyond.number["effect"]) and beyond.number["estimate_b"] == np.inf


def test_a_normal_difference_by_hand() -> None:
    row = structure._normal_difference(3.0, 4.0)
    # 3 ± 1.96·2, and twice the tail beyond 1.5 SDs.
    assert (row.ci_low, row.ci_high, row.p) == pytest.approx((3 - 3.92, 3 + 3.92, 2 * stats.norm.sf(1.5)))
    assert np.isnan(structure._normal_difference(3.0, 0.0)[1:]).all()


def test_noise_leaves_an_energy_by_degrees_of_freedom() -> None:
    maps = np.zeros((2, 1, 5, 5))
    maps[0, 0, :, :2], maps[1, 0, 0, 0] = 1.0, np.nan
    fits = xr.Dataset(
        {"rf": (("unit", "channel", "y", "x"), maps), "r2": (("unit", "channel"), np.array([[0.75], [0.5]]))}
    )
    # 10 of 25 pixels are 1: 25·0.4·0.6 = 6 about the mean. Noise of 0.1 has 25 − 1 degrees of it, and leaves
    # 25 − 1 − 8 to a Gabor: 0.01·16/6 of 1 − 0.75, and 1 − 0.01·24/6.
    left, energy_ = structure.noise_corrected(fits, np.array([0.1, 0.0]))
    assert left[0] == pytest.approx(0.25 - 0.16 / 6) and energy_[0] == pytest.approx(1 - 0.24 / 6)
    assert np.isnan(left[1]) and np.isnan(energy_[1])  # a flat map has no energy to explain
    colored = structure.noise_corrected(fits, np.array([0.1, 0.0]), structure.FittedNoise(1.0, 3.0, 2.0))
    assert colored[0][0] == pytest.approx(0.25 - 0.01 * (25 - 3 - 16) / 6)
    assert colored[1][0] == pytest.approx(1 - 0.01 * (25 - 3) / 6)
    assert structure.explained_share(np.array([0.1, np.nan, 0.3]), np.array([1.0, np.nan, 0.6])) == pytest.approx(0.75)
    assert np.isnan(structure.explained_share(np.array([np.nan]), np.array([np.nan])))


def test_without_noise_the_gabor_share_is_the_mean_r2() -> None:
    rng = np.random.default_rng(0)

    def fitted(r2: np.ndarray) -> tuple[xr.Dataset, np.ndarray]:
        maps = rng.normal(size=(r2.size, 1, 5, 5))
        return xr.Dataset({"rf": (("unit", "channel", "y", "x"), maps), "r2": ("unit", r2)}), np.zeros(r2.size)

    def row(species: bool, **attrs: str) -> Row:
        given: Any = SimpleNamespace(
            species=species,
            noise=structure.WHITE,
            best=SimpleNamespace(aperture=ladder_module.WHOLE),
            a=SimpleNamespace(bank=xr.Dataset(attrs={"kind": "measured"} | attrs)),
        )
        return structure._share_row(given, fitted(cells), fitted(kernels), CODE, 0.4)

    cells, kernels = rng.uniform(size=12), rng.uniform(0.2, 1, 7)
    animals = cells.reshape(4, 3).mean(1)
    for species, groups in ((True, animals), (False, cells)):
        got = row(species).number
        # Every map has the energy 1 and a Gabor leaves 1 − r², so that the test is Welch's of r².
        expected = sampling.difference(groups, float(kernels.mean()), kernels.var(ddof=1) / 7, 7)
        assert [got[name] for name in expected._fields] == pytest.approx(list(expected))
        assert (got["estimate_a"], got["estimate_b"]) == pytest.approx((cells.mean(), kernels.mean()))
        assert got["null"] == 0.4
    drawn = row(True, kind="parametric", rendered="yes")
    assert np.isnan(drawn.number["p"]) and "fixed by construction" in drawn.notes[0]
    assert np.isfinite(row(True, kind="parametric").number["p"])  # stored with its own maps


def test_values_on_a_bound_lie_at_the_end_of_the_line() -> None:
    data = xr.Dataset(
        {name: ("unit", np.ones(4)) for name in ("nx", "folded_phase")}
        | {"censored": (("unit", "quantity"), np.array([[0, 0], [1, 1], [-1, -1], [2, 2]], np.int8))},
        coords={"quantity": np.array(["nx", "folded_phase"], dtype=object)},
    )
    assert structure._censored_values(data, "nx") == pytest.approx([1, np.inf, 0, np.nan], nan_ok=True)
    assert structure._censored_values(data, "folded_phase") == pytest.approx([1, np.inf, -np.inf, np.nan], nan_ok=True)
