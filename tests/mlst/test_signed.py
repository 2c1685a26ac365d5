from urllib.parse import parse_qsl, urlsplit

import pytest

from mlst.signed import REDACTED, is_signed, public

HOST = "https://store.example/films/a%20b.mp4"
SIGNED = {
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260101&X-Amz-Expires=3600&X-Amz-Signature=ab12": 4,
    "X-Goog-Algorithm=G&X-Goog-Credential=me%40x&X-Goog-Signature=ab12": 3,
    "sv=2024-11-04&sr=b&sig=ab12%3D&se=2027-01-01&sp=r": 5,
    "Expires=1900000000&Signature=ab12&Key-Pair-Id=K1": 3,
    "AWSAccessKeyId=AKIA&Signature=ab12&Expires=1": 3,
    "x-oss-signature=ab12&x-oss-expires=9": 2,
    "token=ab12": 1,
    "access%5Ftoken=ab12": 1,
}


@pytest.mark.parametrize(("query", "count"), SIGNED.items())
def test_signatures_are_redacted_and_nothing_else(query: str, count: int) -> None:
    url = f"{HOST}?page=2&{query}&v=%7Ex&flag#t=10"
    shown = public(url)
    before, after = (parse_qsl(urlsplit(one).query, keep_blank_values=True) for one in (url, shown))
    assert [name for name, _ in before] == [name for name, _ in after]
    assert [value for _, value in after].count(REDACTED) == count
    assert "ab12" not in shown
    assert shown.startswith(f"{HOST}?page=2&")
    assert shown.endswith("&v=%7Ex&flag#t=10")
    assert is_signed(url)
    assert is_signed(shown)
    assert public(shown) == shown
    assert public(url.replace("ab12", "cd34")) == shown


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        f"{HOST}?sp=1&se=2&expires=3&policy=4&x-amz-version=5",
        f"{HOST}?%ff&&=&a=b;c?d#?token=x",
        HOST,
        "films/token=1?token=2.mp4",
        "",
    ],
)
def test_other_addresses_stay_as_they_are(url: str) -> None:
    assert public(url) == url
    assert not is_signed(url)
