"""The file of marks: read strictly, written the same for the same marks, and part of the dataset."""

import shutil
import tomllib
from pathlib import Path

import pytest

from collection.fetch.ytdlp import Access
from collection.manifest.table import write_manifest
from collection.order import read_order, reorder
from collection.recipe import RecipeError
from collection.review import ReviewError, parse_review, review_text
from mlst.dataset.description import REVIEW
from tests import tiny

HEADER = "key,mark,note\n"


def test_a_review_is_read_as_it_was_written() -> None:
    marks = {
        "b_000000100": ("bad_cut", 'a "cut", here'),
        "a_000000000": ("keep", ""),
        "c": ("wrong_level", "\u77ed\u3044"),
    }
    text = review_text(marks)
    assert text == review_text(dict(reversed(marks.items())))
    read = parse_review(text, "r")
    assert read.marks == {key: mark for key, (mark, _) in marks.items()}
    assert read.keeps("a_000000000")
    assert read.refusal("a_000000000") == read.refusal("d") == ""
    assert read.refusal("c") == "wrong_level"
    assert parse_review(("\ufeff" + HEADER + "a,keep,\r\n\r\na,keep,again\r\n").encode(), "r").marks == {"a": "keep"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "first line"),
        (b"key,mark\na,keep\n", "first line"),
        (b"\xff\xfe", "UTF-8"),
        ((HEADER + "a,maybe,\n").encode(), "row 2: mark 'maybe' is not one of keep, reject, wrong_level, bad_cut"),
        ((HEADER + "a,keep\n").encode(), "row 2: 2 values"),
        ((HEADER + "../a,keep,\n").encode(), "is not the key"),
        ((HEADER + "a,keep,\na,reject,\n").encode(), "row 3: a is marked 'keep' above and 'reject' here"),
        ((HEADER + 'a,keep,"x').encode(), "not CSV"),
    ],
)
def test_what_is_no_review_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(ReviewError, match=said):
        parse_review(text, "r")


def test_a_recipe_names_a_review_and_its_dataset_holds_it(tmp_path: Path) -> None:
    made = tiny.material(tmp_path / "work", 6)
    before = tiny.build(tmp_path / "work", tmp_path / "before", made)
    gone = next(clip.key for scan in made.scans.values() for clip in scan.clips)
    (tmp_path / "marks.csv").write_text(f"{HEADER}{gone},reject,dull\n")
    recipe = tiny.RECIPE.replace("[select]\n", '[select]\nreview = "marks.csv"\n')
    (tmp_path / "recipe.toml").write_text(recipe)
    write_manifest(tmp_path / "sources.csv", [tiny.source("video00001_")])
    order = read_order(tmp_path / "recipe.toml", Access())
    assert order.review.refusal(gone) == "reject"
    after = tiny.build(tmp_path / "work", tmp_path / "after", made, recipe, review=order.review_csv)
    assert after.clips == before.clips - 1
    assert (tmp_path / "after" / REVIEW).read_bytes() == (tmp_path / "marks.csv").read_bytes()
    assert REVIEW in [file.path for file in after.files]
    assert reorder(tmp_path / "after", tmp_path, Access()).review == order.review
    assert not (tmp_path / "before" / REVIEW).exists()


def test_a_review_that_is_missing_is_named(tmp_path: Path) -> None:
    shutil.copy(tiny.built() / "recipe.toml", tmp_path / "recipe.toml")
    recipe = tiny.RECIPE.replace("[select]\n", '[select]\nreview = "marks.csv"\n')
    assert tomllib.loads(recipe)["select"]["review"] == "marks.csv"
    (tmp_path / "recipe.toml").write_text(recipe)
    write_manifest(tmp_path / "sources.csv", [tiny.source("video00001_")])
    with pytest.raises(RecipeError, match=r"select\.review: .*marks\.csv"):
        read_order(tmp_path / "recipe.toml", Access())
