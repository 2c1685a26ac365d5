"""Recipes: strict, and documented."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from collection.recipe import FetchSettings, Recipe, RecipeError, ScanSettings, read_recipe

ROOT = Path(__file__).parents[2]
MINIMAL = 'name = "x"\nversion = "1.0.0"\nsources = "s.csv"\n'


def settings_of(kind: type[BaseModel]) -> set[str]:
    """Names of all settings, those of inner tables included."""
    names = set(kind.model_fields)
    for field in kind.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= settings_of(field.annotation)
    return names


def test_every_setting_is_documented():
    page = (ROOT / "docs" / "recipe.md").read_text()
    assert settings_of(Recipe) - {"pack", "select"} <= set(re.findall(r"`\[?([a-z_]+)[\]`.]", page))


def test_documented_defaults_are_the_defaults():
    recipe = Recipe(name="x", version="1.0.0", sources="s.csv")
    page = (ROOT / "docs" / "recipe.md").read_text()
    documented = dict(re.findall(r"^\| `([a-z_]+)` \| `?([^|`]+?)`? \|", page, re.MULTILINE))
    for table in (recipe, recipe.scan, recipe.select, recipe.fetch, recipe.pack):
        for name in type(table).model_fields:
            value = getattr(table, name)
            if (
                isinstance(value, str | int)
                and not isinstance(value, bool)
                and documented.get(name, "required")
                not in (
                    "required",
                    "empty",
                )
            ):
                assert documented[name] == str(value), name


@pytest.mark.parametrize("path", sorted(ROOT.glob("manifests/*/recipe.toml")), ids=lambda path: path.parent.name)
def test_committed_recipes_are_valid(path):
    assert read_recipe(path).sources


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[scan]\nlength = 3", ["scan", "too short to measure motion", "at least 4 frames"]),
        ("[scan]\nsize = 255", ["scan.size", "255", "multiple of 2"]),
        ("[scan]\nfit = 'zoom'", ["scan.fit", "zoom", "stretch"]),
        ("[select]\nreject = ['ugly']", ["select.reject", "ugly", "black"]),
        ("[select]\nkeep = { beauty = [1, 2] }", ["select.keep", "beauty"]),
        ("[select]\nkeep = { ti10 = [2, 1] }", ["select", "keep.ti10", "[2.0, 1.0]"]),
        ("[select]\nsplits = { train = 0.9, holdout = 0.1 }", ["holdout"]),
        ("[pack]\nshard_bytes = 1", ["pack.shard_bytes", "1"]),
        ("[extra]\na = 1", ["extra"]),
    ],
)
def test_impossible_settings_are_named(tmp_path, text, words):
    (tmp_path / "recipe.toml").write_text(MINIMAL + text)
    with pytest.raises(RecipeError) as refused:
        read_recipe(tmp_path / "recipe.toml")
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[scan]\nlenght = 30", "scan.lenght = 30: unknown setting; choices are length, "),
        ("[fetch.limits]\npixel = 9", "fetch.limits.pixel = 9: unknown setting; choices are pixels, "),
        ("source = 's.csv'", "source = 's.csv': unknown setting; choices are sources, "),
    ],
)
def test_unknown_settings_list_the_choices_nearest_first(tmp_path, text, words):
    (tmp_path / "recipe.toml").write_text(MINIMAL + text)
    with pytest.raises(RecipeError) as refused:
        read_recipe(tmp_path / "recipe.toml")
    assert words in str(refused.value)


def test_missing_settings_are_named_with_a_remedy(tmp_path):
    (tmp_path / "recipe.toml").write_text('name = "x"\n[scan]\nsize = 64\n')
    with pytest.raises(RecipeError) as refused:
        read_recipe(tmp_path / "recipe.toml")
    path, missing = tmp_path / "recipe.toml", 'missing; add {} = "..." above the first [table]'
    assert str(refused.value).splitlines() == [
        f"{path}: {name}: {missing.format(name)}" for name in ("version", "sources")
    ]


def test_a_folder_is_no_recipe_but_may_have_one(tmp_path):
    with pytest.raises(RecipeError, match=r"is a folder; give the path of a recipe\.toml"):
        read_recipe(tmp_path)
    path = tmp_path / "recipe.toml"
    path.write_text(MINIMAL)
    with pytest.raises(RecipeError, match=re.escape(f"{tmp_path} is a folder; give {path}")):
        read_recipe(tmp_path)
    with pytest.raises(RecipeError, match="no such file"):
        read_recipe(path / "recipe.toml")


def test_binary_is_not_toml(tmp_path):
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="not TOML"):
        read_recipe(tmp_path / "recipe.toml")


def test_all_problems_at_once(tmp_path):
    (tmp_path / "recipe.toml").write_text(MINIMAL.replace("1.0.0", "one") + "[scan]\nsise = 1\ncrf = 99\n")
    with pytest.raises(RecipeError) as refused:
        read_recipe(tmp_path / "recipe.toml")
    assert [word for word in ("version", "scan.sise", "scan.crf") if word not in str(refused.value)] == []


@pytest.mark.parametrize("kind", [FetchSettings, ScanSettings])
def test_a_limit_that_was_added_changes_no_fingerprint_until_it_is_set(kind):
    """What earlier versions fetched and scanned is found again."""
    assert set(kind().model_dump(mode="json")["limits"]) == {"bytes", "seconds", "pixels", "frames", "rate"}
    assert kind(limits={"volume": 9}).model_dump(mode="json")["limits"]["volume"] == 9


ODD = {
    "not UTF-8": b"\xff\xfe",
    "a byte order mark": b"\xef\xbb\xbf" + MINIMAL.encode(),
    "a NUL": MINIMAL.encode() + b'title = "\0"',
    "a day that is none": MINIMAL.encode() + b"title = 2024-13-45",
    "a date": MINIMAL.encode() + b"title = 2024-01-02",
    "an hour that is none": MINIMAL.encode() + b"title = 25:61:00",
    "an integer of 5000 digits": MINIMAL.encode() + b"[scan]\nsize = " + b"9" * 5000,
    "an integer of 100 digits": MINIMAL.encode() + b"[scan]\nsize = " + b"9" * 100,
    "infinity": MINIMAL.encode() + b"[fetch.limits]\nbytes = inf",
    "no number": MINIMAL.encode() + b"[scan]\nrate = nan",
    "a rate of 1/0": MINIMAL.encode() + b'[scan]\nrate = "1/0"',
    "deep lists": MINIMAL.encode() + b"title = " + b"[" * 20_000 + b"]" * 20_000,
    "deep tables": MINIMAL.encode() + b"[" + b".".join([b"a"] * 5000) + b"]",
    "a list for a table": MINIMAL.encode() + b"scan = []",
    "a table for a text": MINIMAL.encode() + b"[title]\na = 1",
    "a list of tables for a table": MINIMAL.encode() + b"[[scan]]\nsize = 256",
    "a key twice": MINIMAL.encode() * 2,
    "nothing": b"",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_refused_in_words(tmp_path, name):
    (tmp_path / "recipe.toml").write_bytes(ODD[name])
    with pytest.raises(RecipeError) as refused:
        read_recipe(tmp_path / "recipe.toml")
    assert str(tmp_path) in str(refused.value)


def test_line_ends_of_windows_are_fine(tmp_path):
    (tmp_path / "recipe.toml").write_bytes(MINIMAL.replace("\n", "\r\n").encode())
    assert read_recipe(tmp_path / "recipe.toml").name == "x"
