"""`mlst rebuild`, `drift`, `takedown` and `diff`: what they say, and their exit status."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from collection.cli.commands import app
from mlst.checking.verify import verify
from mlst.dataset.description import DATASET, EXCLUSIONS, read_json
from tests.collection.upkeep import upkeep
from tests.collection.upkeep.test_rebuild import make, videos

pytestmark = pytest.mark.slow


def mlst(*words: Any, status: int = 0) -> tuple[str, str]:
    """Run the command in this process, where everything is imported already; its standard output and error."""
    ran = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(word) for word in words])
    assert ran.exit_code == status, f"status {ran.exit_code}\n{ran.stdout}\n{ran.stderr}\n{ran.exception!r}"
    return ran.stdout, ran.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with sources, their manifest, the dataset and its workspace; ids of the sources."""
    folder = tmp_path_factory.mktemp("built")
    names = videos(folder, {"train": 1})
    make(folder, names)
    (folder / "work").rename(folder / "dataset-work")
    return folder, names


@pytest.fixture
def copy(built: tuple[Path, list[str]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(built[0], tmp_path / "copy"))


def test_drift_and_rebuild(built: tuple[Path, list[str]], copy: Path) -> None:
    one, two, _ = built[1]
    out, _ = mlst("drift", copy / "dataset", "--sources", copy, "--deep", "--json", "--workers", 1)
    assert json.loads(out)["states"]["byte-equal"] == 3
    upkeep.reencode(built[0] / f"{one}.mp4", copy / f"{one}.mp4")
    (copy / f"{two}.mp4").unlink()
    out, _ = mlst("drift", copy / "dataset", "--sources", copy, "--workers", 1, status=1)
    assert f"{one}" in out
    assert "altered" in out
    assert "missing" in out
    assert "Balance" in out
    _, err = mlst("rebuild", copy / "dataset", "--sources", copy, "--out", copy / "new", "--locked", status=1)
    assert f"{one}: drift.changed" in err
    assert f"{two}: gone.missing" in err
    assert not (copy / "new").exists()
    out, _ = mlst("rebuild", copy / "dataset", "--sources", copy, "--out", copy / "new", "--json")
    found = json.loads(out)
    assert found["sources_removed"] == [two]
    assert found["sources_changed"] == [one]
    assert found["findings"] == []
    out, _ = mlst("diff", copy / "dataset", copy / "new", status=1)
    assert f"source removed: {two}" in out
    mlst("diff", copy / "dataset", built[0] / "dataset")


def test_takedown_with_the_workspace(built: tuple[Path, list[str]], copy: Path) -> None:
    one = built[1][0]
    out, _ = mlst("takedown", copy / "dataset", one, "--work", copy / "dataset-work", "--json")
    assert json.loads(out)["sources"] == [one]
    assert json.loads(out)["purged"] == [one]
    held = [path for top in ("dataset", "dataset-work") for path in (copy / top).rglob("*") if path.is_file()]
    assert [path for path in held if one.encode() in path.read_bytes() or one in path.name] == []
    _, err = mlst("build", copy / "recipe.toml", "--out", copy / "dataset", status=2)
    assert "exclusions" in err
    out, _ = mlst("takedown", copy / "dataset", one)
    assert "Nothing to do" in out
    shutil.copy(copy / "dataset" / EXCLUSIONS, copy / EXCLUSIONS)
    recipe = (copy / "recipe.toml").read_text()
    (copy / "recipe.toml").write_text(f'exclusions = "{EXCLUSIONS}"\n' + recipe)
    out, _ = mlst("build", copy / "recipe.toml", "--out", copy / "dataset", "--json")
    assert json.loads(out)["sources"] == {"rows": 3, "used": 2}
    assert read_json(copy / "dataset" / DATASET).sources == 2
    assert verify(copy / "dataset", 0).ok


@pytest.mark.parametrize("work", ["dataset-wrok", "s3://bucket/work"])
def test_a_workspace_that_is_not_there_is_no_workspace_cleared(
    built: tuple[Path, list[str]], copy: Path, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    _, err = mlst("takedown", "--work", work, "dataset", built[1][0], status=2)
    assert "does not exist" in err
    assert read_json(copy / "dataset" / DATASET).version == "1.0.0"
    assert not (copy / work).exists()
    assert not (copy / "s3:").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("takedown", "dataset", "[red]nobody"), "'[red]nobody' is not the id"),
        (("takedown", ".", "a"), "is not a readable dataset"),
        (("diff", ".", "dataset"), "not a readable dataset"),
        (("drift", "."), "give the folder of a dataset"),
        (("drift", "dataset"), "sources are files, such as"),
        (("rebuild", "dataset", "--out", "new"), "give the folder that they are relative to"),
        (("drift", "nowhere"), "no such file"),
        (("drift", "dataset", "--sources", ".", "--work", "dataset/work"), "are inside each other"),
        (("rebuild", "nowhere", "--out", "new"), "no such file"),
    ],
)
def test_what_cannot_be_used_is_said(
    built: tuple[Path, list[str]], words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built[0])
    _, err = mlst(*words, status=2)
    assert said in err
    assert not (built[0] / "dataset" / "work").exists()
