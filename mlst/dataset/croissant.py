"""`croissant.json`: the dataset in the MLCommons Croissant format, version 1.0 (https://docs.mlcommons.org/croissant/),
with the sha256 of every file and a field for every column of the index."""

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from mlst.dataset.description import INDEX, Dataset, File
from mlst.dataset.index import Row, columns, index_names
from mlst.text import one_line

CROISSANT = "croissant.json"

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in ("citeAs", "column", "extract", "field", "fileObject", "key", "recordSet")},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "source": "cr:source",
}
"""The part of the format's JSON-LD context that is used here."""

MEDIA_TYPES = {
    "tar": "application/x-tar",
    "parquet": "application/x-parquet",
    "jsonl": "application/jsonlines",
    "json": "application/json",
    "toml": "application/toml",
    "csv": "text/csv",
    "md": "text/markdown",
    "png": "image/png",
}
DATA_TYPES = {str: "sc:Text", Fraction: "sc:Text", int: "sc:Integer", float: "sc:Float", bool: "sc:Boolean"}


def croissant(dataset: Dataset, files: Sequence[File]) -> bytes:
    """The text of `croissant.json` for a release of `files`, which do not include itself and `dataset.json`.

    Equal arguments give equal bytes. There is no date: a release's date is that of its commit.
    """
    value = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": dataset.name,
        "description": one_line(dataset.description or dataset.title or dataset.name),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": dataset.licence,
        "version": dataset.version,
        "citeAs": f"{dataset.name} {dataset.version}, fingerprint {dataset.fingerprint}",
        "distribution": [_file(file) for file in sorted(files, key=lambda file: file.path)],
        "recordSet": [_clips(dataset)],
    }
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()


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
