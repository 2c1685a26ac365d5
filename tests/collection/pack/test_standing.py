"""Places that a dataset may go to."""

import pytest

from collection.pack.kept import DESCRIPTION
from collection.pack.standing import RETIRED, TakenError, check_own
from collection.workspace.folder import Workspace
from mlst.dataset.description import DATASET


@pytest.fixture
def places(tmp_path):
    out, work = Workspace(tmp_path / "out", ""), Workspace(tmp_path / "work", "")
    for place in (out, work):
        place.root.mkdir()
    return out, work


@pytest.mark.parametrize("name", ["README.md", "ATTRIBUTION.md", "recipe.toml"])
def test_files_of_somebody_else_are_not_replaced(places, name):
    out, work = places
    (out.root / name).write_text("mine")
    with pytest.raises(TakenError, match=f"has a {name}, but no dataset.json"):
        check_own(out, work)


@pytest.mark.parametrize("name", [".gitattributes", "exclusions.txt", "notes/README.md"])
def test_files_that_are_in_nobodys_way(places, name):
    out, work = places
    (out.root / name).parent.mkdir(exist_ok=True)
    (out.root / name).write_text("mine")
    check_own(out, work)


@pytest.mark.parametrize(("which", "name"), [(0, DATASET), (0, RETIRED), (1, DESCRIPTION)])
def test_a_dataset_that_is_whole_or_half_there_is_replaced(places, which, name):
    (places[0].root / "README.md").write_text("a card")
    mark = places[which].root / name
    mark.parent.mkdir(exist_ok=True)
    mark.write_text("{}")
    check_own(*places)
