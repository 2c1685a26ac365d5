"""Which licences a recipe accepts, and what manifests and sites say: SPDX expressions, and sites' own words."""

import re
from collections.abc import Collection
from functools import cache

from license_expression import (
    AND,
    OR,
    ExpressionError,
    LicenseExpression,
    LicenseSymbol,
    LicenseWithExceptionSymbol,
    Licensing,
    get_spdx_licensing,
)

WORDS = ("public-domain", "other", "unknown")
"""What manifests say where no licence of SPDX's list fits."""

LONGEST = 200
"""Characters of an expression that is read: nobody's licence is longer, and parsing recurses."""

YOUTUBE = re.compile(r"creative commons attribution licen[cs]e \(reuse allowed\)", re.IGNORECASE)
"""YouTube's wording of its one Creative Commons licence, which names no version."""
UNVERSIONED = re.compile(r"cc[ -](by(?:-nc)?(?:-nd|-sa)?)", re.IGNORECASE)
"""How other sites name a licence of Creative Commons without saying which version."""


REDISTRIBUTABLE = re.compile(
    r"cc0(-1\.0)?|cc-pdm-1\.0|pddl-1\.0|public-domain|unlicense|mit|apache-2\.0|bsd-[23]-clause|odbl-1\.0|odc-by-1\.0"
    r"|cc-by(-sa)?(-[1-4]\.[05](-(?!n[cd]$)[a-z]+)?)?|creative commons attribution licen[cs]e \(reuse allowed\)",
    re.IGNORECASE,
)
"""Licences under which a changed copy may be passed on to anyone: SPDX identifiers, and YouTube's wording. Not ND: a
clip is cut and scaled, which is a change. A port such as `-DE` may follow the version, `-NC` and `-ND` are none."""
NON_COMMERCIAL = re.compile(r"cc-by-nc(-sa)?(-[1-4]\.[05](-(?!nd$)[a-z]+)?)?", re.IGNORECASE)
"""Allowed where the licence of the whole says the same, so that its terms are not mistaken for freer ones."""


@cache
def licensing() -> Licensing:
    """SPDX's list of licences; 50 ms to read."""
    return get_spdx_licensing()


def wrong(name: str) -> str:
    """What is wrong with a licence that a recipe accepts, "" if it is one of SPDX's list or of `WORDS`."""
    if name in WORDS or (name and not licensing().validate(name).errors and _single(name)):
        return ""
    return (
        f"{name!r} is not the identifier of one licence on https://spdx.org/licenses/, nor one of {', '.join(WORDS)}"
    )


def accepted(said: str, licences: Collection[str]) -> bool:
    """Whether what a manifest or a site says of a source is accepted: `licences` are names that are not `wrong`.

    Of an expression, `OR` needs one side and `AND` both. A licence of Creative Commons that is named without its
    version, as sites do, is accepted where any version of it is.
    """
    said, wanted = said.strip(), {name.casefold() for name in licences}
    if said.casefold() in wanted:
        return True
    if terms := _unversioned(said):
        return any(re.fullmatch(rf"cc-{terms}-\d\.\d", name) for name in wanted)
    if len(said) > LONGEST:
        return False
    try:
        tree = licensing().parse(said, validate=True)
    except ExpressionError:
        return False
    return tree is not None and _holds(tree, wanted)


def forbidden(licence: str, whole: str) -> str:
    """Why changed copies under a licence may not be passed on in a dataset under `whole`, "" if they may."""
    if REDISTRIBUTABLE.fullmatch(licence):
        return ""
    if not NON_COMMERCIAL.fullmatch(licence):
        return "not known to allow modified copies"
    if NON_COMMERCIAL.fullmatch(whole):
        return ""
    return f"non-commercial only, but the dataset's own licence is {whole!r}"


def _unversioned(said: str) -> str:
    """`by`, `by-sa` ... where a licence of Creative Commons is named without its version, else ""."""
    found = UNVERSIONED.fullmatch(said)
    return found[1].casefold() if found else "by" if YOUTUBE.fullmatch(said) else ""


def _holds(tree: LicenseExpression, wanted: Collection[str]) -> bool:
    if isinstance(tree, OR):
        return any(_holds(side, wanted) for side in tree.args)
    if isinstance(tree, AND):
        return all(_holds(side, wanted) for side in tree.args)
    return str(tree.render()).casefold() in wanted


def _single(name: str) -> bool:
    return isinstance(licensing().parse(name), LicenseSymbol | LicenseWithExceptionSymbol)
