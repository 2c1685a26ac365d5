"""How records, findings and differences are shown: tables on standard output, JSON for programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from collection.cli.console import console, results, safe
from mlst.checking.verify import Finding, Report
from mlst.dataset.diff import Difference
from mlst.records import canonical_json, encode
from mlst.text import number_of

SHOWN = 50
"""Lines of a table at most; --json has all."""


def print_record(title: str, record: Any, as_json: bool) -> None:
    """Every field of a dataclass, in a line each."""
    if as_json:
        print(canonical_json(record))
        return
    print_facts(title, dict(_flat(encode(record), "")), False)


def print_facts(title: str, facts: Mapping[str, Any], as_json: bool) -> None:
    """Names and values, a line each."""
    if as_json:
        print(json.dumps(facts))
        return
    rows = Table(title=safe(title) or None, title_justify="left", show_header=False)
    rows.add_column()
    rows.add_column(overflow="fold")
    for name, value in facts.items():
        rows.add_row(safe(str(name)), safe(str(value)))
    results.print(rows)


def print_verified(seen: Report, as_json: bool) -> None:
    """What was checked, or every finding."""
    if as_json:
        print(canonical_json(seen))
    else:
        print_report(seen)


def advise(sentences: Iterable[str]) -> None:
    """Advice on standard error: what could be said of a dataset and is not."""
    for sentence in sentences:
        console.print(f"[yellow]advice:[/] {safe(sentence)}")


def print_diff(found: Difference, as_json: bool) -> None:
    """How two datasets differ."""
    if as_json:
        print(canonical_json(found))
        return
    if found.equal:
        results.print("The datasets are equal" + ("." if found.same_bytes else ", but not described byte for byte."))
        return
    rows = table("Clips", ("level", "split", "A", "B", "added", "removed", "changed", "moved in", "moved out"))
    for cell in found.cells:
        counts = (cell.before, cell.after, cell.added, cell.removed, cell.changed, cell.arrived, cell.left)
        rows.add_row(cell.level, cell.split, *map(str, counts))
    results.print(rows)
    lists = [("source added", found.sources_added), ("source removed", found.sources_removed)]
    lists.append(("source with other footage", found.sources_changed))
    lines = [f"{what}: {name}" for what, names in lists for name in names]
    lines += [f"{one.name}: {one.before or 'none'} -> {one.after or 'none'}" for one in found.settings]
    lines += [f"moved: {clip.key} {clip.before} -> {clip.after}" for clip in found.moved]
    lines += [f"{one.column}: differs for {number_of(one.clips, 'clip')} of the same bytes" for one in found.described]
    print_lines(lines)


def print_report(seen: Report) -> None:
    """What was checked, or a table of findings."""
    if seen.ok:
        results.print(
            f"Verified: {number_of(seen.files, 'file')}, {number_of(seen.shards, 'shard')}, "
            f"{number_of(seen.clips, 'clip')}, {number_of(seen.frames, 'frame')} decoded"
        )
        return
    rows = table(number_of(len(seen.findings), "finding"), ("rule", "path", "clip", "what is wrong"))
    for finding in seen.findings[:100]:
        rows.add_row(*map(safe, (finding.rule, finding.path, finding.key, finding.detail)))
    results.print(rows)


def print_findings(findings: Sequence[Finding]) -> None:
    """Findings on standard error, a line each."""
    for finding in findings[:SHOWN]:
        console.print(safe(f"{finding.rule}: {finding.path} {finding.key} {finding.detail}"))


def _flat(value: Any, name: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    elif name.endswith("bytes"):
        yield name, decimal(int(value))
    elif "seconds" in name and value >= 60:
        yield name, f"{timedelta(seconds=round(value))} (h:mm:ss)"
    elif isinstance(value, float):
        yield name, f"{value:.6g}"
    elif name.endswith("fingerprint"):
        yield name, f"{value[:16]}... ({len(value)} hex digits; --json prints all)"
    else:
        yield name, str(value)


def print_lines(lines: Sequence[str]) -> None:
    """The first lines of a list."""
    for line in lines[:SHOWN]:
        results.print(safe(line))
    if len(lines) > SHOWN:
        results.print(f"... and {len(lines) - SHOWN} more; --json prints all")


def table(title: str, headings: Iterable[str], right: Iterable[str] = ()) -> Table:
    """An empty table."""
    made = Table(title=title or None, title_justify="left")
    for heading in headings:
        made.add_column(heading, overflow="fold", justify="right" if heading in right else "left")
    return made
