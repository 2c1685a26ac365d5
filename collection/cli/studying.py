"""`mlst study`: whether levels mean what they say."""

from pathlib import Path
from typing import Annotated

import typer

from collection.cli import options
from mlst.exits import check_file


def study(
    place: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a built dataset, or of videos.")],
    out: Annotated[
        Path, typer.Option(help="HTML file to write; the same in JSON goes beside it.", callback=check_file)
    ] = Path("study.html"),
    levels: Annotated[
        str, typer.Option(help="Thresholds file, or the name of one that comes with mlst; a dataset's own by default.")
    ] = "",
    clips: Annotated[
        int, typer.Option(min=1, help="Clips at most whose bits and errors are measured; a second each on one core.")
    ] = 240,
    renditions: Annotated[
        int, typer.Option(min=0, help="Clips at most that are made in 17 renditions; ten seconds each on one core.")
    ] = 60,
    scores: Annotated[
        list[Path], typer.Option(help="Folder that `astm evaluate` wrote, for the errors of its models.")
    ] = [],  # noqa: B006
    metric: Annotated[str, typer.Option(help="Which error is taken from there.")] = "mse_sum",
    work: Annotated[
        str, typer.Option(help="Folder for what was measured; OUT-work by default.", callback=options.writable)
    ] = "",
    workers: options.Workers = options.WORKERS,
    as_json: options.AsJson = False,
) -> None:
    """Test what the levels of a dataset or of any videos are worth.

    Stability of labels over renditions, agreement of every column with coding costs and prediction errors, monotony
    on synthetic pictures, the distribution over levels. Looks at a sample, spread over all sources; if interrupted,
    run the same command again.
    """
    from collection.cli import running
    from collection.cli.console import results, safe
    from collection.engine.run import Driver
    from collection.study import study as studies
    from collection.study.page import write_page
    from collection.workspace.store import opened
    from mlst.dataset.description import THRESHOLDS
    from mlst.levels.levels import DEFAULT, read_levels
    from mlst.records import canonical_json

    own = place / THRESHOLDS
    definition = read_levels(levels) if levels else read_levels(own) if own.is_file() else read_levels(DEFAULT)
    errors = studies.read_scores(scores, metric)
    with opened(work or f"{out}-work") as here, running.watcher(as_json, here.root) as watcher:
        do = Driver(here, running.crew(options.Working(workers)), watcher, False, options.WAVE, True)
        found = studies.study(place, definition, studies.Sizes(clips, renditions), errors, do)
    write_page(out, found)
    text = canonical_json(found)
    out.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    results.print(text if as_json else f"Study: {safe(str(out))}, {safe(str(out.with_suffix('.json')))}")


COMMANDS = (study,)
