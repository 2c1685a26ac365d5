"""Loading: `load` gives a torch dataset of clips, `loader` its batches in a reproducible order that can be resumed.

    clips = mlst.load("OWNER/NAME", split="train", past=10, horizon=20)
    batches = mlst.loader(clips, 8, seed=1, workers=2)
    for batch in batches:
        past, future = clips.cut(batch.frames)

See docs/loading.md. PyTorch is imported when one of these names is first used that needs it: places and errors do not.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mlst.loading.errors import Changed, CorruptClip, LoadError, Missing, ReadError

if TYPE_CHECKING:
    from mlst.loading.batch import Batch
    from mlst.loading.batches import Batches, Loader, Share, loader, order_of
    from mlst.loading.clips import ClipDataset, Sample, load

__all__ = [
    "Batch",
    "Batches",
    "Changed",
    "ClipDataset",
    "CorruptClip",
    "LoadError",
    "Loader",
    "Missing",
    "ReadError",
    "Sample",
    "Share",
    "load",
    "loader",
    "order_of",
]
_HOMES = {
    "Batch": "mlst.loading.batch",
    **dict.fromkeys(("Batches", "Loader", "Share", "loader", "order_of"), "mlst.loading.batches"),
    **dict.fromkeys(("ClipDataset", "Sample", "load"), "mlst.loading.clips"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mlst.loading' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
