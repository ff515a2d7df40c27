"""Published distributions and spaces: what the labeled layer promises."""

import math
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from rfcompare.bank import folder, shipped_table
from rfcompare.comparison import (
    Space,
    compare_published,
    histogram_table,
    make_space,
    published,
    ringach_claims,
)
from rfcompare.comparison import statistics as one
from rfcompare.comparison.histograms import (
    Distribution,
    binned_test,
    everything_published,
    folded,
    property_similarity,
    read_distribution,
    self_comparison,
    total_variation,
)
from rfcompare.errors import InputError
from rfcompare.quantities import MODEL_FREE, QUANTITIES

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
    assert set(near.quantities) == set(MODEL_FREE)


def test_a_space_needs_an_axis() -> None:
    with pytest.raises(InputError, match="space among"):
        make_space(CORTEX, name="moods")
    with pytest.raises(InputError, match="at least one axis"):
        make_space(CORTEX.assign(nx=("unit", np.ones(240))), quantities=("nx",))
    with pytest.raises(InputError, match="none; describe the population from its fits"):
        Space("chosen", ("aspect",), (1.0,)).points(CORTEX)


# Labeled results -----------------------------------------------------------------------------------------------------


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
    compared = np.isfinite(result.effect.values)
    assert np.array_equal(np.isfinite(result.p.values), compared) and 0 < compared.sum() < len(compared)
    assert all(str(said).startswith("these cells only") for said in result.hypothesis.values[compared])
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
    assert str(got["note"]).startswith("0 of 48 units beyond")  # a circle has no edges
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
    assert got["p"] > 0.05 and got["hypothesis"].startswith("these cells only")


def test_ringach_claims_by_hand() -> None:
    nx = np.array([0.6] * 30 + [0.2] * 2 + [0.4] * 8)
    data = population(40).assign(nx=("unit", nx), ny=("unit", np.full(40, 0.2)))
    claims = ringach_claims(data)
    many, broad = claims.values()
    # cells: rows from 0.525 hold 12 of 79; the four coarsest bins 2 + 0 + 8 + 9 = 19
    assert (many["cells"], many["kernels"]) == (12 / 79, 30 / 40)
    assert (many["n_units_a"], many["n_units_b"]) == (79, 40)
    assert (broad["cells"], broad["kernels"]) == (19 / 79, 2 / 40)
    # Of 40 kernels 30, of 79 cells 12 in Fisher's exact test; Newcombe's interval is about the difference.
    assert many["p_cells"] == pytest.approx(stats.fisher_exact([[30, 10], [12, 67]])[1])
    assert many["low"] < many["difference"] == 30 / 40 - 12 / 79 < many["high"]
    assert many["verdict"] == "yes: more"
    assert broad["verdict"] == "yes: fewer"
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


CEILING = 0.005
"""How near Brain-Score's own tests hold its ceilings (brain-score/vision, benchmarks/marques2020/test.py)."""


def binned(counts: np.ndarray) -> Distribution:
    """Counts of cells in a row of bins."""
    return Distribution("binned", "", "", ("nx",), (np.arange(len(counts) + 1.0),), counts, "")


def shipped(name: str, quantity: str) -> np.ndarray:
    rows, _ = shipped_table(folder() / f"published_{name}.csv")
    return np.array([int(row["count"]) for row in rows if row.get("quantity", quantity) == quantity])


# Peaks of all cells, foveal and parafoveal, complex among them (De Valois, Albrecht & Thorell 1982, doi:10.1016/
# 0042-6989(82)90113-4), as read in brain-score/vision, data/marques2020/data_packaging/marques_devalois1982b.py.
OTHER_PEAKS = (
    (0, 0, 0, 9, 9, 7, 10, 23, 12, 8, 3, 3),
    (2, 4, 10, 12, 18, 7, 18, 3, 4, 0, 0, 0),
    (1, 2, 1, 2, 5, 15, 13, 9, 3, 2, 0, 0),
)


@pytest.mark.parametrize(
    ("name", "ceiling"),
    [
        ("summation_field_deg", 0.956),
        ("surround_diameter_deg", 0.955),
        ("suppression_index", 0.958),
        ("selective", 0.963),
        ("cutoff_ratio", 0.933),
        ("orientation", 0.962),
        ("peak_frequency", 0.967),
    ],
)
def test_the_self_comparison_of_published_cells_is_brain_scores(name: str, ceiling: float) -> None:
    """Those of the distributions that are public; Ringach's cells, behind eight more, are not."""
    frequency = published("devalois1982_frequency", read_from="brainscore").counts
    counts = {
        "selective": np.array([14, 73]),
        "cutoff_ratio": shipped("schiller1976_simple", "") + shipped("schiller1976_complex", ""),
        "peak_frequency": frequency + np.sum(OTHER_PEAKS, axis=0),
    }
    cells = binned(counts[name] if name in counts else shipped("cavanaugh2002", name))
    if name == "orientation":
        cells = published("devalois1982_orientation", read_from="brainscore")
    _, similar = self_comparison(cells, int(cells.counts.sum()))
    assert similar == pytest.approx(ceiling, abs=CEILING)


def test_a_faulty_table_of_counts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    for text, match in (
        ("nx_low,count\n1,2\n", "columns"),
        ("mood_low,mood_high,count\n1,2,3\n", "got mood"),
        ("nx_low,nx_high,count\n1,2,3\n3,4,5\n", "without gaps"),
        ("nx_low,nx_high,count\n1,2,3\n2,3,5\n1,2,3\n", "every one once"),
        # One of four bins of a plane is missing.
        ("nx_low,nx_high,ny_low,ny_high,count\n1,2,1,2,3\n1,2,2,3,5\n2,3,1,2,3\n", "every one once"),
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


# Real kernels and recordings -----------------------------------------------------------------------------------------
