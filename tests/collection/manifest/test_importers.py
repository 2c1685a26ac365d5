import csv
import json
import random
import re
from fractions import Fraction
from pathlib import Path

import pytest

from collection.manifest.importers import guess, import_list, importer, sample
from collection.manifest.table import ManifestError, read_manifest, write_manifest
from collection.recipe import FetchSettings
from mlst.records import OPEN_END, Source

LISTS = Path(__file__).parent / "lists"
FORMATS = {
    "vggsound_test.csv": "vggsound",
    "kinetics_val.csv": "kinetics",
    "audioset_eval.csv": "audioset",
    "clipshots_annotations.json": "clipshots",
    "clipshots_gradual.json": "clipshots",
    "clipshots_videos.txt": "clipshots",
    "ids.txt": "ids",
}


def by_id(name: str) -> dict[str, Source]:
    return {source.id: source for source in import_list(LISTS / name, FORMATS[name]).sources}


def span(source: Source) -> tuple[Fraction, Fraction]:
    return source.start, source.end


@pytest.mark.parametrize(("name", "kind"), FORMATS.items())
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_list_becomes_a_manifest_that_can_be_read(tmp_path: Path, name: str, kind: str, suffix: str) -> None:
    assert guess(LISTS / name) == kind
    found = import_list(LISTS / name, kind, "CC-BY-4.0")
    write_manifest(tmp_path / f"m{suffix}", found.sources)
    assert read_manifest(tmp_path / f"m{suffix}", FetchSettings(http=True)) == found.sources
    assert {source.licence for source in found.sources} == {"CC-BY-4.0"}


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "ids.txt"])
def test_no_id_of_a_list_is_lost_or_changed(name: str) -> None:
    text = re.sub("^#.*", "", (LISTS / name).read_text(), flags=re.MULTILINE)
    ids = re.findall(r"(?<![\w-])[\w-]{11}(?=_\d{6}|\.mp4|,)", text)
    assert {source.group for source in by_id(name).values()} == set(ids)
    assert {source.url for source in by_id(name).values()} == {f"https://www.youtube.com/watch?v={v}" for v in ids}


def test_vggsound() -> None:
    rows = by_id("vggsound_test.csv")
    with (LISTS / "vggsound_test.csv").open(newline="") as file:
        entries = list(csv.reader(file))
    assert len(rows) == len(entries)
    assert span(rows["-XxUW9gW6mc"]) == (60, 70)
    assert span(rows["--i-y1v8Hy8"]) == (0, 10)
    assert rows["0_8-g2rof7E"].provenance.endswith(": heart sounds, heartbeat")
    assert rows["0_8-g2rof7E"].licence == "unknown"
    assert re.match(r"vggsound vggsound_test\.csv sha256:[0-9a-f]{12}: ", rows["0_8-g2rof7E"].provenance)


def test_several_spans_of_a_video_get_ids_of_their_own_and_one_group() -> None:
    rows = by_id("vggsound_test.csv")
    assert span(rows["2XQzahrQ_tE_25"]) == (25, 35)
    assert span(rows["2XQzahrQ_tE_75"]) == (75, 85)
    assert rows["2XQzahrQ_tE_25"].group == rows["2XQzahrQ_tE_75"].group == "2XQzahrQ_tE"


def test_vggsound_with_four_columns(tmp_path: Path) -> None:
    path = tmp_path / "vggsound.csv"
    path.write_text('--0PQM4-hqg,30,waterfall burbling,train\n---g-f_I2yQ,1,"people marching",test\n')
    assert guess(path) == "vggsound"
    one, two = import_list(path, "vggsound").sources
    assert (one.id, *span(one)) == ("--0PQM4-hqg", 30, 40)
    assert (two.id, *span(two), two.provenance.split(": ")[1]) == ("---g-f_I2yQ", 1, 11, "people marching")


def test_kinetics() -> None:
    rows = by_id("kinetics_val.csv")
    assert len(rows) == 6
    assert span(rows["7pRfb0t34uo"]) == (158, 168)
    assert span(rows["-u8W9n8IOks"]) == (11, 21)
    assert rows["-u8W9n8IOks"].provenance.endswith(": acting in play")


def test_audioset() -> None:
    rows = by_id("audioset_eval.csv")
    assert len(rows) == 6
    assert span(rows["--i-y1v8Hy8"]) == (0, 9)
    assert rows["--BfvyPmVMo"].provenance.endswith(": /m/03l9g")


def test_clipshots() -> None:
    for name in ("clipshots_annotations.json", "clipshots_videos.txt"):
        rows = by_id(name)
        assert set(rows) == {"1t9hqz2sqqc", "6saetuq2VVc", "-FI7z_9YNl0"}
        assert {span(row) for row in rows.values()} == {(0, OPEN_END)}
    gradual = import_list(LISTS / "clipshots_gradual.json", "clipshots")
    assert [source.id for source in gradual.sources] == ["I0ttMMLujnA"]
    assert gradual.foreign == 3


def test_plain_ids_and_urls() -> None:
    found = import_list(LISTS / "ids.txt", "ids")
    assert [source.url.removeprefix("https://www.youtube.com/watch?v=") for source in found.sources] == [
        "-2X4mB4hyLA",
        "-0P5EvYI0Rk",
        "_26mLl22Zms",
        "https://media.example.org/films/The%20Film.webm#t=1",
    ]
    assert re.fullmatch(r"The-20Film_[0-9a-f]{10}", found.sources[3].id)
    assert found.duplicates == 1


def test_repeated_spans_are_dropped_and_counted_and_overlapping_ones_kept(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "label,youtube_id,time_start,time_end,split\n"
        "a,-2X4mB4hyLA,5,15,val\nb,-2X4mB4hyLA,5,15,val\na,-2X4mB4hyLA,5,20,val\na,-2X4mB4hyLA,6.5,15,val\n"
        "a,-0P5EvYI0Rk,5,15,val\n"
    )
    found = import_list(path, "kinetics")
    ids = [source.id for source in found.sources]
    assert ids == ["-2X4mB4hyLA_5_15", "-2X4mB4hyLA_5_20", "-2X4mB4hyLA_6p5", "-0P5EvYI0Rk"]
    assert found.duplicates == 1


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("vggsound", "glLQrEijrKg_300.mp4,x\n", "row 1: 'glLQrEijrKg_300.mp4,x'; allowed is <YouTube id>_<start>"),
        ("vggsound", "glLQrEijrK_000300.mp4,x\n", "row 1: 'glLQrEijrK_000300.mp4,x'"),
        ("vggsound", "glLQrEijrKg,x,y,test\n", "row 1: 'glLQrEijrKg,x'; allowed is seconds"),
        ("vggsound", 'glLQrEijrKg_000300.mp4,"x\n', "row 1: .*comma-separated"),
        ("kinetics", "label,id\na,b\n", "row 1: no column youtube_id, time_start, time_end"),
        ("kinetics", "youtube_id,time_start,time_end\n-2X4mB4hyLA,5\n", "row 2: '-2X4mB4hyLA,5'; allowed is 3 fields"),
        ("kinetics", "youtube_id,time_start,time_end\n-2X4mB4hyLA,9,5\n", "row 2: '9,5'; allowed is a start before"),
        (
            "kinetics",
            "youtube_id,time_start,time_end\n-2X4,4,5\n",
            "row 2: '-2X4,4,5'; allowed is '-2X4' is no YouTube",
        ),
        ("audioset", '--4gqARaEJE, 0.000, 10.000, "/m/068hy"\n', "row 1: .*; allowed is the comment line"),
        ("audioset", "# YTID, start\n--4gqARaEJE, 0.0, x, y\n", "row 2: '--4gqARaEJE,0.0,x'"),
        ("audioset", "# YTID, start\n--4gqARaEJE, 0.0\n", "row 2: '--4gqARaEJE,0.0'"),
        ("clipshots", "../etc/passwd.mp4\n", "row 1: '../etc/passwd.mp4'"),
        ("clipshots", "abc\n", "row 1: 'abc'"),
        ("ids", "-2X4mB4hyLA\nclips/a.mp4\n", "row 2: 'clips/a.mp4'; allowed is a YouTube id or link"),
        ("ids", "https://www.youtube.com/@someone\n", "row 1: 'https://www.youtube.com/@someone'"),
        ("ids", "# nothing\n\n", "no entries"),
    ],
)
def test_errors_name_line_and_value(tmp_path: Path, kind: str, text: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ManifestError, match=f"^{re.escape(str(path))}: .*{message}"):
        import_list(path, kind)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"a.mp4": []}', '{"a.mp4": {}}', "\xff\xfe"])
def test_json_that_is_no_clipshots_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ManifestError, match=r"transitions|JSON object"):
        import_list(path, "clipshots")


def test_all_wrong_lines_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("-2X4mB4hyLA\nx\ny\n")
    with pytest.raises(ManifestError) as refused:
        import_list(path, "ids")
    assert [(problem.row, problem.value) for problem in refused.value.problems] == [(2, "'x'"), (3, "'y'")]


@pytest.mark.parametrize("text", ["", "hello world\n", "a,b,c\n", json.dumps({"a": 1})])
def test_a_list_of_no_known_format_is_not_guessed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ManifestError, match="fits no known format; allowed is one of audioset, clipshots, ids"):
        guess(path)


def test_one_good_line_does_not_make_a_format(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("glLQrEijrKg_000300.mp4,hail\nsomething else\n")
    with pytest.raises(ManifestError, match="fits no known format"):
        guess(path)


def test_a_list_of_two_formats_is_not_guessed(tmp_path: Path) -> None:
    @importer
    def anything(path: Path, report: object) -> object:
        return iter([object()])

    try:
        with pytest.raises(ManifestError, match="fits anything, vggsound"):
            guess(LISTS / "vggsound_test.csv")
    finally:
        del importer._entries["anything"]


def test_a_missing_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file"):
        import_list(tmp_path / "none.csv", "vggsound")
    with pytest.raises(KeyError, match="unknown list format 'x'; choices are audioset, clipshots, ids"):
        import_list(LISTS / "ids.txt", "x")


def test_a_sample_does_not_depend_on_the_order_of_the_list() -> None:
    sources = import_list(LISTS / "vggsound_test.csv", "vggsound").sources
    shuffled = list(sources)
    random.Random(0).shuffle(shuffled)
    chosen = sample(sources, 5, 0)
    assert len(chosen) == 5
    assert set(sample(tuple(shuffled), 5, 0)) == set(chosen)
    assert [source for source in sources if source in chosen] == list(chosen)
    assert set(sample(sources, 4, 0)) < set(chosen)
    assert set(sample(sources, 5, 1)) != set(chosen)
    assert sample(sources, 1000, 0) == sources
