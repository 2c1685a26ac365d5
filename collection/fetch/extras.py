"""What a user may tell yt-dlp: arguments of extractors, from a list of those allowed, and plug-ins, named one by one.

Arguments may hold tokens that stand for a session. They are never recorded, and hidden where they turn up in a text.
"""

import re
import stat
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from mlst.exits import UserError

ALLOWED = {
    "youtube": (
        *("player_client", "player_skip", "player_js_variant", "player_js_version", "webpage_client", "webpage_skip"),
        *("skip", "formats", "po_token", "visitor_data", "data_sync_id", "fetch_pot", "use_ad_playback_context"),
    ),
}
"""By extractor. What is not here changes what is recorded of a video (`lang`), sends requests elsewhere
(`innertube_host`), or is of no use to who fetches no comments and subtitles."""

SECRET = ("po_token", "visitor_data", "data_sync_id")

PROVIDERS = re.compile(r"youtubepot[a-z0-9_-]*")
"""Extractors of this name are providers of PO tokens: their arguments are for the plug-ins."""

PACKAGE = "yt_dlp_plugins"

Arguments = Mapping[str, Mapping[str, list[str]]]
"""By extractor and argument, as yt-dlp takes them."""


class ConfigurationError(UserError, ValueError):
    """Something the user named cannot be used; the text says what and why."""


def private_text(path: str, what: str) -> str:
    """A file of the user that only they may read. Raises `ConfigurationError`; `what` names its option."""
    try:
        mode = Path(path).stat().st_mode
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as why:
        raise ConfigurationError(f"{what}: {path} cannot be read ({type(why).__name__})") from None
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise ConfigurationError(f"{what}: {path} is open to others (mode {mode & 0o777:o}); run chmod 600 on it")
    return text


def arguments(texts: tuple[str, ...], file: str, plugins: tuple[str, ...]) -> Arguments:
    """Arguments in yt-dlp's form, `EXTRACTOR:NAME=VALUE,VALUE;NAME=VALUE`: `texts`, and the lines of `file` ("" for
    none; `#` begins a comment). Raises `ConfigurationError`, which shows no values.
    """
    lines = private_text(file, "extractor-args-file").splitlines() if file else []
    found: dict[str, dict[str, list[str]]] = {}
    for text in (*lines, *texts):
        if text.strip() and not text.lstrip().startswith("#"):
            extractor, given = _parsed(text.strip(), plugins)
            found.setdefault(extractor, {}).update(given)
    return found


def _parsed(text: str, plugins: tuple[str, ...]) -> tuple[str, dict[str, list[str]]]:
    extractor, colon, rest = text.partition(":")
    extractor = extractor.strip().lower()
    provider = bool(plugins) and PROVIDERS.fullmatch(extractor) is not None
    if not colon or (extractor not in ALLOWED and not provider):
        raise ConfigurationError(
            f"extractor-args: {extractor[:40]!r} is not an extractor whose arguments are allowed; choices are "
            f"{', '.join(ALLOWED)}, and youtubepot-... with --yt-dlp-plugin; write youtube:player_client=web,tv"
        )
    given = {}
    for part in rest.split(";"):
        name, equals, values = part.partition("=")
        name = name.strip().lower().replace("-", "_")
        if not equals or not (provider or name in ALLOWED[extractor]):
            allowed = "NAME=VALUE" if provider else ", ".join(ALLOWED[extractor])
            raise ConfigurationError(f"extractor-args: {extractor}: {name[:40]!r} is not one of {allowed}")
        given[name] = [value.replace("\\,", ",").strip() for value in re.split(r"(?<!\\),", values)]
    return extractor, given


def secrets_in(given: Arguments) -> tuple[str, ...]:
    """Values that must not be shown, also tokens without the client they are for."""
    values = [
        value
        for extractor, named in given.items()
        for name, values in named.items()
        if name in SECRET or PROVIDERS.fullmatch(extractor)
        for value in values
    ]
    return tuple(sorted({part for value in values for part in (value, value.partition("+")[2]) if len(part) >= 4}))


def named(plugins: tuple[str, ...]) -> str:
    """Names and versions of plug-ins for the ledger. Raises `ConfigurationError` for anything else."""
    return "".join(f", {found.name} {found.version}" for found in map(_plugin, plugins))


def link(plugins: tuple[str, ...], folder: Path) -> None:
    """Fill an empty `folder` with links to the modules of these plug-ins and no others, as yt-dlp looks for them."""
    for name in plugins:
        found = _plugin(name)
        for path in _modules(found):
            place = folder / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(Path(str(found.locate_file(path))).resolve())


def _plugin(name: str) -> Distribution:
    try:
        found = distribution(name)
    except (PackageNotFoundError, ValueError):
        raise ConfigurationError(f"yt-dlp-plugin: no package {name!r} is installed; pip install it") from None
    if not _modules(found):
        raise ConfigurationError(f"yt-dlp-plugin: the package {name!r} has no modules in {PACKAGE}.extractor")
    return found


def _modules(found: Distribution) -> list[str]:
    return [
        str(path) for path in found.files or () if path.parts[:2] == (PACKAGE, "extractor") and path.suffix == ".py"
    ]
