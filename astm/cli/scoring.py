"""`astm evaluate`, `astm table` and `astm compare`."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from astm.cli.console import say
from astm.cli.options import DATASETS, MODELS, PRESETS, READY, AsJson, Device, completed, or_files
from mlst.exits import Exit, check_file, check_folder

if TYPE_CHECKING:
    from astm.cli.evaluating import Failure
    from astm.evaluation.evaluate import Scored


Out = Annotated[Path, typer.Option(help="Folder for results.json, results.md and pictures.", callback=check_folder)]


def evaluate(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Runs, checkpoints, models.", autocompletion=or_files(READY)),
    ],
    out: Out = Path("results"),
    data: Annotated[
        str,
        typer.Option("--data", help="Dataset; by default that of the first run.", autocompletion=completed(DATASETS)),
    ] = "",
    chosen: Annotated[
        str,
        typer.Option(
            "--preset",
            help="Take the dataset's settings from this preset.",
            autocompletion=completed(PRESETS),
        ),
    ] = "",
    split: Annotated[
        str, typer.Option(help="train, validation or test.", autocompletion=completed("train validation test"))
    ] = "test",
    metrics: Annotated[
        str, typer.Option(help="Comma-separated names; by default all but stlpips_alex and lpips_alex=FOLDER.")
    ] = "",
    more: Annotated[
        list[str] | None, typer.Option("--set", metavar="data.NAME=VALUE", help="Dataset settings.")
    ] = None,
    count: Annotated[int, typer.Option(min=0, help="Number of clips to evaluate; 0 for all.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    workers: Annotated[
        int, typer.Option(min=-1, help="Number of data loading processes; -1 as in training: 4 for CUDA, else 0.")
    ] = -1,
    keep: Annotated[int, typer.Option(min=0, help="Clips to draw; at least one per level.")] = 3,
    samples: Annotated[
        int, typer.Option(min=0, help="Also score this many samples: the best, their mean, a single one.")
    ] = 0,
    save: Annotated[
        Path | None,
        typer.Option("--save-predictions", metavar="DIR", help="Also write predictions, for `astm score`."),
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Score models on the same clips: JSON, a Markdown table, filmstrips, error maps, curves, a map by level.

    Each result is written when its model is done. If some models fail, the others are kept and the exit code is 3.
    """
    from astm.cli.evaluating import Asked, evaluate_all, on_clips
    from astm.cli.experiment import data_of
    from astm.data import open_clips
    from astm.training.team import loaders, prepared

    name, settings = data_of(sources, data, chosen, more or [])
    names, where = chosen_metrics(metrics), prepared(device)
    if save:
        check_folder(save)
    clips = open_clips(name, settings, split)
    say(clips.protocol)
    loading = loaders(workers, where, 1)
    score = on_clips(clips, Asked(name, where, names, batch_size, count, loading, keep, samples, save))
    each = min(count or len(clips), len(clips))
    finish(out, *evaluate_all(dict(zip(labels(sources), sources, strict=True)), score, each, out), as_json=as_json)


def score(
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="The true films: .npy, .npz, .tar or a folder.")],
    predictions: Annotated[
        list[Path], typer.Argument(metavar="PREDICTIONS", help="The same for each model: what it made of their ends.")
    ],
    out: Out = Path("scored"),
    names: Annotated[
        list[str] | None, typer.Option("--label", help="What to call a model; repeated, in the order of the models.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="Name of the model that made them (see `astm models`), for `astm table`.",
            autocompletion=completed(MODELS),
        ),
    ] = "",
    metrics: Annotated[
        str, typer.Option(help="Comma-separated names; by default all but stlpips_alex and lpips_alex=FOLDER.")
    ] = "",
    truth_layout: Annotated[str, typer.Option(help="Axes of the true films, e.g. TNHW for mnist_test_seq.npy.")] = "",
    layout: Annotated[str, typer.Option(help="Axes of the predictions, e.g. NTHWC.")] = "",
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    keep: Annotated[int, typer.Option(min=0, help="Clips to draw; at least one per level.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Score anybody's predictions with the same metrics, files and pictures as `astm evaluate`.

    Films are NumPy stacks, arrays by name, folders of videos, or WebDataset shards. Named films are paired by name,
    others by their order. A prediction is of the last frames of its film.
    """
    from astm.cli.evaluating import evaluate_all
    from astm.data.films import open_films
    from astm.evaluation import predictions as files
    from astm.evaluation.evaluate import Scored
    from astm.training.settings import SettingsError
    from astm.training.team import prepared

    called = names or [path.resolve().stem for path in predictions]
    if len(called) != len(predictions) or len(set(called)) < len(called):
        raise SettingsError(f"{len(predictions)} predictions need as many different labels, not {', '.join(called)}")
    prepared("cpu")
    chosen, true = chosen_metrics(metrics), open_films(truth, truth_layout)
    known = files.about(true, truth)
    say(known.protocol)

    def scored(source: str, label: str, progress: Callable[[int], None]) -> Scored:
        return files.score_films(
            true,
            open_films(Path(source), layout),
            known,
            label=label,
            model=model or label,
            metrics=chosen,
            batch_size=batch_size,
            keep=keep,
            progress=progress,
        )

    sources = dict(zip(called, map(str, predictions), strict=True))
    finish(out, *evaluate_all(sources, scored, len(true.keys), out), as_json=as_json)


def finish(out: Path, found: "list[Scored]", failures: "list[Failure]", *, as_json: bool) -> None:
    """Draw and print what was found, and say what failed. Raises the failure where there is nothing else."""
    from astm.cli.evaluating import why_failed
    from astm.evaluation import figures
    from astm.evaluation.evaluate import markdown

    if not found:
        raise failures[0].why
    results = [one.result for one in found]
    figures.draw(out, results, [one.examples for one in found])
    sys.stdout.write((out / "results.json").read_text() if as_json else markdown(results))
    say(f"results.json, results.md, clips.parquet and pictures are in {out}")
    for failure in failures:
        say(f"no result of {failure.label}: {why_failed(failure.why)}", "red")
    if failures:
        raise typer.Exit(Exit.PARTLY)


def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder of `astm evaluate` or `astm score`.")],
    out: Annotated[Path | None, typer.Option(help="The page to write; by default RESULTS/report.html.")] = None,
) -> None:
    """Results as one page that needs nothing beside it: tables, films, filmstrips, difference maps, curves."""
    from astm.evaluation.page import page
    from mlst.files import write

    place = check_file(out or results / "report.html")
    write(place, page(results))
    say(f"{place}: {place.stat().st_size / 2**20:.1f} MiB")


def table(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="1, 2 or 3 of the paper; 4: OpenSTL's.")],
    results: Annotated[
        list[Path] | None, typer.Argument(metavar="RESULTS", help="results.json files of `astm evaluate`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The paper's table: published and measured numbers side by side, and the definition of each.

    Without results it shows those that come with the package.
    """
    from astm.evaluation import tables
    from astm.results import read_results

    given = [result for path in results or [] for result in read_results(path)]
    made = tables.table(number, given) if results else tables.shipped(number)
    sys.stdout.write(json.dumps(asdict(made), indent=1) + "\n" if as_json else tables.markdown(made))


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="Label of a model in the results.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Label of the model to compare it with.")],
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="Folder of `astm evaluate --out`; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Differences of two models on the same clips, for every metric and level, with 95 % intervals."""
    from astm.evaluation import clip_scores, comparison

    folders = results or [Path("results")]
    found = [scores for folder in folders for scores in clip_scores.read_clip_scores(folder / clip_scores.FILE)]
    first, second = (clip_scores.labelled(found, label) for label in (a, b))
    differences = comparison.compare(first, second)
    sys.stdout.write(comparison.to_json(differences) if as_json else comparison.markdown(a, b, differences))


def chosen_metrics(names: str) -> list[str]:
    """The metrics that a comma-separated list names, or those that are always computed. Raises `SettingsError`."""
    from astm import perceptual
    from astm.metrics import ON_REQUEST, metric
    from astm.training.settings import SettingsError

    if not names:
        return [name for name in metric if name not in ON_REQUEST]
    asked = dict(part.strip().partition("=")[::2] for part in names.split(","))
    found = list(asked)
    if unfit := [name for name, place in asked.items() if place and name != "lpips_alex"]:
        raise SettingsError(f"{unfit[0]} takes no weights; only lpips_alex=FOLDER does")
    if unknown := [name for name in found if name not in metric]:
        raise SettingsError(f"unknown metric {', '.join(unknown)}; choices are {', '.join(metric)}")
    if place := asked.get("lpips_alex"):
        perceptual.use(Path(place))
    return found


def labels(sources: Sequence[str]) -> list[str]:
    """Short names for tables: the folder of a run, the name of a file or model; the whole text where two are alike."""
    from astm.training.train import PRETRAINED

    short = []
    for source in sources:
        path = Path(source)
        run = path.parent if path.stem in {"best", "last"} or path.name == PRETRAINED else path
        short.append(run.resolve().name if path.exists() else source)
    return [name if short.count(name) == 1 else source for name, source in zip(short, sources, strict=True)]
