"""A dataset's clips by number, as tensors."""

import hashlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlst.dataset.description import DATASET, INDEX, Dataset, dataset_fingerprint, parse_dataset
from mlst.dataset.description import LARGEST as LARGEST_JSON
from mlst.dataset.index import index_schema
from mlst.dataset.parquet import read_columns
from mlst.dataset.shards import PATH, largest_clip
from mlst.loading.errors import Changed, CorruptClip, LoadError, Missing
from mlst.loading.kept import kept
from mlst.loading.stores import Store, store_of
from mlst.pictures.confined import decode_confined
from mlst.pictures.decode import Colour, Form, decode_into
from mlst.pictures.mp4 import NotAClip
from mlst.records import SPLITS, digest
from mlst.sandbox.kernel import missing

log = logging.getLogger(__name__)

COLUMNS = ("key", "level", "frames", "shard", "offset", "size", "sha256")

OnError: TypeAlias = Literal["raise", "skip"]


class Sample(NamedTuple):
    """A clip. `torch.utils.data.default_collate` makes a batch of the same fields of it."""

    frames: Tensor
    """(T, C, H, W) uint8, full range; `ClipDataset.cut` makes float32 in [0, 1] of it."""
    key: str
    level: str
    statistics: Tensor
    """(K,) float64, named by `ClipDataset.columns`."""
    row: int
    """Its number in the dataset."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for, see `load`."""

    split: str
    levels: tuple[str, ...]
    """Those that have clips in the split and are wanted, sorted."""
    past: int
    horizon: int
    size: int
    colour: Colour
    verify: bool
    errors: OnError
    confined: bool


class ClipDataset(torch.utils.data.Dataset[Sample]):
    """The clips of a split in the order of the index, each from its first frame on; made by `load`.

    Reads and decodes one clip per access, keeps nothing open, and can go to worker processes.
    """

    def __init__(self, store: Store, dataset: Dataset, table: Any, settings: Settings) -> None:
        self.store, self.dataset, self.settings = store, dataset, settings
        self.form = Form(
            settings.past + settings.horizon, dataset.side, settings.size or dataset.side, settings.colour
        )
        self._table = table.select(COLUMNS).combine_chunks()
        self._statistics = np.stack([table[name].to_numpy() for name in dataset.statistics], axis=1)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Sample:
        """Clip `index`. Raises CorruptClip, also with errors="skip": only whole lists can be shortened."""
        frames = np.empty(self.form.shape, np.uint8)
        self.decode(index, frames)
        return self._sample(index, torch.from_numpy(frames))

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """What `DataLoader` asks for; with errors="skip" without the clips that are corrupt, which are logged."""
        samples = []
        for index in indices:
            try:
                samples.append(self[index])
            except CorruptClip as why:
                if self.settings.errors == "raise":
                    raise
                log.warning("skipped: %s", why)
        if indices and not samples:
            raise CorruptClip(f"all {len(indices)} clips of a batch are corrupt, among them {self.where(indices[0])}")
        return samples

    @property
    def keys(self) -> list[str]:
        """Key of each clip."""
        return list(self._table["key"].to_pylist())

    @property
    def levels(self) -> list[str]:
        """Level of each clip."""
        return list(self._table["level"].to_pylist())

    @property
    def shards(self) -> list[str]:
        """Shard of each clip."""
        return list(self._table["shard"].to_pylist())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the K statistics that were measured."""
        return self.dataset.statistics

    @property
    def statistics(self) -> NDArray[np.float64]:
        """(N, K): statistics of each clip, named by `columns`."""
        return self._statistics

    @property
    def identity(self) -> str:
        """sha256, hex, over what decides which clips `self[0]`, `self[1]` ... are."""
        return digest([self.dataset.fingerprint, self.settings.split, list(self.settings.levels)])

    @property
    def fingerprint(self) -> str:
        """sha256, hex, over what decides every value of every sample."""
        s = self.settings
        return digest([self.identity, s.past, s.horizon, self.form.side, s.colour])

    def named(self, rows: Sequence[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Keys and levels of some clips."""
        some = self._table.select(["key", "level"]).take(list(rows))
        return tuple(some["key"].to_pylist()), tuple(some["level"].to_pylist())

    def cut(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Past and future of clips, (..., T, C, H, W) uint8, as float32 in [0, 1] on the same device."""
        scaled = frames.float().div_(255)
        return scaled[..., : self.settings.past, :, :, :], scaled[..., self.settings.past :, :, :, :]

    def where(self, index: int) -> str:
        """Where a clip lies, for messages."""
        row = self._table
        return f"{row['shard'][index]}: clip {row['key'][index]}"

    def read(self, index: int) -> bytes:
        """The mp4 of clip `index`. Raises CorruptClip if it is cut off or its sha256 is another."""
        shard, offset, size, sha256 = (self._value(name, index) for name in ("shard", "offset", "size", "sha256"))
        try:
            video = self.store.read(shard, offset, size)
        except Missing as why:
            self._check_unchanged()
            raise Missing(
                f"{self.where(index)}: {why}; a release without pixels has no shards: build them from its recipe"
            ) from None
        if len(video) != size:
            self._check_unchanged()
            raise CorruptClip(f"{self.where(index)} ends after {len(video)} of {size} bytes, in {self.store.name}")
        if self.settings.verify and (found := hashlib.sha256(video).hexdigest()) != sha256:
            self._check_unchanged()
            raise CorruptClip(f"{self.where(index)} has sha256 {found}, not {sha256}, in {self.store.name}")
        return video

    def _check_unchanged(self) -> None:
        """Where a clip is not what the index says, the dataset may be another by now. Raises `Changed`."""
        try:
            unchanged = _dataset(self.store).fingerprint == self.dataset.fingerprint
        except (LoadError, Missing):
            unchanged = False
        if not unchanged:
            raise Changed(f"{self.store.name} was replaced or removed since it was loaded; load it again")

    def decode(self, index: int, out: NDArray[np.uint8]) -> None:
        """Read clip `index` and decode it into `out`, uint8 of shape `form.shape`. Raises CorruptClip."""
        self.decode_video(index, self.read(index), out)

    def decode_video(self, index: int, video: bytes, out: NDArray[np.uint8]) -> None:
        """Decode clip `index`, whose mp4 was read, into `out`. Raises CorruptClip."""
        decode = decode_confined if self.settings.confined else decode_into
        try:
            decode(out, video, self.form)
        except NotAClip as why:
            raise CorruptClip(f"{self.where(index)} {why}, in {self.store.name}") from None

    def _value(self, name: str, index: int) -> Any:
        return self._table[name][index].as_py()

    def _sample(self, index: int, frames: Tensor) -> Sample:
        statistics = torch.from_numpy(self._statistics[index].copy())
        return Sample(frames, self._value("key", index), self._value("level", index), statistics, int(index))


def load(
    place: str | Path,
    *,
    split: str = "train",
    levels: str | Sequence[str] | None = None,
    past: int = 10,
    horizon: int = 20,
    size: int = 0,
    colour: Colour = "rgb",
    revision: str = "",
    cache: bool = True,
    verify: bool = True,
    errors: OnError = "raise",
    confined: bool = False,
) -> ClipDataset:
    """Open a dataset for training or evaluation.

    Parameters
    ----------
    place: a folder, an http(s) address above `dataset.json`, a URL that fsspec reads (`s3://`, `gs://` ...), or a
        Hub id `OWNER/NAME` (also `hf://datasets/OWNER/NAME`).
    split: `train`, `validation` or `test`.
    levels: only these, e.g. `["s0t0", "s2t2"]`; None for all.
    past, horizon: a clip's first `past` + `horizon` frames are read.
    size: height and width, pixels; 0 for the stored size.
    colour: `rgb` or `grey` (one channel, the mean of R, G and B).
    revision: branch, tag or commit on the Hub; "" for the main branch. Everything is read from the commit this is now.
    cache: on the Hub, download whole shards when first needed; otherwise ask for each clip when it is needed.
    verify: check the sha256 of every clip that is read.
    errors: `raise` on a corrupt clip, or `skip` it: its batch is smaller, and `Loader.skipped` names it.
    confined: decode in a process that can reach no file and no network, for a dataset of a stranger's. A clip that
        crashes it is corrupt, no more.

    Raises
    ------
    LoadError: no such dataset, split or level; clips that are too short; no way to confine.
    ReadError: files that cannot be had.
    """
    if levels is not None and not levels:
        raise LoadError(f"levels = {levels!r} names none; leave it out for all levels")
    wanted = (levels,) if isinstance(levels, str) else tuple(sorted(set(levels or ())))
    settings = Settings(split, wanted, past, horizon, size, colour, verify, errors, confined)
    _check(settings)
    store = store_of(place, revision, cache)
    dataset = _dataset(store)
    if not any(cell.split == split for cell in dataset.cells):
        splits = [s for s in SPLITS if any(cell.split == s for cell in dataset.cells)]
        raise LoadError(f"{store.name} has no {split} clips; its splits are {', '.join(splits)}")
    table = _index(store, dataset).filter(pc.field("split") == split)
    table = _of_levels(table, settings, store.name)
    _check_rows(table, settings, largest_clip(dataset.side, dataset.frames), store.name)
    kept = tuple(sorted(set(table["level"].to_pylist())))
    settings = replace(settings, levels=kept)
    return ClipDataset(store, dataset, table, settings)


def _check(settings: Settings) -> None:
    if settings.split not in SPLITS:
        raise LoadError(f"unknown split {settings.split!r}; choices are {', '.join(SPLITS)}")
    for name, least in (("past", 1), ("horizon", 0), ("size", 0)):
        value = getattr(settings, name)
        if type(value) is not int or value < least:
            raise LoadError(f"{name} = {value!r} should be a whole number from {least} on")
    for name, choices in (("colour", get_args(Colour)), ("errors", get_args(OnError))):
        if (value := getattr(settings, name)) not in choices:
            raise LoadError(f"{name} = {value!r} is unknown; choices are {', '.join(choices)}")
    if settings.confined and (lacking := missing()):
        raise LoadError(f"confined=True: {lacking}; load without it, or on Linux 5.13 or later on x86-64 or aarch64")


def _dataset(store: Store) -> Dataset:
    """`dataset.json`, which vouches for the index and through it for every clip."""
    try:
        dataset = parse_dataset(store.whole(DATASET, LARGEST_JSON), DATASET)
    except ValueError as why:
        raise LoadError(f"{store.name}: {why}") from None
    if dataset_fingerprint(dataset.files, dataset.footage) != dataset.fingerprint:
        raise LoadError(f"{store.name}: {DATASET} does not match its own fingerprint; run `mlst verify` on a copy")
    return dataset


def _index(store: Store, dataset: Dataset) -> Any:
    """The columns of the index that loading needs."""
    listed = next((file for file in dataset.files if file.path == INDEX), None)
    if listed is None:
        raise LoadError(f"{store.name}: {DATASET} lists no {INDEX}")

    def fetch() -> bytes:
        return store.whole(INDEX, listed.size)

    data = kept(listed.sha256, fetch) if store.distant else fetch()
    if hashlib.sha256(data).hexdigest() != listed.sha256:
        raise LoadError(f"{store.name}: {INDEX} is not the file that {DATASET} lists; run `mlst verify` on a copy")
    wanted = {*COLUMNS, *dataset.statistics, "split"}
    names = [name for name in index_schema(wanted).names if name in wanted]
    try:
        table = read_columns(io.BytesIO(data), index_schema, names, INDEX)
    except ValueError as why:
        raise LoadError(f"{store.name}: {why}; run `mlst verify` on a copy") from None
    if len(table) != dataset.clips:
        raise LoadError(f"{store.name}: {len(table)} clips in {INDEX}, {dataset.clips} in {DATASET}")
    return table


def _of_levels(table: Any, settings: Settings, name: str) -> Any:
    known = sorted(set(table["level"].to_pylist()))
    if unknown := [level for level in settings.levels if level not in known]:
        raise LoadError(
            f"{name} has no {settings.split} clips of {', '.join(map(repr, unknown))}; levels are {', '.join(known)}"
        )
    return table.filter(pc.field("level").isin(list(settings.levels))) if settings.levels else table


def _check_rows(table: Any, settings: Settings, largest: int, name: str) -> None:
    wanted = settings.past + settings.horizon
    frames = table["frames"].to_numpy()
    if (short := np.flatnonzero(frames < wanted)).size:
        first = int(short[0])
        raise LoadError(
            f"{name}: {len(short)} of {len(table)} {settings.split} clips have fewer frames than past "
            f"{settings.past} + horizon {settings.horizon}, e.g. {table['key'][first]} with {frames[first]}; "
            f"lower one of them"
        )
    for shard in sorted(set(table["shard"].to_pylist())):
        if not PATH.fullmatch(shard):
            raise LoadError(f"{name}: the index names the shard {json.dumps(shard)}, which is not like {PATH.pattern}")
    offset, size = table["offset"].to_numpy(), table["size"].to_numpy()
    if (odd := np.flatnonzero((offset < 0) | (size < 1) | (size > largest))).size:
        first = int(odd[0])
        raise LoadError(f"{name}: clip {table['key'][first]} claims {size[first]} bytes at offset {offset[first]}")
