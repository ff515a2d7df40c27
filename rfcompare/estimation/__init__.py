"""Maps from stimulus and responses, and kernels as the same recording would have seen them."""

from rfcompare.estimation.covariance import spike_triggered_covariance
from rfcompare.estimation.measurement import Recording, measure_like
from rfcompare.estimation.recordings import estimate_maps
from rfcompare.estimation.regression import estimate

__all__ = ["Recording", "estimate", "estimate_maps", "measure_like", "spike_triggered_covariance"]
