"""The report of a dataset: one self-contained HTML page that asks the network for nothing.

The page holds the data as JSON and its own script, which the content security policy names by its hash; every text of
a stranger's is inserted as text.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import ffmpeg
from jinja2 import Environment, PackageLoader, StrictUndefined

from collection.report.data import USUAL, Shown, page_data
from collection.report.scores import ScoresError, measured_on
from collection.report.story import UNKNOWN, Story, kept
from collection.workspace.folder import Workspace
from mlst.dataset.description import DATASET, INDEX, THRESHOLDS, Dataset, read_dataset, read_json
from mlst.dataset.index import read_index_columns
from mlst.exits import UserError
from mlst.files import atomic
from mlst.levels.levels import Levels, read_levels

SCRIPTS = ("core", "filter", "grid", "plane", "table", "histograms", "clip", "shots", "tables", "start")
"""The parts of the page's script, in `templates/page/`, in order."""


class NoDatasetError(UserError, ValueError):
    """A folder without a dataset that could be reported on."""


def report_on(dataset: Path, page: Path, per_level: int, work: Path, scores: Sequence[Path] = ()) -> Story:
    """Write the file `page` about the dataset in a folder, which may have been built elsewhere.

    `work` is the workspace that built it, there or not; `scores` are results of `astm evaluate` on the dataset. Gives
    what the workspace tells. Raises `NoDatasetError` and `ScoresError`.
    """
    try:
        what = read_dataset(dataset)
        levels = read_levels(dataset / THRESHOLDS)
        told = kept(work, what.fingerprint)
        measured = tuple(one for path in scores for one in measured_on(dataset, path))
        text = _page(Workspace(dataset, ""), levels, told, Shown(per_level, measured))
    except ScoresError:
        raise
    except (FileNotFoundError, NotADirectoryError, ValueError, ffmpeg.Error) as why:
        raise NoDatasetError(f"{dataset}: {why}; give the folder of a dataset that `mlst verify` finds sound") from why
    _write(page, text)
    return told


def write_report(path: Path, dataset: Workspace, levels: Levels, story: Story, shown: Shown = USUAL) -> None:
    """Write the page `path` about the dataset in `dataset`."""
    _write(path, _page(dataset, levels, story, shown))


def _write(path: Path, text: str) -> None:
    with atomic(path) as file:
        file.write(text.encode())


def _page(dataset: Workspace, levels: Levels, story: Story, shown: Shown) -> str:
    what = read_json(dataset.path(DATASET))
    page = _environment().get_template("report.html.j2")
    script = "".join(asset(f"page/{name}.js") for name in SCRIPTS)
    data = json.dumps(page_data(dataset, what, levels, story, shown), separators=(",", ":"), allow_nan=False)
    return page.render(
        title=f"{what.title or what.name} {what.version}",
        what=what,
        facts=facts(what, dataset.path(INDEX)),
        seconds=[(stage, worked) for stage, worked in story.seconds if worked >= 0.05],
        told=story != UNKNOWN,
        levels=levels,
        scored=bool(shown.scores),
        style=asset("report.css"),
        script=script,
        script_hash=script_hash(script),
        data=data.replace("<", "\\u003c"),
    )


def script_hash(script: str) -> str:
    """As a content security policy names an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def facts(what: Dataset, index: Path) -> list[tuple[str, str]]:
    """The figures at the top: value and name."""
    table = read_index_columns(index, ["start_seconds", "end_seconds", "level"])
    seconds = float((table["end_seconds"].to_numpy() - table["start_seconds"].to_numpy()).sum())
    video = sum(shard.size for shard in what.shards)
    return [
        (f"{what.clips:,}", "clips"),
        (f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min", "of video"),
        (f"{what.sources:,}", "sources"),
        (f"{len(set(table['level'].to_pylist()))} of 9", "levels"),
        (f"{len({cell.split for cell in what.cells})}", "splits"),
        (f"{len(what.shards):,}", "shards"),
        (f"{video / 1e6:,.1f} MB", "in shards"),
    ]


def asset(name: str) -> str:
    """A file of the templates, as it is put into pages."""
    return (files("collection.report") / "templates" / name).read_text(encoding="utf-8")


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("collection.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
