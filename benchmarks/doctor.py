"""What `mlst doctor` finds and what it costs: `python -m benchmarks.doctor`.

Recall over planted defects (`tests/collection/doctor/defects.py`), with other pictures for each seed; false alarms,
errors and warnings alike, on sound synthetic clips and on the clips of a built dataset; CPU time beside a plain decode
of the same files by PyAV.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import cv2

from collection.audit.places import Piece
from collection.doctor.distant import here
from collection.doctor.judge import Seen, findings_of
from collection.doctor.rules import NOTE, RULES, Finding
from collection.doctor.said import Said
from collection.doctor.survey import Entry, survey
from collection.doctor.watch import NOTHING, Watched, watch
from collection.engine.stage import Rejected
from tests import synthetic
from tests.collection.doctor import defects

CLEAN_SEED = 50_000


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="of each defect on single clips")
    parser.add_argument("--clean", type=int, default=300, help="sound synthetic clips")
    parser.add_argument("--dataset", type=Path, help="a built dataset whose clips count as sound")
    parser.add_argument("--media", type=Path, help="a folder of videos, for the cost")
    options = parser.parse_args(argv)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        print_recall(recall(Path(folder), range(1, 1 + options.seeds)))
        made = sound(Path(folder), options.clean)
        print_alarms("synthetic", alarms(judged(path, Said()) for path in made), options.clean)
        cost("synthetic 160x120", made[:20])
        if options.dataset:
            pieces = list(extracted(options.dataset, Path(folder)))
            print_alarms(options.dataset.name, alarms(judged(*piece) for piece in pieces), len(pieces))
            cost(f"{options.dataset.name} 256x256", [path for path, _ in pieces][:40])
        for path in sorted(options.media.iterdir()) if options.media else ():
            cost(path.name, [path])


def recall(folder: Path, seeds: Iterable[int]) -> tuple[Counter[str], Counter[str]]:
    """Found and planted, by rule."""
    found, planted = Counter[str](), Counter[str]()
    for seed in seeds:
        for rule, write in defects.clips(seed).items():
            if rule == "clean":
                continue
            path = folder / f"{rule}.mp4"
            write(path)
            planted[rule] += 1
            found[rule] += rule in {one.rule for one in judged(path, Said())}
            path.unlink()
    for number, (name, (rule, second)) in enumerate(defects.SHARDS.items()):
        if rule:
            planted[f"{rule}: {name}"] += 1
            rules = {one.rule for one in survey(here(defects.shards(folder / f"set{number}", second))).findings}
            found[f"{rule}: {name}"] += rule in rules
    return found, planted


def print_recall(counted: tuple[Counter[str], Counter[str]]) -> None:
    """A row per kind."""
    found, planted = counted
    print("| defect | found | of |\n|---|---|---|")
    for kind, count in planted.items():
        print(f"| {kind} | {found[kind]} | {count} |")
    print(f"| all {len(planted)} kinds | {found.total()} | {planted.total()} |\n")


def sound(folder: Path, count: int) -> list[Path]:
    """Clips without a defect."""
    made = []
    for number in range(count):
        path = folder / f"sound-{number}.mp4"
        made.append(synthetic.write(path, defects.SPEC, defects.look(CLEAN_SEED + number)))
    return made


def extracted(dataset: Path, folder: Path) -> Iterator[tuple[Path, Said]]:
    """The clips of a dataset as files."""
    for number, entry in enumerate(survey(here(dataset)).entries):
        path = folder / f"real-{number}.mp4"
        with entry.piece.file.open("rb") as shard:
            shard.seek(entry.piece.offset)
            path.write_bytes(shard.read(entry.piece.size))
        yield path, entry.said


def judged(path: Path, said: Said) -> list[Finding]:
    """Findings on one file."""
    return list(findings_of(Seen(Entry(Piece(path.name, "", path, 0, path.stat().st_size), said), seen(path))))


def seen(path: Path) -> Watched:
    """What is seen of a file, be it only that it cannot be decoded."""
    try:
        return watch(path)
    except Rejected as why:
        return replace(NOTHING, trouble=why.kind, detail=why.detail)


def alarms(findings: Iterable[list[Finding]]) -> Counter[str]:
    """Clips with a finding that is more than a note, by rule; `any` counts each clip once."""
    counted = Counter[str]()
    for those in findings:
        rules = {one.rule for one in those if RULES[one.rule].severity != NOTE}
        counted.update(rules)
        counted["any"] += bool(rules)
    return counted


def print_alarms(name: str, counted: Counter[str], clips: int) -> None:
    """A line."""
    told = ", ".join(f"{rule} {count}" for rule, count in counted.items() if rule != "any" and count)
    print(f"False alarms on {clips} {name} clips: {counted['any']} ({told or 'none'})\n")


def cost(name: str, paths: Sequence[Path]) -> None:
    """CPU seconds of looking over those of a plain decode, the least of three alternating runs each."""
    looking, decoding = [], []
    for _ in range(3):
        looking.append(_cpu(seen, paths))
        decoding.append(_cpu(_decode, paths))
    ratio = min(looking) / min(decoding)
    print(f"{name}: {min(looking):.2f} s looked at, {min(decoding):.2f} s decoded, ratio {ratio:.2f}")


def _cpu(call: Callable[[Path], object], paths: Sequence[Path]) -> float:
    began = time.process_time()
    for path in paths:
        call(path)
    return time.process_time() - began


def _decode(path: Path) -> None:
    with av.open(str(path)) as media:
        stream = media.streams.video[0]
        stream.thread_count = 1
        for _ in media.decode(stream):
            pass


if __name__ == "__main__":
    main()
