"""`croissant.json`: the dataset in the MLCommons Croissant format, version 1.1
(https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html) with its vocabulary for responsible AI: the sha256
of every file, a field for every column of the index, the videos, where they come from and what may be done with them.
"""

import json
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from mlst.dataset.about import answers
from mlst.dataset.description import INDEX, LOCK, RECIPE, THRESHOLDS, Dataset, File
from mlst.dataset.index import Row, columns, index_names
from mlst.dataset.lock import LockRow
from mlst.text import one_line

CROISSANT = "croissant.json"
CONFORMS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]

OWN = (
    *("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract"),
    *("field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath"),
    *("key", "md5", "parentField", "path", "readLines", "recordSet", "references", "regex", "repeated", "replace"),
    *("samplingRate", "sdVersion", "separator", "source", "subField", "transform", "unArchive", "value"),
)
"""Terms of Croissant's own vocabulary."""
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in OWN},
    "cc": "http://creativecommons.org/ns#",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
"""The JSON-LD context that the format recommends, with the vocabularies for provenance and use."""

MEDIA_TYPES = {
    "tar": "application/x-tar",
    "parquet": "application/x-parquet",
    "jsonl": "application/jsonlines",
    "json": "application/json",
    "toml": "application/toml",
    "csv": "text/csv",
    "md": "text/markdown",
    "txt": "text/plain",
    "html": "text/html",
    "js": "text/javascript",
    "png": "image/png",
}
DATA_TYPES = {str: "sc:Text", Fraction: "sc:Text", int: "sc:Integer", float: "sc:Float", bool: "sc:Boolean"}

LISTED = 10_000
"""Sources that are listed one by one, 4 MB of text; of more, only the lock is named, which lists them all."""

CREATIVE_COMMONS = re.compile(r"CC-BY(?P<nc>-NC)?(?P<nd>-ND)?(?P<sa>-SA)?-[1-4]\.[05](-[A-Z]+)?", re.IGNORECASE)
FREE = re.compile(r"CC0-1\.0|CC-PDM-1\.0|PDDL-1\.0|Unlicense", re.IGNORECASE)
SPDX = re.compile(r"(?!other$|unknown$)[A-Za-z]+[A-Za-z0-9]*-[A-Za-z0-9.-]*\d|MIT|Unlicense", re.IGNORECASE)
"""What looks like the identifier of a licence on SPDX's list."""


def croissant(dataset: Dataset, files: Sequence[File], lock: Iterable[LockRow]) -> bytes:
    """The text of `croissant.json` for a folder of `files`, which do not include itself and `dataset.json`.

    Equal arguments give equal bytes: the date is the one that the recipe states, or none.
    """
    used = [row for row in lock if row.chosen]
    files = sorted(files, key=lambda file: file.path)
    shards = [file.path for file in files if file.path.endswith(".tar")]
    pixels = bool(shards)
    value = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": dataset.name,
        "description": one_line(dataset.description or dataset.title or dataset.name),
        "conformsTo": CONFORMS,
        "license": licence_url(dataset.licence),
        "version": dataset.version,
        "isLiveDataset": False,
        "citeAs": f"{dataset.name} {dataset.version}, fingerprint {dataset.fingerprint}",
        **_about(dataset),
        **{name: one_line(text) for name, text in answers(dataset).items()},
        "prov:wasDerivedFrom": _origins(used),
        "prov:wasGeneratedBy": _activity(dataset, files),
        "usageInfo": [_offer(licence) for licence in sorted({dataset.licence, *(r.source.licence for r in used)})],
        "distribution": [_file(file) for file in sorted(files, key=lambda file: file.path)]
        + [_videos(shards)][:pixels],
        "recordSet": [_clips(dataset), _contents()][: 1 + pixels],
    }
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()


def licence_url(licence: str) -> str:
    """The page of SPDX on a licence that has one; else what was said of it."""
    return f"https://spdx.org/licenses/{licence}.html" if SPDX.fullmatch(licence) else one_line(licence) or "unknown"


def _about(dataset: Dataset) -> dict[str, Any]:
    """What the maker says, as far as it is said."""
    about = dataset.about
    said = {
        "datePublished": about.published,
        "url": about.url,
        "creator": [{"@type": "sc:Organization", "name": one_line(name)} for name in about.creators],
    }
    return {name: value for name, value in said.items() if value}


def _origins(used: Sequence[LockRow]) -> list[dict[str, Any]]:
    """PROV-O entities: every source with clips, as the lock identifies it."""
    if len(used) > LISTED:
        return [{"@id": LOCK, "@type": "prov:Collection"}]
    return [
        {
            "@id": f"{LOCK}#{row.source.id}",
            "@type": "prov:Entity",
            "prov:label": one_line(row.source.title) or row.source.id,
            "url": row.source.url,
            "license": licence_url(row.source.licence),
            "identifier": f"sha256 of its video packets: {row.probe.packets_sha256}",
        }
        for row in used
    ]


def _activity(dataset: Dataset, files: Sequence[File]) -> dict[str, Any]:
    """The build: what it used, and the programs that had a part in the bytes."""
    hashes = {file.path: file.sha256 for file in files}
    return {
        "@type": "prov:Activity",
        "prov:label": "mlst build",
        "identifier": f"sha256 of its recipe: {hashes[RECIPE]}",
        "prov:used": [{"@id": name} for name in (RECIPE, THRESHOLDS, LOCK)],
        "prov:wasAssociatedWith": [
            {"@type": "prov:SoftwareAgent", "prov:label": tool.name, "version": tool.version} for tool in dataset.tools
        ],
    }


def _offer(licence: str) -> dict[str, Any]:
    """What may be done with clips under a licence: an ODRL offer, which says nothing where the licence is unknown."""
    terms = CREATIVE_COMMONS.fullmatch(licence)
    known = terms is not None or FREE.fullmatch(licence) is not None
    return {
        "@type": ["CreativeWork", "odrl:Offer"],
        "name": one_line(licence),
        "url": licence_url(licence),
        **({"odrl:permission": [_permission(terms)]} if known else {}),
        **({"odrl:prohibition": [_rule("Prohibition", "cc:CommercialUse")]} if terms and terms["nc"] else {}),
    }


def _permission(terms: re.Match[str] | None) -> dict[str, Any]:
    """Of a licence of Creative Commons, in its own words; None is the public domain, which asks for nothing."""
    changed = [] if terms and terms["nd"] else ["cc:DerivativeWorks"]
    shared = ["cc:ShareAlike"] if terms and terms["sa"] else []
    duties = ["cc:Attribution", "cc:Notice", *shared] if terms else []
    permission = _rule("Permission", "cc:Reproduction", "cc:Distribution", *changed)
    return {**permission, **({"odrl:duty": [_rule("Duty", duty) for duty in duties]} if duties else {})}


def _rule(kind: str, *actions: str) -> dict[str, Any]:
    return {"@type": f"odrl:{kind}", "odrl:action": [{"@id": action} for action in actions]}


def _file(file: File) -> dict[str, Any]:
    suffix = file.path.rsplit(".", 1)[-1]
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "contentUrl": file.path,
        "contentSize": f"{file.size} B",
        "encodingFormat": MEDIA_TYPES.get(suffix, "application/octet-stream"),
        "sha256": file.sha256,
    }


def _videos(shards: Sequence[str]) -> dict[str, Any]:
    """The members of the shards that are clips.

    The second type is for `mlcroissant` 1.1, which reads no file as video: as text it hands out the bytes as they are.
    """
    return {
        "@type": "cr:FileSet",
        "@id": "mp4",
        "name": "mp4",
        "description": "H.264 without sound, one member per clip, named by its key.",
        "containedIn": [{"@id": path} for path in shards],
        "encodingFormat": ["video/mp4", "text/plain"],
        "includes": "*.mp4",
    }


def _clips(dataset: Dataset) -> dict[str, Any]:
    """A row per clip, from the index."""
    names = index_names(dataset.statistics)
    return {
        "@type": "cr:RecordSet",
        "@id": "clips",
        "name": "clips",
        "description": "One row per clip: source, exact time, level, statistics, and where its video lies.",
        "key": {"@id": "clips/key"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"clips/{name}",
                "name": name,
                "dataType": DATA_TYPES[kind],
                "source": {"fileObject": {"@id": INDEX}, "extract": {"column": name}},
            }
            for name, kind in columns(Row)
            if name in names
        ],
    }


def _contents() -> dict[str, Any]:
    """The video of every clip, to be joined with `clips` by key."""

    def field(name: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
        place = {"fileSet": {"@id": "mp4"}, **source}
        return {"@type": "cr:Field", "@id": f"videos/{name}", "name": name, "dataType": kind, "source": place}

    key = {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"(.+?)(?:\.mp4)?$"}}
    return {
        "@type": "cr:RecordSet",
        "@id": "videos",
        "name": "videos",
        "description": "The H.264 video of every clip.",
        "key": {"@id": "videos/key"},
        "field": [
            {**field("key", "sc:Text", key), "references": {"field": {"@id": "clips/key"}}},
            field("mp4", "sc:VideoObject", {"extract": {"fileProperty": "content"}}),
        ],
    }
