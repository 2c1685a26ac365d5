"""What loading costs, beside a bare decode and beside webdataset and datasets: `python -m benchmarks.loader DATASET`.

Seconds are of CPU, of all processes together, so that what else runs on the machine matters little; runs take turns,
and each rate is the median of its ratios to the bare decode of the same turn. Only `--remote` takes the time on the
wall.
"""

import argparse
import functools
import gc
import http.server
import io
import multiprocessing
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import av
import datasets
import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from torch.utils.data import DataLoader

import mlst
from benchmarks.figures import Figure, publish
from mlst.loading import Batches, ClipDataset, Loader, Share, order_of
from mlst.loading.order import ClipOrder
from mlst.sandbox.kernel import missing

BATCH = 8
BARE = "bare decode"
AIM, AIM_OTHERS, AIM_REMOTE = 0.9, 1.3, 0.8
"""Rates, at least: beside a bare decode, beside the other readers, and from a server beside a folder."""
AIM_FIRST, AIM_RESUME = 1.0, 1.2
"""CPU seconds, and times, at most."""
Run = Callable[[], int]
"""Reads clips, and says how many."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print tables as Markdown, and write all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="folder of a dataset")
    parser.add_argument("--passes", type=int, default=3, help="over the training clips, per run")
    parser.add_argument("--repeats", type=int, default=5, help="turns; medians are shown")
    parser.add_argument("--remote", action="store_true", help="only over HTTP with a latency, against the folder")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds before each answer")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    datasets.config.TORCHCODEC_AVAILABLE = False
    clips = mlst.load(options.dataset)
    print(f"{len(clips)} clips of 30 frames, batches of {BATCH}, {os.cpu_count()} cores, {platform.machine()}")
    print(f"PyAV {av.__version__}, torch {torch.__version__}, webdataset {webdataset.__version__}, ", end="")
    print(f"datasets {datasets.__version__}\n")
    if options.remote:
        remote(options, clips)
    else:
        local(options, clips)


def local(options: argparse.Namespace, clips: ClipDataset) -> None:
    """CPU per clip, the time to the first batch, and that to resume."""
    runs: dict[str, Run] = {BARE: lambda: bare(clips, options.passes)}
    kinds: dict[str, Mapping[str, int]] = {"": {}, ", 1 process": {"workers": 1}, ", 2 threads": {"threads": 2}}
    for name, settings in kinds.items():
        runs[f"mlst{name}"] = functools.partial(count, repeated(clips, options.passes, settings))
    if not missing():
        safe = mlst.load(options.dataset, confined=True)
        runs["mlst, confined"] = functools.partial(count, repeated(safe, options.passes, {}))
    for workers, name in ((0, ""), (1, ", 1 process")):
        runs[f"webdataset{name}"] = functools.partial(by_webdataset, tars(options.dataset), options.passes, workers)
        runs[f"datasets{name}"] = functools.partial(by_datasets, tars(options.dataset), options.passes, workers)
    seconds = in_turns(runs, options.repeats, cpu)
    table(seconds, BARE, "CPU, ms per clip")
    first = [first_batch(options.dataset) for _ in range(2)]
    at = {place: median(resume(place) for _ in range(3)) for place in (0, 500_000, 999_000)}
    print("\nfirst batch of an order of 10^6 clips at " + ", ".join(f"{p}: {s:.2f} s" for p, s in at.items()))
    publish(figures(seconds, min(first), at), options.json, seconds=seconds, first=first, resume=at)


def figures(seconds: Mapping[str, Sequence[float]], first: float, at: Mapping[int, float]) -> list[Figure]:
    """Rates beside a bare decode and beside the other readers; the first batch; resuming late beside early."""

    def rate(ours: str, base: str) -> float:
        return median(theirs / mine for theirs, mine in zip(seconds[base], seconds[ours], strict=True))

    decoded = {"mlst": AIM, "mlst, 1 process": AIM, "mlst, 2 threads": AIM}
    found = [
        Figure(f"rate of {name}", "times a decode", rate(name, BARE), "at least", a) for name, a in decoded.items()
    ]
    for workers in ("", ", 1 process"):
        for other in ("webdataset", "datasets"):
            times = rate(f"mlst{workers}", f"{other}{workers}")
            found.append(Figure(f"rate of mlst{workers}", f"times {other}", times, "at least", AIM_OTHERS))
    found.append(Figure("first batch after the import", "CPU s", first, "at most", AIM_FIRST))
    late, early = at[max(at)], at[min(at)]
    return [*found, Figure("resuming at the end of an epoch", "times its start", late / early, "at most", AIM_RESUME)]


def parts(dataset: Path) -> list[ClipDataset]:
    """All clips, by split."""
    splits = sorted({cell.split for cell in mlst.load(dataset).dataset.cells})
    return [mlst.load(dataset, split=split) for split in splits]


def remote(options: argparse.Namespace, clips: ClipDataset) -> None:
    """Seconds per clip over HTTP, with a global shuffle for mlst, and as shards come for the others."""
    with served(options.dataset, options.latency) as url:
        far, shards = mlst.load(url), [f"{url}/{p.relative_to(options.dataset)}" for p in tars(options.dataset)]
        runs: dict[str, Run] = {}
        kinds: Mapping[str, Mapping[str, int]] = {"0 processes": {}, "1 process": {"workers": 1}}
        for name, settings in kinds.items():
            runs[f"folder, {name}"] = functools.partial(count, repeated(clips, options.passes, settings))
            runs[f"HTTP, {name}"] = functools.partial(count, repeated(far, options.passes, settings))
        runs["HTTP, webdataset, 1 process"] = functools.partial(by_webdataset, shards, options.passes, 1)
        runs["HTTP, datasets, 1 process"] = functools.partial(by_datasets, shards, options.passes, 1)
        seconds = in_turns(runs, options.repeats, time.perf_counter)
    table(seconds, "folder, 1 process", f"wall clock with {1000 * options.latency:.0f} ms, ms per clip")
    rates = zip(seconds["folder, 1 process"], seconds["HTTP, 1 process"], strict=True)
    rate = median(near / away for near, away in rates)
    publish([Figure("rate over HTTP, 1 process", "times a folder", rate, "at least", AIM_REMOTE)], options.json,
            seconds=seconds)  # fmt: skip


def cpu() -> float:
    """Seconds of this process and of those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime + helpers()


def helpers() -> float:
    """Seconds of processes of this one that still run: who decodes confined."""
    total = 0.0
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def in_turns(runs: Mapping[str, Run], repeats: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds per clip of each run, turn by turn; a first turn, which fills caches, does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            gc.collect()
            start = clock()
            clips = run()
            if turn:
                seconds[name].append((clock() - start) / clips)
    return seconds


def table(seconds: Mapping[str, Sequence[float]], base: str, unit: str) -> None:
    """Medians, and medians of the ratios within a turn."""
    print(f"| reader | {unit} | rate, {base} = 1 |\n|---|---|---|")
    for name, values in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(seconds[base], values, strict=True)]
        print(f"| {name} | {1000 * median(values):.2f} | {median(ratios):.2f} |", flush=True)


@dataclass(frozen=True)
class Repeated(ClipOrder):
    """An epoch of several passes: starting workers should not be what is measured."""

    passes: int

    def __len__(self) -> int:
        return len(self.shards) * self.passes

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        return np.concatenate([ClipOrder.epoch(self, i) for i in range(self.passes)])


def repeated(clips: ClipDataset, passes: int, settings: Mapping[str, int]) -> Loader:
    """A shuffling loader that gives every clip `passes` times per epoch."""
    plain = order_of(clips)
    order = Repeated(plain.shards, plain.levels, plain.weights, plain.shuffle, plain.seed, passes)
    batches = Batches(order, BATCH, "keep", Share(0, 1))
    return Loader(clips, batches, settings.get("workers", 0), settings.get("threads", 0), pin_memory=False)


def count(loader: Iterable[Any]) -> int:
    """Clips of an epoch."""
    return sum(len(batch.frames) for batch in loader)


def bare(clips: ClipDataset, passes: int) -> int:
    """Every frame by PyAV on one thread, no colours converted."""
    for index in [*range(len(clips))] * passes:
        with av.open(io.BytesIO(clips.read(index))) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for _ in container.decode(video=0):
                pass
    return len(clips) * passes


def tars(dataset: Path) -> list[Path]:
    """The shards with training clips."""
    return sorted(dataset.glob("data/*/train-*.tar"))


def by_webdataset(shards: Sequence[Any], passes: int, workers: int) -> int:
    """A pipeline as webdataset's documentation writes one, with the card's decoder; a single shard per worker."""
    clips = (
        webdataset.WebDataset(list(map(str, shards)), shardshuffle=len(shards), seed=0)
        .repeat(passes)
        .shuffle(100)
        .to_tuple("mp4", "json")
        .map_tuple(decoded, lambda text: text)
        .batched(BATCH)
    )
    return sum(len(frames) for frames, _ in DataLoader(clips, batch_size=None, num_workers=workers))


def by_datasets(shards: Sequence[Any], passes: int, workers: int) -> int:
    """The same by streaming with `datasets`."""
    files = list(map(str, shards))
    rows = datasets.load_dataset("webdataset", data_files={"train": files}, split="train", streaming=True)
    rows = rows.cast_column("mp4", datasets.Video(decode=False)).select_columns(["mp4"])
    rows = rows.shuffle(seed=0, buffer_size=100).map(lambda row: {"frames": decoded(row["mp4"]["bytes"])})
    rows = rows.remove_columns(["mp4"]).repeat(passes)
    fetch: DataLoader[Any] = DataLoader(rows, batch_size=BATCH, num_workers=workers, collate_fn=_stacked)
    return sum(len(frames) for frames in fetch)


def _stacked(rows: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    return torch.stack([torch.as_tensor(row["frames"]) for row in rows])


def decoded(video: bytes) -> torch.Tensor:
    """(T, C, H, W) uint8, as the card of a dataset decodes."""
    with av.open(io.BytesIO(video)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.ascontiguousarray(np.stack(frames[:30]).transpose(0, 3, 1, 2)))


FIRST = """
import sys, time, mlst
from mlst.loading import ClipDataset, Loader
start = time.process_time()
next(iter(mlst.loader(mlst.load(sys.argv[1]), 8)))
print(time.process_time() - start)
"""


def first_batch(dataset: Path) -> float:
    """Seconds from the import to the first batch, in a new process."""
    done = subprocess.run([sys.executable, "-c", FIRST, str(dataset)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def resume(place: int) -> float:
    """Seconds to the first rows from a position in an order of 10^6 clips."""
    shards = np.arange(1_000_000) // 1000
    batches = Batches(ClipOrder(shards, np.zeros_like(shards), (), True, 0), BATCH, "drop", Share(0, 1))
    batches.load_state_dict({**batches.state_dict(), "taken": place})
    start = time.process_time()
    next(iter(batches))
    return time.process_time() - start


@contextmanager
def served(folder: Path, latency: float) -> Iterator[str]:
    """A web server of another process, which waits before each answer."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, folder, latency), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        server.terminate()
        server.join()


def _serve(port: Any, folder: Path, latency: float) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(b"", (folder / self.path.lstrip("/")).stat().st_size)

        def do_GET(self) -> None:
            data = (folder / self.path.lstrip("/")).read_bytes()
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if not found:
                return self.answer(data, len(data))
            first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
            return self.answer(data[first : last + 1], last + 1 - first, f"bytes {first}-{last}/{len(data)}")

        def answer(self, body: bytes, size: int, part: str = "") -> None:
            time.sleep(latency)
            self.send_response(206 if part else 200)
            self.send_header("Content-Length", str(size))
            self.send_header("Accept-Ranges", "bytes")
            if part:
                self.send_header("Content-Range", part)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Workers end in mid-answer when they have enough."""

    with Server(("127.0.0.1", 0), Handler) as server:
        port.send(server.server_address[1])
        server.serve_forever()


if __name__ == "__main__":
    main()
