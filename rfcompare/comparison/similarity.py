"""The similarity score and the two tests that stand beside it, from arrays alone.

With all mean distances between groups at hand, D = 2E|X − Y| − E|X − X'| − E|Y − Y'| to an animal h held out is

    D(network, h) = 2·C_h − N − B_hh,    D(others, h) = 2·mean_g B_gh − mean_g≠g' B_gg' − B_hh,

C_h being the mean distance from the network's kernels to the cells of h, N that within the network, and B those between
animals (g, g' ≠ h). Distances within the animal held out are in every term and cancel from the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from rfcompare.comparison import inference
from rfcompare.comparison.energy import (
    Codes,
    between_means,
    different_subjects_mean,
    mean_distances,
    points,
    subject_matrix,
    within_means,
)
from rfcompare.comparison.inference import (
    MIN_SUBJECTS,
    NO_INTERVAL,
    Interval,
    PValue,
    jackknife_interval,
    rank_test,
)
from rfcompare.comparison.statistics import Array, random_labelings
from rfcompare.errors import InputError

N_DRAWS = 4000
"""Draws of weights for an interval: its ends are then good to about a twentieth of its length."""

N_HALVES = 200
"""Random halves of cells that stand in for animals where subjects are not known."""

MAX_HALVED = 4000
"""Cells that are split into halves; more would only cost memory."""

NEARER = "as far from the cortex as untrained networks"
ANOTHER_ANIMAL = "exchangeable with the animals"
WITHIN_SAMPLE = "within-sample, optimistic"


def group_codes(subject: ArrayLike | None, n: int) -> tuple[Codes, NDArray[np.str_]]:
    """Number the subjects of n units from 0, in the order of their names; None is one group.

    Examples
    --------
    >>> group_codes(["b", "a", "b"], 3)
    (array([1, 0, 1]), array(['a', 'b'], dtype='<U1'))
    """
    if subject is None:
        return np.zeros(n, np.intp), np.array(["unknown"])
    names = np.asarray(subject).astype(np.str_)
    if names.shape != (n,):
        raise InputError(f"expected one subject for each of {n} units, got shape {names.shape}")
    unique, code = np.unique(names, return_inverse=True)
    return code.astype(np.intp), unique


@dataclass(frozen=True)
class MeanDistances:
    """Everything a score needs: mean distances between groups of units in one scaled space.

    Attributes
    ----------
    animals : (S, S) array
        Between animals; within each on the diagonal.
    network : (R, S) array
        From each training seed's kernels to each animal.
    network_within : (R,) array
        Within each seed's kernels.
    null : (P, S) array
        From each null population to each animal.
    null_within : (P,) array
        Within each null population.
    identified : bool
        Whether the animals are known; if not, all cells are one group.
    """

    animals: Array
    network: Array
    network_within: Array
    null: Array
    null_within: Array
    identified: bool

    def parts(self, animal: slice | Array, seed: slice | Array, population: slice | Array) -> tuple[float, float]:
        """Numerator and denominator of the score from some of the animals, seeds and null populations."""
        null = 2 * self.null[population][:, animal].mean() - self.null_within[population].mean()
        network = 2 * self.network[seed][:, animal].mean() - self.network_within[seed].mean()
        others = different_subjects_mean(self.animals[animal][:, animal])
        return float(null - network), float(null - others)

    def draws(self, count: int, generator: np.random.Generator) -> tuple[Array, Array, Array]:
        """E|X − Y|-like terms of null, network and other animals for random weights of all subjects.

        Each is (count,): 2·C − N of the null and of the network, and the mean distance between animals. The last is
        quadratic in the weights; it is shifted so that its mean over the draws is the unbiased one. Fewer than 4 seeds
        or null populations are taken as they are: an interval over them would say nothing.
        """
        animal, seed, population = (
            inference.student_weights(size, count, generator)
            if size >= MIN_SUBJECTS
            else np.full((count, size), 1 / size)
            for size in (len(self.animals), len(self.network), len(self.null))
        )
        null = 2 * np.vecdot(population @ self.null, animal) - population @ self.null_within
        network = 2 * np.vecdot(seed @ self.network, animal) - seed @ self.network_within
        between = different_subjects_mean(self.animals)
        # Of animals of one cell each no distance within is known: as if the animals did not differ.
        filled = np.where(np.isnan(self.animals), between, self.animals)
        others = np.vecdot(animal @ filled, animal)
        others += between - others.mean()
        return np.asarray(null), np.asarray(network), np.asarray(others)

    def without_each(self) -> list[Array]:
        """(numerator, denominator) without each animal, each training seed and each null population in turn."""
        everything = slice(None)
        sets: list[Array] = []
        for axis, size in enumerate((len(self.animals), len(self.network), len(self.null))):
            if size < MIN_SUBJECTS:
                continue
            values = np.empty((size, 2))
            for left_out in range(size):
                kept: list[slice | Array] = [everything, everything, everything]
                kept[axis] = np.delete(np.arange(size), left_out)
                values[left_out] = self.parts(*kept)
            sets.append(values)
        return sets


@dataclass(frozen=True)
class Score:
    """A similarity score with what must stand beside it.

    Attributes
    ----------
    value : float
        0: no nearer than the null; 1: as near as the other animals; NaN where undefined.
    interval : Interval
        For the species, over animals (and over training seeds and null populations where several are given).
    jackknife : Interval
        The same by the delete-one-animal jackknife, which with 5 to 8 animals covers less than it says.
    cells_interval : Interval
        For these cells only.
    verdict : str
        "", "undefined: ..." or "above 1: ...".
    network_distance, null_distance, others_distance : float
        The three mean D over held-out animals.
    network_to_animal, null_to_animal, others_to_animal : (S,) arrays
        D to each held-out animal. Without identities the last holds D between random halves.
    animal : (S,) array of str
        Their names.
    single_animal : float
        What one other animal alone would score: below 1 as far as animals differ; NaN without identities.
    ceiling : str
        What 1 stands for.
    """

    value: float
    interval: Interval
    jackknife: Interval
    cells_interval: Interval
    verdict: str
    network_distance: float
    null_distance: float
    others_distance: float
    network_to_animal: Array
    null_to_animal: Array
    others_to_animal: Array
    animal: NDArray[np.str_]
    single_animal: float
    ceiling: str


def similarity_score(
    cortex: ArrayLike,
    network: ArrayLike,
    null: ArrayLike,
    *,
    cortex_subject: ArrayLike | None = None,
    network_subject: ArrayLike | None = None,
    null_subject: ArrayLike | None = None,
    level: float = 0.95,
    seed: int | np.random.Generator | None = 0,
) -> Score:
    """Similarity of a network to a cortex between a null (0) and other animals (1).

    score = (mean D_null − mean D_network) / (mean D_null − mean D_others), the means over animals held out one at a
    time, D the squared energy distance as a U-statistic (never rooted or clipped), every animal counting the same.

    Parameters
    ----------
    cortex, network, null : (unit, descriptor) arrays
        Units in one space, divided by scales that the cortex alone has fixed.
    cortex_subject : (unit,) array or None
        Animals; None where they are not known: random halves of cells take their place ("within-sample, optimistic").
    network_subject : (unit,) array or None
        Training seeds; None for one network.
    null_subject : (unit,) array or None
        Null populations (seeds), each of about the network's size.
    level : float
        Of the intervals.
    seed : int, Generator or None
        For the weights of animals and the random halves.

    Returns
    -------
    Score

    Raises
    ------
    InputError
        When an array is not (unit, descriptor), has fewer than two units, or holds missing values.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cortex, alike, far = rng.normal(size=(300, 2)), rng.normal(size=(90, 2)), 3 + rng.normal(size=(90, 2))
    >>> animal = np.repeat(["a", "b", "c", "d", "e"], 60)
    >>> result = similarity_score(cortex, alike, far, cortex_subject=animal)
    >>> round(result.value, 1), result.interval.method
    (1.0, 'Student weights over subjects')
    """
    x, y, z = points(cortex, "cortex"), points(network, "network"), points(null, "null")
    generator = np.random.default_rng(seed)
    x_code, x_name = group_codes(cortex_subject, len(x))
    identified = x_name.size > 1
    distances = mean_distances_of(
        x,
        y,
        z,
        cortex_subject=cortex_subject,
        network_subject=network_subject,
        null_subject=null_subject,
    )
    numerator, denominator = distances.parts(slice(None), slice(None), slice(None))
    left_out = distances.without_each() if identified and x_name.size >= MIN_SUBJECTS else []
    cell_sets = _without_each_cell(distances, x, x_code, y, network_subject, z, null_subject)

    value = numerator / denominator if denominator != 0 else np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        cells = jackknife_interval(value, *(s[:, 0] / s[:, 1] for s in cell_sets), level=level, of="cells")
        cells_denominator = jackknife_interval(denominator, *(s[:, 1] for s in cell_sets), level=level, of="cells")
        if left_out:
            jackknife = jackknife_interval(value, *(s[:, 0] / s[:, 1] for s in left_out), level=level)
            null_part, network_part, others_part = distances.draws(N_DRAWS, generator)
            bound = percentiles(null_part - others_part, level)
            interval = percentiles((null_part - network_part) / (null_part - others_part), level)
        else:
            interval, bound = Interval(np.nan, np.nan, NO_INTERVAL), cells_denominator
            jackknife = interval
    verdict = ""
    if not denominator > 0 or bound.low <= 0:
        verdict = (
            "undefined: the null is not shown to be farther from an animal than other animals are "
            f"(difference {denominator:.3g}, {level:.0%} interval {bound.low:.3g} to {bound.high:.3g})"
        )
        undefined = Interval(np.nan, np.nan, "undefined")
        value, interval, jackknife, cells = np.nan, undefined, undefined, undefined
    elif value > 1:
        verdict = "above 1: nearer to an animal than " + (
            "the other animals together are" if identified else "random halves of the cells are to each other"
        )

    within = np.diag(distances.animals)
    network_to_animal = 2 * distances.network.mean(axis=0) - distances.network_within.mean() - within
    null_to_animal = 2 * distances.null.mean(axis=0) - distances.null_within.mean() - within
    if identified:
        others_to_animal = others_distances(distances.animals)
        between = different_subjects_mean(distances.animals)
        single = 1 - (between - mean_known(within)) / denominator
    else:
        others_to_animal = half_distances(x, seed=generator)
        single = np.nan
    return Score(
        value=float(value),
        interval=interval,
        jackknife=jackknife,
        cells_interval=cells,
        verdict=verdict,
        network_distance=mean_known(network_to_animal),
        null_distance=mean_known(null_to_animal),
        others_distance=mean_known(others_to_animal) if identified else 0.0,
        network_to_animal=network_to_animal,
        null_to_animal=null_to_animal,
        others_to_animal=others_to_animal,
        animal=x_name,
        single_animal=float(single),
        ceiling="the other animals" if identified else WITHIN_SAMPLE,
    )


def mean_known(values: Array) -> float:
    """Mean of what is not NaN; NaN where nothing is known, as distances within animals of one cell each."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def percentiles(draws: Array, level: float) -> Interval:
    """Interval between the tails of draws under Student weights."""
    low, high = np.percentile(draws, [50 - 50 * level, 50 + 50 * level])
    return Interval(float(low), float(high), "Student weights over subjects")


def mean_distances_of(
    cortex: Array,
    network: Array,
    null: Array,
    *,
    cortex_subject: ArrayLike | None = None,
    network_subject: ArrayLike | None = None,
    null_subject: ArrayLike | None = None,
) -> MeanDistances:
    """Reduce three populations in one scaled space to the mean distances between their subjects."""
    x_code, x_name = group_codes(cortex_subject, len(cortex))
    y_code, _ = group_codes(network_subject, len(network))
    z_code, _ = group_codes(null_subject, len(null))
    for code, name in ((y_code, "network"), (z_code, "null")):
        if np.bincount(code).min() < 2:
            raise InputError(f"expected at least two units in every {name} population, got one in some; leave it out")
    return MeanDistances(
        animals=subject_matrix(cortex, x_code),
        network=between_means(network, y_code, cortex, x_code),
        network_within=within_means(network, y_code),
        null=between_means(null, z_code, cortex, x_code),
        null_within=within_means(null, z_code),
        identified=x_name.size > 1,
    )


def others_distances(animals: Array) -> Array:
    """D(other animals, h) for every animal h held out, from the matrix of mean distances between animals.

    Of two animals the one left has no pair to show how far animals lie apart; the pair with the one held out stands in,
    as in the score.

    Examples
    --------
    >>> import numpy as np
    >>> others_distances(np.array([[2.0, 6.0, 5.0], [6.0, 4.0, 3.0], [5.0, 3.0, 2.0]]))  # first: 6 + 5 − 3 − 2
    array([6., 0., 0.])
    """
    size = len(animals)
    result = np.empty(size)
    for held_out in range(size):
        others = np.delete(np.arange(size), held_out)
        toward = animals[held_out, others].mean()
        apart = different_subjects_mean(animals[np.ix_(others, others)] if size > 2 else animals)
        result[held_out] = 2 * toward - apart - animals[held_out, held_out]
    return result


def half_distances(cortex: Array, *, count: int = N_HALVES, seed: int | np.random.Generator | None = 0) -> Array:
    """D between random halves of the cells: what "another animal" would be if animals did not differ; 0 on average."""
    generator = np.random.default_rng(seed)
    if len(cortex) > MAX_HALVED:
        cortex = cortex[generator.choice(len(cortex), MAX_HALVED, replace=False)]
    if len(cortex) < 4:
        return np.full(count, np.nan)
    distance = cdist(cortex, cortex)
    first = random_labelings(len(cortex) - len(cortex) // 2, len(cortex) // 2, count, generator).astype(np.float64)
    second = 1 - first
    n_1, n_2 = first.sum(axis=1), second.sum(axis=1)
    toward_first = first @ distance
    inside_1 = np.vecdot(toward_first, first) / (n_1 * (n_1 - 1))
    between = np.vecdot(toward_first, second) / (n_1 * n_2)
    inside_2 = np.vecdot(second @ distance, second) / (n_2 * (n_2 - 1))
    return np.asarray(2 * between - inside_1 - inside_2)


def _without_each_cell(
    distances: MeanDistances,
    cortex: Array,
    code: Codes,
    network: Array,
    network_subject: ArrayLike | None,
    null: Array,
    null_subject: ArrayLike | None,
) -> list[Array]:
    """(numerator, denominator) without each cell, a set per animal: the animals stay, cells are drawn within them."""
    count = np.bincount(code)
    size = count.size
    y_code, _ = group_codes(network_subject, len(network))
    z_code, _ = group_codes(null_subject, len(null))
    # Mean over seeds of the mean over kernels, from every cell.
    to_network = mean_distances(cortex, network, y_code).mean(axis=1)
    to_null = mean_distances(cortex, null, z_code).mean(axis=1)
    to_animal = mean_distances(cortex, cortex, code)
    network_mean, null_mean = distances.network.mean(axis=0), distances.null.mean(axis=0)
    others = different_subjects_mean(distances.animals)
    sets = []
    for animal in range(size):
        n = int(count[animal])
        if n < 3:
            continue
        cell = code == animal
        change_network = (network_mean[animal] - to_network[cell]) / (n - 1) / size
        change_null = (null_mean[animal] - to_null[cell]) / (n - 1) / size
        if size == 1:
            sums = to_animal[cell, 0] * n  # of the distances to the other cells; the distance to itself is 0
            others_without = (n * (n - 1) * others - 2 * sums) / ((n - 1) * (n - 2))
        else:
            rest = np.arange(size) != animal
            change = (distances.animals[animal, rest] - to_animal[cell][:, rest]).sum(axis=1) / (n - 1)
            others_without = others + 2 * change / (size * (size - 1))
        null_without = 2 * (null_mean.mean() + change_null) - distances.null_within.mean()
        network_without = 2 * (network_mean.mean() + change_network) - distances.network_within.mean()
        sets.append(np.stack([null_without - network_without, null_without - others_without], axis=1))
    return sets


# The two tests -------------------------------------------------------------------------------------------------------


def nearer_than_untrained(network: MeanDistances) -> PValue:
    """Rank of the network's distance to the cortex among those of untrained networks (the null of `network`).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cortex, trained = rng.normal(size=(50, 2)), rng.normal(size=(20, 2))
    >>> untrained = 2 + rng.normal(size=(999, 20, 2))
    >>> seed = np.repeat(np.arange(999), 20)
    >>> nearer_than_untrained(mean_distances_of(cortex, trained, untrained.reshape(-1, 2), null_subject=seed)).p
    0.001
    """
    observed = 2 * network.network.mean() - network.network_within.mean()
    reference = 2 * network.null.mean(axis=1) - network.null_within
    return rank_test(float(observed), reference, alternative="less", hypothesis=NEARER)


def like_another_animal(animals: Array, network: Array, network_within: float) -> PValue:
    """Rank of the network among the animals by the distance of each one to all the others.

    Each of the S animals and the network is held out in turn and its D to the S others taken. The network stays among
    the others when an animal is held out: only then are the S + 1 distances exchangeable under the hypothesis, and the
    level exact.

    Parameters
    ----------
    animals : (S, S) array
        Mean distances between animals.
    network : (S,) array
        Mean distances from the network to each.
    network_within : float
        Mean distance within the network.

    Examples
    --------
    >>> import numpy as np
    >>> animals = np.full((4, 4), 2.0)
    >>> test = like_another_animal(animals, np.full(4, 9.0), 2.0)
    >>> test.p, test.smallest
    (0.2, 0.2)
    """
    together = np.block([[animals, network[:, None]], [network[None], np.array([[network_within]])]])
    distance = others_distances(together)
    return rank_test(float(distance[-1]), distance[:-1], alternative="greater", hypothesis=ANOTHER_ANIMAL)
