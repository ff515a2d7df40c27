"""Train a small first layer and watch its kernels take shape; the results are banks of kind ``learned``.

`train_lines` learns two classes of lines, `train_digits` Nielsen's network for handwritten digits, `train_images` an
AlexNet front end on the user's own photographs without labels; `code_patches` is the classical comparison, independent
components or a sparse code of the same photographs' patches. Every bank they give goes through the rest of rfcompare
like any other: sources, fits, descriptors, classes, figures.
"""

from rfcompare.training.digits import read_digits, train_digits
from rfcompare.training.images import train_images
from rfcompare.training.lines import train_lines
from rfcompare.training.loop import Trained
from rfcompare.training.patches import code_patches

__all__ = ["Trained", "code_patches", "read_digits", "train_digits", "train_images", "train_lines"]
