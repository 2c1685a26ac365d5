"""What is shown and written of training while it runs."""

import json
import math
import time
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

FIRST_GAP, LONGEST_GAP = 2.0, 60.0
"""Seconds between two lines: after the first one, and in the end."""


class Bars:
    """Training on a terminal: a bar with loss, speed and time left.

    Without one, lines: the first after the first step, then each after twice as long, up to a minute.
    """

    def __init__(self) -> None:
        self._steps, self._said, self._gap = 0, time.monotonic(), 0.0
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
        say(about if step == 0 else f"{about}\nresumes after step {step}")
        self._task = self._bar.add_task("", total=steps, completed=step, say="")
        self._steps = steps

    def stepped(self, step: int, loss: float) -> None:
        """Move the bar; without one, say a line when it is time."""
        self._bar.update(self._task, completed=step)
        if not console.is_terminal and time.monotonic() - self._said >= self._gap:
            self._line(step, f"loss {loss:.5f}")

    def _line(self, step: int, text: str) -> None:
        say(f"step {step}/{self._steps}: {text}")
        self._said, self._gap = time.monotonic(), min(max(2 * self._gap, FIRST_GAP), LONGEST_GAP)

    def logged(self, report: Logged) -> None:
        """Show speed and time left."""
        speed = f"{report.clips_per_second:.1f} clips/s, {_duration(report.seconds_left)} left"
        text = f"loss {report.loss:.5f}{self._score}, {speed}"
        self._bar.update(self._task, say=text)
        if not console.is_terminal:
            self._line(report.step, text)

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

    def stepped(self, step: int, loss: float) -> None:
        """Nothing: reports have the mean."""

    def logged(self, report: Logged) -> None:
        """Append."""
        self._append(asdict(report))

    def validated(self, report: Validated) -> None:
        """Append."""
        self._append({"step": report.step, "score": report.score, "best": report.best})

    def _append(self, values: dict[str, float]) -> None:
        """JSON has no infinity, which the gradient of a step that float16 left out is: null."""
        with self.path.open("a", encoding="utf-8") as file:
            plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
            file.write(json.dumps(plain) + "\n")


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

    def stepped(self, step: int, loss: float) -> None:
        """Nothing: reports have the mean."""

    def logged(self, report: Logged) -> None:
        """Loss, gradient norm, learning rate and speed."""
        for name in ("loss", "gradient", "lr", "clips_per_second"):
            self._writer.add_scalar(f"train/{name}", getattr(report, name), report.step)

    def validated(self, report: Validated) -> None:
        """The score, and the first clips: true frames above predicted ones."""
        self._writer.add_scalar("validation/mse_sum", report.score, report.step)
        self._writer.add_image("validation/clips", report.picture, report.step, dataformats="HWC")
        self._writer.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
