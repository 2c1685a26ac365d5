"""A recipe: everything that may change a byte of the dataset, one table per stage.

What only changes where or how fast a build runs is a command-line flag.
"""

import datetime
import math
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails

from collection.licences import wrong
from mlst.exits import UserError
from mlst.problems import problem
from mlst.records import STATISTICS
from mlst.structured import StructureError, read_toml

SHORTEST = Fraction(1, 10)
"""Seconds from a clip's first frame to its last: temporal information is measured between frames so far apart."""

VOLUME = 10**12
"""Pixels: 4.5 hours of 1920x1080 at 30 frames per second, 67 minutes of 3840x2160, 20 of 8192x4320 at 24. Black
frames, which cost least, take 1.2 hours of CPU time at 230 million pixels per second, in some 150 kB."""

Rejectable = Literal["black", "frozen", "static", "borderline", "low_resolution", "interlaced", "camera_only", "shaky"]
"""Flags that a recipe may reject clips for."""

Column = Literal[STATISTICS]  # type: ignore[valid-type]  # known when it runs

Range = tuple[float, float]
"""Least and greatest value, both inside; `-inf` and `inf` are written so in TOML."""


class Settings(BaseModel):
    """Strict and frozen: a misspelt key is an error, defaults stand here and nowhere else."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Settings):
    """What a source may be at most; media beyond is rejected before it is decoded."""

    bytes: Annotated[int, Field(gt=0)] = 4 << 30
    """Of the file."""
    seconds: Annotated[float, Field(gt=0)] = 4 * 3600.0
    """Of the video."""
    pixels: Annotated[int, Field(gt=0)] = 8192 * 4320
    """Per frame: width times height."""
    frames: Annotated[int, Field(gt=0)] = 2_000_000
    """Of the video."""
    rate: Annotated[float, Field(gt=0)] = 240.0
    """Frames per second."""
    volume: Annotated[int, Field(gt=0)] = VOLUME
    """Of the video: pixels of all its frames together, which is what decoding costs."""

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was added later is left out at its default, so that what was fetched and scanned before is found."""
        made: dict[str, Any] = dump(self)
        return made if self.volume != VOLUME else {name: value for name, value in made.items() if name != "volume"}


class FetchSettings(Settings):
    """Which sources are allowed and which rendition is taken."""

    extractors: tuple[str, ...] = ("youtube",)
    """yt-dlp extractors that may run."""
    http: bool = False
    """Whether rows may name plain http(s) media URLs."""
    private: bool = False
    """Whether those may lie inside the own network: at private, loopback, link-local addresses."""
    local: bool = False
    """Whether rows may name files beside the manifest."""
    licences: tuple[str, ...] = ()
    """Licences that sources may have, by the manifest and by the site: SPDX identifiers; none named, any will do."""
    short_side: Annotated[int, Field(ge=16, le=4320)] = 256
    """The smallest rendition whose short side has at least this many pixels is taken."""
    limits: Limits = Limits()

    @field_validator("licences")
    @classmethod
    def _known(cls, licences: tuple[str, ...]) -> tuple[str, ...]:
        if problems := list(filter(None, map(wrong, licences))):
            raise ValueError(problems[0])
        return licences


class ScanSettings(Settings):
    """How shots are found and clips are cut."""

    detector: str = "mlst"
    """Finds the shots: `mlst`, or one of PySceneDetect's."""
    options: dict[str, float | int | str | bool] = {}
    """Options of the detector; docs/shots.md lists them."""
    size: Annotated[int, Field(ge=16, le=1024, multiple_of=2)] = 256
    """Side of the square clips in pixels."""
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    """How a picture becomes square: stretched, cropped to its middle, or padded with black."""
    length: Annotated[int, Field(ge=2, le=1000)] = 30
    """Frames per clip: 10 in and 20 out by default."""
    step: Annotated[int, Field(ge=1)] = 30
    """Frames (after thinning) from the start of one clip to the next inside a shot."""
    rate: Annotated[Fraction, Field(gt=0, le=240)] = Fraction(30)
    """Frames per second at most; faster video is thinned by an integer stride."""
    margin: Annotated[int, Field(ge=0, le=100)] = 3
    """Source frames left out at both ends of a shot."""
    crf: Annotated[int, Field(ge=0, le=51)] = 20
    """x264's constant rate factor of the clips."""
    filter: str = ""
    """Function that changes the pictures of every clip before it is encoded, as `package.module:function`; "" for
    none. docs/recipe.md has its contract."""
    columns: Literal["default", "all", "needed"] | tuple[Column, ...] = "default"
    """Statistics to measure: those that the definition of the levels names, all, only those that decide or flag, or
    these and what decides or flags."""
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _long_enough(self) -> "ScanSettings":
        if (self.length - 1) / self.rate < SHORTEST:
            raise ValueError(
                f"length = {self.length} at rate = {self.rate} is below {SHORTEST} s, too short to measure motion; "
                f"use at least {math.ceil(SHORTEST * self.rate) + 1} frames"
            )
        return self


class SelectSettings(Settings):
    """Which candidates become the dataset."""

    splits: dict[Literal["train", "validation", "test"], float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
    """Expected share of the groups in each split."""
    group: Literal["group", "source", "channel"] = "group"
    """What never crosses a split: the manifest's group column, the single source, or the channel."""
    salt: str = "mlst"
    """Changes which group falls into which split."""
    quota: Annotated[int, Field(ge=0)] = 0
    """Clips per level in the whole dataset, divided among the splits by their shares; 0 takes all."""
    per_source: Annotated[int, Field(ge=0)] = 0
    """Clips per source and level at most; 0 for no limit."""
    reject: tuple[Rejectable, ...] = ("black", "frozen")
    """Flags that keep a clip out."""
    review: str = ""
    """File relative to the recipe with a person's marks of clips, as `mlst view` writes it; "" for none."""
    keep: dict[Column, Range] = {}
    """Ranges of statistics; a clip outside of one is kept out."""

    @model_validator(mode="after")
    def _ranges(self) -> "SelectSettings":
        for name, (low, high) in self.keep.items():
            if not low <= high:
                raise ValueError(f"keep.{name} must be [least, greatest], got [{low}, {high}]")
        return self

    @model_validator(mode="after")
    def _shares(self) -> "SelectSettings":
        if abs(sum(self.splits.values()) - 1) > 1e-9 or any(not 0 < share <= 1 for share in self.splits.values()):
            raise ValueError(f"splits must be positive shares that add up to 1, got {self.splits}")
        return self


class PackSettings(Settings):
    """How shards are cut."""

    shard_bytes: Annotated[int, Field(ge=1 << 16)] = 256 << 20
    """A shard is closed before it would grow beyond this; one clip always fits."""


class RaiSettings(Settings):
    """Answers to the questions of responsible AI, for `croissant.json`; "" for none."""

    collection: str = ""
    """How the videos were found and by which rules they were chosen."""
    preprocessing: str = ""
    """What was done to them before they came into the manifest."""
    annotation: str = ""
    """Where labels come from, besides the levels."""
    limitations: str = ""
    """What a result on this data does not show."""
    biases: str = ""
    """Whom and what the videos show too often or not at all."""
    sensitive: str = ""
    """Whether people can be recognised, and who agreed."""
    uses: str = ""
    """What the dataset was made for, and for what it must not be used."""
    impact: str = ""
    """What good or harm its use may do."""
    maintenance: str = ""
    """Who corrects it, and for how long."""


def _day(value: Any) -> Any:
    """TOML's own dates as text."""
    return value.isoformat() if type(value) is datetime.date else value


class Recipe(Settings):
    """The file `recipe.toml`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]
    """Of the dataset: letters, digits, `.`, `_` and `-`."""
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    """Of the dataset: `major.minor.patch`."""
    title: str = ""
    """For the card and the report."""
    description: str = ""
    """For the card and the report."""
    licence: str = "other"
    """Of the compilation; clips keep their own."""
    contact: str = ""
    """Where removals are asked for."""
    published: Annotated[str, BeforeValidator(_day), Field(pattern=r"^(\d{4}-\d\d-\d\d)?$")] = ""
    """Day of publication, `YYYY-MM-DD`."""
    url: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    """Where people find the dataset."""
    creators: tuple[str, ...] = ()
    """Persons or organisations."""
    sources: str
    """Manifest, relative to the recipe."""
    levels: str = "mlst-240p-v2"
    """A thresholds file relative to the recipe, or the name of one that comes with `mlst`."""
    exclusions: str = ""
    """File relative to the recipe that names sources not to use, as salted hashes; "" for none."""
    rai: RaiSettings = RaiSettings()
    fetch: FetchSettings = FetchSettings()
    scan: ScanSettings = ScanSettings()
    select: SelectSettings = SelectSettings()
    pack: PackSettings = PackSettings()


class RecipeError(UserError, ValueError):
    """A recipe that cannot be used; the text names file, setting, value and choices."""


def read_recipe(path: Path) -> Recipe:
    """The recipe in the TOML file `path`. Raises `RecipeError`."""
    try:
        return Recipe.model_validate(read_toml(path)[1])
    except (FileNotFoundError, NotADirectoryError):
        raise RecipeError(f"{path}: no such file; give the path of a recipe.toml") from None
    except IsADirectoryError:
        inside = path / "recipe.toml"
        remedy = f"give {inside}" if inside.is_file() else "give the path of a recipe.toml"
        raise RecipeError(f"{path} is a folder; {remedy}") from None
    except StructureError as why:
        raise RecipeError(f"{path}: not TOML: {why}") from None
    except ValidationError as why:
        raise RecipeError("\n".join(f"{path}: {_said(e)}" for e in why.errors())) from None


def _said(error: ErrorDetails) -> str:
    name = ".".join(map(str, error["loc"]))
    remedy = f'; add {name} = "..." above the first [table]' if error["type"] == "missing" else ""
    return problem(error, Recipe) + remedy
