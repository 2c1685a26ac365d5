import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collection.cli.commands import app
from collection.cli.manifest import FORMATS
from collection.manifest.importers import importer
from collection.manifest.table import ANYTHING, read_manifest
from collection.recipe import FetchSettings
from tests.media_server import Page, serving

LISTS = Path(__file__).parents[1] / "manifest/lists"
DEMO = Path(__file__).parents[3] / "manifests" / "demo"


def run(*words: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["manifest", *map(str, words)])
    assert result.exit_code == status, result.output
    return result.output


@pytest.mark.parametrize(("name", "kind"), [("vggsound_test.csv", "vggsound"), ("ids.txt", "ids")])
def test_import_writes_a_manifest_and_says_what_it_did(tmp_path: Path, name: str, kind: str) -> None:
    out = tmp_path / "m.jsonl"
    facts = json.loads(run("import", LISTS / name, "--out", out, "--licence", "CC0-1.0", "--json"))
    rows = read_manifest(out, ANYTHING)
    assert facts == {
        "manifest": str(out),
        "format": kind,
        "rows": len(rows),
        "duplicates": int(kind == "ids"),
        "foreign": 0,
    }
    assert {row.licence for row in rows} == {"CC0-1.0"}
    assert "rows" in run("import", LISTS / name, "--out", out, "--format", kind)


def test_import_limits_and_samples(tmp_path: Path) -> None:
    def imported(*options: object) -> list[str]:
        run("import", LISTS / "vggsound_test.csv", "--out", tmp_path / "m.csv", *options)
        return [row.id for row in read_manifest(tmp_path / "m.csv", FetchSettings())]

    whole = imported()
    assert imported("--limit", 4) == whole[:4]
    assert len(imported("--sample", 4)) == 4
    assert imported("--sample", 4) == imported("--sample", 4, "--seed", 0) != imported("--sample", 4, "--seed", 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["import", LISTS / "ids.txt", "--format", "nonsense"],
            "--format 'nonsense' is unknown; choices are audioset",
        ),
        (["import", LISTS / "README.md"], "fits no known format"),
        (["import", LISTS / "none.csv"], "No such file"),
        (["import", LISTS / "ids.txt", "--licence", "CC BY"], "column licence: 'CC BY'"),
        (["expand", "https://youtu.be/-2X4mB4hyLA"], "allowed is a link to a YouTube playlist"),
        (["expand", "https://example.org/feed"], "cannot be expanded"),
        (["expand", "https://www.youtube.com/@a", "--cookies", LISTS / "none"], "cookies: "),
        (["convert", DEMO / "sources.csv"], "names files beside it"),
        (["convert", DEMO / "recipe.toml"], "one of .csv, .jsonl, .parquet"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_is_written(tmp_path: Path, words: list[object], message: str) -> None:
    assert message in run(*words, "--out", tmp_path / "m.csv", status=2)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_of_the_output_is_refused(tmp_path: Path) -> None:
    assert "one of .csv, .jsonl" in run("import", LISTS / "ids.txt", "--out", tmp_path / "m.txt", status=2)


def test_convert_keeps_every_field(tmp_path: Path) -> None:
    for kind in ("csv", "jsonl", "parquet"):
        run("import", LISTS / "ids.txt", "--out", tmp_path / f"a.{kind}")
        for other in ("csv", "jsonl", "parquet"):
            run("convert", tmp_path / f"a.{kind}", "--out", tmp_path / f"b.{other}")
            run("import", LISTS / "ids.txt", "--out", tmp_path / f"c.{other}")
            assert (tmp_path / f"b.{other}").read_bytes() == (tmp_path / f"c.{other}").read_bytes()


def test_check_says_every_problem(tmp_path: Path) -> None:
    facts = json.loads(run("check", DEMO / "sources.csv", "--recipe", DEMO / "recipe.toml", "--json"))
    assert facts == {"manifest": str(DEMO / "sources.csv"), "ok": True, "rows": 15}
    bad = tmp_path / "bad.csv"
    bad.write_text((DEMO / "sources.csv").read_text().replace(",0,,CC-BY-4.0", ",x,,CC BY"))
    assert "row 2, column start: 'x'; allowed is seconds" in run("check", bad, status=2)
    found = json.loads(run("check", bad, "--json", status=2))
    places = [(problem["row"], problem["column"]) for problem in found["problems"]]
    assert places == [(2, "start"), (2, "licence"), (13, "start"), (13, "licence")]
    assert not found["ok"]


def test_check_finds_files_that_no_build_could_read(tmp_path: Path) -> None:
    (tmp_path / "a_folder").mkdir()
    head, row = (DEMO / "sources.csv").read_text().splitlines()[:2]
    _, url, rest = row.split(",", 2)
    assert url
    names = ("a" * 300 + ".mp4", "a_folder", "missing.mp4")
    lines = [f"r{n},{name},{rest}" for n, name in enumerate(names)]
    (tmp_path / "m.csv").write_text("\n".join([head, *lines]) + "\n")
    said = run("check", tmp_path / "m.csv", status=2).replace("\n", " ")
    assert "row 2, column url: 'aaaa" in said
    assert "File name too long, 304 bytes; rename the file" in said
    assert "'a_folder' is a folder" in said
    assert "missing" not in said


def test_check_takes_what_is_allowed_from_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "x"\nversion = "1.0.0"\nsources = "sources.csv"\n')
    assert "fetch.local" in run("check", DEMO / "sources.csv", "--recipe", recipe, status=2)
    recipe.write_text("nonsense = 1\n")
    assert "nonsense" in run("check", DEMO / "sources.csv", "--recipe", recipe, status=2)


def test_show_counts(tmp_path: Path) -> None:
    facts = json.loads(run("show", DEMO / "sources.csv", "--json"))
    assert (facts["rows"], facts["videos"], facts["groups"], facts["whole_videos"]) == (15, 15, 14, 15)
    assert facts["licence"] == {"CC0-1.0": 7, "CC-BY-3.0": 5, "CC-BY-4.0": 2, "public-domain": 1}
    assert facts["host"] == {"file": 15}
    run("import", LISTS / "vggsound_test.csv", "--out", tmp_path / "m.csv")
    facts = json.loads(run("show", tmp_path / "m.csv", "--json"))
    assert facts["span_seconds"] == 10 * facts["rows"]
    assert list(facts["provenance"].values()) == [facts["rows"]]
    assert "CC-BY-3.0" in run("show", DEMO / "sources.csv")


def test_expand_writes_the_rows_of_all_lists_once(tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "m.csv"
    recipe.write_text(
        'name = "x"\nversion = "1.0.0"\nsources = "m.csv"\n'
        '[fetch]\nextractors = ["generic"]\nhttp = true\nprivate = true\n'
    )
    with serving() as server:
        for name, films in (("/one", "ab"), ("/two", "bc")):
            items = "".join(
                f"<item><title>{film}</title><link>{server.url('/' + film)}</link></item>" for film in films
            )
            text = f'<?xml version="1.0"?><rss version="2.0"><channel>{items}</channel></rss>'
            server.pages[name] = Page(text.encode(), kind="application/rss+xml")
        urls = [server.url("/one"), server.url("/two")]
        facts = json.loads(run("expand", *urls, "--out", out, "--recipe", recipe, "--licence", "CC-BY-4.0", "--json"))
    assert facts["rows"] == 3
    rows = read_manifest(out, ANYTHING)
    assert [row.title for row in rows] == ["a", "b", "c"]


def test_the_help_names_every_format() -> None:
    assert list(FORMATS) == list(importer)


@pytest.mark.parametrize("command", ["sample", "import"])
def test_a_list_is_not_replaced_by_a_part_of_it(tmp_path: Path, command: str) -> None:
    path, link = tmp_path / "m.csv", tmp_path / "link.csv"
    run("import", LISTS / "vggsound_test.csv", "--out", path)
    link.symlink_to(path)
    before = path.read_bytes()
    for out in (path, link):
        assert "give another name" in run(command, path, "--sample", "1", "--out", out, status=2)
    assert path.read_bytes() == before
