"""What a person said of clips: a table of marks that a recipe names as `select.review`."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from mlst.dataset.shards import KEY
from mlst.exits import UserError
from mlst.text import number_of

KEEP = "keep"
REFUSALS = ("reject", "wrong_level", "bad_cut")
"""Marks that keep a clip out."""
MARKS = (KEEP, *REFUSALS)
COLUMNS = ["key", "mark", "note"]


class ReviewError(UserError, ValueError):
    """A review that cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Review:
    """Marks by the keys of clips; each clip has one."""

    marks: Mapping[str, str]

    def keeps(self, key: str) -> bool:
        """Whether somebody wants the clip."""
        return self.marks.get(key) == KEEP

    def refusal(self, key: str) -> str:
        """The mark that keeps a clip out, "" for none."""
        mark = self.marks.get(key, "")
        return mark if mark in REFUSALS else ""


NO_REVIEW = Review({})


def parse_review(data: bytes, name: str) -> Review:
    """The review in the bytes of a CSV file called `name`: `key,mark,note`, in UTF-8. Raises `ReviewError`."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as why:
        raise ReviewError(f"{name}: not CSV in UTF-8: {why}") from None
    if not rows or rows[0] != COLUMNS:
        raise ReviewError(f"{name}: the first line must be {','.join(COLUMNS)!r}, as `mlst view` writes it")
    marks: dict[str, str] = {}
    for number, row in enumerate(rows[1:], 2):
        if row:
            key, mark = _marked(row, f"{name}: row {number}")
            if marks.setdefault(key, mark) != mark:
                raise ReviewError(f"{name}: row {number}: {key} is marked {marks[key]!r} above and {mark!r} here")
    return Review(marks)


def _marked(row: list[str], where: str) -> tuple[str, str]:
    if len(row) != len(COLUMNS):
        raise ReviewError(f"{where}: {number_of(len(row), 'value')}, not {len(COLUMNS)}")
    key, mark, _ = row
    if not KEY.fullmatch(key):
        raise ReviewError(f"{where}: {key[:100]!r} is not the key of a clip")
    if mark not in MARKS:
        raise ReviewError(f"{where}: mark {mark[:100]!r} is not one of {', '.join(MARKS)}")
    return key, mark


def review_text(marks: Mapping[str, tuple[str, str]]) -> bytes:
    """The file that holds marks and notes by key; equal for equal marks."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *((key, *marks[key]) for key in sorted(marks))])
    return text.getvalue().encode()
