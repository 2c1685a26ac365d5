"""Ledger and resume: every item ends in one outcome, also across crashes; nothing is done twice."""

import re
import shutil

import pytest

from collection.engine import ledger
from collection.engine.ledger import Ledger
from collection.engine.run import ATTEMPTS, Driver, stage_digest
from collection.engine.stage import Outcome, attempt
from collection.executors import Local
from collection.workspace.folder import Workspace, WorkspaceBusyError, held
from mlst.files import atomic
from tests.collection.engine.stages import Odd, Text, calls


class Quiet:
    def begin(self, stage, total, known):
        self.total, self.known = total, known

    def start(self, stage, key):
        pass

    def outcome(self, stage, outcome):
        pass

    def fewer(self, stage):
        pass

    def end(self, stage):
        pass


def here(stage, items, work):
    """An executor without processes, for what only the ledger decides."""
    return (attempt(stage, item, work) for item in items)


PLAIN = Odd(shout=False)


def go(root, items, stage=PLAIN, executor=here, retry=False):
    return Driver(Workspace(root, ""), executor, Quiet(), retry, 1, False)(stage, items)


def test_outputs_come_in_input_order(tmp_path):
    result = go(tmp_path, ["slow", "b", "a"], executor=Local(workers=2))
    assert [text.item for text in result.outputs] == ["slow", "b", "a"]


def test_second_run_does_nothing(tmp_path):
    first = go(tmp_path, ["a", "gone", "b"])
    second = go(tmp_path, ["a", "gone", "b"])
    assert (first.fresh, second.fresh) == (3, 0)
    assert list(second.outcomes) == list(first.outcomes)
    assert first.outcomes.counts == {("done", ""): 2, ("rejected", "gone.private"): 1}
    assert [outcome.key for outcome in first.outcomes.undone] == ["gone"]
    assert calls(tmp_path) == ["a", "gone", "b"]


def test_blocked_is_asked_again_and_never_quarantined(tmp_path):
    for _ in range(ATTEMPTS + 2):
        assert go(tmp_path, ["blocked"]).fresh == 1


def test_breakers_are_quarantined_until_asked_for(tmp_path):
    fresh = [go(tmp_path, ["bug"]).fresh for _ in range(ATTEMPTS + 1)]
    assert fresh == [1] * ATTEMPTS + [0]
    assert go(tmp_path, ["bug"], retry=True).fresh == 1


def test_a_lost_output_is_made_again(tmp_path):
    (text,) = go(tmp_path, ["a"]).outputs
    (tmp_path / text.file).unlink()
    assert go(tmp_path, ["a"]).fresh == 1


def test_settings_get_their_own_folder(tmp_path):
    go(tmp_path, ["a"])
    assert go(tmp_path, ["a"], stage=Odd(shout=True)).fresh == 1
    assert stage_digest(Odd(shout=True)) != stage_digest(Odd(shout=False))
    assert go(tmp_path, ["a"]).fresh == 0


def test_manifest_grows_and_shrinks(tmp_path):
    go(tmp_path, ["a", "b"])
    result = go(tmp_path, ["c", "a"])
    assert [o.key for o in result.outcomes] == ["c", "a"]
    assert result.fresh == 1


@pytest.mark.parametrize("torn", [1, 5, 40])
def test_torn_last_line_is_dropped_and_redone(tmp_path, torn):
    result = go(tmp_path, ["a", "b"])
    before = list(result.outcomes)
    (path,) = (tmp_path / result.folder / "ledger").iterdir()
    path.write_bytes(path.read_bytes()[:-torn])
    cut = path.read_bytes()
    again = go(tmp_path, ["a", "b"])
    assert (again.fresh, list(again.outcomes)) == (1, before)
    assert path.read_bytes() == cut
    assert go(tmp_path, ["a", "b"]).fresh == 0


def test_a_line_lost_with_the_power_costs_its_own_item_only(tmp_path):
    """A file system may leave zeros where the last writes belonged, also before one that arrived."""
    result = go(tmp_path, ["a", "b", "c"])
    (path,) = (tmp_path / result.folder / "ledger").iterdir()
    one, two, three = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(one + bytes(len(two)) + three)
    assert go(tmp_path, ["a", "b", "c"]).fresh == 2
    deep = b'[{"key":' + b"[" * 100_000 + b"\n"
    rejected = one.replace(b'"done"', b'"rejected"')
    path.write_bytes(one + deep + rejected + three)
    assert [o.status for o in go(tmp_path, ["a", "b", "c"]).outcomes] == ["done"] * 3
    path.write_bytes(one + b"null\n" + b'[{"key":1}]\n' + b"\xff\n" + three)
    assert go(tmp_path, ["a", "b", "c"]).fresh == 0


def opened(root):
    return Ledger(Workspace(root, "odd"), Text)


def test_ledger_round_trip_keeps_the_end_of_long_details(tmp_path):
    with opened(tmp_path) as book:
        book.add(Outcome("k", "failed", "error", "x" * 10_000 + '"},[{"' + "the cause", ()))
        book.add(Outcome("k", "done", "", "", (Text("k", "k.txt"),)))
        assert book.outputs(book.row("k")) == (Text("k", "k.txt"),)
    with opened(tmp_path) as book:
        row = book.row("k")
        assert (book.status(row), book.breaks(row), book.status(book.row("new"))) == ("done", 1, "pending")
        assert list(book.outcomes([row])) == [Outcome("k", "done", "", "", (Text("k", "k.txt"),))]
        assert book.outcomes([row, book.row("new"), row]).counts == {("done", ""): 2, ("pending", ""): 1}
    assert b"the cause" in (tmp_path / "odd" / "ledger" / "000000.jsonl").read_bytes()


def test_segments_are_never_changed_once_they_are_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "SEGMENT", 300)
    folder, seen = tmp_path / "odd" / "ledger", {}
    outcomes = [Outcome(f"k{n}", "done", "", "", (Text(f"k{n}", "x" * n),)) for n in range(30)]
    for part in (outcomes[:3], outcomes[3:20], outcomes[20:]):
        with opened(tmp_path) as book:
            for outcome in part:
                book.add(outcome)
        now = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert {name: now[name] for name in seen} == seen
        assert all(len(data) < 600 for data in now.values())
        seen = now
    assert sorted(seen) == [f"{n:06d}.jsonl" for n in range(len(seen))]
    with opened(tmp_path) as book:
        backwards = book.outcomes([book.row(outcome.key) for outcome in reversed(outcomes)])
    assert list(backwards) == outcomes[::-1]
    assert list(backwards) == outcomes[::-1]


@pytest.mark.parametrize(
    "change", [(b'"item":"a"', b'"item":[]'), (b'"item"', b'"itme"'), (b'"a"}]', b'"a"'), (b"odd", b"\xff")]
)
def test_a_line_that_does_not_decode_is_done_again(tmp_path, change):
    result = go(tmp_path, ["a", "b"])
    before = list(result.outcomes)
    (path,) = (tmp_path / result.folder / "ledger").iterdir()
    one, two = path.read_bytes().splitlines(keepends=True)
    assert one.replace(*change) != one
    path.write_bytes(one.replace(*change) + two)
    again = go(tmp_path, ["a", "b"])
    assert (again.fresh, list(again.outcomes)) == (1, before)


def test_whatever_bit_of_a_ledger_is_flipped_its_item_is_done_again(tmp_path):
    """A digit that is another digit is JSON like any other: only a sum tells."""
    result = go(tmp_path, ["a", "gone"])
    before = list(result.outcomes)
    (path,) = (tmp_path / result.folder / "ledger").iterdir()
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for place in range(len(whole)):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        again = go(tmp_path, ["a", "gone"])
        assert list(again.outcomes) == before, place
        assert 1 <= again.fresh <= (2 if place == first - 1 else 1), place
        assert go(tmp_path, ["a", "gone"]).fresh == 0


def test_a_damaged_line_does_not_bring_back_an_older_one(tmp_path):
    with opened(tmp_path) as book:
        book.add(Outcome("k", "done", "", "", (Text("k", "old.txt"),)))
        book.add(Outcome("k", "done", "", "", (Text("k", "new.txt"),)))
    path = tmp_path / "odd" / "ledger" / "000000.jsonl"
    path.write_bytes(path.read_bytes().replace(b"new.txt", b"nev.txt"))
    with opened(tmp_path) as book:
        assert book.status(book.row("k")) == "pending"


def test_lines_without_a_sum_are_read_as_they_were_written(tmp_path):
    """In workspaces of version 0.2 and earlier: doing all again would mean fetching all again."""
    result = go(tmp_path, ["a", "gone", "b"])
    before = list(result.outcomes)
    (path,) = (tmp_path / result.folder / "ledger").iterdir()
    path.write_bytes(re.sub(rb',"[0-9a-f]{8}"]\n', b"]\n", path.read_bytes()))
    again = go(tmp_path, ["a", "gone", "b"])
    assert (again.fresh, list(again.outcomes)) == (0, before)


def test_what_is_changed_behind_the_ledgers_back_is_named(tmp_path):
    outcomes = go(tmp_path, ["a"]).outcomes
    path = outcomes.paths[0]
    path.write_bytes(path.read_bytes().replace(b'"item"', b'"itme"'))
    with pytest.raises(ValueError, match=r"000000\.jsonl: byte 0: .* run the same command again"):
        list(outcomes)
    for read in (lambda: outcomes.outputs, lambda: outcomes.outputs_of("a")):
        with pytest.raises(ledger.DamagedLedgerError, match="byte 0"):
            list(read())


def test_outcomes_are_synced_now_and_then_and_at_the_end(tmp_path):
    """Waiting for the disk after every outcome would take longer than many an item."""
    synced = []

    class Counting(Workspace):
        __slots__ = ()

        def sync(self, name):
            synced.append((tmp_path / name).read_bytes().count(b"\n"))

    with Ledger(Counting(tmp_path, "odd"), Text) as book:
        for n in range(300):
            book.add(Outcome(str(n), "done", "", "", ()))
    assert synced[-1] == 300
    assert len(synced) < 30


def test_files_appear_whole_or_not_at_all(tmp_path):
    with pytest.raises(OSError, match="full"), atomic(tmp_path / "a") as file:  # noqa: PT012
        file.write(b"half")
        raise OSError(28, "disk full")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_a_typed_outcome_that_is_tried_again(tmp_path):
    class Full(Odd):
        def __call__(self, item, work):
            with work.create("x") as (file, name):
                file.write(b"x")
                raise OSError(28, "No space left on device")
            yield Text(item, name)

    (outcome,) = go(tmp_path, ["a"], stage=Full(shout=False)).outcomes
    assert (outcome.status, outcome.kind) == ("failed", "disk_full")
    assert [p.name for p in (tmp_path / go(tmp_path, ["a"]).folder).iterdir() if p.suffix == ".part"] == []
    assert [outcome.status for outcome in go(tmp_path, ["a"]).outcomes] == ["done"]


def test_one_driver_at_a_time(tmp_path):
    with held(tmp_path), pytest.raises(WorkspaceBusyError, match="in use"), held(tmp_path):
        pass
    with held(tmp_path):
        pass
