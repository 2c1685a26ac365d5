"""Which models in which forms, and where files lie."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from astm.predictor import model
from astm.training.settings import Experiment, Tree, merge, override, parse, preset, presets
from benchmarks.gpu.ways import Precision, Way

Form: TypeAlias = Literal["paper", "small"]

TRAINED = ("astm", "astm_basic", "predrnn_pp", "simvp")
"""Trained under equal budgets, in their `small` forms."""
COMPILED = ("astm", "astm_basic", "predrnn_pp", "simvp")
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


def experiment(name: str, form: Form, job: Job, *settings: str) -> Experiment:
    """A model on Moving MNIST: as in its paper (its defaults where no preset says so), or small."""
    tree: Tree = {"model": {"name": name}, "data": {"name": "moving_mnist"}}
    wanted = "tiny" if job.smoke else form
    if name in presets("moving_mnist")[wanted]:
        tree = preset("moving_mnist", wanted, name)
    data = override((f"data.root={job.root}", "data.test=generated", f"data.test_count={TEST_COUNT}"))
    return parse(merge(tree, data, override(settings)))


def models() -> list[str]:
    """Every model that has parameters, ASTM and what is trained first."""
    learned = [name for name in model if next(model[name]().parameters(), None) is not None]
    return [*TRAINED, *(name for name in learned if name not in TRAINED)]


def eager_cases(smoke: bool) -> list[Case]:
    """In the order of their importance: time may not suffice for all."""
    precisions: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
    batch, small = (2, 2) if smoke else (16, 32)
    probes: list[tuple[Way, Precision]] = [("eager", "bfloat16"), ("graph", "bfloat16"), ("graph", "tf32")]
    ways: tuple[Way, ...] = ("eager", "plain", "folded", "channels_last", "graph")
    cases = [Case("astm", "paper", way, p, batch) for p in precisions for way in ways]
    cases += [Case(name, "small", way, p, small) for way, p in probes for name in TRAINED]
    cases += [Case("astm_basic", "paper", "eager", p, batch) for p in precisions]
    cases += [Case(name, "paper", "eager", p, batch) for name in models()[2:] for p in precisions]
    cases += [Case("simvp", "paper", "channels_last", p, batch) for p in precisions]
    return cases


def compiled_cases(name: str, smoke: bool) -> list[Case]:
    """Of one model, as `eager_cases`."""
    batch, small = (2, 2) if smoke else (16, 32)
    precisions: tuple[Precision, ...] = ("bfloat16", "tf32")
    cases = [Case(name, "small", "compiled graph", p, small) for p in precisions]
    return cases + [Case(name, "paper", "compiled", p, batch) for p in precisions]
