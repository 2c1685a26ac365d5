"""What a refusal means: the text of an error to a typed reason.

Sites and yt-dlp say why in English sentences; this file holds every sentence that is understood. The first rule that
matches decides, so the order is: our own network, then "we are blocked", then "it is gone". A text that no rule knows
is `unknown` and asked again: "we are blocked" must never be recorded as "it is gone".
"""

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from collection.engine.stage import FAILED, REJECTED, Rejected, Retry

LONGEST_DETAIL = 400
"""Characters of an outcome's text that are kept."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item was not fetched."""

    status: str
    """`rejected`: asking again changes nothing. `failed`: the next run asks again."""
    kind: str


class Later(Retry):
    """A refusal with the server's word on when to ask again: `after` seconds; 0 where it said nothing."""

    def __init__(self, kind: str, detail: str, after: float) -> None:
        super().__init__(kind, detail)
        self.after = after


@dataclass(frozen=True, slots=True)
class Rule:
    """`kind` is the reason of texts in which `pattern` is found, whatever the case."""

    kind: str
    pattern: str

    @property
    def reason(self) -> Reason:
        """`gone.*` and what the recipe or the media rules out are final; everything else is asked again."""
        final = self.kind.startswith("gone.") or self.kind in ("no_format", "not_allowed", "unsupported")
        return Reason(REJECTED if final else FAILED, self.kind)


RULES = (
    Rule("network.timeout", r"timed? ?out\b"),
    Rule(
        "network.dns", r"name resolution|name or service not known|getaddrinfo|nodename nor servname|failed to resolve"
    ),
    Rule("network.proxy", r"unable to connect to proxy|proxyerror|socks.{0,20}(failed|error)"),
    Rule("network.tls", r"certificate.verify.failed|\[ssl:|ssl: |sslerror|tls.{0,20}handshake"),
    Rule("network.refused", r"connection refused|network is unreachable|no route to host"),
    Rule(
        "network.reset",
        r"connection (was )?(reset|aborted)|remote end closed|remotedisconnected|broken pipe|eof occurred",
    ),
    Rule("network.truncated", r"bytes read, .* more expected|incompleteread|incomplete read|downloaded file is empty"),
    Rule("network.http5xx", r"http error 5\d\d"),
    Rule(
        "blocked.rate",
        r"http error 429|too many requests|rate.?limited by youtube|content isn.t available, try again later",
    ),
    Rule("blocked.bot", r"confirm you.{1,3}re not a bot|captcha|ip is likely being blocked|unusual traffic"),
    Rule("blocked.session", r"page needs to be reloaded|cookies are no longer valid|login details are needed"),
    Rule("blocked.client", r"not available on this app|latest version of youtube|not supported in this application"),
    Rule("blocked.token", r"\bpo token\b"),
    Rule("blocked.sabr", r"\bsabr\b"),
    Rule("blocked.formats", r"only images are available|no video formats found"),
    Rule("blocked.forbidden", r"http error (401|403|407)\b|\bforbidden\b"),
    Rule(
        "unknown.extractor", r"unable to download api page: http error 4|please report this issue|unable to extract "
    ),
    Rule("gone.policy", r"removed for violating"),
    Rule("gone.region", r"(in|from) your (country|location|region)|geo.?restrict"),
    Rule("gone.age", r"confirm your age|age.?restricted|inappropriate for some users"),
    Rule("gone.members", r"members.only|channel.s members|join this channel"),
    Rule("gone.paid", r"requires payment|purchase|\brent(al)?\b|premium members|youtube premium"),
    Rule("gone.private", r"private video|video is private|is set to private"),
    Rule(
        "gone.terminated",
        r"account .{0,60}terminated|(closed|deleted) their (youtube )?account|account .{0,40}suspended",
    ),
    Rule("gone.copyright", r"copyright"),
    Rule("gone.policy", r"violat|privacy claim|trademark|defamation|legal complaint|court order|http error 451"),
    Rule(
        "gone.upcoming",
        r"live event will begin|premieres? (in|will)|will begin shortly|waiting for .{1,40} to go live",
    ),
    Rule("gone.live", r"live stream recording is not available|live event has ended|live stream is offline"),
    Rule("gone.drm", r"drm.protected"),
    Rule(
        "gone.deleted", r"removed by the (uploader|user)|has been (removed|deleted)|does not exist|no longer available"
    ),
    Rule("gone.missing", r"http error (404|410)\b"),
    Rule("gone.unavailable", r"video unavailable|video is unavailable|this video (is not|isn.t) available"),
    Rule("no_format", r"requested format is not available"),
    Rule("not_allowed", r"no suitable extractor"),
    Rule("unsupported", r"unsupported url|is not a valid url|incomplete youtube id|looks truncated"),
)

UNKNOWN = Rule("unknown", "").reason

ADVICE = {
    "blocked.bot": "the site takes this address for a robot: pause for some hours, lower --requests-per-minute, or "
    "fetch from another address or with an account of your own",
    "blocked.rate": "too much was asked from this address: run the same command in an hour or later, with a lower "
    "--requests-per-minute",
    "blocked.token": 'renditions need a PO token: name other clients (--extractor-args "youtube:player_client=..."), '
    "give a token (po_token=CLIENT.gvs+TOKEN), or a provider of tokens (--yt-dlp-plugin)",
    "blocked.sabr": "the clients that were asked get streams that cannot be fetched as files (SABR): name other "
    'clients (--extractor-args "youtube:player_client=..."), update yt-dlp, or try again in some days',
    "blocked.formats": "renditions are hidden: install deno or Node.js, and update yt-dlp",
    "blocked.client": "the site no longer serves this version of yt-dlp: update it",
    "blocked.session": "the site wants another session: renew the file of --cookies, or leave it off",
    "blocked.forbidden": "the server refuses us or the file; the next runs find out which",
    "blocked.breaker": "not asked, because the site refused others: run the same command again later",
    "unreadable": "files beside the manifest may not be read: mend their permissions",
    "unknown.extractor": "yt-dlp failed, which an update of it may mend",
}
"""What the user can do about what was not fetched, by kind."""


REMEDIES = ("blocked.bot", "blocked.rate", "blocked.token", "blocked.sabr")
"""Kinds whose every outcome says what can be done."""


def advice(kind: str) -> str:
    """What can be done about a kind of outcome; "" for nothing that is known."""
    return ADVICE.get(kind, "")


def classify(message: str) -> Reason:
    """The reason that an error text of yt-dlp, YouTube or the network gives; `unknown` if no rule knows it."""
    text = _straight(message)
    return next((rule.reason for rule in RULES if re.search(rule.pattern, text, re.IGNORECASE)), UNKNOWN)


def typed(reason: Reason, detail: str, after: float = 0.0) -> Rejected | Later:
    """The exception that carries a reason; refusals of us say what can be done about them."""
    if reason.kind in REMEDIES:
        detail = f"{detail.rstrip('.')}; {ADVICE[reason.kind]}"
    return Rejected(reason.kind, detail) if reason.status == REJECTED else Later(reason.kind, detail, after)


def redact(message: str, secrets: tuple[str, ...] = ()) -> str:
    """An error text that may be kept and shown: one line without terminal colours, URL queries, credentials,
    cookies, `secrets` or yt-dlp's advice; `LONGEST_DETAIL` characters at most.
    """
    text = message
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    text = re.sub(r"(?i)\b((?:set-)?cookie|(?:proxy-)?authorization)\b\s*[:=].*", r"\1: ***", text)
    text = re.sub(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s'\"<>)\]]+", lambda found: _bare(found[0]), text)
    text = re.sub(r"/videoplayback\?[^\s'\")\]]+", "/videoplayback", text)
    text = re.sub(
        r"[;.]? *(please report this issue on|Use --cookies|You might want to use a VPN).*",
        "",
        text,
        flags=re.I | re.S,
    )
    text = re.sub(r"^ERROR: *", "", " ".join(text.split()))
    return text[:LONGEST_DETAIL]


def retry_after(value: str, now: float) -> float:
    """Seconds that a Retry-After header (RFC 9110, 10.2.3: seconds or a date) asks for; 0 for none or nonsense.

    `now` is the time in seconds since the epoch.
    """
    if re.fullmatch(r"\d{1,9}", value.strip()):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError):
        return 0.0


def _straight(text: str) -> str:
    """YouTube writes typographic apostrophes and no-break spaces in some places and plain ones in others."""
    return " ".join(text.replace("\u2019", "'").replace("\u2018", "'").split())


def _bare(url: str) -> str:
    """A URL without user, password, query and fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "(URL)"
