"""An experiment: a model, a dataset and how the one is trained on the other. Presets are TOML, overrides `key=value`.

Defaults stand in the settings types and nowhere else; a preset only says what differs. Unknown settings are errors.
"""

import importlib.resources
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, TypeAlias

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

import astm.models  # noqa: F401  fills the registry
from astm.data import DataSettings, dataset
from astm.predictor import ModelSettings, Predictor, model
from mlst.exits import UserError
from mlst.problems import problem

Tree: TypeAlias = dict[str, Any]
"""Nested tables of a TOML file, before they are checked."""


OVERRIDES = "overrides"
"""The array in `experiment.toml` of what was changed in the middle of a run."""


class SettingsError(UserError, ValueError):
    """Settings that cannot be used; one line for each, with its name, value and choices."""


class TrainSettings(BaseModel):
    """Whatever of training may change the weights that come out, apart from model and data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: str = ""
    """A run, checkpoint, saved model or Hub id whose weights are taken where names and shapes are the same; without, a
    model starts from random ones."""
    seed: Annotated[int, Field(ge=0)] = 0
    steps: Annotated[int, Field(ge=1)] = 200_000
    """Batches; with `reverse_input` there are two updates in each."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Of all processes together."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Parts in which a process goes through its share of a batch, one after the other: the gradient is that of the
    whole batch, the memory that of a part. What a model draws (scheduled sampling), it draws anew for each part."""
    optimiser: Literal["adam", "adamw", "rmsprop"] = "adam"
    """`rmsprop`: decay 0.9, no momentum and an epsilon of 1e-5 beside the root, which is TensorFlow 1's 1e-10 under
    it; its average of squares starts at 0, not at 1."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate, the highest one where it varies."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of Adam and AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "exponential", "linear", "onecycle"] = "constant"
    """`onecycle`: Smith's (arXiv 1708.07120) as in PyTorch, cosine, 30 % up from lr/25, down to lr/250,000.
    `exponential`: times `decay` every `decay_every` steps once `decay_from` steps are done.
    `linear`: constant for `decay_from` steps, then in a straight line to 0 at the end."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    decay_every: Annotated[int, Field(ge=1)] = 2_000
    decay_from: Annotated[int, Field(ge=0)] = 50_000
    clip_norm: Annotated[float, Field(ge=0)] = 0.0
    """Gradients are scaled down to this norm; 0 for never."""
    reverse_input: bool = False
    """A second update on each batch played backwards (PredRNN, PredRNN++)."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """`bfloat16` and `float16` are autocast; weights and optimiser stay float32. `float16` scales the loss, and leaves
    out a step whose gradient overflows."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the weights' exponential moving average, which is then what is validated and published; 0 for none."""
    checkpoint: bool = False
    """Recompute activations in the backward pass instead of keeping them."""
    compile: bool = False
    """Let `torch.compile` compile the cells."""
    graphs: bool = False
    """Replay each step as a CUDA graph once the loss no longer depends on the step (`Predictor.steady_from`, the end
    of scheduled sampling): several times as fast for small recurrent models. Without effect on a CPU."""
    validate_every: Annotated[int, Field(ge=1)] = 2_000
    """Steps between scores of the validation split, after which the best weights so far are kept."""
    validate_on: Annotated[int, Field(ge=0)] = 1_000
    """Validation clips at most; with 0 there is no validation, and the last weights are the best."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Validations in a row without a better score after which training ends; 0 for never."""


class RunSettings(BaseModel):
    """Whatever only changes how fast a run is and what it says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: Annotated[int, Field(ge=-1)] = -1
    """Processes that load data; 0 loads in the training process; -1 is 4 for CUDA, or as many as there are free CPU
    cores for each process, and 0 on a CPU."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of each process. 0 is OMP_NUM_THREADS, or else half of the cores that are free at the start, so
    that a run beside it has the others; a continued run keeps its number, since sums depend on it."""
    autotune: bool = True
    """On CUDA, let cuDNN time its algorithms once for each shape. It takes seconds; with depthwise convolutions in
    bfloat16 (`simvp`) over a minute was seen, which a short run does not earn back."""
    log_every: Annotated[int, Field(ge=1)] = 50
    save_every: Annotated[int, Field(ge=1)] = 1_000
    """Steps between checkpoints."""
    save_minutes: Annotated[float, Field(ge=0)] = 10.0
    """Minutes after which one is written whatever the step; 0 for never."""


FIXED = frozenset({"start", "seed", "batch_size", "optimiser"})
"""Settings of training that a run keeps to its end: its state, or its place among the batches, is of them."""


@dataclass(frozen=True, slots=True)
class Change:
    """A setting with another value."""

    setting: str
    """`train.lr`."""
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.setting} is {self.now}, was {self.before}"


@dataclass(frozen=True, slots=True)
class Override:
    """A setting that was changed in the middle of a run."""

    step: int
    """Batches done before."""
    setting: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Experiment:
    """All settings of a run."""

    model: str
    model_settings: ModelSettings
    data: str
    data_settings: DataSettings
    train: TrainSettings
    run: RunSettings

    def predictor(self) -> Predictor:
        """The model with fresh weights."""
        return model[self.model](self.model_settings)

    def tree(self) -> Tree:
        """Every setting, as `parse` takes them."""
        return {
            "model": {"name": self.model, **self.model_settings.model_dump(mode="json")},
            "data": {"name": self.data, **self.data_settings.model_dump(mode="json")},
            "train": self.train.model_dump(mode="json"),
            "run": self.run.model_dump(mode="json"),
        }

    def difference(self, other: "Experiment") -> list["Change"]:
        """Settings that would change the weights and are not the same in both."""
        mine, theirs = _decisive(self), _decisive(other)
        return [
            Change(name, repr(theirs.get(name)), repr(mine.get(name)))
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]

    def doubts(self) -> list[str]:
        """What can be trained like this, but was hardly meant."""
        sampling, steps = getattr(self.model_settings, "sampling_steps", 0), self.train.steps
        if sampling < steps:
            return []
        return [
            f"scheduled sampling ends at step {sampling}, training at {steps}: up to then the model reads true "
            f"frames, which it will not have when it predicts; set model.sampling_steps={steps // 4}, or more steps"
        ]


class NotImported(DataSettings):
    """Settings of a class of one's own that no command named, so that it is not imported: enough to load a model."""

    model_config = ConfigDict(extra="allow")


def parse(tree: Mapping[str, Any]) -> Experiment:
    """Check tables `model`, `data`, `train` and `run`; the first two have a `name`. Raises `SettingsError`.

    `overrides`, the history that `experiment.toml` has beside them, is passed over.
    """
    tables = {name: dict(tree.get(name, {})) for name in ("model", "data", "train", "run")}
    if unknown := tree.keys() - tables.keys() - {OVERRIDES}:
        raise SettingsError(f"unknown table {', '.join(sorted(unknown))!r}; choices are {', '.join(tables)}")
    model_name, data_name = (str(tables[table].pop("name", "")) for table in ("model", "data"))
    try:
        unknown_class = ":" in data_name and data_name not in dataset
        model_type = model[model_name].Settings
        data_type = NotImported if unknown_class else dataset[data_name].Settings
    except KeyError as why:
        raise SettingsError(why.args[0]) from None
    if "channels" in model_type.model_fields:
        tables["model"].setdefault("channels", tables["data"].get("channels", 1))
    problems: list[str] = []
    checked = [
        _check(kind, tables[table], table, problems)
        for kind, table in ((model_type, "model"), (data_type, "data"), (TrainSettings, "train"), (RunSettings, "run"))
    ]
    problems += _clashes(checked[0], checked[1]) if not problems else []
    if problems:
        raise SettingsError("\n".join(problems))
    return Experiment(model_name, checked[0], data_name, *checked[1:])


def preset(data: str, name: str, model_name: str) -> Tree:
    """The tables that a preset gives for a model on a dataset, unchecked. Raises `SettingsError`.

    What a preset says in `[preset.model]` for all its models goes to those that have such a setting.
    """
    table = _presets(data)
    if model_name not in model:
        raise SettingsError(f"unknown model {model_name!r}; choices are {', '.join(model)}")
    if name not in table:
        raise SettingsError(f"unknown preset {name!r} of {data}; choices are {', '.join(table)}")
    models = table[name].get("models", {})
    if model_name not in models:
        others = ", ".join(p for p in table if model_name in table[p].get("models", {})) or "none"
        raise SettingsError(
            f"{data} has no preset {name!r} for the model {model_name!r}; it is there for "
            f"{', '.join(sorted(models))}; "
            f"{model_name} has {others}, and an empty preset gives defaults"
        )
    common = {key: value for key, value in table[name].items() if key != "models"}
    fields = model[model_name].Settings.model_fields
    common["model"] = {key: value for key, value in common.get("model", {}).items() if key in fields}
    return merge({"model": {"name": model_name}, "data": {"name": data}}, common, models[model_name])


def presets(data: str) -> dict[str, tuple[str, ...]]:
    """Names of the presets of a dataset, and the models that each is for."""
    return {name: tuple(sorted(table.get("models", {}))) for name, table in _presets(data).items()}


def override(assignments: Iterable[str]) -> Tree:
    """Tables from `a.b=value`; a value is read as TOML, or taken as text where it is none. Raises `SettingsError`."""
    result: Tree = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        parts = name.strip().split(".")
        if not equals or len(parts) != 2 or not all(parts):
            raise SettingsError(f"{assignment!r} is not a setting; write table.name=value, e.g. train.steps=1000")
        result = merge(result, {parts[0]: {parts[1]: _value(value.strip())}})
    return result


def merge(*trees: Mapping[str, Any]) -> Tree:
    """Later values replace earlier ones, table by table."""
    result: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merge(result[key], value) if both else value
    return result


def overridden(assignments: Iterable[str]) -> frozenset[str]:
    """Names of the settings that a run is told to change, `train.lr`. Raises `SettingsError` for one it cannot."""
    names = {f"{table}.{name}" for table, values in override(assignments).items() for name in values}
    free = [name for name in TrainSettings.model_fields if name not in FIXED]
    if fixed := sorted(name for name in names if name not in {f"train.{setting}" for setting in free}):
        raise SettingsError(
            f"a run keeps {', '.join(fixed)} to its end, start another one; --override changes those of train: "
            f"{', '.join(free)}"
        )
    return frozenset(names)


def to_toml(tree: Mapping[str, Mapping[str, Any]], overrides: Sequence[Override] = ()) -> str:
    """Tables of plain values as TOML, and the changes that led to them."""
    return tomli_w.dumps({**tree, **({OVERRIDES: [asdict(change) for change in overrides]} if overrides else {})})


def _presets(data: str) -> dict[str, Tree]:
    if data not in dataset:
        raise SettingsError(f"unknown dataset {data!r}; choices are {', '.join(dataset)}")
    folder = importlib.resources.files("astm.training") / "presets"
    found = [file for file in (folder / "common.toml", folder / f"{data}.toml") if file.is_file()]
    return merge(*(tomllib.loads(file.read_text(encoding="utf-8")) for file in found))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _check(kind: type[BaseModel], values: Tree, table: str, problems: list[str]) -> Any:
    try:
        return kind.model_validate(values)
    except ValidationError as why:
        problems += [_explain(kind, table, error) for error in why.errors()]
        return None


def _clashes(model_settings: ModelSettings, data: DataSettings) -> list[str]:
    """What model and data disagree about, before any data is read."""
    channels, patch = getattr(model_settings, "channels", data.channels), getattr(model_settings, "patch", 1)
    problems = []
    if channels != data.channels:
        problems.append(f"model.channels = {channels}, but data.channels = {data.channels}; leave out the former")
    if wrong := [side for side in data.picture if side % patch]:
        name = "size" if data.picture[0] % patch else "width"
        problems.append(f"data.{name} = {wrong[0]} is not a multiple of model.patch = {patch}; change one of them")
    elif misfit := model_settings.misfit(*data.picture):
        problems.append(f"model: {misfit}")
    return problems


def _explain(kind: type[BaseModel], table: str, error: ErrorDetails) -> str:
    name = ".".join((table, *map(str, error["loc"])))
    if error["type"] == "tuple_type" and isinstance(error["input"], str):
        # A shell takes double quotes away, and what is left is text.
        meant = [part.strip() for part in error["input"].strip("[]").split(",")]
        return f"{name} = {error['input']!r} is not a list; in a shell write '{name}={json.dumps(meant)}'"
    return problem(error, kind, table)


def _decisive(experiment: Experiment) -> dict[str, Any]:
    """Flat settings without those that cannot change the weights."""
    tree = experiment.tree()
    del tree["run"]
    for place in experiment.data_settings.places:
        del tree["data"][place]
    return {f"{table}.{name}": value for table, values in tree.items() for name, value in values.items()}
