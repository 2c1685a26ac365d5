"""Tensors in a safetensors file, with a sum of all that is in it: a flipped bit is noticed. Nothing is unpickled."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mlst.files import whole

SUM = "sha256"
"""In the file's metadata; files of earlier versions and of other programs have none, and are not compared."""
LONGEST_HEADER = 1 << 24
"""Bytes of names, shapes and metadata: 100 000 tensors have 10 MB."""


class DamagedError(ValueError):
    """A file that is not safetensors, or not what was written; the text says why, without the file's name."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write tensors with metadata, whole or not at all. Raises `OSError` where the disk cannot take them."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with _saving(path), whole(path) as temporary:
        save_file(plain, temporary, {**about, SUM: sum_of(plain)})
        _put_in_order(temporary)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file. Raises `DamagedError`, or OSError where it cannot be read."""
    with path.open("rb") as file:
        if (header := int.from_bytes(file.read(8), "little")) > LONGEST_HEADER:
            raise DamagedError(f"it claims a header of {header} bytes; at most {LONGEST_HEADER} are read")
    try:
        with safe_open(path, "pt") as opened:
            about = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, it is not a mapping
    except SafetensorError as why:
        raise DamagedError(str(why)) from None
    if (wanted := about.pop(SUM, None)) is not None and wanted != (found := sum_of(tensors)):
        raise DamagedError(f"the sha256 of its tensors is {found}, {wanted[:64]} was written: it is damaged")
    return tensors, about


def sum_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, which are contiguous and in main memory."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _put_in_order(path: Path) -> None:
    """Sort the metadata in a file's header, whose order is random otherwise: equal models are equal files."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        if len(text) != size:
            raise RuntimeError(f"a header of {size} bytes became one of {len(text)}")
        file.seek(8)
        file.write(text)


@contextlib.contextmanager
def _saving(path: Path) -> Iterator[None]:
    """What the operating system says against writing `path` is an `OSError`, which safetensors only puts in words."""
    try:
        yield
    except SafetensorError as why:
        said = re.search(r"os error (\d+)|code: (\d+)", str(why))
        if said is None:
            raise
        number = int(said[1] or said[2])
        raise OSError(number, os.strerror(number), str(path)) from None
