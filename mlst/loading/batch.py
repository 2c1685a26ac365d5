"""What a loader gives."""

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Clips that were read together."""

    frames: Tensor
    """(B, T, C, H, W) uint8, full range; `ClipDataset.cut` makes past and future of it."""
    keys: tuple[str, ...]
    levels: tuple[str, ...]
    statistics: Tensor
    """(B, K) float64, named by `ClipDataset.columns`."""
    rows: Tensor
    """(B,) int64: the clips' numbers in the dataset."""
    skipped: tuple[str, ...]
    """What was wrong with clips that were left out."""

    def pin_memory(self) -> "Batch":
        """For `DataLoader`."""
        return replace(self, frames=self.frames.pin_memory())
