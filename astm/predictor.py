"""What every model promises, the registry of models, and how a model is saved and loaded.

Letters: B batch, T frames, C channels, H x W picture, p patch, h x w = H/p x W/p grid.
"""

import inspect
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeAlias, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from astm.pretrained.described import ClipShape, Described, first_paragraph
from astm.pretrained.provenance import NO_COUNTS, NO_PAPER, UNKNOWN, Counts, Origin, Paper
from astm.pretrained.store import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    Config,
    check_weights,
    locate,
    read_config,
    read_weights,
    write_config,
    write_weights,
)
from astm.size import count_parameters, macs
from mlst.registry import Registry

CALLS, CALLS_EACH = 1000, 40
"""Of PyTorch, while a model is made: for any, and for each of its weights. Ours take at most 12 for each."""
SPARE, LARGER = 1 << 26, 4
"""Bytes of a model besides its weights, and times their size in the file, which may have halves for our floats."""

Steps: TypeAlias = Annotated[int, Field(ge=0, le=10**12)]
"""Of training."""


class ModelSettings(BaseModel):
    """A model's settings: frozen, and an unknown one is an error. Numbers have bounds: they may be a stranger's."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def misfit(self, height: int, width: int) -> str:
        """Why pictures of this size, which the patch tiles, cannot be taken, and the remedy; "" if they can."""
        return ""


class Predictor(nn.Module):
    """A model of video prediction.

    A subclass sets `Settings` (what its constructor takes) and `paper`, implements `forward`, and may override `loss`.
    Trainer, evaluator and tables never ask a model its name.
    """

    Settings: ClassVar[type[ModelSettings]] = ModelSettings

    paper: ClassVar[Paper] = NO_PAPER
    """What the model implements, for its card."""

    published: ClassVar[Counts] = NO_COUNTS
    """What a public table says of the size of the method."""

    origin: Origin = UNKNOWN
    """The training that made the weights; saved and loaded with them."""

    checkpoint: bool = False
    """Recompute activations in the backward pass, time step by time step, instead of keeping them. Changes memory and
    time, never results; a model without time steps ignores it."""

    compiled: bool = False
    """Whether `compile_cells` has been called."""

    @property
    def steady_from(self) -> float:
        """The step from which on `loss` computes the same whatever its step and seed; infinity if it never does."""
        return 0 if type(self).loss is Predictor.loss else math.inf

    def __init__(self, settings: ModelSettings | None = None) -> None:
        super().__init__()
        self.settings = self.Settings() if settings is None else settings
        if not isinstance(self.settings, self.Settings):
            raise TypeError(
                f"{type(self).__name__} takes {self.Settings.__name__}, not {type(self.settings).__name__}; "
                f"{type(self).__name__}.of(setting=value) makes both"
            )

    @classmethod
    def of(cls, **settings: object) -> Self:
        """A new model with these settings, the others at their defaults: `ASTM.of(tau=3, hidden=32)`.

        Raises
        ------
        ValueError: an unknown setting or a bad value; the message names it and the choices.
        """
        return cls(settings_for(cls, settings))

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        """Predict the frames that follow.

        Parameters
        ----------
        past: (B, T, C, H, W), floating point in [0, 1], any T >= 1.
        horizon: frames to predict, >= 1.

        Returns
        -------
        (B, horizon, C, H, W), not clipped: models may leave [0, 1] slightly. A longer horizon never changes
        the earlier frames.

        Raises
        ------
        ValueError: a shape that the model cannot take; the message names the value and the remedy.
        """
        raise NotImplementedError

    def samples(self, past: Tensor, horizon: int, count: int, seeds: Sequence[int]) -> Iterator[Tensor]:
        """Draw predictions, one after the other, from a model that has many for the same past.

        Parameters
        ----------
        past, horizon: as for `forward`.
        count: draws, >= 1.
        seeds: one for each of the B clips. Draw k of a clip is a function of its frames, its seed and k alone, so it
            does not depend on the batch that the clip is in.

        Yields
        ------
        (B, horizon, C, H, W), `count` times. A model that has but one prediction yields it once.
        """
        yield self(past, horizon)

    def loss(self, past: Tensor, future: Tensor, step: int, seed: int = 0) -> Tensor:
        """Training loss of one batch; by default the mean squared error of the predicted frames.

        Parameters
        ----------
        past, future: (B, T, C, H, W) and (B, T', C, H, W) in [0, 1].
        step: global optimiser step, from 0. It has no default: a loop that forgets it would stay at the first step of
            scheduled sampling. Whatever is random or scheduled is a pure function of (seed, step), so that a resumed
            run repeats an uninterrupted one exactly.
        seed: of the run; give each rank its own.
        """
        wide = torch.promote_types(future.dtype, torch.float32)
        return functional.mse_loss(self(past, future.shape[1]).to(wide), future.to(wide))

    def config(self) -> dict[str, object]:
        """The settings as JSON values; `create(name, **model.config())` builds the same architecture."""
        return self.settings.model_dump(mode="json")

    def usual_size(self) -> tuple[int, int]:
        """Height and width that the model takes, for examples: 64 x 64, or the next multiple of its patch."""
        patch = int(getattr(self.settings, "patch", 1))
        side = -(-64 // patch) * patch
        return side, side

    def compile_cells(self, backend: str = "inductor") -> None:
        """Let `torch.compile` compile the recurrent cells, lazily, in place; parameter names stay as they are.

        The cell is compiled and not the roll-out, whose 19 x 4 unrolled cells would compile for minutes. A model
        without cells ignores it.
        """
        self.compiled = True
        for cell in getattr(self, "cells", ()):
            cell.compile(backend=backend)

    def save_pretrained(
        self,
        folder: str | Path,
        results: str | Path | Sequence[str | Path] = (),
        label: str = "",
        licence: str = "",
        repository: str = "",
    ) -> None:
        """Write `model.safetensors`, the card `README.md` and `config.json`; each appears whole or not at all.

        A `README.md` that is not one of our cards is left as it is.

        Parameters
        ----------
        results: files that `astm evaluate` wrote, for the card; "" or () for none.
        label: what the model is called in them, where it is not the only one of its kind.
        licence: of the weights, best an identifier that the Hub knows ("mit", "cc-by-4.0"); "" states none.
        repository: "owner/name" on the Hub, for the card's example; "" for a folder.

        Raises
        ------
        EvaluationError: results that cannot be read, or that are not of this model.
        """
        from astm.pretrained.card import About, card, write_card  # noqa: PLC0415, it imports the Hub's client

        paths = [results] if isinstance(results, str | Path) else list(results)
        about = About(repository, licence, tuple(Path(path) for path in paths if str(path)), label)
        readme = card(described(self), about)
        folder = Path(folder)
        write_weights(folder, self)
        write_card(folder, readme)
        write_config(folder, Config(name_of(type(self)), self.config(), self.origin))

    def push_to_hub(
        self,
        repository: str,
        private: bool = False,
        results: str | Path | Sequence[str | Path] = (),
        label: str = "",
        licence: str = "",
        revision: str = "main",
    ) -> str:
        """Publish weights, settings and card as one commit of a model repository on the Hugging Face Hub.

        The token comes from HF_TOKEN or from `hf auth login`. What is there already is not sent again; other files of
        the repository stay as they are.

        Parameters
        ----------
        repository: "owner/name"; made if it is not there.
        private: of a new repository.
        results, label, licence: for the card, see `save_pretrained`.
        revision: branch; made from main if it is not there.

        Returns
        -------
        The commit; `from_pretrained(repository, commit)` gives this model again.

        Raises
        ------
        HubError: a bad name, no token, a refusal, or no connection. EvaluationError: see `save_pretrained`.
        """
        from astm.pretrained.hub import check, push  # noqa: PLC0415, it imports the Hub's client

        check(repository)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, results, label, licence, repository)
            return push(Path(folder), repository, private, revision)

    @classmethod
    def from_pretrained(cls, source: str | Path, revision: str = "main") -> Self:
        """Load what `save_pretrained` wrote; nothing is ever unpickled.

        Parameters
        ----------
        source: a folder, or else the name of a checkpoint that comes with the package ("moving-mnist-small"; see
            `astm.pretrained.bundled.names`), or else the id of a Hub repository ("owner/name").
        revision: branch, tag or commit on the Hub.

        Raises
        ------
        CheckpointError: no such folder, a missing, foreign or corrupt file, another model than `cls`, or weights
            whose names or shapes do not fit the settings.
        """
        folder = locate(source, revision)
        config = read_config(folder)
        kind, settings = _architecture(config, folder / CONFIG)
        if not issubclass(kind, cls):
            raise CheckpointError(f"{folder} holds a {name_of(kind)!r}, which is not a {cls.__name__}")
        predictor = with_weights(kind, settings, read_weights(folder / WEIGHTS), str(folder))
        predictor.origin = config.origin
        return predictor


model: Registry[type[Predictor]] = Registry("model")


class _Bounded(TorchFunctionMode):
    """Ends a computation that calls PyTorch more than `calls` times."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls -= 1
        if self.calls < 0:
            raise CheckpointError("its settings make many more tensors than there are weights")
        return function(*args, **(kwargs or {}))


P = TypeVar("P", bound=Predictor)


def with_weights(kind: type[P], settings: ModelSettings, weights: Mapping[str, Tensor], source: str) -> P:
    """A model with these weights, which are of the file or folder `source`.

    Settings may be a stranger's, and a few bytes of them describe any number of layers of any width. So the model is
    made without memory first, for no longer than so many weights can take, and compared with them.

    Raises
    ------
    CheckpointError: names or shapes differ; nothing was allocated then.
    """
    calls = CALLS + CALLS_EACH * len(weights)
    try:
        # gradients as they were: what ends early could leave them off
        with torch.set_grad_enabled(torch.is_grad_enabled()), torch.device("meta"), _Bounded(calls):
            shadow = kind(settings)
    except (CheckpointError, RuntimeError, ValueError, TypeError, OverflowError) as why:
        raise CheckpointError(f"the weights of {source} do not fit: {str(why)[:500]}") from None
    check_weights(shadow, weights, source)
    here = sum(tensor.nbytes for tensor in (*shadow.parameters(), *shadow.buffers()))
    if here > SPARE + LARGER * sum(tensor.nbytes for tensor in weights.values()):
        raise CheckpointError(f"the weights of {source} do not fit: the model would take {here} bytes")
    predictor = kind(settings)
    predictor.load_state_dict(dict(weights), strict=True)
    return predictor


def name_of(kind: type[Predictor]) -> str:
    """The name under which a class is registered."""
    for name in model:
        if model[name] is kind:
            return name
    raise KeyError(f"{kind.__name__} is not registered as a model; choices are {', '.join(model)}")


def settings_for(kind: type[Predictor], values: Mapping[str, object]) -> ModelSettings:
    """Check and complete a model's settings.

    Raises
    ------
    ValueError: one line for each unknown setting and each bad value.
    """
    try:
        return kind.Settings(**values)
    except ValidationError as error:
        raise ValueError("\n".join(_explain(kind, dict(problem)) for problem in error.errors())) from None


def _architecture(config: Config, path: Path) -> tuple[type[Predictor], ModelSettings]:
    """The class and the checked settings that a file names."""
    if config.model not in model:
        raise CheckpointError(f"{path} names the model {config.model[:200]!r}; choices are {', '.join(model)}")
    try:
        return model[config.model], settings_for(model[config.model], config.settings)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _explain(kind: type[Predictor], problem: dict[str, object]) -> str:
    where = ".".join(str(part) for part in problem["loc"])  # type: ignore[attr-defined]
    if problem["type"] == "extra_forbidden":
        choices = ", ".join(kind.Settings.model_fields) or "none"
        return f"{name_of(kind)} has no setting {where!r}; choices are {choices}"
    return f"{name_of(kind)}: bad value {repr(problem['input'])[:200]} of {where or 'the settings'}: {problem['msg']}"


def check_frames(past: Tensor, channels: int, patch: int, remedy: str = "set another patch") -> None:
    """Refuse what a model of so many channels and such patches cannot take.

    `remedy` is for a model whose patch, the square of pixels that is one position of its grid, follows from others of
    its settings.

    Raises
    ------
    ValueError: not (B, T, C, H, W) floating point, another number of channels, or a side that patches do not tile.
    """
    if past.ndim != 5 or 0 in past.shape:
        raise ValueError(f"frames must be (B, T, C, H, W) with no side 0, got shape {tuple(past.shape)}")
    if not past.is_floating_point():
        raise ValueError(f"frames must be floating point in [0, 1], got {past.dtype}; divide 8-bit frames by 255")
    if past.shape[2] != channels:
        raise ValueError(
            f"the model takes {channels} channel(s), the frames have {past.shape[2]}; "
            f"convert the frames or set channels = {past.shape[2]}"
        )
    for side, length in (("height", past.shape[3]), ("width", past.shape[4])):
        if length % patch:
            nearest = [size for size in (length // patch * patch, -(-length // patch) * patch) if size]
            raise ValueError(
                f"{side} {length} is not a multiple of the patch, {patch}; "
                f"crop, pad or resize to {' or '.join(map(str, nearest))}, or {remedy}"
            )


def check_horizon(horizon: int) -> None:
    """Refuse to predict fewer frames than one."""
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1 frame, got {horizon}")


def patchify(frames: Tensor, patch: int) -> Tensor:
    """Space to depth: (..., C, H, W) -> (..., p * p * C, H / p, W / p), channel = (dy, dx, c) row-major.

    This is the order of the PredRNN family (`reshape_patch` in their public code), so that their weights fit.
    """
    *lead, c, height, width = frames.shape
    grid = frames.reshape(*lead, c, height // patch, patch, width // patch, patch)
    n = len(lead)  # axes from here on: c, h, dy, w, dx
    grid = grid.permute(*range(n), n + 2, n + 4, n, n + 1, n + 3)
    return grid.reshape(*lead, patch * patch * c, height // patch, width // patch)


def unpatchify(frames: Tensor, patch: int) -> Tensor:
    """Depth to space, the inverse of `patchify`: (..., p * p * C, h, w) -> (..., C, p * h, p * w)."""
    *lead, depth, h, w = frames.shape
    c = depth // (patch * patch)
    grid = frames.reshape(*lead, patch, patch, c, h, w)
    n = len(lead)  # axes from here on: dy, dx, c, h, w
    grid = grid.permute(*range(n), n + 2, n + 3, n, n + 4, n + 1)
    return grid.reshape(*lead, c, h * patch, w * patch)


def described(predictor: Predictor) -> Described:
    """What a card says of a model."""
    kind, clip = type(predictor), usual_clip(predictor)
    return Described(
        model=name_of(kind),
        summary=first_paragraph(kind),
        text=description(predictor),
        paper=predictor.paper,
        settings=tuple((name, json.dumps(value)) for name, value in predictor.config().items()),
        parameters=count_parameters(predictor),
        macs=multiply_accumulates(predictor, clip),
        clip=clip,
        takes=takes(predictor),
        origin=predictor.origin,
    )


def usual_clip(predictor: Predictor) -> ClipShape:
    """As the model was trained; 10 -> 10 frames of a size that it takes where that is not known."""
    channels = int(getattr(predictor.settings, "channels", 1))
    origin = predictor.origin
    if origin != UNKNOWN:
        return ClipShape(origin.past, origin.horizon, channels, *origin.picture)
    return ClipShape(10, 10, channels, *predictor.usual_size())


def takes(predictor: Predictor) -> str:
    """What frames must be like, in words."""
    channels, patch = getattr(predictor.settings, "channels", 0), getattr(predictor.settings, "patch", 1)
    kind = {0: "any number of channels", 1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    return f"{kind}, height and width {f'multiples of {patch}' if patch > 1 else 'as you like'}"


def multiply_accumulates(predictor: Predictor, clip: ClipShape) -> int:
    """Of one clip, on a model without weights, so that nothing is copied."""
    with torch.device("meta"):
        shadow = type(predictor)(predictor.settings)
    return macs(shadow, clip.past, clip.horizon, (clip.height, clip.width))


def description(predictor: Predictor) -> str:
    """What the model's file says of it: the paper, and where the code departs from it."""
    text = inspect.cleandoc(sys.modules[type(predictor).__module__].__doc__ or "")
    lines: list[str] = []
    for line in text.splitlines():
        if line[:1] not in ("", " ", "*") and lines and lines[-1][:1] in (" ", "*"):
            lines.append("")  # else Markdown takes the line for a part of the list before it
        lines.append(line)
    return "\n".join(lines)
