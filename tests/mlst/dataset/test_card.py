import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from datasets import Features

from mlst.checking.verify import verify
from mlst.dataset.card import attribution, card, front_matter, link_target, plain
from mlst.dataset.description import CARD, DATASET, THRESHOLDS, Dataset, read_json
from mlst.levels.levels import read_levels
from mlst.text import one_line
from tests import tiny

HOSTILE = (
    "---\nlicense: mit\n---",
    "<script>alert(1)</script>",
    "![x](https://evil.example/pixel.png)",
    "[click](javascript:alert(1))",
    "a | b\n| c |",
    "`code` *bold* _it_ ~~s~~ # head",
    "{{ dataset.name }} {% raw %}",
    "evil\u202egnp.exe \u2066x\u2069 \x00\x1b[31m",
    "www.evil.example https://evil.example me@evil.example",
    "&lt;b&gt; &amp;",
    "1. item\n- item\n> quote",
    "$x^2$ :smile: @someone",
    "\\",
    "",
)


@pytest.fixture
def dataset() -> Dataset:
    return read_json(tiny.built() / DATASET)


def make(dataset: Dataset, title: str) -> str:
    return card(dataset, read_levels(tiny.built() / THRESHOLDS), [tiny.source("aa", licence=title)], {"aa": 1})


def test_front_matter_is_what_datasets_understands(dataset: Dataset) -> None:
    front = front_matter(dataset)
    names = ["default", *sorted({cell.level for cell in dataset.cells})]
    assert [config["config_name"] for config in front["configs"]] == names
    for described in front["dataset_info"]:
        features = Features._from_yaml_list(described["features"])
        assert features._to_yaml_list() == described["features"]
    for config in front["configs"]:
        for files in config["data_files"]:
            found = {p.relative_to(tiny.built()).as_posix() for p in tiny.built().glob(files["path"])}
            level = None if config["config_name"] == "default" else config["config_name"]
            assert found == {s.path for s in dataset.shards if s.split == files["split"] and level in (None, s.level)}
            assert found


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("other", {"license": "other"}),
        ("My *own* Licence: 1", {"license": "other", "license_name": "my-own-licence-1"}),
        ("cc-by-9.9", {"license": "other", "license_name": "cc-by-9.9"}),
    ],
)
def test_licences_of_the_hub(dataset: Dataset, licence: str, expected: dict[str, str]) -> None:
    front = front_matter(replace(dataset, licence=licence))
    assert {name: value for name, value in front.items() if name.startswith("license")} == expected


@pytest.mark.parametrize(
    ("clips", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (54321, "10K<n<100K"), (10**7, "10M<n<100M")]
)
def test_size_category(dataset: Dataset, clips: int, size: str) -> None:
    assert front_matter(replace(dataset, clips=clips))["size_categories"] == [size]


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_titles_stay_text(dataset: Dataset, text: str) -> None:
    harmless = make(replace(dataset, title="title"), "licence")
    content = make(replace(dataset, title=text, description=text, contact=text), text)
    front = yaml.safe_load(content.split("\n---\n")[0].removeprefix("---\n"))
    assert front["license"] == "cc-by-4.0"
    assert front["configs"] == front_matter(dataset)["configs"]
    assert front["pretty_name"] == (one_line(text) or "tiny")
    body, before = content.split("\n---\n", 1)[1], harmless.split("\n---\n", 1)[1]
    for markup in (r"<(?!details|/details|summary|/summary|code|/code)[a-z!/]", r"(?<!\\)!\[", r"(?<!\\)\]\("):
        assert len(re.findall(markup, body)) == len(re.findall(markup, before))
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069]", content)
    assert rows_of(body) == rows_of(before)


def rows_of(body: str) -> list[int]:
    """Cells of every table row: a title must not add one."""
    return [len(re.findall(r"(?<!\\)\|", line)) for line in body.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_titles_in_the_attribution(text: str) -> None:
    sources = [tiny.source("aa", title=text, channel=text, licence=text, url=text), tiny.source("bb")]
    content = "".join(attribution(sources, {"aa": 1, "bb": 2}))
    table = [line for line in content.splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in table] == [6] * 4
    assert not re.search(r"<(?!https?://)", content)
    assert not re.search(r"(?<!\\)[\[`*_]", table[2])


def test_attribution_has_all_that_cc_by_asks_for() -> None:
    row = tiny.source("aa", title="A title", channel="Somebody", licence="CC-BY-3.0")
    content = "".join(attribution([row], {"aa": 3}))
    for wanted in ("A title", "Somebody", r"CC\-BY\-3\.0", "<https://www.youtube.com/watch?v=aa>", "was changed"):
        assert wanted in content


def test_links() -> None:
    assert link_target("https://example.org/a?b=c&d=e|f") == plain("https://example.org/a?b=c&d=e|f")
    assert link_target("https://example.org/a?b=c&d=e") == "<https://example.org/a?b=c&amp;d=e>"
    assert link_target("javascript:alert(1)") == r"javascript\:alert\(1\)"
    assert link_target("clips/a film.mp4") == r"clips\/a film\.mp4"


def test_plain_is_readable() -> None:
    assert plain("Grüße, 世界, it's 5 o'clock") == "Grüße, 世界, it's 5 o'clock"
    assert plain("") == "(none)"


def test_card_tells_the_numbers(dataset: Dataset) -> None:
    content = (tiny.built() / CARD).read_text(encoding="utf-8")
    assert "54 clips of 6 frames, 32x32 pixels, from 18 videos" in content
    for cell in dataset.cells:
        assert re.search(rf"\| {cell.level} \| \d .*\| {cell.split} \| {cell.clips} \|", content)
    assert "| s0t0 | 1 | below 71.2 | below 13.5 |" in content
    assert "| s1t2 | 8 | 71.2 to 103.9 | from 24.5 |" in content
    assert dataset.fingerprint[:16] in content
    assert r"removals\@example\.org" in content


def test_hostile_titles_through_a_whole_build(tmp_path: Path) -> None:
    made = tiny.material(tmp_path / "work", 6)
    named = zip(made.sources.items(), HOSTILE, strict=False)
    sources = {name: replace(row, title=text, channel=text) for (name, row), text in named}
    tiny.build(tmp_path / "work", tmp_path / "out", replace(made, sources=sources))
    assert verify(tmp_path / "out", 0).findings == ()
