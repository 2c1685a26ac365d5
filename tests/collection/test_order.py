"""What a recipe asks for is checked before anything is fetched."""

import os
from pathlib import Path

import pytest

from collection.order import read_order
from collection.recipe import RecipeError
from tests.collection.cli.test_main import RECIPE, recipe
from tests.collection.upkeep.upkeep import ACCESS


@pytest.mark.parametrize(
    ("select", "named"),
    [
        ('reject = ["shaky"]', "select.reject names shaky, which needs camera_shake"),
        ("keep = { camera_residual = [0.5, 20] }", "select.keep.camera_residual needs camera_residual"),
    ],
)
def test_what_is_not_measured_cannot_be_asked_for(tmp_path: Path, select: str, named: str) -> None:
    for columns, is_refused in (("needed", True), ("all", False)):
        text = RECIPE.replace("reject = []", select).replace("[scan]", f'[scan]\ncolumns = "{columns}"')
        path = recipe(tmp_path, text=text)
        if is_refused:
            with pytest.raises(RecipeError, match=named):
                read_order(path, ACCESS)
        else:
            read_order(path, ACCESS)


def test_a_review_that_would_never_end_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "marks.csv")
    for review in ("marks.csv", "/dev/zero"):
        path = recipe(tmp_path, text=RECIPE.replace("reject = []", f'reject = []\nreview = "{review}"'))
        with pytest.raises(RecipeError, match=r"select\.review: .* is not a regular file"):
            read_order(path, ACCESS)
