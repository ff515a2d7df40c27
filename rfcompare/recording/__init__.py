"""Networks measured as an animal is: a stimulus is shown, responses are recorded, and maps are estimated from them."""

from rfcompare.recording.fields import Field, field_of
from rfcompare.recording.sessions import record, recorded_maps
from rfcompare.recording.stimuli import Stimulus, make_stimulus, natural_stimulus, stimulus_like
from rfcompare.recording.synthesis import synthesize
from rfcompare.recording.tuning import measure_tuning, tuning_descriptors

__all__ = [
    "Field",
    "Stimulus",
    "field_of",
    "make_stimulus",
    "measure_tuning",
    "natural_stimulus",
    "record",
    "recorded_maps",
    "stimulus_like",
    "synthesize",
    "tuning_descriptors",
]
