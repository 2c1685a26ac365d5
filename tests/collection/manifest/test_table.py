import csv
import hashlib
import json
import os
import random
import string
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collection.addresses import group_of, listing_url, youtube_id
from collection.manifest import table as manifest
from collection.manifest.table import ANYTHING, COLUMNS, ManifestError, decimal, read_manifest, seconds, write_manifest
from collection.recipe import FetchSettings, read_recipe
from mlst.records import OPEN_END, Source

ROOT = Path(__file__).parents[3]
YOUTUBE = FetchSettings()
ROW = {
    "id": "a",
    "url": "-2X4mB4hyLA",
    "start": "1.5",
    "end": "0:01:00",
    "licence": "CC-BY-4.0",
    "title": "A title",
    "channel": "",
    "group": "",
    "provenance": "me",
}


def written(path: Path, *rows: dict[str, object]) -> Path:
    """A manifest with `rows` laid over `ROW`, written without our own code."""
    full = [{**ROW, **row} for row in rows]
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(full)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in full))
    else:
        pq.write_table(pa.Table.from_pylist(full), path)
    return path


def problems(path: Path, fetch: FetchSettings = YOUTUBE) -> list[tuple[int, str]]:
    """Row and column of each problem of a manifest that is refused."""
    with pytest.raises(ManifestError) as refused:
        read_manifest(path, fetch)
    for problem in refused.value.problems:
        assert f"{path}: " in str(refused.value)
        assert problem.allowed in str(refused.value)
    return [(problem.row, problem.column) for problem in refused.value.problems]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_row_becomes_a_source(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"m{suffix}", {}, {"id": "b", "end": "", "start": "", "group": "g", "url": "_" * 11})
    url = "https://www.youtube.com/watch?v="
    assert read_manifest(path, YOUTUBE) == (
        Source(
            "a", url + "-2X4mB4hyLA", Fraction(3, 2), Fraction(60), "CC-BY-4.0", "A title", "", "-2X4mB4hyLA", "me"
        ),
        Source("b", url + "_" * 11, Fraction(0), OPEN_END, "CC-BY-4.0", "A title", "", "g", "me"),
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_what_is_written_is_read_back_and_the_bytes_do_not_depend_on_when(tmp_path: Path, suffix: str) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(SOURCES, min_size=1, max_size=8, unique_by=(lambda s: s.id, lambda s: s.url)))
    def check(sources: list[Source]) -> None:
        path, again = tmp_path / f"m{suffix}", tmp_path / f"again{suffix}"
        write_manifest(path, sources)
        write_manifest(again, iter(sources))
        assert read_manifest(path, ANYTHING) == tuple(sources)
        assert path.read_bytes() == again.read_bytes()

    check()


TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters=TURNING), max_size=40)
IDS = st.text(string.ascii_letters + string.digits + "-_", min_size=11, max_size=11)
TIMES = st.integers(0, 10**9 - 1).flatmap(
    lambda whole: st.sampled_from([Fraction(whole, 10**6), Fraction(whole), Fraction(whole, 4)])
)
URLS = st.one_of(
    IDS.map("https://www.youtube.com/watch?v={}".format),
    IDS.map("https://example.org/{}.mp4?a=b,c".format),
    IDS.map('films/{} ä,".mkv'.format),
)
SOURCES = st.builds(
    Source,
    id=IDS,
    url=URLS,
    start=TIMES,
    end=st.just(OPEN_END),
    licence=st.sampled_from(["CC-BY-4.0", "unknown"]),
    title=TEXT,
    channel=TEXT,
    group=TEXT.filter(bool),
    provenance=TEXT.filter(bool),
)


@pytest.mark.parametrize(
    ("changed", "column"),
    [
        ({"id": ""}, "id"),
        ({"id": "a b"}, "id"),
        ({"id": "../a"}, "id"),
        ({"id": "a" * 65}, "id"),
        ({"id": "ä"}, "id"),
        ({"url": ""}, "url"),
        ({"url": "https://www.youtube.com/playlist?list=PL123"}, "url"),
        ({"url": "https://www.youtube.com/@someone"}, "url"),
        ({"url": "https://youtu.be/tooshort"}, "url"),
        ({"url": "https://example.org/a.mp4"}, "url"),
        ({"url": "clips/a.mp4"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "ftp://example.org/a.mp4"}, "url"),
        ({"url": "x" * 2049}, "url"),
        ({"start": "-1"}, "start"),
        ({"start": "nan"}, "start"),
        ({"start": "inf"}, "start"),
        ({"start": "1e3"}, "start"),
        ({"start": "1:30"}, "start"),
        ({"start": "0:99:00"}, "start"),
        ({"start": "٣"}, "start"),
        ({"start": "9" * 5000}, "start"),
        ({"start": "60"}, "end"),
        ({"start": "61"}, "end"),
        ({"end": "0"}, "end"),
        ({"end": "x"}, "end"),
        ({"licence": ""}, "licence"),
        ({"licence": "CC BY"}, "licence"),
        ({"title": "a\x00b"}, "title"),
        ({"title": "a\x1b[31mb"}, "title"),
        ({"title": "a\u2028b"}, "title"),
        ({"title": "a\u202egpj.exe"}, "title"),
        ({"channel": "a\u2066b"}, "channel"),
        ({"title": "t" * 501}, "title"),
        ({"channel": "c" * 201}, "channel"),
        ({"group": "g" * 129}, "group"),
        ({"group": "g\tg"}, "group"),
        ({"provenance": ""}, "provenance"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_bad_value_is_named_with_row_and_column(
    tmp_path: Path, suffix: str, changed: dict[str, str], column: str
) -> None:
    path = written(tmp_path / f"m{suffix}", {}, {"id": "b"} | changed)
    assert problems(path) == [(2 if suffix != ".csv" else 3, column)]


def test_the_error_names_file_row_column_value_and_what_is_allowed(tmp_path: Path) -> None:
    path = written(tmp_path / "m.csv", {"start": "1:30", "licence": "CC BY\x07" + "y" * 70})
    with pytest.raises(ManifestError) as refused:
        read_manifest(path, YOUTUBE)
    assert str(refused.value).splitlines() == [
        f"{path}: row 2, column start: '1:30'; allowed is seconds as 12 or 12.345, or h:mm:ss(.fff); "
        "not negative, at most 9 digits on each side",
        f"{path}: row 2, column licence: 'CC BY\\x07{'y' * 54}'...; allowed is at most 64 characters; this has 76",
    ]


def test_many_problems_are_reported_together_up_to_twenty(tmp_path: Path) -> None:
    path = written(tmp_path / "m.csv", *({"id": f"bad {n}", "start": "x"} for n in range(50)))
    assert problems(path) == [(2 + n // 2, ("id", "start")[n % 2]) for n in range(20)]


def test_a_repeated_id_names_both_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "m.csv", {}, {"id": "A"}, {"id": "b"}, {"id": "a"})
    with pytest.raises(ManifestError, match=r"row 5, column id: 'a'; allowed is an id of its own; row 2 has the same"):
        read_manifest(path, YOUTUBE)


def test_spans_of_one_video_share_a_group_and_must_not_be_given_two(tmp_path: Path) -> None:
    rows = [{"url": "youtu.be/-2X4mB4hyLA"}, {"id": "b", "url": "https://m.youtube.com/watch?v=-2X4mB4hyLA&t=90"}]
    one, two = read_manifest(written(tmp_path / "m.csv", *rows), YOUTUBE)
    assert one.group == two.group == "-2X4mB4hyLA"
    assert problems(written(tmp_path / "m.csv", {}, {"id": "b", "group": "other"})) == [(3, "group")]


def test_derived_groups_differ_for_different_urls_and_files(tmp_path: Path) -> None:
    urls = ["https://example.org/watch?v=a", "https://example.org/watch?v=b", "films/a.mp4", "films/b.mp4"]
    rows = [{"id": name, "url": url} for name, url in zip("abcd", urls, strict=True)]
    groups = [source.group for source in read_manifest(written(tmp_path / "m.csv", *rows), ANYTHING)]
    assert groups[0] == "url-" + hashlib.sha256(urls[0].encode()).hexdigest()[:16]
    assert groups[2] == "file-" + hashlib.sha256(urls[2].encode()).hexdigest()[:16]
    assert len(set(groups)) == 4


@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd",
        "../a.mp4",
        "films/../../a.mp4",
        "films//a.mp4",
        "./../a.mp4",
        "films\\a.mp4",
        "C:\\a.mp4",
        "~/a.mp4",
        "inside.mp4",
        "folder/a.mp4",
        ".",
        "films/",
    ],
)
def test_a_local_file_outside_the_manifests_folder_is_refused(tmp_path: Path, url: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (home / "inside.mp4").symlink_to(tmp_path / "secret.mp4")
    (home / "folder").symlink_to(tmp_path)
    assert problems(written(home / "m.csv", {"url": url}), FetchSettings(local=True)) == [(2, "url")]


def test_a_local_file_inside_is_allowed_where_the_recipe_says_so(tmp_path: Path) -> None:
    (tmp_path / "linked.mp4").symlink_to("real.mp4")
    rows = [{"url": "films/a b.mp4"}, {"id": "b", "url": "./video_file1"}, {"id": "c", "url": "linked.mp4"}]
    path = written(tmp_path / "m.csv", *rows)
    assert [source.url for source in read_manifest(path, FetchSettings(local=True))] == [row["url"] for row in rows]
    assert problems(path) == [(2, "url"), (3, "url"), (4, "url")]
    assert group_of("./video_file1") == group_of("video_file1") != group_of("video_file2")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.org/a.mp4", True),
        ("http://127.0.0.1:8080/a.mp4?x=1#t=2", True),
        ("https://user:secret@example.org/a.mp4", False),
        ("https://token@example.org/a.mp4", False),
        ("https:///a.mp4", False),
        ("https://example.org:port/a.mp4", False),
        ("https://[::1/a.mp4", False),
        ("https://example.org/a b.mp4", False),
        ("https://example.org/ä.mp4", False),
        ("javascript:alert(1)", False),
        ("data:video/mp4;base64,AAAA", False),
    ],
)
def test_media_urls_need_the_recipes_leave_and_must_be_plain(tmp_path: Path, url: str, allowed: bool) -> None:
    path = written(tmp_path / "m.csv", {"url": url})
    if allowed:
        assert read_manifest(path, FetchSettings(http=True))[0].url == url
        assert read_manifest(path, FetchSettings(extractors=("youtube", "vimeo")))[0].url == url
    else:
        assert problems(path, FetchSettings(http=True)) == [(2, "url")]
    assert problems(path, FetchSettings(local=True)) == [(2, "url")]


def test_youtube_rows_need_the_youtube_extractor(tmp_path: Path) -> None:
    assert problems(written(tmp_path / "m.csv", {}), FetchSettings(extractors=())) == [(2, "url")]


@pytest.mark.parametrize(
    "link",
    [
        "{}",
        "https://www.youtube.com/watch?v={}",
        "http://youtube.com/watch?v={}&t=42s",
        "https://m.youtube.com/watch?app=desktop&v={}&list=PL1&index=2",
        "youtube.com/watch?v={}",
        "www.youtube.com/watch?v={}&u=https://example.org",
        "HTTPS://WWW.YouTube.com/watch?v={}",
        "https://youtu.be/{}",
        "https://youtu.be/{}?si=abc#t=3",
        "youtu.be/{}",
        "https://www.youtube.com/shorts/{}",
        "https://www.youtube.com/embed/{}?start=3",
        "https://www.youtube.com/live/{}/",
        "https://www.youtube-nocookie.com/embed/{}",
        "https://music.youtube.com/watch?v={}",
        "youtu.be/{}&t=5",
        "https://youtu.be/{}?t=5&feature=shared",
        "https://www.youtube.com/shorts/{}&feature=share",
        "https://www.youtube.com/e/{}",
        "https://www.youtube.com/?v={}",
        "youtube.com/?feature=youtu.be&v={}",
        "https://www.youtube.com/watch/{}",
        "https://www.youtube.com/watch/?v={}",
        "https://www.youtube.com/watch?v={}?t=5",
        "https://www.youtube.com/watch_popup?v={}",
        "https://www.youtube.com/attribution_link?a=8g8kPrPIi-ecwIsS&u=/watch%3Fv%3D{}%26feature%3Dem-uploademail",
        "https://www.youtube.com/attribution_link?u=%2Fwatch%3Fv%3D{}%26feature%3Dshare&a=8g8kPrPIi-ecwIsS",
    ],
)
@pytest.mark.parametrize("video", ["-2X4mB4hyLA", "--i-y1v8Hy8", "0_8-g2rof7E"])
def test_every_form_of_a_youtube_link_gives_the_id(link: str, video: str) -> None:
    assert youtube_id(link.format(video)) == video


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("youtu.be/-2X4mB4hyL", "'-2X4mB4hyL' has 10 characters"),
        ("https://www.youtube.com/watch?v=-2X4mB4hyLAx", "'-2X4mB4hyLAx' has 12 characters"),
        ("https://www.youtube.com/shorts/-2X4mB4hy!A", "'-2X4mB4hy!A' has '!' in it"),
        ("-2X4mB4hyLAx", "'-2X4mB4hyLAx' has 12 characters"),
        ("-2X4mB4hyL", "'-2X4mB4hyL' has 10 characters"),
        ("https://www.youtube.com/playlist?list=PL123", "mlst manifest expand"),
        ("https://www.youtube.com/attribution_link?u=https://example.org/", "mlst manifest expand"),
    ],
)
def test_what_is_wrong_with_a_link_to_a_video(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(ManifestError) as refused:
        read_manifest(written(tmp_path / "m.csv", {"url": url}), YOUTUBE)
    assert said in str(refused.value)
    assert ("mlst manifest expand" in said) == ("mlst manifest expand" in str(refused.value))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("take:1.mp4", "written as './take:1.mp4'"),
        ("~/films/a.mp4", "~ does not stand for a home folder"),
        ("films\\a.mp4", "folders are divided by /"),
        ("C:\\films\\a.mp4", "begins with a drive"),
    ],
)
def test_what_is_wrong_with_the_name_of_a_file(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(ManifestError) as refused:
        read_manifest(written(tmp_path / "m.csv", {"url": url}), FetchSettings(local=True))
    assert said in str(refused.value)


def test_names_as_the_errors_advise_them(tmp_path: Path) -> None:
    rows = [{"url": "./take:1.mp4"}, {"id": "b", "url": "./~a.mp4"}]
    path = written(tmp_path / "m.csv", *rows)
    assert [source.url for source in read_manifest(path, ANYTHING)] == [row["url"] for row in rows]


@pytest.mark.parametrize(
    "text",
    [
        "https://youtube.com.example.org/watch?v=-2X4mB4hyLA",
        "https://notyoutube.com/watch?v=-2X4mB4hyLA",
        "https://www.youtube.com@example.org/watch?v=-2X4mB4hyLA",
        "https://example.org/?u=https://www.youtube.com/watch?v=-2X4mB4hyLA",
        "ftp://www.youtube.com/watch?v=-2X4mB4hyLA",
        "-2X4mB4hyL",
        "-2X4mB4hyLA0",
        "-2X4mB4hyL\n",
        "films/youtube.com/watch",
    ],
)
def test_what_only_looks_like_youtube_is_not(text: str) -> None:
    assert youtube_id(text) == ""


@pytest.mark.parametrize(
    ("link", "listing"),
    [
        ("https://www.youtube.com/playlist?list=PL-abc_1", "https://www.youtube.com/playlist?list=PL-abc_1"),
        ("youtube.com/watch?v=-2X4mB4hyLA&list=PL-abc_1", "https://www.youtube.com/playlist?list=PL-abc_1"),
        ("https://m.youtube.com/@Some.One", "https://www.youtube.com/@Some.One/videos"),
        ("https://www.youtube.com/@Some.One/shorts?view=1", "https://www.youtube.com/@Some.One/shorts"),
        ("https://www.youtube.com/channel/UCabc/streams/", "https://www.youtube.com/channel/UCabc/streams"),
        ("https://www.youtube.com/c/N%C3%A4me", "https://www.youtube.com/c/N%C3%A4me/videos"),
        ("https://example.org/feed.rss", ""),
    ],
)
def test_a_link_to_a_list_becomes_canonical(link: str, listing: str) -> None:
    assert listing_url(link) == listing


@pytest.mark.parametrize("link", ["youtu.be/-2X4mB4hyLA", "youtube.com/", "youtube.com/@a/community", "youtube.com/c"])
def test_a_youtube_link_that_names_no_list_is_refused(link: str) -> None:
    with pytest.raises(ValueError, match="playlist"):
        listing_url(link)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", Fraction(0)),
        ("007", Fraction(7)),
        ("0.1", Fraction(1, 10)),
        ("12.345678901", Fraction(12345678901, 10**9)),
        ("1:02:03", Fraction(3723)),
        ("0:00:00.040", Fraction(1, 25)),
        ("100:00:00", Fraction(360000)),
    ],
)
def test_times_are_exact(text: str, value: Fraction) -> None:
    assert seconds(text) == value
    assert seconds(decimal(value)) == value


def test_a_time_without_a_short_decimal_is_not_written(tmp_path: Path) -> None:
    (source,) = read_manifest(written(tmp_path / "m.csv", {}), YOUTUBE)
    path = tmp_path / "out.csv"
    with pytest.raises(ManifestError, match="row 1, column start: '1/3'"):
        write_manifest(path, [replace(source, start=Fraction(1, 3))])
    assert not path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.csv"]


@pytest.mark.parametrize(
    "changed", [{"title": "a\nb"}, {"url": "-2X4mB4hyLA"}, {"id": "a b"}, {"group": ""}, {"group": "another"}]
)
def test_sources_that_could_not_be_read_back_are_not_written(tmp_path: Path, changed: dict[str, str]) -> None:
    (source,) = read_manifest(written(tmp_path / "m.csv", {}), YOUTUBE)
    for suffix in (".csv", ".jsonl", ".parquet"):
        with pytest.raises(ManifestError):
            write_manifest(tmp_path / f"out{suffix}", [source, replace(source, **({"id": "b"} | changed))])
        with pytest.raises(ManifestError, match="an id of its own"):
            write_manifest(tmp_path / f"out{suffix}", [source, source])
        with pytest.raises(ManifestError, match="no sources"):
            write_manifest(tmp_path / f"out{suffix}", [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.csv"]


HEADER = ",".join(COLUMNS)
LINE = "a,-2X4mB4hyLA,0,,unknown,t,c,g,me"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no rows"),
        (f"{HEADER}\n".encode(), "no rows; allowed is at least one row after the header"),
        (b"id,url\na,b\n", "row 1: no column start"),
        (f"{HEADER},extra\n{LINE},x\n".encode(), "row 1: unknown column 'extra'"),
        (f"{HEADER},id\n{LINE},x\n".encode(), "row 1: repeated column 'id'"),
        (f"{HEADER}\n{LINE},x\n".encode(), "row 2: 10 fields; allowed is 9 fields"),
        (f"{HEADER}\n{LINE}\na,b\n".encode(), "row 3: 2 fields"),
        (f'{HEADER}\n{LINE}\n"b,never closed\n{LINE}\n'.encode(), "row 3: '\"b,never closed'"),
        (f"{HEADER}\n{LINE}\n".encode("utf-16"), "UTF-8"),
        (f"{HEADER}\n{LINE}\n".replace("t", "\xe4").encode("latin-1"), "UTF-8"),
        (f"{HEADER}\n{LINE}\nb{'x' * 70_000}".encode(), "row 3: .*; allowed is lines of at most 65536 bytes"),
        (f"{HEADER}\n".encode() + b"\x00" * 70_000, "row 2: .*; allowed is lines of at most 65536 bytes"),
        (b"PK\x03\x04\x00\x00\xff", "UTF-8"),
    ],
)
def test_a_csv_that_is_none_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(text)
    with pytest.raises(ManifestError, match=message):
        read_manifest(path, YOUTUBE)


def test_byte_order_mark_line_ends_blank_lines_and_order_of_columns_do_not_matter(tmp_path: Path) -> None:
    path, plain = tmp_path / "m.csv", written(tmp_path / "plain.csv", {})
    names = COLUMNS[::-1]
    lines = [",".join(names), "", ",".join(ROW[name] for name in names), "", ""]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert read_manifest(path, YOUTUBE) == read_manifest(plain, YOUTUBE)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "one JSON object per line"),
        ("[]", "a JSON object with the keys"),
        ("[" * 60_000, "one JSON object per line"),
        (json.dumps(ROW)[:-1] + ', "id": "b"}', "a key occurs twice"),
        (json.dumps(ROW | {"start": float("nan")}), "NaN is no JSON number"),
        (json.dumps(ROW | {"start": 1e300}), r"column start: '1e\+300'"),
        (json.dumps(ROW).replace('"1.5"', "1e999999999"), "column start: '1e999999999'"),
        (json.dumps(ROW | {"start": True}), r"column start: 'True' \(bool\); allowed is a number or text"),
        (json.dumps(ROW | {"title": 5}), r"column title: '5' \(number\); allowed is text"),
        (json.dumps(ROW | {"title": ["x"]}), r"column title: .* \(list\); allowed is text"),
        (json.dumps(ROW | {"more": 1}), "unknown column 'more'"),
        (json.dumps({"id": "a"}), "no column url"),
        (json.dumps(ROW | {"title": "\ud800"}), r"column title: '\\ud800'"),
    ],
)
def test_a_bad_json_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(ROW | {"id": "first"}) + "\n" + line + "\n")
    with pytest.raises(ManifestError, match=f"row 2.*{message}"):
        read_manifest(path, YOUTUBE)


def test_json_numbers_are_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(ROW | {"end": None}).replace('"1.5"', "0.100000001"))
    (source,) = read_manifest(path, YOUTUBE)
    assert (source.start, source.end) == (Fraction("0.100000001"), OPEN_END)


TEXT_TYPES = (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()))


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_text_is_read_however_parquet_carries_it(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {name: pa.array([value, value + "2" if name == "id" else value]) for name, value in ROW.items()}
    table = {name: column.cast(kind) for name, column in columns.items()} | {"channel": pa.nulls(2)}
    pq.write_table(pa.table(table), tmp_path / "m.parquet")
    first, second = read_manifest(tmp_path / "m.parquet", ANYTHING)
    assert (first.id, second.id, first.channel) == (ROW["id"], ROW["id"] + "2", "")


def test_a_table_of_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rows = [ROW | {"id": f"a{n}", "channel": None} for n in range(4)]
    frame = pandas.DataFrame(rows).astype({"licence": "category"})
    frame.to_parquet(tmp_path / "m.parquet")
    assert [source.id for source in read_manifest(tmp_path / "m.parquet", ANYTHING)] == ["a0", "a1", "a2", "a3"]
    for index in (None, "row"):
        frame[frame.id != "a1"].rename_axis(index).to_parquet(tmp_path / "m.parquet")
        with pytest.raises(ManifestError, match="the index of a pandas table; allowed is none: save with index=False"):
            read_manifest(tmp_path / "m.parquet", ANYTHING)


def test_parquet_types(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    table = pa.Table.from_pylist([ROW])
    for kind, start in [
        (pa.int64(), Fraction(2)),
        (pa.decimal128(9, 3), Fraction(5, 2)),
        (pa.large_string(), Fraction(5, 2)),
    ]:
        value = 2 if pa.types.is_integer(kind) else "2.500"
        column = pa.array([value]).cast(kind)
        pq.write_table(table.set_column(2, "start", column), path)
        assert read_manifest(path, YOUTUBE)[0].start == start
    pq.write_table(table.set_column(2, "start", pa.array([2.5])), path)
    with pytest.raises(ManifestError, match="column start: type double; allowed is string, integer or decimal"):
        read_manifest(path, YOUTUBE)
    pq.write_table(table.set_column(5, "title", pa.array([5])), path)
    with pytest.raises(ManifestError, match="column title: type int64; allowed is string"):
        read_manifest(path, YOUTUBE)
    pq.write_table(table.drop_columns(["title"]), path)
    with pytest.raises(ManifestError, match="no column title"):
        read_manifest(path, YOUTUBE)


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m.parquet", *({"id": f"a{n}", "title": os.urandom(40).hex()} for n in range(2000)))
    whole = path.read_bytes()
    for broken in (
        b"",
        b"PAR1",
        whole[:1000],
        whole[: len(whole) // 2] + b"\xff" * 50 + whole[len(whole) // 2 + 50 :],
    ):
        path.write_bytes(broken)
        with pytest.raises(ManifestError):
            read_manifest(path, YOUTUBE)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"m{suffix}", *({"id": f"a{n}", "title": f"título {n}"} for n in range(20)))
    whole, chance, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(damaged))
            damaged[at : at + chance.choice([0, 1, 1, 5])] = chance.randbytes(chance.choice([0, 1, 1, 9]))
        path.write_bytes(damaged)
        try:
            read_manifest(path, ANYTHING)
        except ManifestError:
            refused += 1
    assert refused > 200


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "m.parquet", *({"id": f"a{n}", "title": "t" * 400 + str(n)} for n in range(3000)))
    assert len(read_manifest(path, YOUTUBE)) == 3000
    monkeypatch.setattr(manifest, "MOST_BYTES", 100_000)
    with pytest.raises(ManifestError, match=r"a row group of .* bytes; allowed is .* at most 100000"):
        read_manifest(path, YOUTUBE)


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MOST_ROWS", 3)
    rows = [{"id": f"a{n}"} for n in range(5)]
    assert len(read_manifest(written(tmp_path / "m.csv", *rows[:3]), YOUTUBE)) == 3
    with pytest.raises(ManifestError, match="row 5: more than 3 rows"):
        read_manifest(written(tmp_path / "m.csv", *rows), YOUTUBE)


def test_a_missing_file_a_folder_and_an_unknown_suffix_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, message in [
        ("none.csv", "No such file"),
        ("folder.csv", "Is a directory"),
        ("m.tsv", "one of .csv, .jsonl, .parquet"),
    ]:
        with pytest.raises(ManifestError, match=message):
            read_manifest(tmp_path / name, YOUTUBE)


@pytest.mark.parametrize("name", ["demo", "mlst-v1"])
def test_the_manifests_that_come_with_mlst_can_be_read(name: str) -> None:
    folder = ROOT / "manifests" / name
    recipe = read_recipe(folder / "recipe.toml")
    sources = read_manifest(folder / recipe.sources, recipe.fetch)
    assert len(sources) == {"demo": 15, "mlst-v1": 4225}[name]


def test_the_demos_files_are_those_that_are_attributed() -> None:
    folder = ROOT / "manifests" / "demo"
    recipe = read_recipe(folder / "recipe.toml")
    sources = read_manifest(folder / recipe.sources, recipe.fetch)
    files = sorted((folder / "clips").iterdir())
    text = (folder / "ATTRIBUTION.md").read_text()
    assert sorted(source.url for source in sources) == [f"clips/{file.name}" for file in files]
    assert 15e6 < sum(file.stat().st_size for file in files) < 25e6
    for part, source in zip(text.split("\n## ")[1:], sources, strict=True):
        file = folder / source.url
        assert part.startswith(file.name + "\n")
        assert f"- sha256: `{hashlib.sha256(file.read_bytes()).hexdigest()}`" in part
        assert f"- Licence: [{source.licence}](https://creativecommons.org/" in part
        assert f"- Title: {source.title}\n" in part
