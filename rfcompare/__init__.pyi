from . import figures as figures
from .alignment import align as align
from .bank import check as check
from .bank import load as load
from .bank import make_bank as make_bank
from .bank import save as save
from .bank import select as select
from .bank import to_signed as to_signed
from .bank import weights as weights
from .columns import analyze_columns as analyze_columns
from .comparison import compare as compare
from .descriptors import describe as describe
from .errors import InputError as InputError
from .estimation import estimate as estimate
from .fitting import fit as fit
from .fitting import fit_models as fit_models
from .fitting import predict as predict
from .matching import match as match
from .quantities import kinds as kinds
from .reporting import write_report as write_report
from .simulation import simulate_treeshrew as simulate_treeshrew
from .sources import fetch as fetch
from .sources import load_kernels as load_kernels
from .sources import open_fields as open_fields
from .taxonomy import classify as classify
from .taxonomy import survey as survey

__version__: str
