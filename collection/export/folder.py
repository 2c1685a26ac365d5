"""`folder`: an mp4 per clip below split and level, and a `metadata.jsonl` beside them, as `videofolder` reads them."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from collection.export.pieces import Format, Piece, described
from mlst.dataset.index import Row
from mlst.files import atomic, clean
from mlst.inside import content, opened, place_in

METADATA = "metadata.jsonl"


class Folder(Format):
    """`train/s0t2/KEY.mp4` and `train/s0t2/metadata.jsonl`."""

    by = ("split", "level")
    most = sys.maxsize
    load = 'import datasets\n\nclips = datasets.load_dataset("videofolder", data_dir="FOLDER")'

    def write(self, out: Path, piece: Piece) -> None:
        """Write what is missing or wrong. The table comes last."""
        for row in piece.rows():
            name = _video(piece, row)
            if not same_video(out, name, row):
                with atomic(place_in(out, name)) as file:
                    file.write(piece.video(row))
        with atomic(place_in(out, _table(piece))) as file:
            for row in piece.rows():
                file.write(_line(row))
        clean(out.joinpath(*piece.values))

    def wrong(self, out: Path, piece: Piece) -> Iterator[str]:
        """Videos with other bytes, and the table where a line of it is another one."""
        for row in piece.rows():
            if not same_video(out, _video(piece, row), row):
                yield _video(piece, row)
        try:
            with opened(place_in(out, _table(piece))) as file:
                lines = all(file.readline(len(line) + 1) == line for line in map(_line, piece.rows()))
                right = lines and not file.read(1)
        except (OSError, ValueError):
            right = False
        if not right:
            yield _table(piece)

    def names(self, piece: Piece) -> Iterator[str]:
        """Videos and table."""
        yield from (_video(piece, row) for row in piece.rows())
        yield _table(piece)


def _video(piece: Piece, row: Row) -> str:
    return f"{'/'.join(piece.values)}/{described(row)['key']}.mp4"


def _table(piece: Piece) -> str:
    return f"{'/'.join(piece.values)}/{METADATA}"


def _line(row: Row) -> bytes:
    columns = described(row)
    return (json.dumps({"file_name": f"{columns['key']}.mp4", **columns}, allow_nan=False) + "\n").encode()


def same_video(out: Path, name: str, row: Row) -> bool:
    """Whether a file is the mp4 of a clip."""
    try:
        return hashlib.sha256(content(place_in(out, name), row.size)).hexdigest() == row.sha256
    except (OSError, ValueError):
        return False
