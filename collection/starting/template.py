"""The files that `mlst init` writes: a recipe that says what its settings do, and a manifest with an example row."""

import re
from dataclasses import dataclass
from pathlib import Path

from mlst.exits import UserError

RECIPE, SOURCES = "recipe.toml", "sources.csv"

RECIPE_TEXT = """\
# Everything that may change a byte of the dataset. Settings stand at their defaults, so any line may be deleted;
# docs/recipe.md lists them all. A name is made of letters, digits, . _ and -
name = "{name}"
version = "1.0.0"           # major.minor.patch; raise it with every release
title = ""                  # for the card and the report
description = ""
licence = "other"           # of the compilation, as an SPDX identifier; clips keep their own
contact = ""                # where people ask for removals
creators = []               # persons or organisations

# The manifest: a row for each video, or for each span of one. Replace its example row. Columns:
#   id          name of the row and of its clips: 1 to 64 letters, digits, - or _
#   url         a YouTube id or link; an http(s) URL (fetch.http); a file below the manifest's folder (fetch.local)
#   start, end  seconds or h:mm:ss; empty for the beginning and the end of the video
#   licence     an SPDX identifier such as CC-BY-4.0, or unknown
#   title, channel    may be empty
#   group       rows of one group never come into different splits; empty for one derived from the url
#   provenance  where the row came from: a list and its version, or a person
sources = "{sources}"
levels = "mlst-240p-v2"     # or a thresholds file that mlst calibrate wrote
exclusions = ""             # a list of sources not to use, as mlst takedown writes it

[fetch]
extractors = {extractors}    # sites of yt-dlp that may be contacted; [] for none
http = {http}                # true: rows may name http(s) URLs of media files
local = {local}               # true: rows may name files
licences = []               # the only licences to accept, such as ["CC0-1.0", "CC-BY-4.0"]; [] for any
short_side = 256            # the smallest rendition with at least so many pixels is taken

[scan]
detector = "mlst"           # finds the shots; docs/shots.md has others
size = 256                  # side of the square clips in pixels
fit = "stretch"             # or "crop" to the middle, or "pad" with black
length = 30                 # frames per clip: 10 in, 20 out
step = 30                   # frames from the start of one clip to the next; below length they overlap
rate = 30                   # frames per second at most

[select]
splits = {{ train = 0.8, validation = 0.1, test = 0.1 }}
group = "group"             # what never crosses a split: "group", "source" or "channel"
quota = 0                   # clips per level in the whole dataset; 0 takes all
per_source = 0              # clips per source and level at most; 0 for no limit
reject = ["black", "frozen"]   # also "static", "borderline", "low_resolution", "interlaced", ...
keep = {{}}                   # ranges of statistics, such as {{ ti10 = [2, inf] }}
review = ""                 # a file with marks of clips, as mlst view writes it

[rai]                       # what a responsible user has to know, in plain words
collection = ""             # how the videos were found and by which rules they were chosen
limitations = ""            # what a result on this data does not show
biases = ""                 # whom and what the videos show too often or not at all
sensitive = ""              # whether people can be recognised, and who agreed
uses = ""                   # what the dataset was made for, and for what it must not be used
maintenance = ""            # who corrects it, and for how long
"""

SOURCES_TEXT = """\
id,url,start,end,licence,title,channel,group,provenance
example,https://www.youtube.com/watch?v=-2X4mB4hyLA,0:01:30,0:03:00,CC-BY-3.0,\
Example: 90 seconds of a talk; replace this row,pyvideo,,written by mlst init
"""


class StartError(UserError, ValueError):
    """A new recipe cannot be written there, or not for that."""


@dataclass(frozen=True, slots=True)
class Started:
    """What was written for a new dataset."""

    recipe: Path
    sources: Path
    kept: bool
    """Whether the manifest was there before, and stays as it is."""


def start(folder: Path) -> Started:
    """Write a recipe with comments into a folder, and beside it a manifest with an example row unless one is there.
    Raises `StartError` where a recipe is there."""
    made = Started(folder / RECIPE, folder / SOURCES, (folder / SOURCES).exists())
    allowed = {"extractors": '["youtube"]', "http": "false", "local": "false"}
    text = RECIPE_TEXT.format(name=dataset_name(folder), sources=SOURCES, **allowed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_new(made.recipe, text)
        if not made.kept:
            write_new(made.sources, SOURCES_TEXT)
    except (FileExistsError, NotADirectoryError) as why:
        raise StartError(f"{why.filename} is there already and stays as it is; give another NAME") from None
    return made


def dataset_name(place: Path) -> str:
    """The name of a dataset in a folder, with - for what names may not hold."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", place.resolve().name).lstrip("._-")
    return name[:96] or "my-dataset"


def write_new(path: Path, text: str) -> None:
    """Write a text file that is not there yet. Raises FileExistsError."""
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
