"""Addresses with a right of access in them: presigned URLs, as stores and content networks make them.

Whoever has such an address has what it opens, and it opens nothing once it has expired: it is good for fetching, and
neither to be published nor to be told apart from the same address signed again.
"""

from collections.abc import Collection, Iterator
from urllib.parse import unquote

REDACTED = "REDACTED"
AZURE = ("sig", "sv", "ss", "srt", "sr", "sp", "st", "se", "spr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv")
CLOUDFRONT = ("signature", "expires", "policy", "key-pair-id", "awsaccesskeyid", "googleaccessid", "ossaccesskeyid")
SCHEMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("x-amz-signature", ("x-amz-",)),
    ("x-amz-security-token", ("x-amz-",)),
    ("x-goog-signature", ("x-goog-",)),
    ("x-oss-signature", ("x-oss-",)),
    ("sig", AZURE),
    ("signature", CLOUDFRONT),
    *((name, (name,)) for name in ("token", "access_token", "auth_key", "hdnts", "hdnea")),
)
"""By the parameter that signs an address, in lower case: all that come with it; a name that ends in `-` is how they
begin. Amazon's, Google's and Alibaba's stores, Azure's SAS, CloudFront and the older signatures of stores, tokens."""


def is_signed(url: str) -> bool:
    """Whether a web address carries a signature, also where it is redacted."""
    return bool(_secret(url))


def public(url: str) -> str:
    """The address with `REDACTED` for all that its signature consists of; any other address as it is."""
    if not (secret := _secret(url)):
        return url
    query, mark, fragment = url.partition("?")[2].partition("#")
    shown = (f"{part.split('=')[0]}={REDACTED}" if _in(_name(part), secret) else part for part in query.split("&"))
    return f"{url.partition('?')[0]}?{'&'.join(shown)}{mark}{fragment}"


def _secret(url: str) -> tuple[str, ...]:
    if not url.startswith(("http://", "https://")):
        return ()
    named = {_name(part) for part in url.partition("?")[2].partition("#")[0].split("&")}
    return tuple(_parameters(named))


def _parameters(named: Collection[str]) -> Iterator[str]:
    for signature, parameters in SCHEMES:
        if signature in named:
            yield from parameters


def _name(part: str) -> str:
    return unquote(part.partition("=")[0]).lower()


def _in(name: str, parameters: Collection[str]) -> bool:
    return any(name == one or (one.endswith("-") and name.startswith(one)) for one in parameters)
