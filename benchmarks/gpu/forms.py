"""Which models in which forms, and where files lie."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from astm.predictor import model
from astm.training.settings import Experiment, Tree, merge, override, parse, preset, presets
from benchmarks.gpu.ways import Precision, Way

Form: TypeAlias = Literal["paper", "openstl", "small", "bundled"]

TRAINED = ("astm", "astm_basic", "predrnn_pp", "simvp")
"""Trained under equal budgets, in their `small` forms."""
WIDER = ("predrnn_pp",)
"""Whose `openstl` preset has other widths than the paper's."""
BUNDLED = ("model.patch=4", "model.hidden=40")
"""The checkpoint of the package: weights of 5 MB, on a finer grid than the other small forms."""
BATCHES: dict[Form, int] = {"paper": 16, "openstl": 16, "small": 32, "bundled": 32}
TEST_COUNT = 10_000
"""Sequences that are scored, generated from MNIST's test digits with `data.data_seed` 0."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all parts of a benchmark share."""

    out: Path
    root: Path
    """MNIST's files."""
    device: str
    smoke: bool
    """Forms, numbers and times so small that a CPU has done in seconds."""


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement of speed."""

    model: str
    form: Form
    way: Way
    precision: Precision
    batch: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.form}-{self.model}-{self.way.replace(' ', '_')}-{self.precision}"

    @property
    def patience(self) -> float:
        """Seconds for a measurement, cuDNN's search included, which may take minutes."""
        return 60.0 if self.model == "vpn" else 25.0


def experiment(name: str, form: Form, job: Job, *settings: str) -> Experiment:
    """A model on Moving MNIST: as in its paper (its defaults where no preset says so), or another form."""
    tree: Tree = {"model": {"name": name}, "data": {"name": "moving_mnist"}}
    wanted = "tiny" if job.smoke else "small" if form == "bundled" else form
    if name in presets("moving_mnist")[wanted]:
        tree = preset("moving_mnist", wanted, name)
    data = override((f"data.root={job.root}", "data.test=generated", f"data.test_count={TEST_COUNT}"))
    more = override(BUNDLED if form == "bundled" else ())
    return parse(merge(tree, data, more, override(settings)))


@cache
def models() -> list[str]:
    """Every model that has parameters, ASTM and what is trained first, the slowest last."""
    with torch.device("meta"):  # no memory, and no time for it
        learned = [name for name in model if next(model[name]().parameters(), None) is not None]
    return [*TRAINED, *sorted(set(learned) - {*TRAINED, "vpn"}), "vpn"]


def cases(smoke: bool) -> list[Case]:
    """Everything that is measured, by form and in the order of its importance: time may not suffice for all."""
    fast: tuple[Precision, ...] = ("bfloat16", "tf32")
    wanted = [
        *_ways("small", TRAINED, ("graph", "compiled graph"), fast),
        *_ways("small", TRAINED, ("eager",), ("bfloat16",)),
        *_ways("paper", ("astm",), ("eager",), fast),
        *_ways("bundled", ("astm",), ("graph",), ("bfloat16",)),
        *_ways("paper", models()[1:], ("eager",), ("bfloat16",)),
        *_ways("paper", TRAINED, ("graph",), ("bfloat16",)),
        *_ways("paper", ("astm",), ("plain", "folded", "channels_last"), fast),
        *_ways("paper", models()[1:-1], ("eager",), ("tf32",)),
        *_ways("openstl", WIDER, ("eager",), fast),
        *_ways("paper", ("simvp",), ("channels_last",), fast),
        *_ways("paper", ("astm",), ("eager", "plain", "folded", "channels_last"), ("float32",)),
        *_ways("paper", TRAINED, ("graph",), ("tf32",)),
        *_ways("paper", models()[1:], ("eager",), ("float32",)),
        *_ways("paper", TRAINED, ("compiled",), fast),
        *_ways("paper", ("astm", "simvp"), ("compiled graph",), ("bfloat16",)),
    ]
    return [replace(case, batch=2) if smoke else case for case in wanted]


def _ways(form: Form, names: Sequence[str], ways: Sequence[Way], precisions: Sequence[Precision]) -> list[Case]:
    return [Case(n, form, way, p, BATCHES[form]) for n in names for way in ways for p in precisions]
