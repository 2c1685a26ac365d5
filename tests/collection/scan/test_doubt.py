"""A scan worker that was taken over: nothing of its answer that later steps index, divide or name with is believed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collection.engine.stage import DONE, FAILED, attempt
from collection.executors.local import message
from collection.media.probe import probe
from collection.recipe import Limits, ScanSettings
from collection.sandbox.outcome import judged
from collection.scan.stage import ScanStage
from collection.workspace.folder import Workspace
from mlst.records import FIRST, Upstream, Video
from tests.synthetic import Spec, write

NOBODY = Upstream("", "", "", "", "", "", "", "", "", "", 0, 0.0, 0, "", "")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScanStage, Video, bytes]:
    root = tmp_path_factory.mktemp("work")
    path = write(root / "a.mp4", Spec(frames=120))
    facts = probe(path, Limits())
    zero, sha256 = facts.first_pts * facts.time_base, hashlib.sha256(path.read_bytes()).hexdigest()
    video = Video("own", zero * 0, facts.duration, "a.mp4", path.stat().st_size, sha256, zero, facts, NOBODY)
    stage = ScanStage(ScanSettings(), "brightest", FIRST)
    outcome = attempt(stage, video, Workspace(Path(root), "scan-1"))
    assert len(outcome.outputs[0].clips) >= 2, outcome
    return stage, video, message(outcome)


def first(scan: dict[str, Any]) -> dict[str, Any]:
    return scan["clips"][0]  # type: ignore[no-any-return]


LIES: dict[str, Change] = {
    "a foreign source": lambda s: s.update(source="other"),
    "a clip of a foreign source": lambda s: first(s).update(source="other"),
    "the build's note for a file": lambda s: s.update(file="build.json"),
    "no file": lambda s: s.update(file=""),
    "a file of another item": lambda s: s.update(file="scan-1/clips/other-0.bin"),
    "shot 99": lambda s: first(s).update(shot=99),
    "a fraction over zero": lambda s: s["stream"].update(rate="1/0"),
    "a huge exponent": lambda s: s["stream"].update(rate="1e2000000"),
    "a rate of zero": lambda s: s["stream"].update(rate="0/1"),
    "a negative ratio": lambda s: s["stream"].update(sar="-1/1"),
    "stride zero": lambda s: s["stream"].update(stride=0),
    "another clock": lambda s: first(s).update(time_base="1/7"),
    "another key": lambda s: first(s).update(key="own_000000099"),
    "a path for a key": lambda s: first(s).update(key="../../own"),
    "a key that comes twice": lambda s: s["clips"].append(first(s)),
    "clips that overlap in the file": lambda s: s["clips"][1].update(offset=first(s)["offset"]),
    "frames behind the end": lambda s: first(s).update(end_frame=10**9),
    "frames outside its shot": lambda s: s["shots"][0].update(start=60),
    "shots out of order": lambda s: s["shots"].append(s["shots"][0]),
    "a shot behind the end": lambda s: s["shots"][0].update(end=10**9),
    "another length": lambda s: first(s).update(frames=7),
    "a box outside the picture": lambda s: first(s)["box"].update(right=2.0),
    "no number": lambda s: first(s)["statistics"].update(si=float("nan")),
    "no hash": lambda s: first(s).update(sha256="x"),
    "hashes without end": lambda s: first(s).update(fingerprint="00" * (1 << 15)),
    "an unknown kind of transition": lambda s: s["transitions"].append({"kind": "blink", "start": 1, "end": 2}),
    "a picture of no size": lambda s: s["stream"].update(width=0),
    "a text for a number": lambda s: first(s).update(shot="0"),
}


def test_an_honest_answer_is_believed(honest: tuple[ScanStage, Video, bytes]) -> None:
    stage, video, line = honest
    assert judged(line, stage, video, "scan-1").status == DONE
    assert len(line) <= stage.expects(video).message < 4 << 20


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_that_items_failure(honest: tuple[ScanStage, Video, bytes], lie: str) -> None:
    stage, video, line = honest
    told = json.loads(line)
    LIES[lie](told["outputs"][0])
    outcome = judged(json.dumps(told).encode(), stage, video, "scan-1")
    assert (outcome.key, outcome.status, outcome.kind, outcome.outputs) == (stage.key(video), FAILED, "message", ())


def test_two_scans_or_none_are_no_answer(honest: tuple[ScanStage, Video, bytes]) -> None:
    stage, video, line = honest
    for count in (0, 2):
        told = json.loads(line)
        told["outputs"] *= count
        assert judged(json.dumps(told).encode(), stage, video, "scan-1").kind == "message"
