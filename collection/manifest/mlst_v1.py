"""Makes manifests/mlst-v1/sources.csv: a stratified selection of spans of YouTube videos from two public lists.

VGGSound gives variety: as many spans for each of its labels. pyvideo gives videos whose licence is recorded: talks, a
few for each event, one span out of the middle of each. Everything is ranked by hash, so that the order of the lists
does not matter and a longer list moves as little as possible.

    python -m collection.manifest.mlst_v1 --vggsound test.csv --pyvideo pyvideo_cc_youtube.csv --out sources.csv
"""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from collection.addresses import watch_url, youtube_id
from collection.manifest.importers import Entry, importer, origin_of, row_of
from collection.manifest.table import Report, clean, seconds, text_lines, write_manifest
from mlst.levels.splits import order_hash
from mlst.records import Source
from mlst.text import number_of

PER_LABEL = 12
PER_EVENT = 8
TALK = 90
"""Seconds taken out of a talk."""
SHORTEST = 300
"""Seconds a talk has at least."""
INTRO = 60
"""Seconds at the beginning of a talk that are never taken: logos, titles, announcements."""

PYVIDEO = ("youtube_id", "duration_s", "copyright_text_verbatim", "title", "event", "source_json")
"""Columns of the pyvideo list that are used."""

LICENCES = {
    "CC BY": "CC-BY",
    "CC BY 3.0 AU": "CC-BY-3.0-AU",
    "CC BY-SA": "CC-BY-SA",
    "CC BY-SA 2.5 CA": "CC-BY-SA-2.5-CA",
    "CC-BY": "CC-BY",
    "CC-BY-SA": "CC-BY-SA",
    "CC-By-SA-3.0-USA": "CC-BY-SA-3.0-US",
    "Creative Commons Attribution License (CC-BY)": "CC-BY",
    "Creative Commons Attribution license": "CC-BY",
    "Creative Commons Attribution license (reuse allowed": "CC-BY",
    "Creative Commons Attribution license (reuse allowed)": "CC-BY",
    "Creative Commons BY-SA 3.0": "CC-BY-SA-3.0",
    "Creative Commons CC0 1.0 Universal Public Domain Dedication": "CC0-1.0",
    "creativeCommon": "CC-BY",
    "http://creativecommons.org/licenses/by/3.0/": "CC-BY-3.0",
}
"""What pyvideo's contributors wrote, in our words; without a version where they gave none. `creativeCommon` is what
YouTube's API calls its Creative Commons Attribution licence."""


@dataclass(frozen=True, slots=True)
class Talk:
    """A row of the pyvideo list."""

    video: str
    duration: Fraction
    """Seconds; 0 where the list says nothing."""
    licence: str
    """As recorded, verbatim."""
    title: str
    event: str
    record: str
    """Path of its file in pyvideo/data."""


def varied(spans: Iterable[Entry], per_label: int) -> tuple[Entry, ...]:
    """`per_label` spans of each label (all, where there are fewer), each video once; sorted by label and url."""
    by_label: dict[str, list[Entry]] = defaultdict(list)
    for span in spans:
        by_label[span.note].append(span)
    taken: set[str] = set()
    chosen: list[Entry] = []
    for label in sorted(by_label):
        ranked = sorted(by_label[label], key=lambda s: (order_hash(f"mlst-v1\0{s.url}\0{s.start}"), s.start, s.end))
        fresh: dict[str, Entry] = {}
        for span in ranked:
            if span.url not in taken:
                fresh.setdefault(span.url, span)
        picked = list(fresh.values())[:per_label]
        taken.update(span.url for span in picked)
        chosen.extend(sorted(picked, key=lambda s: s.url))
    return tuple(chosen)


def recorded(talks: Iterable[Talk], per_event: int) -> tuple[Source, ...]:
    """A span of `per_event` talks of each event that are long enough, sorted by event and video.

    All talks of an event are one group: they share the stage, the speakers' lectern and the opening titles.
    """
    once: dict[str, Talk] = {}
    for talk in sorted(talks, key=lambda t: t.record):
        once.setdefault(talk.video, talk)
    by_event: dict[str, dict[str, Talk]] = defaultdict(dict)
    for video, talk in once.items():
        if talk.duration >= SHORTEST:
            by_event[talk.event][video] = talk
    chosen: list[Source] = []
    for event in sorted(by_event):
        ranked = sorted(by_event[event], key=lambda video: order_hash(f"mlst-v1\0{video}"))[:per_event]
        chosen.extend(_row(by_event[event][video]) for video in sorted(ranked))
    return tuple(chosen)


def excerpt_start(video: str, duration: Fraction) -> int:
    """Where the span of a talk begins: whole seconds, by hash, in its middle 80 % and behind the intro."""
    first = max(INTRO, int(duration / 10))
    last = int(duration * 9 / 10) - TALK
    return first + int(order_hash(f"place\0{video}"), 16) % (last - first + 1)


def read_talks(path: Path, report: Report) -> tuple[Talk, ...]:
    """The pyvideo list at `path`; rows without a duration have 0. Problems go to `report`."""
    lines = text_lines(path, report)
    header = next(csv.reader([next(lines, (0, ""))[1]]))
    if missing := [name for name in PYVIDEO if name not in header]:
        report.fault(1, "", f"no column {', '.join(missing)}", f"the columns {', '.join(PYVIDEO)}")
        report.close()
    talks = []
    for number, line in lines:
        row = dict(zip(header, next(csv.reader([line])), strict=False))
        values = [row.get(name, "") for name in PYVIDEO]
        try:
            talks.append(Talk(youtube_id(watch_url(values[0])), seconds(values[1] or "0"), *values[2:]))
        except ValueError as why:
            report.add(number, "", f"{values[0]},{values[1]}", str(why))
        if values[2] not in LICENCES:
            report.add(number, "copyright_text_verbatim", values[2], f"one of {', '.join(sorted(LICENCES))}")
    return tuple(talks)


def select_sources(vggsound: Path, pyvideo: Path) -> tuple[Source, ...]:
    """The rows of the manifest. Raises `ManifestError` when a list does not have its format."""
    report = Report(vggsound)
    spans = varied(importer["vggsound"](vggsound, report), PER_LABEL)
    report.close()
    origin = origin_of("vggsound", vggsound)
    sources = [row_of(span, "unknown", origin) for span in spans]
    report = Report(pyvideo)
    talks = recorded(read_talks(pyvideo, report), PER_EVENT)
    report.close()
    known = {source.url for source in sources}
    return (*sources, *(source for source in talks if source.url not in known))


def _row(talk: Talk) -> Source:
    start = excerpt_start(talk.video, talk.duration)
    return Source(
        id=talk.video,
        url=watch_url(talk.video),
        start=Fraction(start),
        end=Fraction(start + TALK),
        licence=LICENCES[talk.licence],
        title=clean(talk.title, "title"),
        channel="",
        group="pyvideo-" + re.sub(r"[^a-z0-9]+", "-", talk.event.lower())[:100],
        provenance=clean(f'pyvideo/data: {talk.record}, copyright_text "{talk.licence}"', "provenance"),
    )


def main(
    vggsound: Annotated[Path, typer.Option(help="data/test.csv of hche11/VGGSound.")],
    pyvideo: Annotated[
        Path, typer.Option(help="The list of Creative Commons talks; see manifests/mlst-v1/README.md.")
    ],
    out: Annotated[Path, typer.Option(help="Manifest to write.")],
) -> None:
    """Make the manifest of mlst-v1 from the two lists."""
    sources = select_sources(vggsound, pyvideo)
    write_manifest(out, sources)
    print(f"{out}: {number_of(len(sources), 'row')}, {number_of(len({source.group for source in sources}), 'group')}")


if __name__ == "__main__":
    typer.run(main)
