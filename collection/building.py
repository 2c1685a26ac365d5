"""`collection.build`: a dataset from Python, as `mlst build` makes it."""

import hashlib
import multiprocessing
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from collection import fitting, pipeline
from collection import order as orders
from collection.engine.run import Driver, Executor, Together, Watcher
from collection.engine.stage import FAILED, Outcome
from collection.executors import Local
from collection.fetch.ytdlp import Access
from collection.order import Order
from collection.pack.standing import check_own
from collection.pipeline import Built
from collection.report.display import Bars
from collection.report.html import write_report
from collection.report.spent import REST, measured
from collection.report.status import Spent, remember
from collection.report.story import keep, kept, story
from collection.starting import lists
from collection.upkeep import check as checks
from collection.workspace.folder import Workspace, workspace_of
from collection.workspace.store import opened, written
from mlst.checking.verify import Report, verify
from mlst.dataset.description import DATASET, Dataset
from mlst.levels.levels import DEFAULT, write_levels

PAGE = "report.html"
VERIFIED = "verified.txt"
"""File of a workspace with the sha256 of the description of the dataset that was last found sound."""


class Silent:
    """A watcher that says nothing."""

    def begin(self, stage: str, total: int, known: int) -> None:
        """See `Watcher.begin`."""

    def start(self, stage: str, key: str) -> None:
        """See `Watcher.start`."""

    def outcome(self, stage: str, outcome: Outcome[object]) -> None:
        """See `Watcher.outcome`."""

    def fewer(self, stage: str) -> None:
        """See `Watcher.fewer`."""

    def end(self, stage: str) -> None:
        """See `Watcher.end`."""


class UnguardedError(RuntimeError):
    """A worker that was being started imported the script that started it, and would have begun a build of its own."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a call of `build` came to."""

    dataset: Dataset
    """As `dataset.json` describes it."""
    out: str
    work: str
    recipe: Path
    """The recipe that was built: the one given, or that made for a list or a folder."""
    page: str
    """The report."""
    changed: bool
    """Whether the dataset is another than before, or new."""
    rows: int
    """Of the manifest."""
    shots: int
    """In all videos."""
    dropped: Mapping[str, int]
    """Candidates that were left out, by reason."""
    mended: tuple[str, ...]
    """Files of the dataset that were damaged or lost, and are made again."""
    failed: int
    """Items that the next call tries again."""
    report: Report | None
    """What verifying found; None where that was not asked for, or this very dataset was found sound before."""
    spent: tuple[Spent, ...]
    """What each stage cost; `report, verify` includes the page."""

    @property
    def ok(self) -> bool:
        """Whether nothing is left to do and nothing wrong was found."""
        return not self.failed and (self.report is None or self.report.ok)


@dataclass(frozen=True, slots=True)
class How:
    """How a build goes about it; no byte of the dataset depends on this."""

    access: Access
    executor: Executor
    retry: bool
    """See `Driver`, as for the next two."""
    wave: int
    keep_videos: bool
    check: bool
    """First read all of workspace and dataset again, and remove what is damaged, so that it is made anew."""
    calibrate_first: bool
    """First fit the thresholds file that the recipe names, unless it is there."""


@dataclass(frozen=True, slots=True)
class Show:
    """What is shown of a build while it runs."""

    stages: Callable[[Path], AbstractContextManager[Watcher]]
    """Who watches the stages, given a folder on the disk that they write to."""
    page: Callable[[], AbstractContextManager[object]]
    """What is entered while the report is written."""
    damaged: Callable[[Collection[str]], object]
    """Told of the files that a check removed."""
    verify: Callable[[], Report | None]
    """Verifies the dataset, or does not."""


def build(
    recipe: str | Path,
    out: str | Path,
    *,
    work: str | Path = "",
    workers: int = 2,
    executor: Executor | None = None,
    access: Access | None = None,
    watcher: Watcher | None = None,
    retry: bool = False,
    wave: int = 256,
    keep_videos: bool = False,
    check: bool = False,
    verified: bool = True,
    calibrate_first: bool = False,
) -> Finished:
    """Build, verify and report on a dataset, as `mlst build` does; the options are those of the command.

    `recipe` is a recipe.toml, a list of videos or a folder of them. `out` and `work` (`out`-work by default) are
    folders or URLs. `executor` is `collection.executors.Local(workers)` unless given. `watcher` is told of every item
    as it ends, in this thread; an exception that it raises cancels the build, and leaves through this call. Without
    one, a notebook shows bars and a script nothing. The same call goes on where a build was cut off, and does nothing
    where all is up to date.

    A script calls it below `if __name__ == "__main__":`, as everything that starts processes.

    Raises `mlst.exits.UserError` for what the user can put right: a recipe, manifest or list that cannot be used, a
    workspace that is in use, no clip left to choose. What failed for a single video is counted, not raised.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UnguardedError('call it below `if __name__ == "__main__":`, for workers import your script')
    place = workspace_of(str(out), str(work))
    given = Path(recipe)
    path = given if lists.is_recipe(given) else lists.take(given, str(out), place).recipe
    how = How(access or Access(), executor or Local(workers), retry, wave, keep_videos, check, calibrate_first)
    show = Show(
        partial(_watched_by, watcher), nullcontext, list, lambda: verify(str(out), workers) if verified else None
    )
    return make(path, str(out), place, how, show)


def make(recipe: Path, out: str, work: str, how: How, show: Show) -> Finished:
    """The dataset of the recipe in a file, verified, with its report. Raises as `build`."""
    unfitted = how.calibrate_first and not fitting.awaited(recipe).exists()
    order = orders.read_order(recipe, how.access, DEFAULT if unfitted else "")
    with opened(work) as here, written(out, work) as dataset, measured(here) as meter:
        check_own(dataset, here)
        orders.keep_exclusions(dataset, order.exclusions_txt)
        before = description(dataset)
        remember(here, order.recipe.name, order.recipe.version, pipeline.stages(order))
        if how.check:
            show.damaged(checks.check(here, pipeline.stages(order), dataset))
        with show.stages(here.root) as watcher:
            do = Driver(here, how.executor, Together((meter, watcher)), how.retry, how.wave, how.keep_videos)
            if unfitted:
                write_levels(fitting.fit(order, do, order.recipe.name), fitting.awaited(recipe))
                order = orders.read_order(recipe, how.access)
            built = pipeline.build(order, dataset, do)
        meter.charge(REST)
        seen = _after(built, order, dataset, here, show)
        meter.charge("report, verify")
        fetched, scanned, _ = built.results
        return Finished(
            dataset=built.dataset,
            out=out,
            work=work,
            recipe=recipe,
            page=f"{work.rstrip('/')}/{PAGE}",
            changed=description(dataset) != before,
            rows=len(fetched.outcomes),
            shots=sum(len(scan.shots) for scan in scanned.outputs),
            dropped=built.selection.reasons(),
            mended=tuple(built.mended),
            failed=failures(built),
            report=seen,
            spent=meter.spent(),
        )


def _watched_by(watcher: Watcher | None, disk: Path) -> AbstractContextManager[Watcher]:
    """The caller's watcher; else bars in a notebook."""
    console = Console(stderr=True)
    if watcher is None and console.is_jupyter:
        return Bars(console, disk)
    return nullcontext(watcher or Silent())


def description(dataset: Workspace) -> bytes:
    """The dataset's `dataset.json`; empty where there is none."""
    path = dataset.path(DATASET)
    return path.read_bytes() if path.exists() else b""


def failures(built: Built) -> int:
    """Items of all stages that the next run tries again, or would with `--retry`."""
    counts = sum((result.outcomes.counts for result in built.results), Counter[tuple[str, str]]())
    return sum(count for (state, _), count in counts.items() if state == FAILED)


def _after(built: Built, order: Order, dataset: Workspace, work: Workspace, show: Show) -> Report | None:
    """Report on a dataset and check it, unless this very dataset was found sound before and has not changed since."""
    state = hashlib.sha256(description(dataset)).hexdigest()
    if not built.mended and work.exists(VERIFIED) and work.path(VERIFIED).read_text() == state:
        return None
    with show.page():
        write_page(built, order, dataset, work)
    seen = show.verify()
    if seen and seen.ok:
        with work.create(VERIFIED) as (file, _):
            file.write(state.encode())
    return seen


def write_page(built: Built, order: Order, dataset: Workspace, work: Workspace) -> None:
    """Write the HTML report of a build into its workspace, and what later reports on the dataset tell of the build."""
    told = story(built.results, built.selection)
    if not any(result.fresh for result in built.results):  # it took no time, and what it came to is known
        told = replace(told, seconds=kept(work.root, built.dataset.fingerprint).seconds)
    keep(work, built.dataset.fingerprint, told)
    write_report(work.root / PAGE, dataset, order.levels, told)
    work.sync(PAGE)
