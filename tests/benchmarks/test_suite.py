"""The table of all claims: verdicts and ratios by hand, a benchmark that fails, material that every clone has."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import scan_cost, small_items, toolchain, two_workers
from benchmarks.figures import HEAD, Figure, publish, read, table
from benchmarks.material import ROOT, demo, tier
from benchmarks.suite import CLAIMS, Claim, Ran, asked, earlier, figure_rows, filled, keep, run, run_rows


@pytest.mark.parametrize(
    ("figure", "verdict", "row"),
    [
        (Figure("scan", "times", 1.5, "at most", 1.5), "met", "| scan | at most 1.5 | 1.5 | times | met |"),
        (Figure("scan", "times", 1.51, "at most", 1.5), "not met", "| scan | at most 1.5 | 1.51 | times | not met |"),
        (Figure("rate", "times", 0.9, "at least", 0.9), "met", "| rate | at least 0.9 | 0.9 | times | met |"),
        (
            Figure("rate", "times", 0.89, "at least", 0.9),
            "not met",
            "| rate | at least 0.9 | 0.89 | times | not met |",
        ),
        (Figure("step", "CPU s", 0.0), "", "| step |  | 0 | CPU s |  |"),
        (
            Figure("rows", "CPU s", 1234.5, "at most", 320),
            "not met",
            "| rows | at most 320 | 1,234 | CPU s | not met |",
        ),
    ],
)
def test_verdicts(figure: Figure, verdict: str, row: str) -> None:
    assert (figure.verdict, figure.row) == (verdict, row)


def test_what_is_published_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [Figure("a", "s", 1.25, "at most", 2.0), Figure("b", "MB", 3.0)]
    publish(figures, tmp_path / "new" / "figures.json", more=[1, 2])
    assert read(tmp_path / "new" / "figures.json") == figures
    assert capsys.readouterr().out.strip() == table(figures)
    assert table(figures).startswith(HEAD)
    assert read(tmp_path / "none.json") == []


def test_a_benchmark_that_fails_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gone.json").write_text('{"figures": [], "left": "by an earlier run"}')
    failed = run(Claim("gone", "no_such_benchmark", (), ()), ["A B"], tmp_path)
    assert failed.status == 1
    assert failed.figures == ()
    assert failed.command == "python -m benchmarks.no_such_benchmark 'A B'"
    assert not (tmp_path / "gone.json").exists()
    assert "No module named benchmarks.no_such_benchmark" in capsys.readouterr().out
    assert "failed with status 1" in run_rows([failed])[-1]


def test_a_table_of_all() -> None:
    figures = (Figure("of 240p", "times", 9.0, "at most", 8.0),)
    ran = Ran("scan", "python -m scan", 0, 12.34, 200.0, 0.5, "2026-11-27 15:00", "abc", figures)
    assert figure_rows([ran])[2:] == ["| scan | of 240p | at most 8 | 9 | times | not met |"]
    assert run_rows([ran])[2:] == ["| scan | `python -m scan` | 12.3 | 200 | 0.5 | 2026-11-27 15:00 | abc | done |"]


def test_tables_keep_what_was_run_before(tmp_path: Path) -> None:
    def ran(name: str, measured: float) -> Ran:
        return Ran(name, f"python -m {name}", 0, 1.5, 2.5, 0.5, "then", "abc", (Figure("a", "s", measured),))

    for one in (ran("verify", 1.0), ran("scan", 2.0), ran("verify", 3.0)):
        keep(one, "full", tmp_path)
    assert earlier(tmp_path / "suite.json", "full") == {"scan": ran("scan", 2.0), "verify": ran("verify", 3.0)}
    page = (tmp_path / "suite.md").read_text()
    assert page.index("| scan | a |  | 2 |") < page.index("| verify | a |  | 3 |")
    keep(ran("scan", 4.0), "quick", tmp_path)
    assert earlier(tmp_path / "suite.json", "full") == {}
    assert earlier(tmp_path / "suite.json", "quick") == {"scan": ran("scan", 4.0)}


def test_claims_name_benchmarks_that_publish() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        source = (ROOT / "benchmarks" / f"{claim.module}.py").read_text()
        assert '"--json"' in source, claim
        assert "publish(" in source, claim


def test_claims_by_size() -> None:
    names = ["planning", "step-vpn"]
    assert [claim.name for claim in asked("quick", names)] == ["planning"]
    assert {claim.name: given for claim, given in asked("full", names).items()} == {
        "planning": ("100000", "1000000"),
        "step-vpn": ("vpn",),
    }


def test_words_stand_for_material() -> None:
    assert filled(("ALL", "--runs", "2"), {"ALL": ["a", "b"], "FEW": ["a"]}) == ["a", "b", "--runs", "2"]
    assert filled(("ALL",), {"ALL": []}) == []


HEIGHTS = {"bbb_opening_30s_1280": 720, "flower": 480, "bbb_trailer": 360, "tractor": 240, "sintel_trailer_52s": 240}


@pytest.mark.parametrize(("name", "lines"), HEIGHTS.items())
def test_heights(name: str, lines: int) -> None:
    assert [tier(path) for path in demo(name)] == [lines]


def test_material_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"nothing, flower: choose from .*rabbit_orbit"):
        demo("nothing", "flower")


def cost(decode: float, scan: float) -> scan_cost.Cost:
    return scan_cost.Cost(decode, scan, 30, 1, "")


def test_a_scan_is_told_by_height_and_by_medians() -> None:
    runs = {
        "a": [cost(1.0, 3.0), cost(1.1, 9.0), cost(0.9, 2.0)],
        "b": [cost(1.0, 5.0)],
        "c": [cost(1.0, 20.0)],
        "d": [cost(2.0, 3.0)],
    }
    figures = scan_cost.figures(runs, {"a": 240, "b": 240, "c": 240, "d": 1080})
    assert [(one.claim, one.measured, one.verdict) for one in figures] == [
        ("scan of 1080p", 1.5, "met"),
        ("scan of 240p", 5.0, "met"),
    ]


def build(cpu: float, wall: float, driver: float = 0.0) -> small_items.Cost:
    return small_items.Cost(cpu, driver, wall, "")


def test_an_item_is_told_without_the_start_and_the_work() -> None:
    row = small_items.Row("local", "here", small_items.FEW + 100, build(10.0, 9.0, 1.0), build(40.0, 19.0, 1.7))
    beyond, driver = small_items.figures(row, 0.1)
    assert (beyond.measured, driver.measured) == (pytest.approx(200), pytest.approx(3.5))
    assert (beyond.verdict, driver.verdict) == ("not met", "not met")


def test_two_workers_are_told_without_the_start() -> None:
    turns = [
        [two_workers.Pair(1, build(3, 2), build(21, 22)), two_workers.Pair(2, build(3, 2), build(22, last))]
        for last in (12, 32, 12)
    ]
    faster, whole, cpu, clock = two_workers.figures(turns)
    assert (faster.measured, faster.verdict) == (2.0, "met")
    assert [one.measured for one in (whole, cpu, clock)] == pytest.approx([22 / 12, 22 / 21, 22 / 21])


def test_two_workers_of_a_busy_machine_are_not_judged() -> None:
    turn = [two_workers.Pair(1, build(3, 2), build(21, 42)), two_workers.Pair(2, build(3, 2), build(22, 22))]
    first, *_ = two_workers.figures([turn])
    assert (first.measured, first.verdict) == (2.0, "")


def test_the_usual_tools_are_told_both_ways() -> None:
    steps = [
        toolchain.Step("tar", ("scenes", "clips"), 1.0),
        toolchain.Step("siti-tools, scenes", ("scenes",), 80.0),
        toolchain.Step("flow, scenes", ("scenes",), 39.0),
        toolchain.Step("siti-tools, clips", ("clips",), 20.0),
        toolchain.Step("flow, clips", ("clips",), 9.0),
    ]
    halves = tuple(toolchain.Step(step.name, step.films, step.cpu / 2) for step in steps)
    usual = [toolchain.Usual(name, 5.0, 4, halves) for name in ("a.mp4", "b.mp4")]
    assert toolchain.together(usual) == steps
    assert [one.measured for one in toolchain.figures(steps, 10.0)] == [12.0, 4.0, 3.0, 1.0]


def test_what_the_usual_tools_took_is_kept(tmp_path: Path) -> None:
    one = toolchain.Usual("a.mp4", 5.0, 4, (toolchain.Step("tar", ("scenes", "clips"), 1.0),))
    (tmp_path / "usual.jsonl").write_text(json.dumps(asdict(one)) + "\n")
    assert list(toolchain.measured([Path("/nowhere/a.mp4")], tmp_path / "usual.jsonl")) == [one]
