"""Ledger and resume: every item ends in one outcome, also across crashes; nothing is done twice."""

import pytest

from collection.executors import Local
from collection.run import ATTEMPTS, Ledger, fingerprint, run
from collection.stage import Outcome, attempt
from collection.workspace import Workspace, WorkspaceBusyError, atomic, locked
from tests.collection.stages import Odd, Text, calls


class Quiet:
    def begin(self, stage, total, known):
        self.total, self.known = total, known

    def outcome(self, outcome):
        pass

    def end(self):
        pass


def here(stage, items, work):
    """An executor without processes, for what only the ledger decides."""
    return (attempt(stage, item, work) for item in items)


PLAIN = Odd(shout=False)


def go(root, items, stage=PLAIN, executor=here, again=lambda outcome: False):
    return run(stage, items, Workspace(root, ""), executor, Quiet(), again)


def test_outputs_come_in_input_order(tmp_path):
    result = go(tmp_path, ["slow", "b", "a"], executor=Local(workers=2))
    assert [text.item for text in result.outputs] == ["slow", "b", "a"]


def test_second_run_does_nothing(tmp_path):
    first = go(tmp_path, ["a", "gone", "b"])
    second = go(tmp_path, ["a", "gone", "b"])
    assert (first.fresh, second.fresh) == (3, 0)
    assert second.outcomes == first.outcomes
    assert calls(tmp_path) == ["a", "gone", "b"]


def test_blocked_is_asked_again_and_never_quarantined(tmp_path):
    for _ in range(ATTEMPTS + 2):
        assert go(tmp_path, ["blocked"]).fresh == 1


def test_breakers_are_quarantined_until_asked_for(tmp_path):
    fresh = [go(tmp_path, ["bug"]).fresh for _ in range(ATTEMPTS + 1)]
    assert fresh == [1] * ATTEMPTS + [0]
    assert go(tmp_path, ["bug"], again=lambda outcome: outcome.status == "failed").fresh == 1


def test_a_lost_output_is_made_again(tmp_path):
    (text,) = go(tmp_path, ["a"]).outputs
    (tmp_path / text.file).unlink()
    assert go(tmp_path, ["a"]).fresh == 1


def test_settings_get_their_own_folder(tmp_path):
    go(tmp_path, ["a"])
    assert go(tmp_path, ["a"], stage=Odd(shout=True)).fresh == 1
    assert fingerprint(Odd(shout=True)) != fingerprint(Odd(shout=False))
    assert go(tmp_path, ["a"]).fresh == 0


def test_manifest_grows_and_shrinks(tmp_path):
    go(tmp_path, ["a", "b"])
    result = go(tmp_path, ["c", "a"])
    assert [o.key for o in result.outcomes] == ["c", "a"]
    assert result.fresh == 1


@pytest.mark.parametrize("torn", [1, 5, 40])
def test_torn_last_line_is_dropped_and_redone(tmp_path, torn):
    result = go(tmp_path, ["a", "b"])
    path = tmp_path / result.folder / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-torn])
    again = go(tmp_path, ["a", "b"])
    assert (again.fresh, again.outcomes) == (1, result.outcomes)
    assert all(line.endswith(b"\n") for line in path.read_bytes().splitlines(keepends=True))


def test_ledger_round_trip_keeps_the_end_of_long_details(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl", Text)
    ledger.append([Outcome("k", "failed", "error", "x" * 10_000 + "the cause", ())])
    ledger.append([Outcome("k", "done", "", "", (Text("k", "k.txt"),))])
    entry = ledger.read()["k"]
    assert entry.outcome.outputs == (Text("k", "k.txt"),)
    assert entry.breaks == 1
    assert b"the cause" in (tmp_path / "ledger.jsonl").read_bytes()


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
    assert go(tmp_path, ["a"]).outcomes[0].status == "done"


def test_one_driver_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(WorkspaceBusyError, match="in use"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
