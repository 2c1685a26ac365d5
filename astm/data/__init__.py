"""Datasets, one per file; importing this package fills the registry `dataset`.

Each gives the same batches: `Pairs(past, future, keys, levels)`, pictures in [0, 1].
"""

import importlib
import pkgutil

from astm.data.clips import ClipFrames, Clips, DataError, DataSettings, Pairs, dataset, find_dataset, open_clips

for _module in sorted(module.name for module in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["ClipFrames", "Clips", "DataError", "DataSettings", "Pairs", "dataset", "find_dataset", "open_clips"]
