"""The snippets of docs/loading.md and of the card, run."""

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import mlst
from mlst.dataset.description import CARD
from tests import tiny

torch.set_num_threads(1)

PAGE = Path(__file__).parents[3] / "docs" / "loading.md"


def snippets(page: Path) -> list[str]:
    """Its Python blocks."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of 30 frames per clip at out/demo."""
    folder, small = tmp_path_factory.mktemp("docs"), tiny.mp4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "FRAMES", 30)
        patch.setattr(tiny, "mp4", lambda seed: small(seed, 30))
        recipe = tiny.RECIPE.replace("length = 6", "length = 30").replace("step = 6", "step = 30")
        tiny.build(folder / "work", folder / "out" / "demo", tiny.material(folder / "work"), recipe)
    return folder


def run(code: str, folder: Path, name: str) -> dict[str, Any]:
    """The names that a snippet leaves behind."""
    names: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec(compile(code, name, "exec"), names)  # noqa: S102 - that the page's code runs is what is tested
    return names


def test_there_are_snippets() -> None:
    assert len(snippets(PAGE)) == 4


def test_first_snippet(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(snippets(PAGE)[0], demo, PAGE.name)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.endswith("(4, 10, 3, 32, 32) (4, 20, 3, 32, 32)") for line in lines)


def test_which_clips_when(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run(snippets(PAGE)[1], demo, PAGE.name)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("6 (")
    assert line.endswith(" 24")
    assert re.findall("s.t.", line).count("s2t0") >= 2
    assert len({level for batch in names["even"] for level in batch.levels}) == 9


def test_stopping_and_going_on(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run(snippets(PAGE)[2], demo, PAGE.name)
    whole = [batch.keys for batch in mlst.loader(names["clips"], 4, seed=1)]
    assert capsys.readouterr().out.strip() == str(whole[3])


def test_own_loader_of_pytorch(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run(snippets(PAGE)[3], demo, PAGE.name)
    printed = re.findall(r"'([\w-]+)'", capsys.readouterr().out)
    assert sorted(printed) == sorted(names["clips"].keys)
    assert (names["state"]["epoch"], names["state"]["taken"]) == (1, 0)


def test_snippet_of_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [code for code in snippets(tiny.built() / CARD) if "import mlst" in code]
    names = run(code, tiny.built(), CARD)
    clips = mlst.load(tiny.built(), levels="s0t0", past=2, horizon=4)
    expected = [key for batch in mlst.loader(clips, 1) for key in batch.keys]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == expected
    assert tuple(names["past"].shape) == (1, 2, 3, 32, 32)
