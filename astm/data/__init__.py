"""Datasets, one per file; importing this package fills the registry `dataset`.

Each gives the same batches: `Batch(past, future, keys, levels)`, pictures in [0, 1].
"""

import importlib
import pkgutil

from astm.data.clips import Batch, Clips, DataError, DataSettings, Sample, dataset, open_clips

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["Batch", "Clips", "DataError", "DataSettings", "Sample", "dataset", "open_clips"]
