"""The `astm` command: train, evaluate, predict, publish, table, models, bench."""

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, NoReturn, Self

import numpy as np
import torch
import typer
from huggingface_hub.utils.tqdm import disable_progress_bars
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from astm import files
from astm.data import DataError, DataSettings, dataset, open_clips
from astm.data.video import frame_rate, frames_at, planes, presentation_times, resize, write_video
from astm.evaluation import figures, tables
from astm.evaluation.cost import Stopwatch, cost
from astm.evaluation.evaluate import evaluate, markdown, to_bytes
from astm.evaluation.tables import TableError
from astm.metrics import metric
from astm.predictor import described, model
from astm.pretrained.card import About, card
from astm.pretrained.hub import HubError, address, check_name
from astm.pretrained.store import CONFIG, CheckpointError
from astm.results import Evaluation, EvaluationError, read_results, write_results
from astm.size import count_parameters, macs
from astm.training.checkpoint import load_predictor, read_experiment
from astm.training.settings import Experiment, SettingsError, merge, override, parse, preset, presets, to_toml
from astm.training.train import (
    PRETRAINED,
    Listener,
    Logged,
    TrainError,
    Validated,
    choose_device,
    make_optimiser,
    train,
)
from mlst import __version__

console = Console(stderr=True, highlight=False, quiet=os.environ.get("RANK", "0") != "0")
"""Progress and messages; standard output is for results. Of several processes only the first one speaks."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

EXPECTED = (CheckpointError, DataError, EvaluationError, HubError, SettingsError, TableError, TrainError)
INTERRUPTED = 143
"""Exit status after SIGTERM or SIGINT, when training was saved but is not finished."""

Settings = Annotated[list[str] | None, typer.Argument(metavar="[TABLE.NAME=VALUE]...", help="Settings to change.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="TABLE.NAME=VALUE", help="The same as an option.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write results to standard output as JSON.")]
Data = Annotated[str, typer.Option("--data", help="Dataset: moving_mnist, kth, mlst or folder.")]
Preset = Annotated[str, typer.Option("--preset", help="paper, authors, strong, tiny, small; empty for defaults.")]


def say(text: str, style: str = "") -> None:
    """A line to the user, as it is: not wrapped, no markup."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def main() -> None:
    """Entry point of the `astm` command."""
    app()


def _tell_versions(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"astm {__version__}\ntorch {torch.__version__}\n")
        raise typer.Exit


@app.callback()
def main_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_versions, is_eager=True, help="Versions of astm and torch.")
    ] = False,
) -> None:
    pass


@app.command("train")
def train_command(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="See `astm models`.")],
    settings: Settings = None,
    out: Annotated[Path, typer.Option(help="Folder of the run; a run that lies there goes on.")] = Path("runs/run"),
    data: Data = "moving_mnist",
    chosen: Preset = "tiny",
    more: Set = None,
    device: Device = "auto",
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print every setting as TOML, and stop.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard files into the run's folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model. The same command continues an interrupted run; `torchrun -m astm train` uses several GPUs."""
    with _refusals():
        experiment = _experiment(name, data, chosen, [*(settings or []), *(more or [])])
        if print_config:
            sys.stdout.write(to_toml(experiment.tree()))
            return
        with Bars() as bars:
            listeners: list[Listener] = [bars, LogFile(out / "log.jsonl"), *([Boards(out)] if tensorboard else [])]
            ended = train(experiment, out, device, listeners)
    progress = ended.progress
    if as_json and not console.quiet:
        best = {"best": progress.best, "best_step": progress.best_step} if math.isfinite(progress.best) else {}
        result = {"finished": ended.finished, "step": progress.step, "seconds": round(ended.seconds, 1), **best}
        sys.stdout.write(json.dumps({**result, "out": str(out)}) + "\n")
    if not ended.finished:
        say(f"stopped after step {progress.step}, saved in {out}; the same command goes on from there")
        raise typer.Exit(INTERRUPTED)
    said = "all {} steps were done before" if math.isnan(ended.loss) else "finished {} steps in {:.0f} s"
    say(f"{said.format(progress.step, ended.seconds)}; best model in {out / PRETRAINED}")


@app.command("evaluate")
def evaluate_command(
    sources: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Runs, checkpoints, models.")],
    out: Annotated[Path, typer.Option(help="Folder for results.json, results.md and pictures.")] = Path("results"),
    data: Annotated[str, typer.Option("--data", help="Dataset; by default that of the first run.")] = "",
    chosen: Annotated[str, typer.Option("--preset", help="Take the dataset's settings from this preset.")] = "",
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    metrics: Annotated[str, typer.Option(help="Names separated by commas; by default all.")] = "",
    more: Annotated[
        list[str] | None, typer.Option("--set", metavar="data.NAME=VALUE", help="Dataset settings.")
    ] = None,
    count: Annotated[int, typer.Option(min=0, help="Only the first clips; 0 for all.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load data.")] = 0,
    keep: Annotated[int, typer.Option(min=0, help="Clips to draw; at least one per level.")] = 3,
    samples: Annotated[
        int, typer.Option(min=0, help="Also score this many samples: the best, their mean, a single one.")
    ] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Score models on the same clips: JSON, a Markdown table, filmstrips, error maps, curves, a map by level."""
    with _refusals():
        name, settings = _data_of(sources, data, chosen, more or [])
        names = [name.strip() for name in metrics.split(",")] if metrics else list(metric)
        if unknown := [n for n in names if n not in metric]:
            raise SettingsError(f"unknown metric {', '.join(unknown)}; choices are {', '.join(metric)}")
        clips, where = open_clips(name, settings, split), choose_device(device)
        say(clips.protocol)
        results, examples = list[Evaluation](), []
        for source, label in zip(sources, labels(sources), strict=True):
            predictor = load_predictor(source)
            with console.status(f"{label} ..."), _fits(source):
                result, kept = evaluate(
                    predictor, clips, name, label, where, names, batch_size, count, workers, keep, samples
                )
            results.append(result)
            examples.append(kept)
        write_results(out / "results.json", results)
        files.write(out / "results.md", markdown(results))
        figures.draw(out, results, examples)
    sys.stdout.write((out / "results.json").read_text() if as_json else markdown(results))
    say(f"results.json, results.md and pictures are in {out}")


@app.command("predict")
def predict_command(
    source: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run, checkpoint, saved or bundled model, or copy_last.")
    ],
    video: Annotated[Path, typer.Argument(help="Any video file.")],
    out: Annotated[Path, typer.Option(help="The video to write (.mp4).")] = Path("predicted.mp4"),
    horizon: Annotated[int, typer.Option(min=1, help="Frames to predict.")] = 10,
    past: Annotated[int, typer.Option(min=1, help="Frames to show the model.")] = 10,
    start: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0,
    size: Annotated[int, typer.Option(min=0, help="Height and width; by default as trained, else 256.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Predict a video's frames and write them beside the truth: left what happened, right what was predicted."""
    with _refusals():
        predictor, where = load_predictor(source), choose_device(device)
        channels = int(getattr(predictor.settings, "channels", 3))
        side = size or predictor.origin.size or 256
        times = presentation_times(video)
        if len(times) < start + past + horizon:
            raise DataError(
                f"{video} has {len(times)} frames; {past} + {horizon} from frame {start} need "
                f"{start + past + horizon}: lower --horizon, --past or --start"
            )
        pictures = planes(resize(frames_at(video, times[start : start + past + horizon]), side), channels)
        frames = torch.from_numpy(pictures)[None].float().div_(255).to(where)
        with torch.no_grad(), _fits(source):
            predicted = predictor.to(where).eval()(frames[:, :past], horizon)
        psnr = metric["psnr_frame"](predicted, frames[:, past:])[0].tolist()
        shown = np.concatenate([pictures[:past], to_bytes(predicted[0])])
        write_video(out, beside(pictures, shown), frame_rate(video))
    if as_json:
        sys.stdout.write(json.dumps({"out": str(out), "past": past, "horizon": horizon, "psnr_frame": psnr}) + "\n")
    else:
        say(f"{out}: {past} frames shown, {horizon} predicted, psnr_frame {sum(psnr) / len(psnr):.2f} dB")


@app.command("publish")
def publish_command(
    source: Annotated[str, typer.Argument(metavar="MODEL", help="A run, checkpoint or saved model.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Model repository; made if missing.")],
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="results.json of `astm evaluate`; may be repeated.")
    ] = None,
    label: Annotated[str, typer.Option(help="What the model is called in them, if several could be meant.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights, e.g. mit or cc-by-4.0.")] = "",
    revision: Annotated[str, typer.Option(help="Branch; made from main if missing.")] = "main",
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the card to standard output, send nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish a model on the Hugging Face Hub: weights, settings and a card with its scores, in one commit.

    The token comes from HF_TOKEN or from `hf auth login`.
    """
    with _refusals():
        exported = Path(source) / PRETRAINED
        predictor = load_predictor(str(exported) if (exported / CONFIG).is_file() else source)
        if dry_run:
            check_name(repository)
            sys.stdout.write(card(described(predictor), About(repository, licence, tuple(results or ()), label)))
            return
        if as_json or not console.is_terminal:
            disable_progress_bars()
        commit = predictor.push_to_hub(repository, private, results or (), label, licence, revision)
    if as_json:
        sys.stdout.write(json.dumps({"repository": repository, "commit": commit}) + "\n")
    else:
        say(f"published: {address(repository, commit)}")


@app.command("table")
def table_command(
    number: Annotated[int, typer.Argument(help="1, 2 or 3.")],
    results: Annotated[list[Path] | None, typer.Argument(help="results.json files of `astm evaluate`.")] = None,
    as_json: AsJson = False,
) -> None:
    """The paper's table: published and measured numbers side by side, and the definition of each.

    Without results it shows those that come with the package.
    """
    with _refusals():
        given = [result for path in results or [] for result in read_results(path)]
        made = tables.table(number, given) if results else tables.shipped(number)
    sys.stdout.write(json.dumps(asdict(made), indent=1) + "\n" if as_json else tables.markdown(made))


@app.command("models")
def models_command(
    data: Data = "moving_mnist",
    chosen: Annotated[
        str, typer.Option("--preset", help="Sizes of this preset; empty for the models' defaults.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """All models, with their parameters and the multiply-accumulates of one clip."""
    with _refusals():
        names = presets(data).get(chosen, ()) if chosen else tuple(model)
        if not names:
            raise SettingsError(f"unknown preset {chosen!r} of {data}; choices are {', '.join(presets(data))}")
        rows = [_model_row(name, data, chosen) for name in names]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return
    table = Table(title=f"{rows[0]['frames']}, {rows[0]['size']}")
    for head in ("model", "parameters", "published", "GMAC"):
        table.add_column(head, justify="left" if head == "model" else "right", no_wrap=True)
    table.add_column(f"presets for {data}")
    for row in rows:
        published = row["published_parameters"]
        table.add_row(
            row["model"],
            f"{row['parameters']:,}",
            f"{published:.1f} M{'*' if row['published_remark'] else ''}" if published else "-",
            "-" if row["macs"] is None else f"{row['macs'] / 1e9:.1f}",
            row["presets"],
        )
    Console().print(table)
    say("published: in OpenSTL's table of Moving MNIST, at full size. * Not the default settings here:")
    for row in rows:
        if row["published_remark"]:
            say(f"  {row['model']}: {row['published_remark']}")


@app.command("bench")
def bench_command(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="See `astm models`.")],
    settings: Settings = None,
    data: Data = "moving_mnist",
    chosen: Preset = "tiny",
    more: Set = None,
    device: Device = "auto",
    repeat: Annotated[int, typer.Option(min=1, help="Batches to time.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Time and memory of training and prediction, on random pictures of the dataset's size."""
    with _refusals():
        experiment = _experiment(name, data, chosen, [*(settings or []), *(more or [])])
        row = bench(experiment, choose_device(device), repeat)
    if as_json:
        sys.stdout.write(json.dumps(row) + "\n")
        return
    table = Table("quantity", "value")
    for key, value in row.items():
        table.add_row(key, f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if key != "device" else value)
    Console().print(table)


def bench(experiment: Experiment, device: torch.device, repeat: int) -> dict[str, Any]:
    """Clips per second in training and prediction, and memory of each."""
    s, d = experiment.train, experiment.data_settings
    torch.manual_seed(s.seed)
    predictor = experiment.predictor().to(device)
    predictor.checkpoint = s.checkpoint
    shape = (s.batch_size, d.length, d.channels, d.size, d.size)
    clips = torch.rand(shape, device=device)
    past, future = clips[:, : d.past], clips[:, d.past :]
    watch = Stopwatch(device)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=s.precision == "bfloat16"):
        predictor.eval()(past, d.horizon)
        for _ in range(repeat):
            watch.predict(predictor, past, d.horizon)
    predictor.train()
    spent = cost(predictor, watch, past[:1], future[:1])
    row = asdict(spent)
    if spent.parameters == 0:
        return row
    if s.compile:
        predictor.compile_cells()
    optimiser, timer = make_optimiser(predictor, s, device), Stopwatch(device)
    for i in range(repeat + 1):
        if i == 1:  # the first one warms up
            timer = Stopwatch(device)
        with timer.running():
            with torch.autocast(device.type, torch.bfloat16, enabled=s.precision == "bfloat16"):
                loss = predictor.loss(past, future, i, s.seed)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    rate = repeat * s.batch_size / timer.seconds
    return {**row, "training_clips_per_second": rate, "training_peak_bytes": timer.peak_bytes}


def labels(sources: Sequence[str]) -> list[str]:
    """Short names for tables: the folder of a run, the name of a file or model; the whole text where two are alike."""
    short = []
    for source in sources:
        path = Path(source)
        run = path.parent if path.stem in {"best", "last"} or path.name == PRETRAINED else path
        short.append(run.absolute().name if path.exists() else source)
    return [name if short.count(name) == 1 else source for name, source in zip(short, sources, strict=True)]


def beside(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Two films (T, C, H, W) as one (T, H, W', 3), a white line between them."""
    films = [np.repeat(film, 3 // film.shape[1], axis=1).transpose(0, 2, 3, 1) for film in (left, right)]
    line = np.full((*films[0].shape[:2], 4, 3), 255, np.uint8)
    return np.concatenate([films[0], line, films[1]], axis=2)


class Bars:
    """Training on a terminal: a bar with loss, speed and time left; without one, a line at each report."""

    def __init__(self) -> None:
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[say]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task, self._score = TaskID(0), ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def began(self, step: int, steps: int, about: str) -> None:
        """Show the bar."""
        say(about if step == 0 else f"{about}; goes on after step {step}")
        self._task = self._bar.add_task("", total=steps, completed=step, say="")

    def logged(self, report: Logged) -> None:
        """Move the bar."""
        speed = f"{report.clips_per_second:.1f} clips/s, {_duration(report.seconds_left)} left"
        text = f"loss {report.loss:.5f}{self._score}, {speed}"
        self._bar.update(self._task, completed=report.step, say=text)
        if not console.is_terminal:
            say(f"step {report.step}/{report.steps}: {text}")

    def validated(self, report: Validated) -> None:
        """Show the score from now on."""
        self._score = f", validation mse_sum {report.score:.2f}{' (best)' if report.best else ''}"
        if not console.is_terminal:
            say(f"step {report.step}: {self._score[2:]}")


class LogFile:
    """One JSON object per report. A run that goes on drops what was said after the step it goes on from, and a line
    that a killed run left torn."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def began(self, step: int, steps: int, about: str) -> None:
        """Cut the file back to `step`."""
        lines = self.path.read_text().splitlines(keepends=True) if self.path.is_file() else []
        kept = (line for line in lines if line.endswith("}\n") and json.loads(line)["step"] <= step)
        files.write(self.path, "".join(kept))

    def logged(self, report: Logged) -> None:
        """Append."""
        self._append(asdict(report))

    def validated(self, report: Validated) -> None:
        """Append."""
        self._append(asdict(report))

    def _append(self, values: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


class Boards:
    """TensorBoard files. A run that goes on has it forget what was said after the step it goes on from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415, an extra
        except ImportError:
            raise SettingsError("--tensorboard needs the extra: pip install 'mlst[train]'") from None
        self._kind: Any = SummaryWriter

    def began(self, step: int, steps: int, about: str) -> None:
        """Open a new file."""
        self._writer = self._kind(str(self.folder), purge_step=step + 1)

    def logged(self, report: Logged) -> None:
        """Loss, gradient norm, learning rate and speed."""
        for name in ("loss", "gradient", "lr", "clips_per_second"):
            self._writer.add_scalar(f"train/{name}", getattr(report, name), report.step)

    def validated(self, report: Validated) -> None:
        """The score."""
        self._writer.add_scalar("validation/mse_sum", report.score, report.step)
        self._writer.flush()


def _experiment(name: str, data: str, chosen: str, assignments: Sequence[str]) -> Experiment:
    base = preset(data, chosen, name) if chosen else {"model": {"name": name}, "data": {"name": data}}
    return parse(merge(base, override(assignments)))


def _data_of(sources: Sequence[str], data: str, chosen: str, assignments: Sequence[str]) -> tuple[str, DataSettings]:
    """The dataset to evaluate on: a named one, or that of the first model that was trained."""
    if data:
        table = {**_data_table(data, chosen), "name": data}
    else:
        if chosen:
            raise SettingsError(f"--preset {chosen} is of a dataset; name it with --data")
        known = next((source for source in sources if Path(source).exists() or source not in model), sources[0])
        table = read_experiment(known).tree()["data"]
    changes = override(assignments)
    if others := changes.keys() - {"data"}:
        raise SettingsError(f"evaluation takes settings of data, not of {', '.join(sorted(others))}")
    tree = merge({"data": table, "model": {"name": "copy_last"}}, changes)
    checked = parse(tree)
    return checked.data, checked.data_settings


def _data_table(data: str, chosen: str) -> dict[str, Any]:
    if data not in dataset:
        raise SettingsError(f"unknown dataset {data!r}; choices are {', '.join(dataset)}")
    if not chosen:
        return {}
    found = presets(data)
    if chosen not in found:
        raise SettingsError(f"unknown preset {chosen!r} of {data}; choices are {', '.join(found)}")
    table: dict[str, Any] = preset(data, chosen, found[chosen][0])["data"]
    return table


def _model_row(name: str, data: str, chosen: str) -> dict[str, Any]:
    """`macs` is None of a model whose defaults are for pictures of another size."""
    count: int | None = None
    with torch.device("meta"):
        try:
            experiment = _experiment(name, data, chosen, [])
            predictor, d = experiment.predictor(), experiment.data_settings
            count = macs(predictor, d.past, d.horizon, (d.size, d.size))
        except SettingsError:
            if chosen:
                raise
            predictor, d = model[name](), dataset[data].Settings()
    return {
        "model": name,
        "parameters": count_parameters(predictor),
        "published_parameters": predictor.published.parameters,
        "published_remark": predictor.published.remark,
        "macs": count,
        "frames": f"{d.past} -> {d.horizon}",
        "size": f"{d.channels} x {d.size} x {d.size}",
        "about": (type(predictor).__doc__ or "").split("\n")[0],
        "presets": ", ".join(preset for preset, models in presets(data).items() if name in models),
    }


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


@contextmanager
def _fits(source: str) -> Iterator[None]:
    """Name the model whose frames do not fit; models check shapes and say what would do."""
    try:
        yield
    except ValueError as why:
        raise DataError(f"{source}: {why}") from why


@contextmanager
def _refusals() -> Iterator[None]:
    """What users can put right is a message and exit status 1; anything else keeps its traceback."""
    try:
        yield
    except EXPECTED as why:
        _refuse(str(why))
    except OSError as why:
        if why.filename is None:
            raise
        _refuse(f"{why.filename}: {why.strerror}; give another path")


def _refuse(why: str) -> NoReturn:
    say(f"astm: {why}", "red")
    raise typer.Exit(1) from None
