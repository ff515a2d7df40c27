# No module here is named like a function it holds: importing the module would hide the function.
from .catalog import FIGURES as FIGURES
from .catalog import Entry as Entry
from .maps import fits as fits
from .maps import kernels as kernels
from .populations import gabor_space as gabor_space
from .populations import tuning as tuning
from .drawing import caption as caption
from .drawing import numbers as numbers
from .drawing import record as record
from .drawing import save as save
from .drawing import style as style
