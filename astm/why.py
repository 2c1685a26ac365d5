"""Why two runs, two evaluations or two datasets are not the same: what each says of itself, side by side."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astm.data import dataset as known_datasets
from astm.pretrained.store import CONFIG, CheckpointError, read_config
from astm.results import Evaluation, read_results
from astm.versions import read_versions
from mlst.dataset.description import DATASET, Dataset, read_dataset
from mlst.dataset.diff import Difference, diff
from mlst.exits import UserError
from mlst.structured import read_toml
from mlst.text import number_of

PARTS = ("data", "code", "settings", "versions", "seed", "scores")
"""What may differ, in the order of the table. `code` is the version of `mlst`, whose wheel brings `astm`; `versions`
are those of other libraries, and the device."""
LOOSE = ("settings",)
"""Parts in which a name that only one side has is a difference; elsewhere one side did not record it."""
EXPERIMENT, RESULTS = "experiment.toml", "results.json"
FAST = "run."
"""Settings that only change how fast a run is, `run.threads` apart: the sums of a CPU depend on it."""
UNSAID = ""


class WhyError(UserError, ValueError):
    """What cannot be compared; the text says what would do."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that one or both say of themselves."""

    part: str
    """One of `PARTS`."""
    name: str
    a: str
    """`UNSAID` where it is not recorded, or is not there."""
    b: str

    @property
    def differs(self) -> bool:
        """Whether it tells the two apart."""
        return self.a != self.b and (self.part in LOOSE or UNSAID not in (self.a, self.b))


@dataclass(frozen=True, slots=True)
class Why:
    """Everything that two things say of themselves."""

    kind: str
    """`run`, `evaluation` or `dataset`."""
    facts: tuple[Fact, ...]
    """Sorted by part; those too that are the same."""

    @property
    def differences(self) -> tuple[Fact, ...]:
        """What tells the two apart."""
        return tuple(fact for fact in self.facts if fact.differs)

    @property
    def equal(self) -> bool:
        """Whether nothing that both recorded differs."""
        return not self.differences

    def verdict(self, part: str) -> str:
        """`differs`, `same`, or `not recorded` where nothing can be compared."""
        facts = [fact for fact in self.facts if fact.part == part]
        if any(fact.differs for fact in facts):
            return "differs"
        return "same" if any(fact.a == fact.b != UNSAID for fact in facts) else "not recorded"


@dataclass(frozen=True, slots=True)
class Said:
    """What one thing says of itself."""

    kind: str
    facts: Mapping[tuple[str, str], str]
    """By part and name."""
    dataset: Path | None
    """The folder of the MLST dataset that it is or was made with, where that is still there."""


def why(one: Path, two: Path) -> Why:
    """Compare two runs of `astm train`, two results of `astm evaluate`, or two datasets.

    Raises
    ------
    WhyError: something else, or of two kinds. EvaluationError, CheckpointError, DiffError: a damaged one.
    """
    a, b = said(one), said(two)
    if a.kind != b.kind:
        raise WhyError(f"{one} is of kind {a.kind}, {two} of kind {b.kind}; give two of one kind")
    facts = [Fact(*place, a.facts.get(place, UNSAID), b.facts.get(place, UNSAID)) for place in {**a.facts, **b.facts}]
    if a.dataset and b.dataset and a.dataset.resolve() != b.dataset.resolve():
        facts += facts_of_difference(diff(a.dataset, b.dataset))
    return Why(a.kind, tuple(sorted(facts, key=lambda fact: (PARTS.index(fact.part), fact.name))))


def said(place: Path) -> Said:
    """What a run's folder, a results file or its folder, or a dataset's folder says of itself. Raises as `why`."""
    if (place / EXPERIMENT).is_file():
        return _of_run(place)
    if (place / DATASET).is_file():
        return _of_dataset(place)
    file = place / RESULTS if place.is_dir() else place
    if not file.is_file():
        raise WhyError(f"{place} has no {EXPERIMENT}, {DATASET} or {RESULTS}; give a run, a dataset or a results file")
    return _of_results(file, read_results(file))


def _of_run(folder: Path) -> Said:
    try:
        tree: Mapping[str, Any] = read_toml(folder / EXPERIMENT)[1]
        values = {f"{table}.{name}": value for table in tree for name, value in _table(tree, table).items()}
    except (OSError, ValueError) as error:
        raise WhyError(f"{folder / EXPERIMENT}: {error}") from None
    data = str(values.get("data.name", UNSAID))
    places = known_datasets[data].Settings.places if data in known_datasets else ("root",)
    facts = {("settings", name): repr(value) for name, value in values.items() if _decides(name, places)}
    facts["seed", "train.seed"] = str(values.get("train.seed", UNSAID))
    for number, change in enumerate(tree.get("overrides", ())):
        facts["settings", f"override {number + 1}"] = str(change)
    root = Path(str(values.get("data.root", UNSAID)))
    here = root if data == "mlst" and (root / DATASET).is_file() else None
    return Said("run", {**facts, **_weights(folder), **_versions(folder), **(_described(here) if here else {})}, here)


def _table(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return tree[name] if isinstance(tree[name], Mapping) else {}


def _decides(name: str, places: Iterable[str]) -> bool:
    if name == "train.seed" or name in {f"data.{place}" for place in places}:
        return False
    return not name.startswith(FAST) or name == "run.threads"


def _weights(folder: Path) -> dict[tuple[str, str], str]:
    """What a finished run says of its best weights."""
    if not (folder / "pretrained" / CONFIG).is_file():
        return {}
    origin = read_config(folder / "pretrained").origin
    return {
        ("code", "mlst"): origin.version,
        ("data", "pictures of train"): origin.fingerprint,
        ("data", "protocol"): origin.protocol,
        ("scores", "best step"): str(origin.step),
        ("scores", "validation mse_sum"): UNSAID if origin.score < 0 else repr(origin.score),
    }


def _versions(folder: Path) -> dict[tuple[str, str], str]:
    try:
        found = read_versions(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: {error}") from None
    return {("code" if name == "mlst" else "versions", name): version for name, version in found.items()}


def _of_results(file: Path, results: Sequence[Evaluation]) -> Said:
    facts: dict[tuple[str, str], str] = {}
    for name in ("dataset", "split", "protocol", "fingerprint", "clips"):
        facts["data", name] = _all(getattr(one, name) for one in results)
    for level, clips in {group.level: group.clips for one in results for group in one.groups}.items():
        facts["data", f"clips of {level}"] = str(clips)
    for name in ("past", "horizon", "size", "channels", "policy", "interval"):
        facts["settings", name] = _all(getattr(one, name) for one in results)
    for one in results:
        facts["settings", f"model {one.label}"] = f"{one.model}, {one.cost.parameters:,} parameters"
        facts |= {("scores", f"{one.label} {score.metric}"): repr(score.mean) for score in one.groups[0].scores}
    facts["versions", "device"] = _all(one.cost.device for one in results)
    return Said("evaluation", {**facts, **_versions(file.parent)}, None)


def _all(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _of_dataset(folder: Path) -> Said:
    return Said("dataset", _described(folder), folder)


def _described(folder: Path) -> dict[tuple[str, str], str]:
    """Facts of `dataset.json`."""
    try:
        found: Dataset = read_dataset(folder)
    except (OSError, ValueError) as error:
        raise WhyError(f"{folder}: not a readable dataset: {error}; run `mlst verify`") from None
    facts = {("data", f"dataset {name}"): str(getattr(found, name)) for name in ("fingerprint", "sources", "clips")}
    facts["data", "dataset version"] = f"{found.name} {found.version}"
    for title, counts in (("level", _clips(found, "level")), ("split", _clips(found, "split"))):
        facts |= {("data", f"dataset {title} {name}"): number_of(count, "clip") for name, count in counts.items()}
    return facts


def _clips(found: Dataset, column: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for cell in found.cells:
        counts[getattr(cell, column)] += cell.clips
    return counts


def facts_of_difference(found: Difference) -> Iterator[Fact]:
    """What `mlst diff` finds, as facts that differ."""
    for name, before, after in (
        ("clips", found.removed, found.added),
        ("sources", found.sources_removed, found.sources_added),
    ):
        if before or after:
            yield Fact("data", name, f"{len(before)} that B lacks", f"{len(after)} that A lacks")
    changed = {f"clips with another {one.column}": one.clips for one in found.described}
    changed |= {"clips with other bytes": len(found.changed), "clips in another level or split": len(found.moved)}
    changed["sources with other footage"] = len(found.sources_changed)
    for name, count in changed.items():
        if count:
            yield Fact("data", name, "none", str(count))
    for one in found.settings:
        part, name = _place_of(one.name)
        yield Fact(part, name, one.before or "none", one.after or "none")


def _place_of(setting: str) -> tuple[str, str]:
    """Part and name of what `mlst diff` calls a setting."""
    if setting == "tool mlst":
        return "code", "mlst that built the dataset"
    return ("versions" if setting.startswith("tool ") else "settings"), f"dataset {setting}"
