"""Maps from stimulus and responses, and kernels as the same recording would have seen them."""

from rfcompare.estimation.maps import estimate
from rfcompare.estimation.measurement import Recording, measure_like
from rfcompare.estimation.recordings import estimate_maps

__all__ = ["Recording", "estimate", "estimate_maps", "measure_like"]
