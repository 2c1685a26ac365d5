"""Transitions inside clips, from a folder to the page."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from collection.audit import look as looking
from collection.audit.look import Copy, Found, LookStage, Seen, around, look
from collection.audit.page import summary, write_page
from collection.audit.places import Piece
from collection.audit.shots import Audit, AuditError, Judged, Unread, Wanted, audit, second
from collection.cli import audit as audit_command
from collection.cli import running
from collection.cli.commands import app
from collection.cli.console import JsonLines
from collection.engine.stage import In, Out, Outcome, Stage, attempt
from collection.workspace.folder import Workspace
from mlst.records import Transition
from tests import synthetic, tiny

SPEC = synthetic.Spec(height=90, width=160)


def inline(stage: Stage[In, Out], items: Iterable[In], work: Workspace) -> Iterator[Outcome[Out]]:
    """An executor without processes."""
    return (attempt(stage, item, work) for item in items)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole clip, a cut one, one cut twice, and a file that is no video."""
    made = tmp_path_factory.mktemp("clips")
    for name, lengths in (("cut", (12, 18)), ("twice", (10, 10, 10)), ("whole", (30,))):
        synthetic.cuts(made / f"{name}.mp4", lengths, SPEC)
    (made / "none.mp4").write_text("no video")
    return made


def audited(place: Path, work: Path, clips: int = 100) -> Audit:
    return audit(place, Wanted(clips, 0, "mlst"), inline, JsonLines(), Workspace(work, ""))


def test_cuts_inside_clips_are_found_at_their_frames(folder: Path, tmp_path: Path) -> None:
    found = audited(folder, tmp_path)
    cuts = {one.piece.key: [(f.kind, f.start, f.end) for f in one.seen.found] for one in found.judged}
    assert cuts == {
        "cut.mp4": [("cut", 12, 12)],
        "twice.mp4": [("cut", 10, 10), ("cut", 20, 20)],
        "whole.mp4": [],
    }
    assert {one.piece.key for one in found.broken} == {"cut.mp4", "twice.mp4"}
    assert [(one.piece.key, one.kind) for one in found.unread] == [("none.mp4", "not_media")]
    assert found.share == pytest.approx(2 / 3)
    assert found.interval.low < 2 / 3 < found.interval.high
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_looked_at_by_its_own_keys(tmp_path: Path) -> None:
    found = audited(tiny.built(), tmp_path, clips=7)
    assert len(found.judged) == 7
    assert found.total > 7
    assert found.sources > 1


def test_long_clips_are_looked_at_in_part(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "FRAMES", 15)
    seen = look(folder / "twice.mp4", "mlst")
    assert (seen.frames, seen.whole) == (15, False)
    assert [f.start for f in seen.found] == [10]
    assert look(folder / "cut.mp4", "mlst").whole is False


def test_strips_of_noise_and_of_odd_shapes_can_be_sent(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for shape in ((96, 1600), (1200, 16), (96, 384)):
        frames = [
            looking.Frame(looking.Small(*[np.zeros((2, 2), np.int16)] * 3), rng.integers(0, 256, (96, w, 3), np.uint8))
            for w in [min(looking.WIDEST, round(shape[1] * 96 / shape[0])) or 1] * 12
        ]
        found = looking._told(Transition("cut", 6, 6), frames, shown=True)
        assert 1000 < len(found.strip) < looking.LARGEST_STRIP
        LookStage("mlst").check(Copy("0", "0", 1, ""), (Seen(12, Fraction(30), True, (found,)),))


@pytest.mark.parametrize(
    "found",
    [
        Found("<b>", 5, 5, 1.0, ""),
        Found("cut", 6, 5, 1.0, ""),
        Found("cut", 31, 31, 1.0, ""),
        Found("cut", 5, 5, float("nan"), ""),
        Found("cut", 5, 5, 1.0, '" onerror="'),
        Found("cut", 5, 5, 1.0, "A" * (1 << 21)),
    ],
    ids=lambda found: found.strip[:5] or found.kind,
)
def test_answers_that_no_clip_can_have_are_not_believed(found: Found) -> None:
    with pytest.raises(ValueError, match=r"at|strip"):
        LookStage("mlst").check(Copy("0", "0", 1, ""), (Seen(30, Fraction(30), True, (found,)),))


@pytest.mark.parametrize(
    ("transition", "frames", "expected"),
    [
        (Transition("cut", 12, 12), 30, list(range(8, 16))),
        (Transition("cut", 1, 1), 30, list(range(5))),
        (Transition("cut", 29, 29), 30, list(range(25, 30))),
        (Transition("dissolve", 10, 14), 30, list(range(8, 16))),
        (Transition("dissolve", 0, 3), 3, [0, 1, 2]),
        (Transition("fade", 0, 30), 30, [0, 4, 8, 12, 17, 21, 25, 29]),
    ],
)
def test_frames_of_a_strip(transition: Transition, frames: int, expected: list[int]) -> None:
    assert around(transition, frames) == expected


def seen(*changes: float) -> Seen:
    return Seen(30, Fraction(30), True, tuple(Found("cut", 5 + n, 5 + n, c, "") for n, c in enumerate(changes)))


@pytest.mark.parametrize("name", ["mlst", "transnetv2"])
def test_whatever_a_detector_calls_a_transition_is_an_answer(name: str) -> None:
    """Kinds are those of the scan; what no detector says is refused."""
    stage, item = LookStage(name), Copy("0", "0", 1, "")
    for kind in ("cut", "dissolve", "fade", "wipe"):
        stage.check(item, (Seen(30, Fraction(30), True, (Found(kind, 5, 9, 1.0, ""),)),))
    with pytest.raises(ValueError, match="'swirl'"):
        stage.check(item, (Seen(30, Fraction(30), True, (Found("swirl", 5, 9, 1.0, ""),)),))


def test_no_audit_where_confinement_is_required_and_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "missing", lambda: "no Landlock")
    with pytest.raises(running.SandboxError, match="--require-sandbox: no Landlock"):
        audit_command.shots(tmp_path, detector="mlst", require_sandbox=True, out=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def made(broken: int, whole: int, unread: int = 0, source: str = "") -> Audit:
    judged = [
        Judged(Piece(f"{n:03}", source, Path("f"), 0, 1), seen(*[9.0] * (n < broken))) for n in range(broken + whole)
    ]
    lost = [Unread(Piece(f"u{n}", source, Path("f"), 0, 1), "corrupt", "why") for n in range(unread)]
    return Audit("place", "mlst", 0, 1000, tuple(judged), tuple(lost))


@pytest.mark.parametrize(
    ("found", "most", "above"),
    [
        (made(0, 300), 0.02, False),
        (made(0, 100), 0.02, None),
        (made(30, 270), 0.02, True),
        (made(0, 300, unread=30), 0.02, None),
        (made(0, 0, unread=30), 0.02, None),
        (made(300, 0, unread=30), 0.5, True),
        (made(1, 299), 1.0, False),
    ],
)
def test_a_bar_is_passed_or_missed_only_where_the_interval_says_so(
    found: Audit, most: float, above: bool | None
) -> None:
    assert found.exceeds(most) is above


def test_the_worst_come_first() -> None:
    judged = tuple(
        Judged(Piece(key, "", Path("f"), 0, 1), seen(*c)) for key, c in (("a", (3.0,)), ("b", (1.0, 50.0)), ("c", ()))
    )
    assert [one.piece.key for one in Audit("p", "mlst", 0, 3, judged, ()).broken] == ["b", "a"]


def test_who_looks_did_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert second(tmp_path, "content") == "content"
    copy = shutil.copytree(tiny.built(), tmp_path / "set")
    text = (copy / "recipe.toml").read_text()
    (copy / "recipe.toml").write_text(text.replace("[scan]\n", '[scan]\ndetector = "transnetv2"\n'))
    assert second(copy, "") == "mlst"
    with pytest.raises(AuditError, match="unknown detector 'nobody'"):
        second(copy, "nobody")
    monkeypatch.setattr("collection.detectors.transnet.PACKAGE", "transnetv2_absent")
    with pytest.raises(AuditError, match=r"pip install 'mlst\[transnet\]'.*or give --detector mlst"):
        second(tmp_path, "")
    with pytest.raises(AuditError, match=r"options and defaults are .*\"cpu\"|'cpu'$") as refused:
        second(tiny.built(), "")
    assert "--detector" not in str(refused.value)


def test_texts_of_strangers_do_no_harm_on_the_page(tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script>"\n\u202e'
    judged = Judged(
        Piece(hostile, hostile, Path("f"), 0, 1), Seen(30, Fraction(30), True, (Found(hostile, 1, 1, 2.0, hostile),))
    )
    lost = Unread(Piece(hostile, "", Path("f"), 0, 1), hostile, hostile)
    write_page(tmp_path / "page.html", Audit(hostile, "mlst", 0, 2, (judged,), (lost,)))
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "\u202e" not in page


def test_json_holds_no_pictures(folder: Path, tmp_path: Path) -> None:
    told = json.loads(json.dumps(summary(audited(folder, tmp_path), 0.5)))
    assert told["looked_at"] == 3
    assert told["max_share"] == 0.5
    assert told["exceeded"] is None
    assert "strip" not in json.dumps(told)


def command(*words: object) -> subprocess.CompletedProcess[str]:
    called = [sys.executable, "-m", "collection", "audit", "shots", *map(str, words)]
    return subprocess.run(called, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.slow
def test_the_command_with_confined_workers(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ran = command(folder, "--out", page, "--detector", "mlst", "--json", "--max-share", 1)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert [one["key"] for one in told["broken"]] == ["cut.mp4", "twice.mp4"] or len(told["broken"]) == 2
    assert page.read_text().count("data:image/jpeg") == 3
    assert command(folder, "--out", page, "--detector", "mlst", "--max-share", 0.5).returncode == 3
    assert command(folder, "--out", page, "--detector", "mlst", "--max-share", 0).returncode == 1
    for words in ((tmp_path, "--detector", "mlst"), (folder, "--detector", "nobody")):
        assert CliRunner().invoke(app, ["audit", "shots", *map(str, words)]).exit_code == 2


@pytest.mark.slow
def test_the_network_looks_in_confined_workers(folder: Path, tmp_path: Path) -> None:
    ran = command(folder, "--out", tmp_path / "page.html", "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["detector"] == "transnetv2"
    assert {one["key"] for one in told["broken"]} == {"cut.mp4", "twice.mp4"}
    assert [one["kind"] for one in told["unread"]] == ["not_media"]
