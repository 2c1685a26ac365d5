"""Where a model comes from: the paper that it implements, and the training that made its weights."""

import tomllib
from dataclasses import dataclass

WIDEST = 4096
"""Pixels."""


@dataclass(frozen=True, slots=True)
class Paper:
    """What to cite; "" where it is not known."""

    title: str
    authors: str
    """In BibTeX's form: "Shi, Xingjian and Chen, Zhourong"."""
    venue: str
    year: str
    url: str

    def bibtex(self, key: str) -> str:
        """A BibTeX entry without the fields that are not known."""
        names = {"title": self.title, "author": self.authors, "note": self.venue, "year": self.year, "url": self.url}
        fields = "".join(f"  {name} = {{{value}}},\n" for name, value in names.items() if value)
        return f"@misc{{{key},\n{fields}}}"


NO_PAPER = Paper("", "", "", "", "")


@dataclass(frozen=True, slots=True)
class Counts:
    """The size of a method in OpenSTL's table of Moving MNIST (https://github.com/chengtan9907/OpenSTL)."""

    parameters: float
    """Millions; 0 where the method is not in the table."""
    macs: float
    """Thousand millions for one sequence; the table calls them FLOPs."""
    remark: str
    """What the table counts that the default settings here do not have; "" where they are the same."""


NO_COUNTS = Counts(0.0, 0.0, "")


@dataclass(frozen=True, slots=True)
class Origin:
    """The training that made a model's weights."""

    version: str
    """Of the library."""
    data: str
    """Name of the dataset."""
    protocol: str
    """Of the training split, in words; "" where only a checkpoint is known."""
    fingerprint: str
    """Of the training split's pictures; "" where only a checkpoint is known."""
    past: int
    horizon: int
    size: int
    """Height and width, pixels."""
    channels: int
    step: int
    """Batches after which these weights were taken."""
    steps: int
    """Batches planned."""
    score: float
    """Mean `mse_sum` of the validation clips at that step; -1 without validation."""
    recipe: str
    """Every setting that decided the weights, as TOML, without folders of the machine."""

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of a frame, pixels; 256 x 256 where nothing is known."""
        height = self.size or 256
        try:
            width = tomllib.loads(self.recipe)["data"]["width"]
        except (tomllib.TOMLDecodeError, KeyError, TypeError):  # of a stranger, or of data that has only squares
            return height, height
        return height, width if isinstance(width, int) and 0 < width <= WIDEST else height


UNKNOWN = Origin("", "", "", "", 0, 0, 0, 0, 0, 0, -1.0, "")
"""Of weights that `astm train` did not make."""
