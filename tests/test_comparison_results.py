"""Statistics between populations: what the labeled layer promises."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import rfcompare as rfc
from rfcompare.comparison import (
    Space,
    compare,
    compare_cortices,
    compare_published,
    difference_table,
    histogram_table,
    inference,
    make_space,
    multiverse,
    published,
    question_table,
    ringach_claims,
    scale_table,
    score,
    similarity,
)
from rfcompare.comparison import statistics as one
from rfcompare.comparison.histograms import (
    binned_test,
    everything_published,
    folded,
    property_similarity,
    read_distribution,
    self_comparison,
    total_variation,
)
from rfcompare.descriptors import describe_maps
from rfcompare.errors import InputError
from rfcompare.quantities import MODEL_FREE, QUANTITIES
from rfcompare.simulation import simulate_null

EXACT = 1e-12  # the same arithmetic in another order
ORACLE = 1e-9  # another package's arithmetic in double precision


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260)


def population(
    n: int = 96,
    *,
    subjects: int = 1,
    icc: float = 0.0,
    shift: float = 0.0,
    kind: str = "measured",
    seed: int = 0,
    name: str = "unknown",
    **attrs: str,
) -> xr.Dataset:
    """Descriptors of unit variance on every axis, `shift` SD away from 0, with or without named subjects."""
    rng = np.random.default_rng([seed, n])
    code = np.arange(n) % subjects
    table: dict[str, tuple[str, np.ndarray]] = {}
    for quantity in (*MODEL_FREE, "nx", "ny"):
        own, shared = rng.standard_normal(n), rng.standard_normal(subjects)
        values = math.sqrt(icc) * shared[code] + math.sqrt(1 - icc) * own + shift
        table[quantity] = ("unit", 2.0**values if QUANTITIES[quantity].log else values)
    table["orientation"] = ("unit", rng.uniform(0, 180, n))
    table["polarity_phase"] = ("unit", rng.uniform(0, 180, n))
    table["r2"] = ("unit", rng.uniform(0, 1, n))
    subject = [name if subjects == 1 else f"{name}-{i}" for i in code]
    return xr.Dataset(
        table,
        coords={
            "unit": [f"{name}-{i}" for i in range(n)],
            "subject": ("unit", np.array(subject, dtype=object)),
            "source": ("unit", np.array([""] * n, dtype=object)),
        },
        attrs={"schema": "rfcompare-descriptors/1", "kind": kind, "units": "px", "stimulus": "noise"} | attrs,
    )


CORTEX = population(240, subjects=6, icc=0.2, name="animal")
NETWORK = population(48, shift=0.4, kind="learned", seed=1)
UNTRAINED = population(48 * 99, subjects=99, shift=3.0, kind="untrained", seed=2, name="seed")
NOISE = population(48 * 10, subjects=10, shift=2.0, kind="simulated", seed=3, name="noise")


def row(result: xr.Dataset, quantity: str) -> dict[str, float | str]:
    at = [str(name) for name in result.quantity.values].index(quantity)
    return {str(name): result[name].values[at] for name in result.data_vars}


# Spaces --------------------------------------------------------------------------------------------------------------


def test_scales_are_the_cortex_alone() -> None:
    near, far = (make_space(CORTEX, population(48, shift=shift, seed=5)) for shift in (0.0, 50.0))
    assert near == far
    expected = [one.robust_scale(np.log2(CORTEX.centroid_cycles.values)), one.robust_scale(CORTEX.even_symmetry.values)]
    at = [near.quantities.index(name) for name in ("centroid_cycles", "even_symmetry")]
    assert [near.scales[i] for i in at] == pytest.approx(expected)
    assert json.loads(near.to_json())["scales"].keys() == set(MODEL_FREE)


def test_a_balance_without_sign_leaves_the_space_for_everyone() -> None:
    signless = NETWORK.copy(deep=True)
    signless["on_off_balance"][3] = np.nan
    space = make_space(CORTEX, signless)
    assert "on_off_balance" not in space.quantities
    assert space.left_out == ("on_off_balance: some units have no sign",)
    assert space.points(signless)[1].all()  # and no unit with it


def test_units_without_a_position_are_counted() -> None:
    bad = NETWORK.copy(deep=True)
    for name in MODEL_FREE:
        bad[name][:5] = np.nan
    result = compare(CORTEX, bad, nulls={"spectrum_noise": NOISE}, n_permutation=99)
    assert row(result, "similarity_score")["n_units_b"] == 43
    assert row(result, "similarity_score")["n_missing_b"] == 5


def test_an_animal_of_one_cell_does_not_stop_the_others() -> None:
    lone = CORTEX.assign_coords(subject=("unit", np.append(CORTEX.subject.values[:-1], "lone")))
    result = compare(lone, NETWORK, nulls={"spectrum_noise": NOISE}, n_permutation=99)
    for quantity in ("energy_distance", "similarity_score"):
        got = row(result, quantity)
        assert np.isfinite(got["ci_low"])
        assert (got["n_subjects_a"], got["n_missing_a"]) == (6, 1)
    # A null of one usable unit in a population loses that population
    thin = NOISE.assign_coords(subject=("unit", np.append(NOISE.subject.values[:-1], "thin")))
    assert np.isfinite(row(compare(CORTEX, NETWORK, nulls={"spectrum_noise": thin}, n_permutation=99), "mmd")["null"])


def test_animals_of_one_cell_each_are_compared_and_not_ranked() -> None:
    lone = CORTEX.assign_coords(subject=("unit", CORTEX.unit.values.astype(object)))
    result = compare(lone, NETWORK, nulls={"spectrum_noise": NOISE}, n_permutation=99)
    got = row(result, "energy_distance")
    assert got["ci_low"] < got["effect"] < got["ci_high"]
    assert np.isnan(got["p"]) and "of one cell each" in str(got["hypothesis"]) and np.isnan(got["ceiling"])
    assert np.isfinite(row(result, "similarity_score")["ci_low"])
    assert json.loads(result.attrs["score"])["mean"] == {"network": None, "null": None, "others": None}


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_very_few_units_are_compared(n: int) -> None:
    a, b = (population(n, shift=shift, seed=seed) for shift, seed in ((0.0, 4), (1.0, 5)))
    result = compare(a, b, n_permutation=999)
    assert np.isfinite(row(result, "energy_distance")["effect"])
    assert 0 < row(result, "classifier_auc")["p_cells"] <= 1


def test_copies_in_the_cortex_do_not_stop_the_comparison() -> None:
    copies = CORTEX.isel(unit=np.r_[np.zeros(30, int), 1:11])
    copies = copies.assign_coords(unit=[f"u{i}" for i in range(40)], subject=("unit", ["unknown"] * 40))
    assert np.isfinite(row(compare(copies, NETWORK, n_permutation=99), "mmd")["effect"])


def test_the_initializer_of_untrained_networks_is_named() -> None:
    named = UNTRAINED.assign_attrs(initializer="kaiming_uniform")
    got = row(compare(CORTEX, NETWORK, nulls={"untrained": named}, n_permutation=99), "similarity_score")
    assert "initialized by kaiming_uniform" in str(got["note"])


def test_a_space_needs_an_axis() -> None:
    with pytest.raises(InputError, match="space among"):
        make_space(CORTEX, name="moods")
    with pytest.raises(InputError, match="at least one axis"):
        make_space(CORTEX.assign(nx=("unit", np.ones(240))), quantities=("nx",))
    with pytest.raises(InputError, match="none; describe the population from its fits"):
        Space("chosen", ("aspect",), (1.0,)).points(CORTEX)


def test_unidentifiable_gabors_have_no_place_in_the_gabor_form() -> None:
    some = NETWORK.copy(deep=True)
    some["nx"][:7] = 0.05
    space = make_space(CORTEX, some, name="gabor_form")
    assert (~space.points(some)[1][:7]).all()


def test_the_gabor_form_without_identifiable_units_is_a_row_that_says_so() -> None:
    blobs = CORTEX.assign(nx=("unit", np.full(240, 0.02)), polarity_phase=("unit", np.full(240, np.nan)))
    got = row(compare(blobs, NETWORK, n_permutation=99), "energy_distance_gabor_form")
    assert str(got["note"]).startswith("not compared: expected at least one axis")
    assert np.isnan(got["effect"])
    fitted = population(48 * 5, subjects=5, shift=2.0, kind="simulated", seed=3, name="noise")
    got = row(
        compare(CORTEX, NETWORK, nulls={"spectrum_noise": fitted}, n_permutation=99), "energy_distance_gabor_form"
    )
    assert got["effect"] < got["null"]
    assert got["null_name"] == "spectrum_noise"


# Labeled results -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return compare(CORTEX, NETWORK, nulls={"untrained": UNTRAINED, "spectrum_noise": NOISE}, n_permutation=199, seed=0)


def test_the_classifiers_null_leaves_animals_out_as_the_effect_does() -> None:
    # Cells of one animal are alike: with them on both sides of a fold anything is told from the cortex.
    cortex = population(240, subjects=6, icc=0.8, name="animal")
    for seed in (1, 2, 3):
        network = population(48, shift=0.8, kind="learned", seed=seed)
        itself = network.assign_attrs(kind="simulated")
        got = row(compare(cortex, network, nulls={"spectrum_noise": itself}, n_permutation=99), "classifier_auc")
        assert got["null"] == pytest.approx(got["effect"], abs=0.1)


def test_the_gabor_form_is_compared_without_a_null_of_blobs() -> None:
    blobs = NOISE.assign(nx=("unit", np.full(NOISE.sizes["unit"], 0.02)))
    got = row(compare(CORTEX, NETWORK, nulls={"spectrum_noise": blobs}, n_permutation=99), "energy_distance_gabor_form")
    assert np.isfinite(got["effect"]) and np.isnan(got["null"]) and got["null_name"] == ""
    assert "no null: expected at least two units of null 'spectrum_noise'" in str(got["note"])


def test_units_left_out_of_the_gabor_form_for_their_sign_are_counted() -> None:
    phase = np.linspace(0.0, 90.0, 48)
    colored = NETWORK.assign(nx=("unit", np.full(48, 0.3)), folded_phase=("unit", phase))
    colored["polarity_phase"] = ("unit", np.where(np.arange(48) < 5, np.nan, phase))
    note = str(row(compare(CORTEX, colored, n_permutation=99), "energy_distance_gabor_form")["note"])
    assert "43 of 48 (b)" in note and "left out, their sign being unknown: 5 (b)" in note
    known = colored.assign(polarity_phase=colored.folded_phase)
    assert "sign" not in str(row(compare(CORTEX, known, n_permutation=99), "energy_distance_gabor_form")["note"])


def test_result_has_a_row_per_quantity_with_every_column(result: xr.Dataset) -> None:
    names = [str(name) for name in result.quantity.values]
    assert len(set(names)) == len(names)
    joint = ["energy_distance", "mmd", "classifier_auc", "coverage_of_a", "coverage_of_b"]
    assert set(names) == {*CORTEX.data_vars, *joint, "energy_distance_gabor_form", "similarity_score"}
    assert result.attrs["schema"] == "rfcompare-results/1"
    assert result.attrs["headline_null"] == "spectrum_noise"
    assert set(result.kind_a.values) == {"measured"}
    assert set(result.kind_b.values) == {"learned"}
    assert (result.n_subjects_a == 6).all()
    assert (result.n_subjects_b == 1).all()


def test_every_p_names_its_hypothesis_and_the_smallest_it_could_be(result: xr.Dataset) -> None:
    tested = result.sel(quantity=np.isfinite(result.p.values))
    assert (tested.hypothesis != "").all()
    assert (tested.p >= tested.p_smallest).all()
    assert row(result, "similarity_score")["hypothesis"] == similarity.NEARER
    assert row(result, "similarity_score")["p"] == 1 / 100
    assert "only 99 untrained networks" in str(row(result, "similarity_score")["note"])
    another = row(result, "energy_distance")
    assert another["hypothesis"] == similarity.ANOTHER_ANIMAL
    assert another["p_smallest"] == 1 / 7
    assert "no verdict" in str(another["note"])
    assert "one fixed population" in str(row(result, "nx")["hypothesis"])
    assert "no test for the species" in str(row(result, "mmd")["hypothesis"])
    assert np.isnan(row(result, "mmd")["p"])
    assert row(result, "mmd")["p_cells"] <= 1 / 100


def test_descriptor_rows_hold_subject_level_effects(result: xr.Dataset) -> None:
    got = row(result, "even_symmetry")
    values, animal = CORTEX.even_symmetry.values, CORTEX.subject.values
    medians = np.array([np.median(values[animal == name]) for name in np.unique(animal)])
    center = np.median(NETWORK.even_symmetry.values)
    assert got["effect"] == pytest.approx(center - medians.mean(), abs=EXACT)
    assert got["p"] == pytest.approx(stats.ttest_1samp(medians, center).pvalue, abs=ORACLE)
    interval = stats.ttest_1samp(center - medians, 0).confidence_interval(0.95)
    assert (got["ci_low"], got["ci_high"]) == pytest.approx((interval.low, interval.high), abs=ORACLE)
    assert got["null"] == pytest.approx(np.median(NOISE.even_symmetry) - medians.mean(), abs=EXACT)
    apart = [abs(m - np.delete(medians, i).mean()) for i, m in enumerate(medians)]
    assert got["ceiling"] == pytest.approx(np.mean(apart), abs=EXACT)
    assert got["ks"] == pytest.approx(stats.ks_2samp(values, NETWORK.even_symmetry.values).statistic)


def test_p_values_are_adjusted_within_their_family(result: xr.Dataset) -> None:
    rows = result.sel(quantity=(result.family == "descriptor").values)
    assert rows.p_adjusted.values == pytest.approx(inference.holm(rows.p.values))
    assert rows.p_adjusted_bh.values == pytest.approx(inference.benjamini_hochberg(rows.p.values))


def test_orientation_is_compared_on_its_circle(result: xr.Dataset) -> None:
    got = row(result, "orientation")
    assert np.isfinite(got["watson_u2"])
    assert np.isfinite(got["kuiper"])
    assert np.isnan(got["ks"])
    assert -90 <= got["effect"] < 90
    assert got["method"] == "no interval: directions scattered over the circle"  # both are uniform
    turned = [data.assign(orientation=(data.orientation + 50) % 180) for data in (CORTEX, NETWORK)]
    other = row(compare(*turned, n_permutation=99, seed=0, quantities=["orientation"]), "orientation")
    assert other["effect"] == pytest.approx(got["effect"], abs=1e-6)
    assert other["p"] == pytest.approx(got["p"], abs=1e-9)


def test_orientations_around_zero_do_not_wrap(rng: np.random.Generator) -> None:
    a = CORTEX.assign(orientation=("unit", rng.normal(0, 10, 240) % 180))
    b = NETWORK.assign(orientation=("unit", rng.normal(175, 10, 48) % 180))
    got = row(compare(a, b, n_permutation=99, quantities=["orientation"]), "orientation")
    assert got["effect"] == pytest.approx(-5, abs=6)  # SE of a direction of 48 angles of SD 10 is about 1.5
    assert got["ci_low"] < got["effect"] < got["ci_high"]
    assert got["ci_high"] - got["ci_low"] < 20


def test_two_populations_of_animals_permute_their_labels() -> None:
    other = population(200, subjects=5, icc=0.2, shift=2.0, seed=7, name="other")
    result = compare(CORTEX, other, n_permutation=999, seed=0)
    for quantity in ("nx", "energy_distance"):
        got = row(result, quantity)
        assert "subject labels permuted" in str(got["hypothesis"])
        assert got["p_smallest"] == 1 / math.comb(11, 5)
        assert got["p"] == got["p_smallest"]
    assert row(result, "nx")["method"] == "Welch t over subjects"


def test_unknown_animals_give_no_p_and_no_interval_for_the_species() -> None:
    cells = population(240, seed=8)
    result = compare(cells, NETWORK, nulls={"spectrum_noise": NOISE}, n_permutation=99)
    rows = result.sel(quantity=(result.family != "score").values)
    assert np.isnan(rows.p).all()
    assert np.isnan(result.ci_low).all()
    assert (rows.method.str.startswith("no interval")).all()
    assert (result.n_subjects_a == 0).all()
    got = row(result, "similarity_score")
    assert got["ceiling_kind"] == similarity.WITHIN_SAMPLE
    assert got["cells_low"] < got["effect"] < got["cells_high"]
    assert np.isfinite(row(result, "nx")["cells_low"])
    assert row(result, "nx")["p_cells"] <= 0.05


def test_without_a_null_nothing_is_scored() -> None:
    result = compare(CORTEX, NETWORK, n_permutation=99)
    got = row(result, "similarity_score")
    assert np.isnan(got["effect"])
    assert "not tested against chance" in str(got["note"])
    assert np.isnan(result.null).all()


def test_the_same_seed_gives_the_same_result_whatever_the_workers(result: xr.Dataset) -> None:
    again = compare(
        CORTEX, NETWORK, nulls={"untrained": UNTRAINED, "spectrum_noise": NOISE}, n_permutation=199, seed=0, workers=2
    )
    xr.testing.assert_identical(again, result)


def test_results_survive_a_file(result: xr.Dataset, tmp_path: Path) -> None:
    rfc.save(result, tmp_path / "r.nc")
    xr.testing.assert_identical(rfc.load(tmp_path / "r.nc"), result)
    detail = json.loads(result.attrs["score"])
    got = row(result, "similarity_score")
    means = detail["mean"]
    expected = (means["null"] - means["network"]) / (means["null"] - means["others"])
    assert got["effect"] == pytest.approx(expected, rel=1e-4)  # stored with six digits
    assert len(detail["network"]) == len(detail["animal"]) == 6
    assert detail["ci"] == pytest.approx([got["ci_low"], got["ci_high"]], rel=1e-4)


def test_what_rendering_fixes_is_not_computed() -> None:
    rendered = population(60, kind="parametric", seed=9)
    got = row(compare(CORTEX, rendered, n_permutation=99), "r2")
    assert got["note"] == "fixed by construction (b)"
    assert np.isnan(got["effect"])
    assert np.isnan(got["p_cells"])


def test_a_simulated_side_heads_every_answer() -> None:
    simulated = population(60, kind="simulated", seed=9)
    for pair in ((simulated, NETWORK), (CORTEX, simulated)):
        result = compare(*pair, n_permutation=99)
        assert result.attrs["heading"] == "demonstration: depends on assumed parameters"
        assert all("demonstration" in str(note) for note in result.note.values)


def test_recordings_with_different_stimuli_are_confounded() -> None:
    gratings = population(60, stimulus='{"class": "gratings"}', seed=9)
    assert compare(CORTEX, gratings, n_permutation=99).attrs["heading"] == "stimulus confounded"
    same = population(60, stimulus='{"class": "Noise", "element_deg": 2}', seed=9)
    assert compare(CORTEX, same, n_permutation=99).attrs["heading"] == ""
    assert compare(CORTEX, NETWORK.assign_attrs(stimulus=""), n_permutation=99).attrs["heading"] == ""


def test_scaled_quantities_need_degrees_on_both_sides() -> None:
    with_scale = [data.assign(frequency=("unit", np.ones(data.sizes["unit"]))) for data in (CORTEX, NETWORK)]
    assert "frequency" not in compare(*with_scale, n_permutation=99).quantity
    with pytest.raises(InputError, match="on one scale, got frequency"):
        compare(*with_scale, quantities=["frequency"], n_permutation=99)
    in_degrees = [data.assign_attrs(units="degree") for data in with_scale]
    assert "frequency" in compare(*in_degrees, n_permutation=99).quantity


def test_one_sentence_for_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="call describe first"):
        compare(CORTEX.assign_attrs(schema="rfcompare-fits/1"), NETWORK)
    with pytest.raises(InputError, match="the second population"):
        compare(CORTEX, "network")
    with pytest.raises(InputError, match="19 permutations"):
        compare(CORTEX, NETWORK, n_permutation=3)
    with pytest.raises(InputError, match="at least two units of the second"):
        compare(CORTEX, NETWORK.isel(unit=[0]), n_permutation=99)


def test_few_animals_are_named_and_get_no_interval() -> None:
    three = CORTEX.isel(unit=np.isin(CORTEX.subject.values, ["animal-0", "animal-1", "animal-2"]))
    result = compare(three, NETWORK, nulls={"spectrum_noise": NOISE}, n_permutation=99)
    assert np.isnan(result.ci_low).all()
    assert (result.n_subjects_a == 3).all()
    assert row(result, "similarity_score")["ceiling_kind"] == "the other animals"
    assert np.isfinite(row(result, "similarity_score")["cells_low"])


def test_many_units_are_thinned_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rfcompare.comparison.joint.MAX_UNITS", 100)
    result = compare(CORTEX, NETWORK, nulls={"spectrum_noise": NOISE}, n_permutation=99)
    assert "a random 100 of 240 units (a)" in str(row(result, "classifier_auc")["note"])
    assert "p_cells of a random 100 of 240 units (a)" in str(row(result, "energy_distance")["note"])
    whole = compare(CORTEX, NETWORK, nulls={"spectrum_noise": NOISE}, n_permutation=99, quantities=["nx"])
    assert row(whole, "similarity_score")["n_units_a"] == 240


def test_several_training_seeds_are_the_networks_subjects() -> None:
    seeds = population(48 * 5, subjects=5, shift=0.4, kind="learned", seed=1, name="run")
    result = compare(CORTEX, seeds, nulls={"untrained": UNTRAINED, "spectrum_noise": NOISE}, n_permutation=99)
    assert (result.n_subjects_b == 5).all()
    assert "mean over 5 training seeds" in str(row(result, "similarity_score")["note"])
    assert "subject labels permuted" in str(row(result, "energy_distance")["hypothesis"])


def test_the_door_for_the_score_alone(result: xr.Dataset) -> None:
    alone = score(CORTEX, NETWORK, NOISE, seed=0)
    assert alone.value == pytest.approx(row(result, "similarity_score")["effect"], abs=EXACT)


# Published distributions ---------------------------------------------------------------------------------------------


def test_published_counts() -> None:
    ringach = published("ringach2002")
    assert ringach.counts.tolist()[1] == [8, 9, 4, 1, 0]
    assert ringach.edges[0] == pytest.approx(np.logspace(-1, 0.2, 6), rel=1e-5)
    assert int(ringach.counts.sum()) == 79
    frequency = {name: published("devalois1982_frequency", read_from=name) for name in ("vonenet", "brainscore")}
    # the readings disagree by one cell in 2 to 2.8 cycles per degree
    assert [int(f.counts[np.flatnonzero(f.edges[0] == 2.0)[0]]) for f in frequency.values()] == [32, 33]
    assert all("Disagreement" in f.note and f.citation for f in frequency.values())
    orientation = [published("devalois1982_orientation", read_from=name).counts.tolist() for name in frequency]
    assert orientation == [[66, 49, 77, 54], [110, 83, 100, 92]]


def test_counting_respects_the_binning() -> None:
    nx = published("ringach2002").marginal("nx")
    assert nx.count([0.1, 0.0999, 10**0.2 + 1e-3]).tolist() == [1, 1, 0, 0, 0, 0, 1]
    orientation = published("devalois1982_orientation")
    # 170 is -10: in the bin around 0; 157.5 opens it again
    assert orientation.count([170.0, 0.0, 22.5, 157.4, 157.5]).tolist() == [3, 1, 0, 1]
    joint = published("ringach2002").count([0.2, 5.0], [0.2, 0.01])
    assert joint.shape == (7, 7)
    assert joint[2, 2] == 1
    assert joint[6, 0] == 1
    assert folded(np.array([1, 2, 3, 4])).tolist() == [3, 7]


def test_binned_statistics_by_hand(rng: np.random.Generator) -> None:
    # shares 1/4, 3/4, 0 and 1/2, 1/4, 1/4: half of 1/4 + 1/2 + 1/4
    assert total_variation([1, 3, 0], [2, 1, 1]) == 0.5
    # cumulated 1/4, 1, 1 against 1/2, 3/4, 1: KS 1/4; from the reference to all in the first bin 1/2, in the last 3/4
    assert property_similarity([1, 3, 0], [2, 1, 1]) == pytest.approx(1 - 0.25 / 0.75)
    assert property_similarity([2, 1, 1], [2, 1, 1]) == 1.0
    with pytest.raises(InputError, match="more than one bin"):
        property_similarity([1], [3])
    table = np.array([[8, 2], [3, 9]])
    assert binned_test(*table, n_permutation=20_000) == pytest.approx(stats.fisher_exact(table)[1], abs=0.01)
    p = [binned_test(*rng.multinomial(40, [0.3, 0.5, 0.2], size=2), n_permutation=99, seed=rng) for _ in range(200)]
    assert np.mean(np.array(p) <= 0.1) < 0.17  # 0.1 plus 3.3 binomial SD


def test_published_rows_say_what_they_are() -> None:
    network = population(200, seed=4, kind="learned")
    result = compare_published(network, n_permutation=199)
    assert result.sizes["quantity"] == len(everything_published())
    assert np.isnan(result.p).all()
    assert np.isnan(result.ci_low).all()
    joint = row(result, "ringach2002")
    assert joint["n_units_a"] == 79
    assert "units beyond the published edges" in str(joint["note"])
    assert joint["ceiling"] < joint["effect"]
    assert row(result, "ringach2002_nx")["property_similarity"] < row(result, "ringach2002_nx")["property_ceiling"]
    absent = row(result, "devalois1982_frequency_vonenet")
    assert str(absent["note"]).startswith("not compared: no peak_frequency")
    in_px = network.assign(peak_frequency=("unit", np.full(200, 0.2)))
    assert "needs degrees" in str(
        row(compare_published(in_px, n_permutation=99), "devalois1982_frequency_vonenet")["note"]
    )
    in_degrees = in_px.assign_attrs(units="degree")
    counted = row(compare_published(in_degrees, n_permutation=99), "devalois1982_frequency_brainscore")
    assert str(counted["note"]).startswith("200 of 200 units beyond")  # 0.2 cycles per degree lies below every bin
    assert counted["effect"] == 1.0


def test_the_null_of_a_histogram_is_of_the_networks_size() -> None:
    # Null and network are the published cells' own orientations: the network is no nearer than the null is.
    cells = published("devalois1982_orientation", read_from="brainscore")
    rng = np.random.default_rng(0)

    def drawn(n: int, **options: object) -> xr.Dataset:
        centers = rng.choice([0.0, 45.0, 90.0, 135.0], n, p=cells.counts / cells.counts.sum())
        return population(n, **options).assign(orientation=("unit", centers))  # type: ignore[arg-type]

    network, null = drawn(48, kind="learned"), drawn(48 * 200, subjects=200, kind="simulated", name="noise")
    got = row(
        compare_published(network, distributions=[cells], nulls={"noise": null}, n_permutation=19),
        "devalois1982_orientation_brainscore",
    )
    assert got["null"] == pytest.approx(got["ceiling"], rel=0.1)
    together = total_variation(cells.counts, cells.count(null.orientation.values))
    assert together < 0.3 * got["null"]  # what all the null's units together would have said
    alone = null.assign_coords(subject=("unit", null.unit.values.astype(object)))
    lone = compare_published(network, distributions=[cells], nulls={"noise": alone}, n_permutation=19)
    assert float(lone.null[0]) == pytest.approx(together)


def test_a_sample_of_a_published_distribution_reaches_its_ceiling(rng: np.random.Generator) -> None:
    nx = published("ringach2002").marginal("nx")
    bins = rng.choice(5, 5000, p=nx.counts / nx.counts.sum())
    sample = np.sqrt(nx.edges[0][bins] * nx.edges[0][bins + 1])
    data = population(5000, seed=1).assign(nx=("unit", sample))
    got = row(compare_published(data, distributions=[nx], n_permutation=199), "ringach2002_nx")
    apart, similar = self_comparison(nx, 5000)
    assert got["effect"] < 3 * apart
    assert got["property_similarity"] > 1 - 3 * (1 - similar)
    assert got["p_cells"] > 0.05


def test_ringach_claims_by_hand() -> None:
    nx = np.array([0.6] * 30 + [0.2] * 2 + [0.4] * 8)
    data = population(40).assign(nx=("unit", nx), ny=("unit", np.full(40, 0.2)))
    claims = ringach_claims(data)
    many, broad = claims.values()
    # cells: rows from 0.525 hold 12 of 79; the four coarsest bins 2 + 0 + 8 + 9 = 19
    assert (many["cells"], many["kernels"]) == (12 / 79, 30 / 40)
    assert (broad["cells"], broad["kernels"]) == (19 / 79, 2 / 40)
    assert many["verdict"] == "yes: more than in the cells"
    assert broad["verdict"] == "yes: fewer than in the cells"
    with pytest.raises(InputError, match="with nx and ny"):
        ringach_claims(data.drop_vars("nx"))


def test_the_nearest_histogram_by_hand() -> None:
    def plane(nx: list[float]) -> xr.Dataset:
        return population(len(nx)).assign(nx=("unit", np.array(nx)), ny=("unit", np.full(len(nx), 0.2)))

    kernels, cells = plane([0.2, 0.2, 0.4, 0.05]), plane([0.2, 0.4, 0.4, 0.05])
    table = histogram_table(kernels, {"cells": cells, "none": cells.drop_vars("nx")}, n_permutation=99)
    # shares 1/2, 1/4, 1/4 (one of them below the edges) against 1/4, 1/2, 1/4
    assert table.reference.tolist() == ["cells", "Ringach 2002 (published)"]
    assert table.distance[0] == 0.25
    assert table.beyond_kernels[0] == table.beyond_reference[0] == 0.25
    # published: 9 of 79 in the bin of (0.2, 0.2) and 2 in that of (0.4, 0.2)
    assert table.distance[1] == pytest.approx((1 / 2 - 9 / 79 + 1 / 4 - 2 / 79 + 1 / 4 + 68 / 79) / 2)


def test_a_faulty_table_of_counts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    for text, match in (
        ("nx_low,count\n1,2\n", "columns"),
        ("mood_low,mood_high,count\n1,2,3\n", "got mood"),
        ("nx_low,nx_high,count\n1,2,3\n3,4,5\n", "without gaps"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=match):
            read_distribution(path, name="d", citation="")
    with pytest.raises(InputError, match="cannot read"):
        read_distribution(tmp_path / "none.csv", name="d", citation="")
    with pytest.raises(InputError, match="among ringach2002"):
        published("ringach")
    with pytest.raises(InputError, match="reading of devalois1982_orientation"):
        published("devalois1982_orientation", read_from="memory")


# Questions -----------------------------------------------------------------------------------------------------------


def test_the_nearer_cortex_comes_first() -> None:
    far = population(200, subjects=5, icc=0.2, shift=-2.0, seed=6, name="far")
    nulls = {"spectrum_noise": NOISE, "untrained": UNTRAINED}
    results = compare_cortices(NETWORK, {"far": far, "near": CORTEX}, nulls=nulls, n_permutation=99)
    table = question_table(results)
    assert list(table.cortex) == ["near", "far"]
    assert list(table.nearest) == [True, False]
    assert list(table["apart"]) == ["", "apart"]
    assert {"score", "ci_low", "p", "p_smallest", "ceiling_kind", "null_name", "distance_null"} <= set(table.columns)
    spaces = [json.loads(result.attrs["space"])["scales"] for result in results.values()]
    assert spaces[0].keys() == spaces[1].keys()
    scales = scale_table(NETWORK, {"far": far, "near": CORTEX}, NOISE)
    assert (scales.loc["near"] > scales.loc["far"]).all()


def test_nothing_is_called_apart_without_an_interval() -> None:
    other = population(200, subjects=5, seed=6, name="other")
    unscored = compare_cortices(NETWORK, {"one": CORTEX, "other": other}, nulls={}, n_permutation=99)
    assert list(question_table(unscored)["apart"]) == ["", ""]
    alike = population(480, subjects=10, kind="simulated", seed=8, name="alike")  # a null no farther than animals are
    undefined = compare_cortices(NETWORK, {"one": CORTEX, "other": other}, nulls={"alike": alike}, n_permutation=99)
    table = question_table(undefined)
    assert table.score.isna().all() and not table.nearest.any() and list(table["apart"]) == ["", ""]


def test_differences_are_sorted_and_stand_beside_their_ceiling(result: xr.Dataset) -> None:
    table = difference_table(result)
    assert list(table["apart"]) == sorted(table["apart"], reverse=True)
    assert (table.beyond_ceiling == (table.effect.abs() > table.ceiling)).all()


def test_multiverse_holds_every_choice_once() -> None:
    fitted = population(48 * 5, subjects=5, shift=2.0, kind="simulated", seed=3, name="noise")
    table = multiverse(CORTEX, NETWORK, {"spectrum_noise": fitted, "random_gabor": NOISE}, seed=0)
    choices = ["null", "space", "selection", "descriptors"]
    assert not table.duplicated(choices).any()
    # 3 selections × 2 nulls × (all six axes and each left out, and the three of the Gabor form and each left out)
    assert len(table) == 3 * 2 * (7 + 4)
    assert table.headline.sum() == 1
    headline = table[table.headline].iloc[0]
    space = make_space(CORTEX, NETWORK, fitted, NOISE)
    assert headline.score == pytest.approx(score(CORTEX, NETWORK, fitted, space=space).value)
    selected = table[(table.selection == "r² > 0.5") & (table.space == "model-free")]
    assert (selected.n_units_a == int((CORTEX.r2 > 0.5).sum())).all()


def test_multiverse_does_not_select_by_what_rendering_fixes() -> None:
    rendered = CORTEX.drop_vars("r2").assign_attrs(kind="parametric")
    table = multiverse(rendered, NETWORK, {"spectrum_noise": NOISE}, spaces=["model_free"])
    assert set(table.selection) == {"all units", "r² > 0.5 (b only)", "r² > 0.7 (b only)"}
    assert (table.n_units_a == 240).all()


def test_multiverse_keeps_what_cannot_be_analyzed() -> None:
    blobs = NETWORK.assign(nx=("unit", np.full(48, 0.02)))
    table = multiverse(CORTEX, blobs, {"spectrum_noise": NOISE}, selections={"all units": None})
    form = table[table.space == "gabor form"]
    assert len(form) and form.score.isna().all() and (form.n_units_b == 0).all()
    assert form.verdict.str.startswith("not made: expected at least two units of the network").all()
    assert np.isfinite(table[table.space == "model-free"].score).all()
    nowhere = multiverse(CORTEX.assign(nx=("unit", np.full(240, 0.02))), NETWORK, {"spectrum_noise": NOISE})
    assert nowhere[nowhere.space == "gabor form"].verdict.str.contains("varies in the cortex").all()


def test_multiverse_and_result_have_one_headline_null() -> None:
    nulls = {"pixel_shuffled": NOISE, "untrained": UNTRAINED}
    table = multiverse(CORTEX, NETWORK, nulls, spaces=["model_free"], selections={"all units": None})
    chosen = compare(CORTEX, NETWORK, nulls=nulls, n_permutation=19).attrs["headline_null"]
    assert table[table.headline]["null"].tolist() == [chosen] == ["untrained"]


# Real kernels and recordings -----------------------------------------------------------------------------------------


def test_alexnet_is_nearer_to_macaque_cortex_than_to_retina(shared_data: Path) -> None:
    layouts = Path(__file__).parent / "layouts"
    kernels = rfc.load_kernels(shared_data / "kernels" / "caffenet_conv1_96x3x11x11_bgr_f32.npy", channel_order="bgr")
    files = {"V1": "macaque_v1_horwitz/Gaborparams.mat", "parasol": "macaque_rgc/Parasol_ON_spatial.mat"}
    layout = {"V1": "horwitz_gaborparams.toml", "parasol": "rgc_parasol_on.toml"}
    cortices = {
        name: rfc.open_fields(shared_data / "fields" / file, layout=layouts / layout[name])
        for name, file in files.items()
    }
    network = describe_maps(rfc.to_signed(kernels))
    described = {name: describe_maps(rfc.to_signed(bank)) for name, bank in cortices.items()}
    nulls = {
        "untrained": describe_maps(simulate_null(kernels, "untrained", n_populations=39)),
        "spectrum_noise": describe_maps(simulate_null(kernels, "spectrum_noise", n_populations=10)),
    }
    table = question_table(compare_cortices(network, described, nulls=nulls, n_permutation=99)).set_index("cortex")
    assert bool(table.nearest["V1"])
    assert table["apart"]["parasol"] == "apart"
    # Measured 0.82 and 0.31; the bounds leave room for other versions' rounding and other null draws
    assert 0.72 < table.score["V1"] < 0.92
    assert table.score["parasol"] < 0.5
    assert isinstance(table, pd.DataFrame)
    assert (table.p == 1 / 40).all()
    assert (table.n_subjects_a == 0).all()
