"""Lists and folders that are built without a recipe: what stands for them, and what is refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collection.cli.commands import app
from collection.cli.running import recipe_of
from collection.fetch.ytdlp import Access
from collection.manifest.table import ManifestError
from collection.order import read_order
from collection.recipe import read_recipe
from collection.starting.lists import take
from collection.starting.template import StartError

HEAD = "id,url,start,end,licence,title,channel,group,provenance\n"
ROW = "a,-2X4mB4hyLA,1,2,CC0-1.0,,,,x\n"


def videos(folder: Path, *names: str) -> Path:
    """A folder with files of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_folder_becomes_a_recipe_and_a_manifest_beside_the_dataset(tmp_path: Path) -> None:
    names = ("b.webm", "deep/a.MP4", "notes.txt", ".hidden.mp4", "youtube.com/x.mp4", "10:30.mov")
    made = take(videos(tmp_path / "clips", *names), str(tmp_path / "data"), "")
    assert (made.recipe, made.sources) == (tmp_path / "data.recipe.toml", tmp_path / "data.sources.csv")
    order = read_order(made.recipe, Access())
    assert [row.url for row in order.sources] == [
        f"clips/{name}" for name in ("10:30.mov", "b.webm", "deep/a.MP4", "youtube.com/x.mp4")
    ]
    assert [row.title for row in order.sources] == ["10:30", "b", "a", "x"]
    fetch = order.recipe.fetch
    assert (fetch.local, fetch.http, fetch.extractors, order.recipe.name) == (True, False, (), "data")


def test_the_same_command_uses_what_was_made_and_what_the_user_changed(tmp_path: Path) -> None:
    clips = videos(tmp_path / "clips", "a.mp4")
    first = take(clips, str(tmp_path / "data"), "")
    first.recipe.write_text(first.recipe.read_text().replace("length = 30 ", "length = 20 "))
    before = state(tmp_path)
    again = take(clips, str(tmp_path / "data"), "")
    assert (first.fresh, again.fresh) == (True, False)
    assert again.recipe == first.recipe
    assert state(tmp_path) == before
    assert read_recipe(again.recipe).scan.length == 20


def test_a_list_that_has_changed_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    clips = videos(tmp_path / "clips", "a.mp4")
    take(clips, str(tmp_path / "data"), "")
    before = state(tmp_path)
    videos(clips, "b.mp4")
    with pytest.raises(
        StartError, match=r"other rows \(1\) than .*clips has now \(2\); delete it to take the list anew"
    ):
        take(clips, str(tmp_path / "data"), "")
    assert state(tmp_path) == before


def test_videos_elsewhere_have_the_recipe_in_their_folder(tmp_path: Path) -> None:
    clips = videos(tmp_path / "far" / "clips", "a.mp4", "~b.mp4")
    (tmp_path / "here").mkdir()
    made = take(clips, str(tmp_path / "here" / "data"), "")
    assert made.recipe == clips / "data.recipe.toml"
    assert [row.url for row in read_order(made.recipe, Access()).sources] == ["a.mp4", "./~b.mp4"]
    assert take(clips, "s3://bucket/data/", "").recipe == made.recipe


def test_dataset_and_workspace_inside_the_folder_are_no_videos_of_it(tmp_path: Path) -> None:
    videos(tmp_path, "a.mp4", "data/x.mp4", "data-work/fetch-1/media/y.mp4")
    assert take(tmp_path, str(tmp_path / "data"), "").rows == 1
    assert take(tmp_path, str(tmp_path / "data"), "").rows == 1


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("ids.txt", "-2X4mB4hyLA\n", (("youtube",), False, False)),
        ("ids.txt", "https://media.example.org/film.webm\n", ((), True, False)),
        ("mine.csv", HEAD + ROW + "b,film.mp4,,,CC0-1.0,,,,x\n", (("youtube",), False, True)),
        ("train.csv", "-2X4mB4hyLA_000010.mp4,playing\n", (("youtube",), False, False)),
    ],
)
def test_lists_allow_what_they_name_and_no_more(
    tmp_path: Path, name: str, text: str, allowed: tuple[tuple[str, ...], bool, bool]
) -> None:
    (tmp_path / name).write_text(text)
    made = take(tmp_path / name, str(tmp_path / "data"), "")
    fetch = read_recipe(made.recipe).fetch
    assert (fetch.extractors, fetch.http, fetch.local) == allowed
    assert len(read_order(made.recipe, Access()).sources) == made.rows == text.count("\n") - text.startswith("id,")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("none.csv", "", "no such file; give a recipe.toml, a list of videos or a folder of videos"),
        ("odd.txt", "what is this\n", "`mlst manifest import` takes --format"),
        ("twice.csv", HEAD + ROW + ROW, "an id of its own; row 2 has the same"),
        ("short.csv", HEAD.replace(",provenance", "") + "a,-2X4mB4hyLA,,,x,,,\n", "no column provenance"),
    ],
)
def test_what_cannot_be_built_says_what_to_do(tmp_path: Path, name: str, text: str, words: str) -> None:
    if text:
        (tmp_path / name).write_text(text)
    before = state(tmp_path)
    with pytest.raises((StartError, ManifestError)) as refused:
        take(tmp_path / name, str(tmp_path / "data"), "")
    assert words in str(refused.value)
    assert state(tmp_path) == before


def test_a_folder_without_videos_ends_the_command(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = CliRunner().invoke(app, ["build", str(tmp_path / "empty"), "--out", str(tmp_path / "data")])
    assert ran.exit_code == 2
    assert "has neither a recipe.toml nor videos" in ran.output
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_recipe_stays_what_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe_of(tmp_path / "x.toml", "data", "", as_json=False) == tmp_path / "x.toml"
    assert capsys.readouterr().err == ""
    clips = videos(tmp_path / "clips", "a.mp4")
    recipe = recipe_of(clips, str(tmp_path / "data"), "", as_json=True)
    told = json.loads(capsys.readouterr().err)
    assert told == {
        "event": "recipe",
        "recipe": str(recipe),
        "manifest": str(tmp_path / "data.sources.csv"),
        "rows": 1,
        "fresh": True,
    }
