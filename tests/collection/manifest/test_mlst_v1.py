import random
from fractions import Fraction
from pathlib import Path

import pytest

from collection.manifest.importers import importer
from collection.manifest.mlst_v1 import (
    PYVIDEO,
    SHORTEST,
    TALK,
    Talk,
    excerpt_start,
    main,
    read_talks,
    recorded,
    varied,
)
from collection.manifest.table import ManifestError, Report, read_manifest
from collection.recipe import read_recipe

LISTS = Path(__file__).parent / "lists"
VGGSOUND = LISTS / "vggsound_test.csv"
PYVIDEO_LIST = LISTS / "pyvideo.csv"
FOLDER = Path(__file__).parents[3] / "manifests" / "mlst-v1"


def shuffled(path: Path, to: Path, header: int) -> Path:
    lines = path.read_text().splitlines()
    body = lines[header:]
    random.Random(1).shuffle(body)
    to.write_text("\n".join(lines[:header] + body) + "\n")
    return to


def test_the_generator_makes_the_same_manifest_from_lists_in_any_order(tmp_path: Path) -> None:
    main(VGGSOUND, PYVIDEO_LIST, tmp_path / "a.csv")
    main(VGGSOUND, PYVIDEO_LIST, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    (tmp_path / "lists").mkdir()
    mixed = shuffled(VGGSOUND, tmp_path / "lists" / VGGSOUND.name, 0)
    main(mixed, shuffled(PYVIDEO_LIST, tmp_path / "lists" / "p.csv", 1), tmp_path / "c.csv")
    keep = [line.split(" sha256:")[0] for line in (tmp_path / "a.csv").read_text().splitlines()]
    assert [line.split(" sha256:")[0] for line in (tmp_path / "c.csv").read_text().splitlines()] == keep


@pytest.mark.parametrize("per_label", [1, 2, 12])
def test_every_label_gets_its_spans_and_no_video_comes_twice(per_label: int) -> None:
    spans = list(importer["vggsound"](VGGSOUND, Report(VGGSOUND)))
    chosen = varied(spans, per_label)
    for label in {span.note for span in spans}:
        videos = {span.url for span in spans if span.note == label}
        assert sum(span.note == label for span in chosen) == min(per_label, len(videos))
    assert len({span.url for span in chosen}) == len(chosen)
    assert set(chosen) <= set(spans)
    assert set(varied(spans, per_label)) <= set(varied(spans, per_label + 1))


def test_a_video_with_two_labels_is_taken_once() -> None:
    spans = list(importer["vggsound"](VGGSOUND, Report(VGGSOUND)))
    both = [*spans, *(type(s)(s.url, s.start + 20, s.end + 20, "zz") for s in spans if s.note == "rapping")]
    assert len({span.url for span in varied(both, 2)}) == len(varied(both, 2))


def test_talks_are_long_enough_few_for_each_event_and_one_group_each() -> None:
    report = Report(PYVIDEO_LIST)
    talks = {talk.video: talk for talk in read_talks(PYVIDEO_LIST, report)}
    report.close()
    chosen = recorded(talks.values(), 3)
    assert {source.group for source in chosen} == {
        "pyvideo-chipy",
        "pyvideo-montreal-python",
        "pyvideo-pycon-india-2020",
        "pyvideo-swiss-python-summit-2017",
    }
    for source in chosen:
        talk = talks[source.id]
        assert talk.duration >= SHORTEST
        assert source.end - source.start == TALK
        assert source.start >= max(60, int(talk.duration / 10))
        assert source.end <= talk.duration * 9 / 10
        assert source.licence == "CC-BY"
        assert talk.licence in source.provenance
    per_event = [sum(source.group == group for source in chosen) for group in sorted({s.group for s in chosen})]
    assert per_event == [1, 3, 1, 3]


def test_a_talk_listed_under_two_events_is_taken_once_whatever_comes_first() -> None:
    one = Talk("-2X4mB4hyLA", Fraction(1000), "CC BY", "t", "a", "a/x.json")
    two = Talk("-2X4mB4hyLA", Fraction(1000), "CC BY", "t", "b", "b/x.json")
    assert recorded([one, two], 3) == recorded([two, one], 3)
    assert len(recorded([one, two], 3)) == 1


@pytest.mark.parametrize("duration", [300, 301, 600, 1234, 36000])
def test_places_spread_over_the_middle_of_a_talk(duration: int) -> None:
    places = {excerpt_start(f"video{n}", Fraction(duration)) for n in range(500)}
    first, last = max(60, duration // 10), duration * 9 // 10 - TALK
    assert first <= min(places) <= max(places) <= last
    assert min(places) < first + (last - first) / 4
    assert max(places) > last - (last - first) / 4


def test_a_licence_nobody_knows_and_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(",".join(PYVIDEO) + "\n-2X4mB4hyLA,600,All rights reserved,t,e,x.json\nshort,x,CC BY,t,e,x.json\n")
    report = Report(path)
    read_talks(path, report)
    assert [(problem.row, problem.value) for problem in report.problems] == [
        (2, "'All rights reserved'"),
        (3, "'short,x'"),
    ]
    path.write_text("a,b\n")
    with pytest.raises(ManifestError, match="no column youtube_id"):
        read_talks(path, Report(path))


def test_the_committed_manifest_has_all_labels_and_a_licence_for_each_talk() -> None:
    sources = read_manifest(FOLDER / "sources.csv", read_recipe(FOLDER / "recipe.toml").fetch)
    sounds = [
        source
        for source in sources
        if source.provenance.startswith("vggsound vggsound_test.csv sha256:0b2215dc3786: ")
    ]
    talks = [source for source in sources if source.provenance.startswith("pyvideo/data: ")]
    labels = [source.provenance.split(": ", 1)[1] for source in sounds]
    assert len(sounds) + len(talks) == len(sources) == len({source.url for source in sources})
    assert {labels.count(label) for label in labels} == {12}
    assert len(set(labels)) == 309
    assert {source.licence for source in sounds} == {"unknown"}
    assert all(source.licence.startswith("CC") for source in talks)
    assert all(source.end - source.start == (TALK if source in talks else 10) for source in sources)
