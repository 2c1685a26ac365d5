import itertools
import math
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collection.recipe import SelectSettings
from collection.review import MARKS, NO_REVIEW, Review
from collection.select import PRIORITY, Selection, complete, select
from mlst.levels.splits import order_hash, split_of
from mlst.pictures import fingerprints
from mlst.pictures.fingerprints import link
from mlst.records import Scan, Source, Statistics
from tests import tiny

SHARES = {"train": 0.5, "validation": 0.25, "test": 0.25}


@dataclass(frozen=True)
class World:
    """Scanned sources."""

    scans: tuple[Scan, ...]
    sources: dict[str, Source]

    def without(self, lost: set[str]) -> "World":
        """As if some sources had never been there."""
        return World(tuple(s for s in self.scans if s.source not in lost), self.sources)

    def select(
        self, options: SelectSettings, kept: frozenset[str] = frozenset(), review: Review = NO_REVIEW
    ) -> Selection:
        """The selection."""
        return select(self.scans, self.sources, tiny.P910, options, kept, review)


def world(content: dict[str, list[tuple[int, int, int, int]]]) -> World:
    """Sources with clips `(s, t, shot, footage)`; equal footage looks alike, negative footage is unlike any other."""
    scans = []
    for name, clips in content.items():
        scan = tiny.scan(name, [(s, t) for s, t, _, _ in clips], [b"x"] * len(clips))
        prints = [
            tiny.fingerprint(footage) if footage >= 0 else clip.fingerprint
            for clip, (_, _, _, footage) in zip(scan.clips, clips, strict=True)
        ]
        shots = [shot for _, _, shot, _ in clips]
        made = (replace(c, fingerprint=f, shot=n) for c, f, n in zip(scan.clips, prints, shots, strict=True))
        scans.append(replace(scan, clips=tuple(made)))
    return World(tuple(scans), {name: tiny.source(name) for name in content})


def worlds(copies: bool) -> st.SearchStrategy[World]:
    """Small worlds in few levels, so that quotas bite; `copies` shares footage between sources."""
    footage = st.integers(-1, 5) if copies else st.just(-1)
    clips = st.lists(st.tuples(st.integers(0, 1), st.just(1), st.integers(0, 2), footage), max_size=5)
    return st.dictionaries(st.from_regex(r"[a-z]{2}", fullmatch=True), clips, max_size=10).map(world)


options = st.builds(
    lambda quota, per_source: SelectSettings(splits=SHARES, quota=quota, per_source=per_source),
    st.integers(0, 12),
    st.integers(0, 3),
)


def keys(selection: Selection) -> frozenset[str]:
    return frozenset(c.candidate.key for c in selection.chosen)


@settings(max_examples=60, deadline=None)
@given(worlds(copies=True), options)
def test_every_candidate_ends_in_one_place(made: World, chosen_by: SelectSettings) -> None:
    selection = made.select(chosen_by)
    ends = [c.candidate.key for c in selection.chosen] + [d.candidate.key for d in selection.dropped]
    assert sorted(ends) == sorted(clip.key for scan in made.scans for clip in scan.clips)
    assert sum(selection.reasons().values()) == len(selection.dropped)


@settings(max_examples=40, deadline=None)
@given(worlds(copies=True), options, st.randoms(use_true_random=False))
def test_order_of_input_does_not_matter(made: World, chosen_by: SelectSettings, rng: random.Random) -> None:
    shuffled = [replace(scan, clips=tuple(rng.sample(scan.clips, len(scan.clips)))) for scan in made.scans]
    rng.shuffle(shuffled)
    assert select(shuffled, made.sources, tiny.P910, chosen_by) == made.select(chosen_by)


@settings(max_examples=60, deadline=None)
@given(worlds(copies=True), options)
def test_no_footage_in_two_splits_or_from_two_sources(made: World, chosen_by: SelectSettings) -> None:
    """Over the chosen clips and the reserves: a reserve may be chosen by a later build."""
    selection = made.select(chosen_by)
    usable = [c.candidate for c in selection.chosen]
    usable += [d.candidate for d in selection.dropped if d.reason in ("quota", "per_source")]
    prints = {clip.key: clip.fingerprint for scan in made.scans for clip in scan.clips}
    for one, other in link(prints[c.key] for c in usable):
        assert usable[one].source == usable[other].source
        assert usable[one].split == usable[other].split
    for candidate in usable:
        assert candidate.split == split_of(candidate.source, SHARES, "mlst")


@settings(max_examples=60, deadline=None)
@given(worlds(copies=True), options, st.data())
def test_a_rebuild_after_losses_keeps_what_is_left(
    made: World, chosen_by: SelectSettings, data: st.DataObject
) -> None:
    before = made.select(chosen_by)
    lost = set(data.draw(st.lists(st.sampled_from(sorted(made.sources)), unique=True))) if made.sources else set()
    after = made.without(lost).select(chosen_by, keys(before))
    left = {c.candidate.key for c in before.chosen if c.candidate.source not in lost}
    assert left <= keys(after)


@settings(max_examples=60, deadline=None)
@given(worlds(copies=False), options, st.data())
def test_without_copies_nothing_has_to_be_remembered(
    made: World, chosen_by: SelectSettings, data: st.DataObject
) -> None:
    before = made.select(chosen_by)
    lost = set(data.draw(st.lists(st.sampled_from(sorted(made.sources)), unique=True))) if made.sources else set()
    after = made.without(lost).select(chosen_by)
    left = {c.candidate.key for c in before.chosen if c.candidate.source not in lost}
    assert left <= keys(after)


def test_what_came_back_does_not_displace_what_was_chosen() -> None:
    """The better ranked clip was left out because of a copy in test; the copy is gone, but its place is taken."""
    (high,), names = names_of("test", 1), names_of("train", 2)
    back, stays = sorted(names, key=lambda name: order_hash(f"{name}_000000000"))
    made = world({high: [(0, 0, 0, 1)], back: [(0, 0, 0, 1)], stays: [(0, 0, 0, -1)]})
    quota = SelectSettings(splits={"train": 0.5, "validation": 0.25, "test": 0.25}, quota=2)
    before = made.select(quota)
    assert keys(before) == {f"{high}_000000000", f"{stays}_000000000"}
    assert keys(made.without({high}).select(quota, keys(before))) == {f"{stays}_000000000"}
    assert keys(made.without({high}).select(quota)) == {f"{back}_000000000"}


def test_losing_three_in_ten_keeps_the_balance() -> None:
    rng = random.Random(1)
    content = {f"v{i:03d}": [(rng.randrange(3), rng.randrange(3), j, -1) for j in range(6)] for i in range(300)}
    made, quota = world(content), SelectSettings(splits=SHARES, quota=80)
    before = made.select(quota)
    lost = set(rng.sample(sorted(content), 90))
    after = made.without(lost).select(quota)
    count = Counter((c.candidate.level.name, c.candidate.split) for c in after.chosen)
    assert count == Counter((c.candidate.level.name, c.candidate.split) for c in before.chosen)
    assert set(count.values()) == {40, 20}
    assert {k for k in keys(before) if k[:4] not in lost} <= keys(after)


def test_reserves_are_the_next_ranks() -> None:
    made = world({f"v{i:03d}": [(0, 0, 0, -1)] for i in range(40)})
    selection = made.select(SelectSettings(splits={"train": 1.0}, quota=10))
    assert sorted(c.rank for c in selection.chosen) == list(range(10))
    reserves = {int(d.detail): d.candidate.key for d in selection.dropped}
    assert sorted(reserves) == list(range(10, 40))
    more = made.select(SelectSettings(splits={"train": 1.0}, quota=11))
    assert keys(more) == keys(selection) | {reserves[10]}


def names_of(split: str, count: int) -> list[str]:
    """Source ids that hash to a split."""
    names = (f"n{i:04d}" for i in range(10_000))
    return list(itertools.islice((name for name in names if split_of(name, SHARES, "mlst") == split), count))


@pytest.mark.parametrize(("stays", "goes"), [("test", "validation"), ("test", "train"), ("validation", "train")])
def test_copies_leave_the_less_protected_split(stays: str, goes: str) -> None:
    (high,), (low,) = names_of(stays, 1), names_of(goes, 1)
    made = world({low: [(0, 0, 0, 7), (0, 0, 0, -1), (0, 0, 1, -1)], high: [(2, 2, 0, 7)]})
    selection = made.select(SelectSettings(splits=SHARES))
    first, second, third = (clip.key for clip in made.scans[0].clips)
    kept = made.scans[1].clips[0].key
    assert keys(selection) == {third, kept}
    assert {(d.candidate.key, d.reason, d.detail) for d in selection.dropped} == {
        (first, "leak", kept),
        (second, "leak", kept),  # of the same shot: it shows the same place and people
    }


def test_links_through_a_third_copy_count() -> None:
    (high,), (one, two) = names_of("test", 1), names_of("train", 2)
    made = world(
        {high: [(0, 0, 0, 1)], one: [(0, 0, 0, 1), (0, 0, 0, 2)], two: [(0, 0, 0, 2)]},
    )
    selection = made.select(SelectSettings(splits=SHARES))
    assert selection.reasons() == {"leak": 3}


def test_one_copy_stays_within_a_split() -> None:
    names = names_of("train", 3)
    made = world({name: [(0, 0, 0, 3), (0, 0, 1, -1)] for name in names})
    selection = made.select(SelectSettings(splits=SHARES))
    best = min(names, key=order_hash)
    assert {d.candidate.source for d in selection.dropped} == set(names) - {best}
    assert {d.reason for d in selection.dropped} == {"duplicate"}
    assert {d.detail for d in selection.dropped} == {f"{best}_000000000"}
    other = max(names, key=order_hash)
    kept = made.select(SelectSettings(splits=SHARES), frozenset({f"{other}_000000000"}))
    assert f"{other}_000000000" in keys(kept)
    assert f"{best}_000000000" not in keys(kept)


def test_links_that_a_crowd_hides_are_found_among_the_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two copies stand clips that have one frame of theirs each; most of these are not chosen."""
    monkeypatch.setattr(fingerprints, "CROWD", 4)
    monkeypatch.setattr(fingerprints, "NEIGHBOURS", 1)
    one, other, crowd = names_of("train", 3)
    made = world({one: [(0, 0, 0, 1)], other: [(0, 2, 0, 1)], crowd: [(0, 1, n, -1) for n in range(12)]})
    *copies, between = made.scans
    frame = len(copies[0].clips[0].fingerprint) // 4
    clips = []
    for n, clip in enumerate(between.clips):
        shared = copies[0].clips[0].fingerprint[frame * (n % 4) : frame * (n % 4 + 1)]
        clips.append(replace(clip, fingerprint=shared + clip.fingerprint[frame:]))
    made = replace(made, scans=(*copies, replace(between, clips=tuple(clips))))
    assert made.select(SelectSettings(splits=SHARES)).reasons() == {}
    assert made.select(SelectSettings(splits=SHARES, per_source=1)).reasons() == {"duplicate": 1, "per_source": 11}


def test_repeats_within_a_source_stay() -> None:
    made = world({"aa": [(0, 0, 0, 1), (0, 0, 1, 1), (0, 0, 2, 1)]})
    assert len(made.select(SelectSettings(splits=SHARES)).chosen) == 3


def test_a_new_source_moves_nothing_in_test() -> None:
    (high,), (low, new) = names_of("test", 1), names_of("train", 2)
    content = {high: [(0, 0, 0, 1)], low: [(0, 0, 0, -1)]}
    before = world(content).select(SelectSettings(splits=SHARES))
    after = world({**content, new: [(0, 0, 0, 1)]}).select(SelectSettings(splits=SHARES))
    assert keys(before) == keys(after)


def flagged(name: str, **values: float | None) -> World:
    made = world({"aa": [(1, 1, 0, -1)], "bb": [(1, 1, 0, -1)]})
    clip = made.scans[0].clips[0]
    odd: Statistics = replace(clip.statistics, **values)
    scan = replace(made.scans[0], clips=(replace(clip, statistics=odd),))
    return World((scan, made.scans[1]), made.sources)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("black", {"black_ratio": 1.0}),
        ("frozen", {"freeze_ratio": 1.0}),
        ("static", {"ti10": 0.2}),
        ("borderline", {"si": 72.0}),
    ],
)
def test_flags_keep_clips_out_if_the_recipe_says_so(name: str, values: dict[str, float]) -> None:
    made = flagged(name, **values)
    with_flag = made.select(SelectSettings(splits=SHARES, reject=(name,)))
    assert [(d.candidate.source, d.reason, d.detail) for d in with_flag.dropped] == [("aa", "flag", name)]
    without = made.select(SelectSettings(splits=SHARES, reject=()))
    assert len(without.chosen) == 2
    assert name in next(c.candidate.flags for c in without.chosen if c.candidate.source == "aa")


@pytest.mark.parametrize(
    ("ends", "out"), [((0, 3), []), ((0, 2), ["aa"]), ((1, math.inf), ["bb"]), ((-math.inf, -1), ["aa", "bb"])]
)
def test_ranges_keep_clips_out(ends: tuple[float, float], out: list[str]) -> None:
    made = flagged("flash", flash_count=3)
    selection = made.select(SelectSettings(splits=SHARES, keep={"scale": (0, math.inf), "flash_count": ends}))
    assert [d.candidate.source for d in selection.dropped] == out
    assert {(d.reason, d.detail) for d in selection.dropped} <= {("range", "flash_count")}


def test_a_range_of_what_was_not_measured_is_refused() -> None:
    made = flagged("flash", camera_residual=None)
    with pytest.raises(ValueError, match=r"select.keep.camera_residual .* add camera_residual to scan.columns"):
        made.select(SelectSettings(splits=SHARES, keep={"camera_residual": (0, 1)}))


def test_per_source() -> None:
    made = world({"aa": [(0, 0, j, -1) for j in range(5)] + [(1, 1, 6, -1)], "bb": [(0, 0, 0, -1)]})
    selection = made.select(SelectSettings(splits=SHARES, per_source=2))
    count = Counter((c.candidate.source, c.candidate.level.name) for c in selection.chosen)
    assert count == {("aa", "s0t0"): 2, ("aa", "s1t1"): 1, ("bb", "s0t0"): 1}
    assert selection.reasons() == {"per_source": 3}


def test_groups_stay_together() -> None:
    made = world({f"v{i:02d}": [(0, 0, 0, -1)] for i in range(40)})
    channels = {name: replace(row, channel=f"channel {i % 7}") for i, (name, row) in enumerate(made.sources.items())}
    selection = World(made.scans, channels).select(SelectSettings(splits=SHARES, group="channel"))
    splits = defaultdict(set)
    for chosen in selection.chosen:
        splits[channels[chosen.candidate.source].channel].add(chosen.candidate.split)
    assert {len(found) for found in splits.values()} == {1}
    assert {c.candidate.group for c in selection.chosen} == {f"channel {i}" for i in range(7)}


def test_chosen_are_in_shard_order() -> None:
    made = world({f"v{i:02d}": [(i % 3, 0, 0, -1)] for i in range(40)})
    places = [
        (c.candidate.level.name, c.candidate.split, order_hash(c.candidate.key))
        for c in made.select(SelectSettings(splits=SHARES)).chosen
    ]
    assert places == sorted(places)


def test_a_source_scanned_twice_is_refused() -> None:
    made = world({"aa": [(0, 0, 0, -1)]})
    with pytest.raises(ValueError, match="aa_000000000"):
        select([*made.scans, *made.scans], made.sources, tiny.P910, SelectSettings())


def test_complete_fills_in_what_the_site_said() -> None:
    upstream = replace(tiny.video("aa", world({"aa": [(0, 0, 0, -1)]}).scans[0]).upstream, title="T", licence="CC")
    empty = replace(tiny.source("aa"), title="", licence="unknown")
    assert complete(empty, upstream) == replace(empty, title="T", licence="CC")
    assert complete(tiny.source("aa"), upstream) == tiny.source("aa")
    assert complete(empty, replace(upstream, licence="")).licence == "unknown"
    assert complete(empty, replace(upstream, title="a\ud800b")).title == "a?b"


def test_priority_is_over_all_splits() -> None:
    assert set(PRIORITY) == set(SHARES)


# -- What a person said


@settings(max_examples=60, deadline=None)
@given(worlds(copies=True), options, st.data())
def test_marks_are_heeded_whatever_the_order(made: World, chosen_by: SelectSettings, data: st.DataObject) -> None:
    clips = sorted(clip.key for scan in made.scans for clip in scan.clips)
    marks = data.draw(st.dictionaries(st.sampled_from(clips), st.sampled_from(MARKS))) if clips else {}
    review = Review(marks)
    selection = made.select(chosen_by, review=review)
    refused = {drop.candidate.key: drop.detail for drop in selection.dropped if drop.reason == "review"}
    assert refused == {key: mark for key, mark in marks.items() if mark != "keep"}
    backwards = World(made.scans[::-1], made.sources)
    assert backwards.select(chosen_by, review=review) == selection


@settings(max_examples=60, deadline=None)
@given(worlds(copies=False), st.integers(1, 12), st.data())
def test_what_is_kept_comes_first_within_quotas(made: World, quota: int, data: st.DataObject) -> None:
    """Without copies: where footage is in two sources or splits, only one of them can stay."""
    clips = sorted(clip.key for scan in made.scans for clip in scan.clips)
    kept = data.draw(st.sets(st.sampled_from(clips))) if clips else set()
    selection = made.select(SelectSettings(splits=SHARES, quota=quota), review=Review(dict.fromkeys(kept, "keep")))
    for drop in selection.dropped:
        if drop.candidate.key in kept:
            cell = (drop.candidate.level, drop.candidate.split)
            others = [c.candidate.key for c in selection.chosen if (c.candidate.level, c.candidate.split) == cell]
            assert drop.reason == "quota"
            assert set(others) <= kept


def test_what_is_kept_passes_flags_and_ranges() -> None:
    made = world({"a": [(0, 0, 0, -1), (0, 0, 1, -1)]})
    first, second = sorted(clip.key for scan in made.scans for clip in scan.clips)
    narrow = SelectSettings(splits={"train": 1.0}, keep={"si": (1e6, 2e6)})
    assert keys(made.select(narrow)) == set()
    assert keys(made.select(narrow, review=Review({second: "keep"}))) == {second}
    assert made.select(narrow, review=Review({first: "bad_cut"})).reasons() == {"range": 1, "review": 1}
