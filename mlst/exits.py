"""How the commands `mlst` and `astm` end: their exit codes, and the errors that need no traceback."""

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit codes of both commands."""

    DONE = 0
    WRONG = 1
    """There is no result, or it is wrong."""
    UNUSABLE = 2
    """The input cannot be used; nothing was done."""
    PARTLY = 3
    """Done as far as possible; the same command tries the rest again."""


class UserError(Exception):
    """What the user can put right; the text names the value, the choices and the remedy.

    A command prints the text without a traceback and ends with `exit_code`.
    """

    exit_code: ClassVar[Exit] = Exit.UNUSABLE


class MissingExtraError(UserError):
    """A command needs a package that comes with an extra of `mlst` that is not installed."""


EXTRAS: Mapping[str, str] = {
    "Cryptodome": "build",
    "datasets": "readers",
    "ffmpeg": "build",
    "imageio_ffmpeg": "build",
    "matplotlib": "build",
    "ray": "ray",
    "s3fs": "s3",
    "safetensors": "train",
    "scenedetect": "build",
    "scipy": "train",
    "tensorboard": "train",
    "tomli_w": "build",
    "tomlkit": "build",
    "webdataset": "readers",
    "yt_dlp": "build",
}
"""The extra that brings a module which `pip install mlst` alone does not."""


def missing_extra(why: ModuleNotFoundError, extras: Mapping[str, str] = EXTRAS) -> MissingExtraError | None:
    """What to tell the user of an import that failed; None where no extra would help, which is a bug."""
    module = (why.name or "").partition(".")[0]
    if module not in extras:
        return None
    return MissingExtraError(
        f"this command needs the package {module}; install it with: pip install 'mlst[{extras[module]}]'"
    )
