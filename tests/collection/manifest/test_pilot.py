"""A pilot has its share of every kind of row."""

import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

from collection.manifest.pilot import pilot, shares, strata
from collection.manifest.table import ANYTHING, read_manifest, write_manifest
from mlst.records import OPEN_END, Source

FOLDER = Path(__file__).parents[3] / "manifests" / "mlst-v1"


def row(number: int, origin: str, label: str = "", group: str = "") -> Source:
    name = f"v{number}"
    provenance = f"{origin}: {label}" if label else origin
    url = f"https://example.org/{name}.mp4"
    return Source(name, url, Fraction(0), OPEN_END, "unknown", "", "", group or name, provenance)


def test_each_stratum_has_its_share_and_one_at_least() -> None:
    rows = [row(n, "large") for n in range(900)] + [row(n, "small") for n in range(900, 990)] + [row(999, "single")]
    assert Counter(one.provenance for one in pilot(rows, 100, 0)) == {"large": 90, "small": 9, "single": 1}
    assert len(pilot(rows, 2, 0)) == 2
    assert pilot(rows, 5000, 0) == tuple(rows)


def test_shares_add_up_and_are_never_more_than_there_is() -> None:
    rng = random.Random(1)
    for _ in range(200):
        sizes = {(str(n), "", ""): rng.choice((1, 2, 5, 1000)) for n in range(rng.randint(1, 9))}
        count = rng.randint(1, sum(sizes.values()))
        given = shares(sizes, count)
        assert sum(given.values()) == count
        assert all(0 < share <= sizes[name] for name, share in given.items())


def test_labels_and_groups_take_turns() -> None:
    rows = [row(n, "list", f"label {n % 20}", f"group {n % 7}") for n in range(700)]
    chosen = pilot(rows, 7, 0)
    assert len({one.group for one in chosen}) == len({one.provenance for one in chosen}) == 7


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    rows = [row(n, f"list {n % 3}", f"label {n % 20}") for n in range(300)]
    mixed = random.Random(1).sample(rows, len(rows))
    assert set(pilot(rows, 30, 0)) == set(pilot(mixed, 30, 0)) != set(pilot(rows, 30, 1))


def test_the_pilot_of_mlst_v1_is_that_of_its_manifest(tmp_path: Path) -> None:
    rows = read_manifest(FOLDER / "sources.csv", ANYTHING)
    write_manifest(tmp_path / "pilot.csv", pilot(rows, 100, 0))
    assert (tmp_path / "pilot.csv").read_bytes() == (FOLDER / "pilot.csv").read_bytes()
    assert len(strata(rows)) == len(strata(read_manifest(FOLDER / "pilot.csv", ANYTHING))) == 5
