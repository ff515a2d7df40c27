"""Subfields and their topology over cortex: hand-worked cases, the simulator's truth, and the tests' levels."""

import csv
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import rfcompare as rfc
from rfcompare.columns import subfields
from rfcompare.columns.cortical_maps import phase_maps, preferences
from rfcompare.columns.topology import (
    Field,
    _neighbor_distances,
    _permutation_p,
    _sign_distances,
    as_published,
    patches,
    sign_flip_p,
    split_fields,
    t_interval,
    topology_tests,
    visuotopy,
)
from rfcompare.simulation import TreeShrew, simulate_treeshrew
from rfcompare.simulation.treeshrew import _draw_cells, _lobes

CALIBRATION = Path(__file__).parent / "tables" / "columns_calibration.csv"


# What is recovered from maps with a median signal-to-noise ratio of 18 and 0.4° pixels (200 cells, seeds 0 to 3: about
# 0.06° and 0.18° for centers, 18 % for the worst matrix, 7° for maps, 9° for phases; the bounds leave half again).
CENTER_ERROR, CENTER_ERROR_95 = 0.10, 0.30  # degrees of visual angle


MATRIX_ERROR = 0.30  # relative, of the worst of eight fields of 25 cells


DISPLACEMENT_ERROR = 0.02  # of the mean over cells, degrees


RUNS, LEVEL = 300, 0.05


REJECTIONS = stats.binom.ppf([0.0005, 0.9995], RUNS, LEVEL)  # of 300 runs at the nominal level


@pytest.fixture(scope="module")
def shrew() -> tuple[xr.Dataset, xr.Dataset]:
    return simulate_treeshrew(seed=0)


def discs(*places: tuple[float, float, float], size: int = 31) -> np.ndarray:
    """A map of height 10 inside discs (x, y, radius) and 0 elsewhere."""
    xx, yy = np.meshgrid(np.arange(size) - size // 2, np.arange(size) - size // 2)
    inside = [np.hypot(xx - x, yy - y) <= radius for x, y, radius in places]
    return 10.0 * np.any([np.zeros((size, size), dtype=bool), *inside], axis=0)


def on_off(on: np.ndarray, off: np.ndarray, **options: object) -> xr.Dataset:
    return rfc.make_bank([[on, off]], channel=("on", "off"), kind="simulated", noise_sd=[1.0], **options)  # type: ignore[arg-type]


def test_subfields_of_two_discs() -> None:
    found = subfields(on_off(discs((4, 0, 3)), discs((-4, 0, 3)))).isel(unit=0)
    area = float((discs((0, 0, 3)) > 0).sum())  # 29 pixels; the disc of that area is 2·√(29/π) = 6.08 wide
    assert (float(found.on_area), float(found.off_area)) == (area, area)
    assert (float(found.on_x), float(found.off_x), float(found.on_y)) == (4.0, -4.0, 0.0)
    width = 2 * np.sqrt(area / np.pi)
    assert float(found.separation) == 8.0
    assert float(found.separation_relative) == pytest.approx(8 / width)
    assert float(found.segregation_index) == pytest.approx((8 - width) / (8 + width))
    assert float(found.overlap) == 0.0
    assert (float(found.axis), float(found.displacement), float(found.dominance)) == (0.0, 0.0, 0.0)
    assert (float(found.field_x), float(found.field_y)) == (0.0, 0.0)
    assert found.status.item() == "ON and OFF"


def test_overlap_dominance_and_separate_regions() -> None:
    # Two discs of 29 pixels each overlap in part; a third one of 13 pixels is a region of its own.
    on, off = discs((1, 0, 3), (11, 11, 2)), 2 * discs((-1, 0, 3))
    found = subfields(on_off(on, off)).isel(unit=0)
    shared = float(((discs((1, 0, 3)) > 0) & (off > 0)).sum())
    assert float(found.overlap) == pytest.approx(shared / (58 - shared))
    assert (int(found.on_regions), int(found.off_regions)) == (2, 1)
    assert float(found.on_area) == 29.0
    assert float(found.dominance) == pytest.approx((290 - 580) / (290 + 580))


@pytest.mark.parametrize(
    ("on", "off", "status"),
    [
        (discs((0, 0, 3)), discs(), "ON only"),
        (discs(), discs((0, 0, 3)), "OFF only"),
        (discs(), discs(), "no subfield"),
    ],
)
def test_cells_of_one_sign_say_so(on: np.ndarray, off: np.ndarray, status: str) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-6, (2, *on.shape))  # a flat map would be no bank
    found = subfields(on_off(on + noise[0], off + noise[1])).isel(unit=0)
    assert found.status.item() == status
    assert np.isnan(found.separation) and np.isnan(found.segregation_index)
    expected = {"ON only": 1.0, "OFF only": -1.0}.get(status, np.nan)
    np.testing.assert_equal(float(found.dominance), expected)
    assert np.isfinite(found.field_x) == (status != "no subfield")


def test_sizes_below_the_stimulus_are_marked() -> None:
    bank = on_off(discs((5, 0, 1)), discs((-5, 0, 4)), deg_per_px=0.5, attrs={"stimulus": {"element_deg": 2.0}})
    # 5 pixels of 0.5° are as wide as a disc of 1.26°, 49 of them as one of 3.95°; the element is 2°.
    assert subfields(bank).status.item() == "ON and OFF; ON below stimulus resolution"
    assert float(subfields(bank).on_width[0]) == pytest.approx(2 * np.sqrt(5 * 0.25 / np.pi))


def test_signed_maps_have_parts_but_no_overlap() -> None:
    signed = discs((4, 1, 3)) - discs((-4, 1, 3))
    bank = rfc.make_bank(signed[None, None], channel=("signed",), kind="simulated", noise_sd=[1.0])
    found = subfields(bank).isel(unit=0)
    assert (float(found.on_x), float(found.off_x), float(found.on_y)) == (4.0, -4.0, 1.0)
    assert np.isnan(found.overlap)
    assert "signed" in found.attrs["subfields"]


def test_unmeasured_pixels_are_left_out() -> None:
    on = discs((4, 0, 3))
    on[:, :5] = np.nan
    found = subfields(on_off(on, discs((-4, 0, 3)))).isel(unit=0)
    assert (float(found.on_area), float(found.on_x)) == (29.0, 4.0)


@pytest.mark.parametrize("stored", [True, False])
def test_noise_makes_a_subfield_no_more_often_than_alpha(stored: bool) -> None:
    n, alpha = 1000, 0.05
    noise = np.random.default_rng(1).normal(size=(n, 2, 20, 20))
    bank = rfc.make_bank(noise, channel=("on", "off"), kind="simulated", noise_sd=np.ones(n) if stored else None)
    found = subfields(bank, alpha=alpha)
    wrong = int((found.on_regions > 0).sum() + (found.off_regions > 0).sum())
    # 2000 maps: the rate is alpha by construction (independent pixels); an SD estimated from 400 pixels adds a little.
    assert (
        stats.binom.ppf(0.001, 2 * n, alpha) <= wrong <= stats.binom.ppf(0.999, 2 * n, alpha * (1 if stored else 1.4))
    )


def test_correlated_noise_stays_below_alpha() -> None:
    white = np.random.default_rng(2).normal(size=(1000, 2, 21, 21))
    smooth = (white[..., 1:, 1:] + white[..., :-1, 1:] + white[..., 1:, :-1] + white[..., :-1, :-1]) / 2
    bank = rfc.make_bank(smooth, channel=("on", "off"), kind="simulated", noise_sd=np.ones(1000))
    found = subfields(bank, alpha=0.05)
    wrong = int((found.on_regions > 0).sum() + (found.off_regions > 0).sum())
    assert 0 < wrong <= stats.binom.ppf(0.999, 2000, 0.05)


def cells(n: int, rng: np.random.Generator) -> Field:
    on, off, cortex = rng.normal(size=(n, 2)), rng.normal(size=(n, 2)), rng.uniform(0, 300, (n, 2))
    return Field("f", "a", on, off, (on + off) / 2, cortex)


def test_swapped_distances_equal_brute_force() -> None:
    rng = np.random.default_rng(0)
    field = cells(6, rng)
    swaps = rng.random((5, 6)) < 0.5
    found = _sign_distances(field, swaps)
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    for row, swap in enumerate(swaps):
        on = np.where(swap[:, None], field.off, field.on)
        off = np.where(swap[:, None], field.on, field.off)
        off_off, on_on, opposite = (
            np.mean([np.linalg.norm(first[i] - second[j]) for i, j in pairs])
            for first, second in ((off, off), (on, on), (on, off))
        )
        np.testing.assert_allclose(found[row], [off_off, on_on, (off_off + on_on) / 2, opposite])


def test_neighbor_distances_equal_brute_force() -> None:
    rng = np.random.default_rng(1)
    field = cells(7, rng)
    order = np.argsort(rng.random((4, 7)), axis=1)
    found = _neighbor_distances(field, order, 150.0)
    for row, chosen in enumerate(order):
        near = [
            (i, j)
            for i in range(7)
            for j in range(7)
            if i != j and np.linalg.norm(field.cortex[i] - field.cortex[j]) <= 150
        ]
        off = np.mean([np.linalg.norm(field.off[chosen[i]] - field.off[chosen[j]]) for i, j in near])
        whole = np.mean([np.linalg.norm(field.whole[chosen[i]] - field.whole[chosen[j]]) for i, j in near])
        assert found[row, 0] == pytest.approx(off)
        assert found[row, 4] == pytest.approx(whole)


def test_p_values_by_hand() -> None:
    # Observed 3 lies 3 from the permutations' mean of 0; of 4 permutations one (−4) lies as far: (1 + 1)/(1 + 4).
    assert _permutation_p(np.array(3.0), np.array([-4.0, 1.0, 1.0, 2.0])) == 0.4
    # Three animals of one sign: of 8 sign patterns only all + and all − reach the observed sum.
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == (0.25, 0.25)
    # Of 4,096 random flips of 20 animals only the observed one is there for certain.
    assert sign_flip_p(np.arange(1.0, 21.0)) == (1 / 4096, 1 / 4096)
    # {1, 2, 3, 4}: mean 2.5, SD 1.291, t(3) = 3.182: 2.5 ± 3.182 · 0.6455; no interval for the species below four.
    assert t_interval(np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx((0.446, 4.554), abs=1e-3)
    assert t_interval(np.array([1.0, 2.0, 3.0])) == (-np.inf, np.inf)
    # What is not defined is not the most extreme value of all.
    both = _permutation_p(np.array([np.nan, 3.0]), np.array([[0.0, -4.0], [1.0, 1.0], [2.0, 3.0]]))
    assert np.isnan(both[0]) and both[1] == 0.75
    assert np.isnan(_permutation_p(np.array(3.0), np.array([1.0, np.nan, 2.0])))


def test_an_exact_visuotopic_map_is_found() -> None:
    rng = np.random.default_rng(3)
    cortex = rng.uniform(-200, 200, (12, 2))
    matrix = np.array([[4.0, 1.0], [-1.0, 6.0]])  # degrees per mm; |det| = 25: 1/√25 = 0.2 mm per degree
    off = cortex / 1000 @ matrix.T + [1.0, 2.0]
    # Residuals of ±0.3° that an affine map cannot take up have SD √(SSE/(2n − 6)) by definition.
    on = off + rng.choice([-0.3, 0.3], (12, 2))
    fits, ratio = visuotopy([Field("f", "a", on, off, off, cortex)], n_permutations=99, rng=rng)
    np.testing.assert_allclose(fits.matrix.sel(target="OFF")[0], matrix, atol=1e-9)
    assert float(fits.magnification.sel(target="OFF")[0]) == pytest.approx(0.2)
    assert float(fits.r2.sel(target="OFF")[0]) == pytest.approx(1)
    assert float(fits.p.sel(target="OFF")[0]) == 0.01
    assert 0.15 < float(fits.scatter.sel(target="ON")[0]) < 0.45
    assert np.isinf(float(ratio.ci_high[0]))  # one animal has no interval


def test_kruskal_wallis_and_dunn_are_scipys_and_the_formula() -> None:
    rng = np.random.default_rng(4)
    fields = [cells(8, rng), cells(9, rng)]
    found = as_published(fields)
    assert "not independent" in found.attrs["note"]
    sizes = found.n_pairs.values
    assert sizes.tolist() == [28 + 36, 28 + 36, 2 * 64, 2 * 64, 64]
    # Without ties Dunn's z = (mean rank difference)/√(N(N+1)/12 · (1/n1 + 1/n2)) is antisymmetric, and p two-sided.
    z = found.dunn_z.values
    np.testing.assert_allclose(z, -z.T)
    expected = np.minimum(1, 10 * 2 * stats.norm.sf(np.abs(z[0, 1])))
    assert float(found.dunn_p[0, 1]) == pytest.approx(expected)
    # H is the weighted sum of squared rank deviations: of two identical groups and one shifted it must be SciPy's.
    assert 0 <= found.attrs["kruskal_wallis_p"] <= 1


def true_fields(seed: int, **options: float) -> list[Field]:
    """True centers of a population's cells, without the cost of their maps."""
    model = TreeShrew(off_only=0.0, on_only=0.0, n_cells=12, **options)  # type: ignore[arg-type]
    cells_of, _ = _draw_cells(model, np.random.default_rng(seed))
    lobes = _lobes(cells_of, model, "sparse noise")
    cortex = np.stack([cells_of["cortex_x"], cells_of["cortex_y"]], axis=1)
    fields = []
    for name in dict.fromkeys(cells_of["field_of_view"].tolist()):
        rows = np.flatnonzero(cells_of["field_of_view"] == name)
        on, off = lobes["on"][rows], lobes["off"][rows]
        fields.append(Field(name, str(cells_of["subject"][rows[0]]), on, off, (on + off) / 2, cortex[rows]))
    return fields


def test_without_on_scatter_the_topology_tests_keep_their_level() -> None:
    rng = np.random.default_rng(5)
    names = ("OFF-OFF", "ON-ON", "same sign", "opposite sign")
    rejected = dict.fromkeys((*names, "visuotopy"), 0)
    for run in range(RUNS):
        # Equal scatter and a shared displacement make the signs exchangeable; a vast magnification erases visuotopy.
        fields = true_fields(run, anchor=0.5, on_scatter=0.3, off_scatter=0.3, magnification=1e6)
        table = topology_tests(fields, radius=125.0, n_permutations=79, rng=rng)
        by_sign = table.isel(test=np.flatnonzero(table.shuffle == "sign"))
        by_position = table.isel(test=np.flatnonzero(table.shuffle == "position"))
        for name in names:
            rejected[name] += int(by_sign.p.values[list(by_sign.category.values).index(name)] <= LEVEL)
        rejected["visuotopy"] += int(
            by_position.p.values[list(by_position.category.values).index("whole field")] <= LEVEL
        )
    for name, count in rejected.items():
        assert REJECTIONS[0] <= count <= REJECTIONS[1], (name, count)


def test_with_on_scatter_both_signs_are_told_apart() -> None:
    fields = true_fields(0)
    table = topology_tests(fields, radius=125.0, n_permutations=99, rng=np.random.default_rng(0)).to_dataframe()
    sign = table[table["shuffle"] == "sign"].set_index("category")
    # As published: OFF and same sign closer, ON and opposite sign farther apart than chance.
    assert (sign.loc[["OFF-OFF", "same sign"], "effect"] < 0).all()
    assert (sign.loc[["ON-ON", "opposite sign"], "effect"] > 0).all()
    assert (sign.loc[["OFF-OFF", "ON-ON", "same sign", "opposite sign"], "p"] == 0.01).all()
    assert np.isnan(sign.loc["whole field", "p"]) and "not tested" in sign.loc["whole field", "hypothesis"]


EQUAL = {"anchor": 0.5, "on_scatter": 0.3, "off_scatter": 0.3}


POPULATIONS: dict[str, dict[str, float]] = {
    # Both signs scatter alike: the sign tests' hypothesis is true.
    "no ON scatter": EQUAL,
    # Nothing is ordered over cortex, orientation neither: the position tests' hypothesis is true as well. (With an
    # orientation map it is not: displacements of neighbors lie along similar axes.)
    "no ON scatter, no order over cortex": {**EQUAL, "magnification": 1e6, "map_spacing": 1.0},
    # Orientation has its map but absolute phase has none.
    "no visuotopy": {**EQUAL, "magnification": 1e6},
    "defaults": {},
}


NULL_TESTS = {
    "no ON scatter": ("sign shuffled",),
    "no ON scatter, no order over cortex": ("sign shuffled", "position shuffled"),
    "no visuotopy": ("absolute phase",),
}


def calibration_rows(runs: int = RUNS) -> list[dict[str, object]]:
    """Rejections of every test on measured maps, with and without what it looks for."""
    rows = []
    for name, options in POPULATIONS.items():
        counts: dict[str, int] = {}
        for run in range(runs):
            rng = np.random.default_rng(run)
            # Equal weights: subfields of unequal strength are found with unequal error, which is no scatter of theirs.
            bank, _ = simulate_treeshrew(
                seed=run,
                on_weight=1.0,
                weight_spread=0.0,
                n_cells=15,
                field_size=310.0,
                **options,  # type: ignore[arg-type]
            )
            fields = split_fields(subfields(bank))
            table = topology_tests(fields, radius=125.0, n_permutations=99, rng=rng).to_dataframe()
            for _, one in table.iterrows():
                if np.isfinite(one["p"]):
                    key = f"{one['category']}, {one['shuffle']} shuffled"
                    counts[key] = counts.get(key, 0) + int(one["p"] <= LEVEL)
            signed = rfc.to_signed(bank)
            phase = phase_maps(
                signed, preferences(bank, signed), patches(signed), radius=125.0, n_permutations=99, rng=rng
            )
            counts["absolute phase"] = counts.get("absolute phase", 0) + int(phase.attrs["p"] <= LEVEL)
        rows += [{"population": name, "test": key, "runs": runs, "rejected": count} for key, count in counts.items()]
    return rows


@pytest.mark.calibration
def test_levels_on_measured_maps_are_those_of_the_table() -> None:
    rows = calibration_rows()
    if not CALIBRATION.exists():
        CALIBRATION.parent.mkdir(exist_ok=True)
        with CALIBRATION.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    with CALIBRATION.open(encoding="utf-8") as file:
        committed = list(csv.DictReader(file))
    assert [{key: str(value) for key, value in row.items()} for row in rows] == committed


def test_the_committed_table_shows_nominal_levels_and_power() -> None:
    with CALIBRATION.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    null = [row for row in rows if any(word in row["test"] for word in NULL_TESTS.get(row["population"], ()))]
    assert len(null) == 4 + 9 + 1
    for row in null:
        assert REJECTIONS[0] <= int(row["rejected"]) <= REJECTIONS[1], row
    for row in rows:
        if row["population"] == "defaults":
            # ON centers are scattered: that neighbors' lie closer together is the hardest to see with 120 cells.
            least = 0.6 if row["test"] == "ON-ON, position shuffled" else 0.95
            assert int(row["rejected"]) >= least * RUNS, row


def test_centers_visuotopy_and_displacement_are_recovered(shrew: tuple[xr.Dataset, xr.Dataset]) -> None:
    bank, truth = shrew
    found = subfields(bank)
    assert (np.isfinite(found.on_x) == np.isfinite(truth.on_x)).mean() > 0.95
    for sign in ("on", "off"):
        error = np.hypot(found[f"{sign}_x"] - truth[f"{sign}_x"], found[f"{sign}_y"] - truth[f"{sign}_y"])
        assert float(error.median()) < CENTER_ERROR
        assert float(error.quantile(0.95)) < CENTER_ERROR_95
    fits, ratio = visuotopy(split_fields(found), n_permutations=19, rng=np.random.default_rng(0))
    assert fits.sizes["field"] == 8
    for name, matrix in zip(fits.field.values, fits.matrix.sel(target="OFF").values, strict=True):
        true = truth.visuotopy.sel(field=str(name).split()[1]).values
        assert np.linalg.norm(matrix - true) / np.linalg.norm(true) < MATRIX_ERROR
    assert float(fits.magnification.sel(target="OFF").mean()) == pytest.approx(0.2, abs=0.01)
    # OFF scatters by 0.15° per axis; the ON displacement of about 1.2° to random sides adds 1.2²/2 to 0.45² + 0.15².
    assert float(fits.scatter.sel(target="OFF").mean()) == pytest.approx(0.15, abs=0.02)
    assert float(ratio.ci_low[0]) > 1
    angle = np.deg2rad(truth.orientation.values + 90)
    along = [
        np.abs((data.on_x - data.off_x).values * np.cos(angle) + (data.on_y - data.off_y).values * np.sin(angle))
        for data in (found, truth)
    ]
    both = np.isfinite(along[0]) & np.isfinite(along[1])
    assert along[0][both].mean() == pytest.approx(along[1][both].mean(), abs=DISPLACEMENT_ERROR)
