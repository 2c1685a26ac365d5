"""What `astm why` says of runs, results and datasets that differ in known ways."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from astm.cli.commands import app
from astm.data import dataset
from astm.pretrained.provenance import Origin
from astm.pretrained.store import Config, write_config
from astm.results import Cost, Evaluation, Group, Score, write_results
from astm.training.settings import merge, parse, to_toml
from astm.versions import FILE, versions, write_versions
from astm.why import EXPERIMENT, Fact, WhyError, why
from mlst.dataset.description import INDEX
from mlst.dataset.index import read_index, write_index
from tests import tiny


def ask(*words: object):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(app, ["why", *map(str, words)])


def made(folder: Path, data: Path, **train: object) -> Path:
    """A run's folder as `astm train` leaves it, without the weights."""
    tree = {"model": {"name": "convlstm"}, "data": {"name": "mlst", "root": str(data)}, "train": train}
    experiment = parse(tree)
    folder.mkdir()
    (folder / EXPERIMENT).write_text(to_toml(experiment.tree()))
    origin = Origin("1", "mlst", "train", "f" * 64, 3, 3, 32, 1, 6, 6, 2.5, "")
    write_config(folder / "pretrained", Config("convlstm", experiment.model_settings.model_dump(mode="json"), origin))
    write_versions(folder, "cpu")
    return folder


def evaluation(label: str, mean: float) -> Evaluation:
    group = Group("all", 4, (Score("mse_sum", mean, mean, mean, (mean,)),))
    cost = Cost(10, 20, 30, 0, 1.0, "cpu")
    return Evaluation(
        "astm-evaluation/1", label, "convlstm", "mlst", "test", "words", "f" * 64, 4, 3, 3, 32, 1, "clip", "t",
        (group,), cost,
    )  # fmt: skip


def parts(one: Path, two: Path) -> dict[str, list[Fact]]:
    found: dict[str, list[Fact]] = {}
    for fact in why(one, two).differences:
        found.setdefault(fact.part, []).append(fact)
    return found


def test_runs_that_are_the_same_whatever_their_data_is_called(tmp_path: Path) -> None:
    one = made(tmp_path / "a", tiny.built())
    two = made(tmp_path / "b", Path(shutil.copytree(tiny.built(), tmp_path / "elsewhere")))
    assert parts(one, two) == {}
    ran = ask(one, two)
    assert ran.exit_code == 0, ran.output
    assert [row.split("│")[2].strip() for row in ran.stdout.splitlines() if row.startswith("│")] == ["same"] * 6


def test_each_part_of_a_run_is_told_apart(tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny.built(), tmp_path / "other"))
    rows = list(read_index(other / INDEX))
    with (other / INDEX).open("wb") as file:
        write_index(file, [replace(rows[0], sha256="0" * 64), *rows[2:]])
    one, two = made(tmp_path / "a", tiny.built()), made(tmp_path / "b", other, seed=3, lr=0.5)
    told = {**versions("cpu"), "torch": "1.0", "mlst": "0.0"}
    (two / FILE).write_text(json.dumps(told))
    found = parts(one, two)
    assert found["seed"] == [Fact("seed", "train.seed", "0", "3")]
    assert found["settings"] == [Fact("settings", "train.lr", "0.001", "0.5")]
    assert [(fact.name, fact.b) for fact in found["code"]] == [("mlst", "0.0")]
    assert [(fact.name, fact.b) for fact in found["versions"]] == [("torch", "1.0")]
    assert found["data"] == [
        Fact("data", "clips", "1 that B lacks", "0 that A lacks"),
        Fact("data", "clips with other bytes", "none", "1"),
    ]
    ran = ask(one, two, "--json")
    assert ran.exit_code == 1
    told = json.loads(ran.stdout)["parts"]
    assert told == {**dict.fromkeys(("data", "code", "settings", "versions", "seed"), "differs"), "scores": "same"}


def test_what_one_side_did_not_record_is_no_difference(tmp_path: Path) -> None:
    one, two = made(tmp_path / "a", tiny.built()), made(tmp_path / "b", tmp_path / "gone")
    (two / FILE).unlink()
    shutil.rmtree(two / "pretrained")
    found = why(one, two)
    assert found.equal
    assert [found.verdict(part) for part in ("data", "code", "versions", "settings")] == [
        "not recorded", "not recorded", "not recorded", "same",
    ]  # fmt: skip


def test_every_setting_that_may_change_weights_is_seen(tmp_path: Path) -> None:
    """Of each table one by one, but for the folder of the data and what only changes how fast a run is."""
    tree = parse({"model": {"name": "convlstm"}, "data": {"name": "mlst"}}).tree()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / EXPERIMENT).write_text(to_toml(tree))
    (tmp_path / "b").mkdir()
    for table, values in tree.items():
        for name in values:
            (tmp_path / "b" / EXPERIMENT).write_text(to_toml(merge(tree, {table: {name: "another"}})))
            quiet = (table == "run" and name != "threads") or f"{table}.{name}" == "data.root"
            seen = [fact.name for fact in why(tmp_path / "a", tmp_path / "b").differences]
            assert seen == ([] if quiet else [f"{table}.{name}"])
    del tree["train"]["lr"]
    (tmp_path / "b" / EXPERIMENT).write_text(to_toml(tree))
    assert why(tmp_path / "a", tmp_path / "b").differences == (Fact("settings", "train.lr", "0.001", ""),)
    assert dataset["mlst"].Settings.places == ("root",)


def test_results(tmp_path: Path) -> None:
    for name, changes in (("a", {}), ("b", {"fingerprint": "e" * 64, "size": 64})):
        (tmp_path / name).mkdir()
        result = replace(evaluation("x", 1.0 if name == "a" else 2.0), **changes)
        write_results(tmp_path / name / "results.json", [result])
        write_versions(tmp_path / name, "cpu")
    found = parts(tmp_path / "a", tmp_path / "b" / "results.json")
    assert [(fact.part, fact.name) for facts in found.values() for fact in facts] == [
        ("data", "fingerprint"), ("settings", "size"), ("scores", "x mse_sum"),
    ]  # fmt: skip
    assert ask(tmp_path / "a", tmp_path / "a").exit_code == 0


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    run = made(tmp_path / "a", tiny.built())
    with pytest.raises(WhyError, match=r"of kind run.*of kind dataset"):
        why(run, tiny.built())
    with pytest.raises(WhyError, match=r"has no experiment\.toml"):
        why(run, tmp_path)
    (run / EXPERIMENT).write_text("= broken")
    assert ask(run, run).exit_code == 2
    (run / EXPERIMENT).write_text("")
    (run / FILE).write_text("[1]")
    assert ask(run, run).exit_code == 2
