"""A dataset as `datasets` and `webdataset` read it, compared with what its shards hold."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlst.checking.verify import Finding
from mlst.dataset.description import DATASET, read_json
from mlst.dataset.shards import PATH, ShardError, open_shard
from mlst.records import SPLITS

Members = Mapping[str, str]
"""sha256 of each member of a clip by its name in the reader, `mp4` and `json`; that of JSON is of its content."""
Reader = Callable[[Path, str, Sequence[str]], Iterable[tuple[str, Members]]]
"""Keys and members of a split, given the dataset's folder, the split and the paths of its shards."""

RULES = {
    "readers": "datasets and webdataset read the same keys and members as mlst",
}


def compare_readers(folder: Path) -> tuple[Finding, ...]:
    """Findings of `RULES` in the dataset in `folder`, sorted; memory grows with the number of clips of a split.

    Raises ModuleNotFoundError without the extra `readers`.
    """
    import datasets  # noqa: F401, PLC0415, an extra
    import webdataset  # noqa: F401, PLC0415

    try:
        paths = [shard.path for shard in read_json(folder / DATASET).shards if PATH.fullmatch(shard.path)]
    except (OSError, ValueError):
        return ()
    found: set[Finding] = set()
    for split in SPLITS:
        if shards := [path for path in paths if PATH.fullmatch(path)[2] == split]:  # type: ignore[index]
            ours = {key: (path, members) for path in shards for key, members in _by_mlst(folder / path)}
            for name, reader in READERS.items():
                found |= set(_differences(name, ours, reader, folder, split, shards))
    return tuple(sorted(found))


def _differences(
    name: str,
    ours: Mapping[str, tuple[str, Members]],
    reader: Reader,
    folder: Path,
    split: str,
    shards: Sequence[str],
) -> Iterator[Finding]:
    left = dict(ours)
    try:
        for key, members in reader(folder, split, shards):
            path, mine = left.pop(key, ("", None))
            if mine is None:
                yield Finding("readers", "", key, f"{name} reads a clip of {split} that mlst does not")
            elif members != mine:
                odd = ", ".join(sorted(one for one in {*members, *mine} if members.get(one) != mine.get(one)))
                yield Finding("readers", path, key, f"{name} reads another {odd}")
    except Exception as why:
        yield Finding("readers", "", "", f"{name} cannot read {split}: {type(why).__name__}: {str(why)[:200]}")
        return
    for key, (path, _) in left.items():
        yield Finding("readers", path, key, f"{name} does not read this clip")


def _by_mlst(path: Path) -> Iterator[tuple[str, Members]]:
    try:
        for sample, _ in open_shard(path):
            yield sample.key, {"mp4": _hash(sample.mp4), "json": _hash_of_json(sample.json)}
    except (ShardError, OSError):
        return  # `verify` says what is wrong; the readers should not read what follows it either


def _by_datasets(folder: Path, split: str, shards: Sequence[str]) -> Iterator[tuple[str, Members]]:
    from datasets import Video, load_dataset  # noqa: PLC0415

    for row in load_dataset(str(folder), split=split, streaming=True).cast_column("mp4", Video(decode=False)):
        yield row["__key__"], _members({**row, "mp4": row["mp4"]["bytes"]})


def _by_webdataset(folder: Path, split: str, shards: Sequence[str]) -> Iterator[tuple[str, Members]]:
    from webdataset import WebDataset  # noqa: PLC0415

    for row in WebDataset([str(folder / path) for path in shards], shardshuffle=False):
        yield row["__key__"], _members(row)


def _members(row: Mapping[str, Any]) -> Members:
    named = {name: value for name, value in row.items() if not name.startswith("__")}
    return {name: _hash_of_json(value) if name == "json" else _hash(value) for name, value in named.items()}


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hash_of_json(value: Any) -> str:
    """Of JSON as bytes or as read; what is not JSON is taken as bytes."""
    if isinstance(value, bytes):
        try:
            value = json.loads(value)
        except ValueError:
            return _hash(value)
    return _hash(json.dumps(value, sort_keys=True).encode())


READERS: Mapping[str, Reader] = {"datasets": _by_datasets, "webdataset": _by_webdataset}
