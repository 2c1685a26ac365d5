"""MLST datasets, as `mlst build` writes them: in a folder, on a web server or on the Hub, read by `mlst.load`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import Field

from astm.data.clips import ClipFrames, Clips, DataError, DataSettings, dataset
from mlst.loading import LoadError, ReadError, load


class MlstSettings(DataSettings):
    """Settings of MLST; by default the paper's: 256 x 256, 10 -> 20."""

    root: str = "./data/mlst"
    """Folder, http(s) address or Hub id `OWNER/NAME`. The default has `./` so that it is never taken for a Hub id."""
    revision: str = ""
    """Branch, tag or commit, for a Hub id; by default the main branch."""
    size: Annotated[int, Field(ge=8, le=4096)] = 256
    horizon: Annotated[int, Field(ge=1)] = 20
    levels: tuple[str, ...] = ()
    """Only these, e.g. `["s0t0", "s2t2"]`; by default all."""


@dataset.named("mlst")
class Mlst(Clips):
    """The clips of a split, each from its first frame on; clips that are too short are refused, not skipped."""

    Settings = MlstSettings

    settings: MlstSettings

    def __init__(self, settings: MlstSettings, split: str) -> None:
        super().__init__(settings, split)
        with _refusing():
            self.clips = load(
                settings.root,
                split=split,
                levels=settings.levels or None,
                past=settings.past,
                horizon=settings.horizon,
                size=settings.size,
                colour="grey" if settings.channels == 1 else "rgb",
                revision=settings.revision,
            )
        self.protocol = (
            f"mlst {split}: {len(self.clips)} clips of {len(self.clips.settings.levels)} levels; "
            f"{settings.past} -> {settings.horizon}, {settings.size} px, {'grey' if settings.channels == 1 else 'RGB'}"
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> ClipFrames:
        with _refusing():
            clip = self.clips[index]
        return ClipFrames(clip.frames.numpy(), clip.key, clip.level)

    def video(self, key: str) -> str:
        """The source: a key is `<source>_<start>`."""
        return key.rpartition("_")[0]

    @property
    def fingerprint(self) -> str:
        return self.clips.fingerprint


@contextmanager
def _refusing() -> Iterator[None]:
    """What cannot be loaded, as a `DataError` of one line: the Hub's client writes several."""
    try:
        yield
    except (LoadError, ReadError) as why:
        raise DataError(" ".join(line.strip() for line in str(why).splitlines() if line.strip())) from None
