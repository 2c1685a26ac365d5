"""Recorded sentences of yt-dlp, YouTube and the network, each with the reason it must give."""

import json
from pathlib import Path

import pytest

from collection.engine.stage import FAILED, REJECTED, Rejected, Retry
from collection.fetch.reasons import LONGEST_DETAIL, RULES, classify, redact, retry_after, typed

RECORDED = json.loads((Path(__file__).parent / "reasons/messages.json").read_text())


@pytest.mark.parametrize("row", RECORDED, ids=[f"{i}-{row['kind']}" for i, row in enumerate(RECORDED)])
def test_recorded_message(row: dict[str, str]) -> None:
    assert classify(row["message"]).kind == row["kind"]
    assert classify(row["message"].upper()).kind == row["kind"]


def test_every_rule_has_a_recorded_message() -> None:
    assert {rule.kind for rule in RULES} <= {row["kind"] for row in RECORDED}
    assert len(RECORDED) >= 30


@pytest.mark.parametrize("row", RECORDED)
def test_only_gone_and_ruled_out_is_final(row: dict[str, str]) -> None:
    reason = classify(row["message"])
    final = reason.kind.startswith("gone.") or reason.kind in ("no_format", "not_allowed", "unsupported")
    assert reason.status == (REJECTED if final else FAILED)
    assert isinstance(typed(reason, ""), Rejected if final else Retry)


@pytest.mark.parametrize("row", [row for row in RECORDED if row["kind"].startswith("blocked.")])
def test_blocked_is_never_gone_whatever_is_said_around_it(row: dict[str, str]) -> None:
    for more in ("Video unavailable. ", "This video is private. ", "HTTP Error 404: Not Found. "):
        assert classify(more + row["message"]).kind == row["kind"]


def test_an_id_is_no_sentence() -> None:
    assert classify("[youtube] xSABRpotoke: Video unavailable").kind == "gone.unavailable"


def test_every_kind_is_explained() -> None:
    text = (Path(__file__).parents[3] / "docs/fetching.md").read_text()
    for rule in RULES:
        family, _, rest = rule.kind.partition(".")
        assert f"`{rule.kind}`" in text or (f"`{family}." in text and f"`.{rest}`" in text), rule.kind


def test_redaction() -> None:
    text = redact(
        "\x1b[0;31mERROR:\x1b[0m [x] no: https://user:pw@host:8443/videoplayback?ip=192.0.2.1&sig=abc#f "
        "and /videoplayback?sig=abc said tOkEn\n Set-Cookie: SID=1234; path=/",
        secrets=("tOkEn", ""),
    )
    assert text == "[x] no: https://host:8443/videoplayback and /videoplayback said *** Set-Cookie: ***"
    assert redact("A; please report this issue on  https://github.com/ , x") == "A"
    assert len(redact("x" * 9999)) == LONGEST_DETAIL


def test_retry_after() -> None:
    assert retry_after("120", 0) == 120
    assert retry_after(" 7 ", 0) == 7
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40) == 60
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400) == 0
    assert retry_after("", 0) == retry_after("soon", 0) == retry_after("-5", 0) == 0
