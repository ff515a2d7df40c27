"""Every threshold behind a word, with its reason, in one table.

They are calibrated on synthetic kernels of known class in ``tests/test_taxonomy.py``, which holds the confusion matrix
to at most 3 % wrong and 10 % abstaining.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Threshold:
    """A number that separates two words, and why it is this number."""

    value: float
    reason: str


THRESHOLDS: Mapping[str, Threshold] = MappingProxyType(
    {
        "half_gain": Threshold(
            0.5,
            "A filter passes what keeps half the peak amplitude (−6 dB), the convention of the octave "
            "bandwidth. One lobe of a Gabor's spectrum reaches zero frequency at that height where nx falls to κ "
            "= 0.19 and the bandwidth ceases to exist; an even Gabor, whose two lobes add up there, is low-pass from "
            "nx = √2·κ = 0.265 down, an odd one never.",
        ),
        "broad_area": Threshold(
            0.3,
            "Power that fills this share of the frequency square has no band, small blobs aside. White noise fills "
            "0.51 ± 0.04 (11×11), one pixel 1, a Gabor with an SD of 1.2 px 0.24 at most, a lone blob with an SD of 1 "
            "px 0.16 and one of 0.7 px 0.34.",
        ),
        "most_low_power": Threshold(
            2.5,
            "A broad spectrum whose density near zero exceeds the mean so many times, and whose gain falls below half "
            "at Nyquist, is a small blob's and low-pass: at an SD of 0.55 px the density is 2.9 times the mean. Of "
            "white-noise kernels of 11×11 one in 3,000 looks like that, of 7×7 one in 200.",
        ),
        "no_low_power": Threshold(
            0.1,
            "A broad spectrum whose density near zero is below this share of the mean is high-pass (a "
            "Laplacian, a difference of neighbors); of white-noise kernels of 11×11 fewer than 1 % are.",
        ),
        "isotropic": Threshold(
            0.26,
            "(λ1 − λ2)/(λ1 + λ2) is (a − 1)/(a + 1) for a blob of aspect a: below 1.7 : 1 nobody calls it "
            "elongated. 95 % of white-noise kernels of 11×11 lie below 0.24.",
        ),
        "anisotropic": Threshold(
            0.32,
            "A blob of 2 : 1 has 0.33, a round first derivative 0.5, a round second derivative 0.67; 99 % of "
            "white-noise kernels of 11×11 lie below 0.31. What lies between the two thresholds is called weakly "
            "anisotropic.",
        ),
        "crossed": Threshold(
            0.35,
            "|mean exp(4iθ)| of a product of two crossed first derivatives is 0.5 and of two crossed gratings 1, in a "
            "window of 11×11 from 0.32 and from 0.39 on (SD 1.5 to 3 px); it counts only with no gain at zero "
            "frequency, since a window's square outline also points in four directions.",
        ),
        "crossed_gain": Threshold(
            0.1,
            "Crossed stripes cancel: gain at zero frequency above this is a window's outline or a spot and an arc. "
            "Real checkerboards have below 0.01.",
        ),
        "explained": Threshold(
            0.7,
            "A form that leaves more than 30 % of the map unexplained does not name it; the usual selection "
            "line for Gabor fits of cells and kernels.",
        ),
        "margin": Threshold(
            0.02,
            "Kernels carry no measurement noise: the simplest model within this r² of the best names the class, "
            "as in `rfcompare.fit_models`.",
        ),
        "uniform": Threshold(
            0.7,
            "Squared mean over mean square: a kernel that keeps this share of its energy in its mean is nearly "
            "uniform, and what r² is about, the rest, is not what it does.",
        ),
        "noisy_margin": Threshold(
            0.05,
            "The same margin for recordings whose noise correlation is unknown: the widest that `rfcompare.fit_models` "
            "shows.",
        ),
        "noise_level": Threshold(
            0.05,
            "A map is structured when a form explains it better than it explains 95 % of noise maps of the same power.",
        ),
        "pixels_per_parameter": Threshold(
            2.5,
            "With fewer pixels for every free parameter a model fits any map: a Gabor needs 5×5 pixels, and no "
            "form can be told on 3×3.",
        ),
        "visible": Threshold(
            0.15,
            "A lobe is visible when its peak reaches this share of the map's largest value; a figure shows "
            "fainter ones as gray.",
        ),
        "flank": Threshold(
            0.2,
            "A second or third lobe below this share of the largest does not make a blob an edge or an edge a bar: the "
            "weakest lobe of a whole third derivative has 0.27 of the peak, of a second derivative 0.45.",
        ),
        "faint": Threshold(
            0.1,
            "A lobe fainter than a flank counts as one above this share where the derivative with that many lobes "
            "explains 0.05 more than the one without.",
        ),
        "half_lobe": Threshold(
            0.4,
            "Where a filter is low-pass, an opposite lobe below this share of the largest is ground on which a blob "
            "lies: two equal lobes cancel at zero frequency, and an edge has two sides.",
        ),
        "checkered": Threshold(
            0.15,
            "Correlation of neighboring pixels, averaged over rows and columns: near 1 for a smooth map, 0 for white "
            "noise (SD 0.06 on 11×11) and for stripes one pixel wide along an axis, −1 for a checkerboard. Below minus "
            "this, oblique stripes are too fine for the pixels and look like a checkerboard.",
        ),
        "straight": Threshold(
            15.0,
            "Degrees by which the line between two lobes turns where it is clear (± 1 SD of a Gaussian envelope, "
            "inside the window): a sixth of a right angle, which the eye still takes for straight.",
        ),
        "around": Threshold(
            75.0,
            "Degrees: a line between two lobes that turns by nearly a right angle goes around one of them.",
        ),
        "achromatic": Threshold(
            0.07,
            "Share of the kernel's energy off the gray axis that the eye passes over: an amplitude of a quarter (0.26) "
            "of the whole. Above it real AlexNet-type kernels show a tint.",
        ),
        "chromatic": Threshold(
            0.21,
            "Those kernels leave a gap between 0.14 and 0.31; the 44 above it are colored to any eye, the 8 between "
            "the two thresholds only faintly.",
        ),
        "lightness": Threshold(
            0.5,
            "A color is called light or dark where its part along gray is at least half as long as its part off gray.",
        ),
        "opponent": Threshold(
            0.7,
            "Above this share off the gray axis the channels oppose each other; below it luminance takes part.",
        ),
        "one_color": Threshold(
            0.9,
            "One color direction that explains less than this share of the kernel leaves a second shape in "
            "another color that can be seen (white noise: 0.4).",
        ),
    }
)
"""Name → value and reason."""


def value(name: str) -> float:
    """The threshold's number.

    Examples
    --------
    >>> value("half_gain")
    0.5
    """
    return THRESHOLDS[name].value
