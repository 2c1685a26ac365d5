"""Excluded sources, and who is told of them."""

import pickle
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from collection.engine.stage import DONE, Outcome, Stage
from collection.fetch.sparing import Sparing
from collection.fetch.stage import FetchStage
from collection.fetch.ytdlp import Access
from collection.recipe import FetchSettings
from collection.workspace.folder import Workspace
from mlst.records import OPEN_END, Source


def source(name: str) -> Source:
    return Source(name, f"{name}.mp4", Fraction(0), OPEN_END, "unknown", name, "", name, "tests")


def test_no_worker_is_told_what_others_must_not_use(tmp_path: Path) -> None:
    told: list[bytes] = []

    def executor(stage: Stage, items: Iterable[Any], work: Workspace) -> Iterator[Outcome]:
        for item in items:
            told.append(pickle.dumps((stage, item)))
            yield Outcome(stage.key(item), DONE, "", "", ())

    stage = FetchStage(FetchSettings(), str(tmp_path), Access(), frozenset({"secret-1", "secret-2"}))
    items = [source(name) for name in ("a", "secret-1", "b", "secret-2")]
    outcomes = list(Sparing(executor)(stage, items, Workspace(tmp_path, "fetch-1")))
    assert sorted(one.key for one in outcomes) == sorted(map(stage.key, items))
    assert [one.kind for one in outcomes] == ["", "", "excluded", "excluded"]
    assert len(told) == 2
    assert not any(b"secret" in text for text in told)
