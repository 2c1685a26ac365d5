"""The dataset card and the attribution list, written from the data.

Titles and channels are text from strangers: they reach Markdown through `plain` and YAML through a YAML writer only.
"""

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from mlst.dataset.description import CARD, INDEX, LARGEST, Cell, Dataset, File
from mlst.dataset.index import PREFIX, ClipInfo, Row, columns, index_names
from mlst.dataset.schema import fields_of, given
from mlst.inside import content
from mlst.levels.levels import LEVELS, Cuts, Levels
from mlst.records import SPLITS, Source
from mlst.structured import parse_yaml
from mlst.text import one_line

HUB_LICENCES = re.compile(
    r"cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[1-4]\.[05]|mit|apache-2\.0|odbl|odc-by|pddl|unlicense|other|unknown"
)
"""Identifiers the Hub's card accepts for `license` that may occur here."""

P910 = "ITU-T P.910's SI and\nTI"
WORDS = {
    "ti10": "the TI of ITU-T P.910",
    "dct_energy": "the energy of block transforms (VCA's E)",
    "gradient_mean": "the mean gradient",
    "si": "the SI of ITU-T P.910",
}
"""What statistics are called in a sentence."""

TAGS = ("video", "video-prediction", "next-frame-prediction", "webdataset", "spatiotemporal-complexity", "mlst")
TASKS = ("video-to-video", "image-to-video")
"""The Hub has no task named video prediction; these are the nearest of its list."""

SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
DTYPES = {str: "string", Fraction: "string", int: "int64", float: "float64", bool: "bool"}


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric of one model on one split."""

    label: str
    """What the model is called."""
    split: str
    protocol: str
    metric: str
    groups: tuple[tuple[str, int, float], ...]
    """Level (or `all`), clips, mean."""


@dataclass(frozen=True, slots=True)
class Release:
    """What a card says of a dataset on the Hub and not of one that was only built."""

    pixels: bool
    """Whether the clips are there; else only what they can be built from."""
    manifest: str
    """Path of the list of sources, in a release without pixels."""
    pictures: tuple[tuple[str, str], ...]
    """Path and caption."""
    measured: tuple[Measured, ...]
    checksums: tuple[File, ...]


BUILT = Release(True, "", (), (), ())
"""Not released: no pictures, no results."""


def card(
    dataset: Dataset,
    levels: Levels,
    sources: Sequence[Source],
    clips: Mapping[str, int],
    release: Release = BUILT,
) -> str:
    """`README.md`: YAML that pins what `datasets` loads, then what a reader needs to know.

    `sources` are those with clips, `clips` says how many each has.
    """
    names = index_names(dataset.statistics)
    front = front_matter(dataset) if release.pixels else index_front_matter(dataset)
    return _render(
        "card.md.j2",
        front=yaml.safe_dump(front, sort_keys=False, width=1000),
        dataset=dataset,
        release=release,
        results=_results(release.measured),
        levels=levels,
        cells=[(level, cell) for level in LEVELS for cell in dataset.cells if cell.level == level.name],
        deciders=_deciders(levels),
        s=_ranges(levels.s.cuts),
        t=_ranges(levels.t.cuts),
        splits=_splits(dataset),
        first=min(dataset.cells, key=lambda cell: (cell.split != "train", cell.level)),
        licences=[(name, len(ids), sum(clips[i] for i in ids)) for name, ids in _by_licence(sources).items()],
        columns=[(name, DTYPES[kind]) for name, kind in columns(Row) if name in names],
    )


def read_card(folder: Path) -> tuple[dict[str, Any], str]:
    """The front matter of the card in a folder, and what follows it. Raises ValueError where it is none or is beyond
    the bounds of `mlst.structured`, OSError."""
    opening, *rest = content(folder / CARD, LARGEST).decode("utf-8").split("---\n", 2)
    if opening or len(rest) < 2:
        raise ValueError("the file does not begin with it")
    front = parse_yaml(rest[0])
    if not isinstance(front, dict):
        raise ValueError("it is not a mapping")
    return front, rest[1]


def attribution(sources: Iterable[Source], clips: Mapping[str, int]) -> Iterator[str]:
    """`ATTRIBUTION.md`, piece by piece: title, channel, address, licence and changes for every source with clips."""
    return environment().get_template("attribution.md.j2").generate(sources=sources, clips=clips)


def front_matter(dataset: Dataset) -> dict[str, Any]:
    """The card's YAML as a dict: `configs` with one glob per split, and the features, once.

    `datasets` finds the same features for the other configurations in the first samples, as every field is present in
    every clip and has one type.
    """
    configs = [{"config_name": "default", "default": True, "data_files": _data_files(dataset, "*")}]
    configs += [{"config_name": level, "data_files": _data_files(dataset, level)} for level in _levels(dataset)]
    return {
        **licence_fields(dataset.licence),
        "pretty_name": one_line(dataset.title or dataset.name),
        "task_categories": list(TASKS),
        "size_categories": [next((name for limit, name in SIZES if dataset.clips < limit), "10M<n<100M")],
        "tags": list(TAGS),
        "configs": configs,
        "dataset_info": [{"config_name": "default", "features": features(dataset.statistics)}],
    }


def licence_fields(licence: str) -> dict[str, str]:
    """A licence as the YAML of a card names it."""
    name = licence.lower()
    if HUB_LICENCES.fullmatch(name):
        return {"license": name}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", name).strip("-")}


def index_front_matter(dataset: Dataset) -> dict[str, Any]:
    """The YAML of a release without pixels: its one configuration is the index, as a table."""
    front = front_matter(dataset)
    clips = [{"split": "clips", "path": INDEX}]
    return {
        **{name: value for name, value in front.items() if name not in ("configs", "dataset_info")},
        "tags": [tag for tag in TAGS if tag != "webdataset"],
        "configs": [{"config_name": "default", "default": True, "data_files": clips}],
    }


def _results(measured: Sequence[Measured]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Caption, heading and rows of a table for every metric, protocol and split."""
    found: dict[tuple[str, str, str], list[Measured]] = {}
    for one in measured:
        found.setdefault((one.metric, one.split, one.protocol), []).append(one)
    tables = []
    for (metric, split, protocol), rows in found.items():
        heading = [f"{level} ({clips})" for level, clips, _ in rows[0].groups]
        means = [[row.label, *(f"{mean:.4g}" for *_, mean in row.groups)] for row in rows]
        tables.append((f"{metric} on {split}, {protocol}", heading, means))
    return tables


def features(statistics: Collection[str]) -> list[dict[str, Any]]:
    """What `datasets` makes of a sample, in the form it has in a card."""
    return [
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
        {"name": "json", "struct": _struct(ClipInfo, index_names(statistics), "")},
        {"name": "mp4", "dtype": "video"},
    ]


def _struct(kind: type, here: Collection[str], prefix: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "struct": _struct(hint, here, PREFIX[name])}
        if dataclasses.is_dataclass(hint)
        else {"name": name, "dtype": DTYPES[given(hint)]}
        for name, hint in fields_of(kind).items()
        if dataclasses.is_dataclass(hint) or prefix + name in here
    ]


def _data_files(dataset: Dataset, level: str) -> list[dict[str, str]]:
    present = {cell.split for cell in dataset.cells if level in ("*", cell.level)}
    return [{"split": split, "path": f"data/{level}/{split}-*.tar"} for split in SPLITS if split in present]


def _levels(dataset: Dataset) -> list[str]:
    return sorted({cell.level for cell in dataset.cells})


def _by_licence(sources: Sequence[Source]) -> dict[str, list[str]]:
    """Ids of the sources under each licence, by its name."""
    found: dict[str, list[str]] = {name: [] for name in sorted({source.licence for source in sources})}
    for source in sources:
        found[source.licence].append(source.id)
    return found


def _deciders(levels: Levels) -> str:
    """What decides, in words."""
    pair = (levels.s.column, levels.t.column)
    return P910 if pair == ("si", "ti10") else " and\n".join(WORDS.get(column, f"`{column}`") for column in pair)


def _ranges(cuts: Cuts) -> tuple[str, str, str]:
    """The three ranges between two cuts, in words."""
    return f"below {cuts[0]:g}", f"{cuts[0]:g} to {cuts[1]:g}", f"from {cuts[1]:g}"


def _splits(dataset: Dataset) -> list[tuple[str, int, float, int]]:
    """Name, clips, hours and bytes of each split."""

    def total(cells: Sequence[Cell]) -> tuple[int, float, int]:
        return sum(c.clips for c in cells), sum(c.seconds for c in cells) / 3600, sum(c.size for c in cells)

    return [(split, *total([c for c in dataset.cells if c.split == split])) for split in SPLITS]


def plain(text: str) -> str:
    """`text` such that Markdown shows it as it is: no markup, no HTML, no links, no new table cell."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_{}\[\]()#+\-.!|~^$=:@/])", r"\\\1", text)
    return text or "(none)"


def link_target(url: str) -> str:
    """An http(s) address as a Markdown autolink; anything else as plain text."""
    if re.fullmatch(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+", url):
        return "<" + url.replace("|", "%7C").replace("&", "&amp;") + ">"
    return plain(url)


def _bytes(size: int) -> str:
    unit, name = next(((u, n) for u, n in ((10**9, "GB"), (10**6, "MB")) if size >= u), (10**3, "kB"))
    return f"{size / unit:.1f} {name}"


@cache
def environment(package: str = "mlst.dataset") -> Environment:
    """For cards from the templates of a package, with the filters `plain`, `url` and `bytes`."""
    made = Environment(  # noqa: S701 - Markdown, not HTML: every stranger's text goes through `plain`
        loader=PackageLoader(package, "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"plain": plain, "url": link_target, "bytes": _bytes}
    return made


def _render(template: str, **values: Any) -> str:
    return environment().get_template(template).render(values)
