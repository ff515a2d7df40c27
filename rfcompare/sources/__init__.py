"""Where maps come from: files that laboratories publish, networks' first layers, and the banks that ship.

The only room that knows formats and paths. One format per file; `open_fields` and `load_kernels` recognize the format
by the file's content and return a bank, `inspect` says what a file holds, and `fetch` brings a file that is not here.

=============================  ==========================================  ========================================
format                         how it is recognized                        reader
=============================  ==========================================  ========================================
saved by rfcompare             its schema                                  `rfcompare.sources.native`
rfcompare's, by hand           a dataset ``/rf``                           `rfcompare.sources.native`
HDF5                           its signature; needs a layout               `rfcompare.sources.hdf5`
NWB 2                          ``nwb_version``; needs a layout             `rfcompare.sources.nwb`
Allen two-photon analysis      ``/analysis/locally_sparse_noise…``         `rfcompare.sources.allen`
MATLAB v7.3, v5                ``MATLAB_class``, header; needs a layout    `rfcompare.sources.matlab`
weights                        ``.npy .npz .pth .tar .safetensors`` …     `rfcompare.sources.checkpoints`
Keras weights                  ``layer_names``, ``model_weights``          `rfcompare.sources.keras`
ONNX                           ``.onnx``; needs onnx                       `rfcompare.sources.onnx_models`
torchvision, ``nn.Module``     the name, the object                        `rfcompare.sources.torchvision_models`
``reference:NAME``             ``reference_data/sources.toml``             `rfcompare.sources.reference`
``https://…``                  the address                                 `rfcompare.sources.remote`
=============================  ==========================================  ========================================

To add a format, write its reader in a file of its own, and say in `rfcompare.sources.formats` what it is and how it is
recognized. What a layout may say is in `rfcompare.sources.layout`.
"""

from rfcompare.sources.fetching import available, copy_out, fetch
from rfcompare.sources.fields import open_fields
from rfcompare.sources.inspection import inspect
from rfcompare.sources.kernels import load_kernels

__all__ = ["available", "copy_out", "fetch", "inspect", "load_kernels", "open_fields"]
