"""From named sources to results, once: what the report, the figures and the single steps of the command line share.

A `Population` is one side of a comparison with everything made from it; a `Study` is two of them with what their
comparison gave. Fits are kept in a cache by the bank's fingerprint and the options, in parts, so that long work can be
stopped and taken up again.
"""

from rfcompare.pipeline.answers import Answers, answer
from rfcompare.pipeline.gallery import (
    IN_REPORT,
    OF_A_COMPARISON,
    chosen_figures,
    draw,
    in_report,
    known_figures,
    ringach,
    write_figures,
)
from rfcompare.pipeline.parts import fit_to_file
from rfcompare.pipeline.population import (
    Population,
    fit_population,
    fits_sentence,
    prepare,
)
from rfcompare.pipeline.recorded import record_like
from rfcompare.pipeline.study import Study, likeness
from rfcompare.pipeline.tables import (
    alexnet_table,
    descriptor_table,
    fit_table,
    load_many,
    output_file,
    output_folder,
    result_table,
    save_many,
    write_table,
)
from rfcompare.sources.population import by_side, check_addresses, open_population, split_name

__all__ = [
    "IN_REPORT",
    "OF_A_COMPARISON",
    "Answers",
    "Population",
    "Study",
    "alexnet_table",
    "answer",
    "by_side",
    "check_addresses",
    "chosen_figures",
    "descriptor_table",
    "draw",
    "fit_population",
    "fit_table",
    "fit_to_file",
    "fits_sentence",
    "in_report",
    "known_figures",
    "likeness",
    "load_many",
    "open_population",
    "output_file",
    "output_folder",
    "prepare",
    "record_like",
    "result_table",
    "ringach",
    "save_many",
    "split_name",
    "write_figures",
    "write_table",
]
