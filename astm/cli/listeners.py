"""What is shown and written of training while it runs."""

import json
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from astm.cli.console import console, say
from astm.training.settings import SettingsError
from astm.training.train import Logged, Validated
from mlst import files


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
        say(about if step == 0 else f"{about}; resumes after step {step}")
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
    """One JSON object per report. A resumed run drops what was reported after the step it resumes from, and a line
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
    """TensorBoard files. A resumed run drops what was reported after the step it resumes from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            from torch.utils.tensorboard import SummaryWriter  # an extra
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


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
