"""A diagnosis as one HTML page that asks the network for nothing, and as JSON."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from collection.doctor.examine import Diagnosis
from collection.doctor.rules import RULES
from collection.report.html import asset
from mlst.files import atomic
from mlst.text import one_line

SHOWN = 50
"""Findings of one rule that the page lists."""


def write_page(path: Path, found: Diagnosis) -> None:
    """Write the page of a diagnosis."""
    environment = Environment(
        loader=PackageLoader("collection.doctor"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("doctor.html.j2").render(
        found=found,
        name=one_line(Path(found.place).resolve().name or found.place),
        style=asset("report.css"),
        rules=[(name, RULES[name], count, _listed(found, name)) for name, count in found.counted().items()],
        shares={share.rule: share for share in found.shares},
        shown=SHOWN,
        one_line=one_line,
    )
    with atomic(path) as file:
        file.write(text.encode(errors="replace"))


def _listed(found: Diagnosis, rule: str) -> list[tuple[str, str]]:
    those = [one for one in found.findings if one.rule == rule][:SHOWN]
    return [(one_line(one.where) or "the whole dataset", one_line(one.detail)) for one in those]


def summary(found: Diagnosis) -> dict[str, Any]:
    """JSON-ready: all of it."""
    shares = {share.rule: share for share in found.shares}
    return {
        "place": found.place,
        "kind": found.kind,
        "clips": found.clips,
        "looked_at": found.looked_at,
        "seed": found.seed,
        "worst": found.worst(),
        "rules": [
            {
                "rule": rule,
                "severity": RULES[rule].severity,
                "findings": count,
                **({"interval": [shares[rule].bounds.low, shares[rule].bounds.high]} if rule in shares else {}),
            }
            for rule, count in found.counted().items()
        ],
        "findings": [{"rule": one.rule, "where": one.where, "detail": one.detail} for one in found.findings],
    }
