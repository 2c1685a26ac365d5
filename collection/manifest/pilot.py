"""A pilot: few rows of a manifest that stand for all of them, because each kind of row has its share."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from collection.addresses import host_of
from mlst.levels.splits import order_hash
from mlst.records import Source

Stratum = tuple[str, str, str]
"""List, licence and host."""


def strata(rows: Iterable[Source]) -> dict[Stratum, list[Source]]:
    """Rows by what a manifest knows that matters to what becomes of them, in their order."""
    found: dict[Stratum, list[Source]] = defaultdict(list)
    for row in rows:
        found[row.provenance.split(": ")[0], row.licence, host_of(row.url)].append(row)
    return dict(found)


def pilot(rows: Sequence[Source], count: int, seed: int) -> tuple[Source, ...]:
    """`count` of the rows, in their order; all, where there are no more.

    Each stratum has its share, and one row at least where `count` allows. Within it labels (what follows the list's
    name in the provenance) and groups take turns, in an order by the hash of `seed` and id.
    """
    found = strata(rows)
    given = shares({name: len(those) for name, those in found.items()}, min(count, len(rows)))
    chosen = {row.id for name, share in given.items() for row in islice(_in_turns(found[name], seed), share)}
    return tuple(row for row in rows if row.id in chosen)


def shares(sizes: Mapping[Stratum, int], count: int) -> dict[Stratum, int]:
    """`count`, at most the sum of the sizes, divided by size (Webster's method); one for each that there is one for,
    the largest first."""
    given = dict.fromkeys(sorted(sizes, key=lambda name: (-sizes[name], name))[:count], 1)
    for _ in range(count - len(given)):
        open_ = (name for name in given if given[name] < sizes[name])
        given[max(open_, key=lambda name: (sizes[name] / (2 * given[name] + 1), name))] += 1
    return given


def _in_turns(rows: Sequence[Source], seed: int) -> Iterator[Source]:
    """Rows by hash: first one of each label and group, then two, then four, and so on."""
    left = sorted(rows, key=lambda row: order_hash(f"{seed}\0{row.id}"))
    taken: Counter[str] = Counter()
    most = 1
    while left:
        later = []
        for row in left:
            kinds = (f"label\0{row.provenance}", f"group\0{row.group}")
            if max(taken[kind] for kind in kinds) < most:
                taken.update(kinds)
                yield row
            else:
                later.append(row)
        left, most = later, 2 * most
