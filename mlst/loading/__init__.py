"""Loading: `load` gives a torch dataset of clips, `loader` its batches in a reproducible order that can be resumed.

    clips = mlst.load("OWNER/NAME", split="train", past=10, horizon=20)
    batches = mlst.loader(clips, 8, seed=1, workers=2)
    for batch in batches:
        past, future = clips.cut(batch.frames)

See docs/loading.md.
"""

from mlst.loading.batch import Batch
from mlst.loading.batches import Batches, Loader, Share, loader, order_of
from mlst.loading.clips import ClipDataset, Sample, load
from mlst.loading.errors import Changed, CorruptClip, LoadError, Missing, ReadError

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
