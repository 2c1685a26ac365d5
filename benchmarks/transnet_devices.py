"""`transnetv2` on a CPU and on a GPU: the same probabilities but for rounding, the same transitions to the frame.

    python -m benchmarks.transnet_devices frames CLIP... --to frames.npz       # where the clips can be decoded
    python -m benchmarks.transnet_devices compare frames.npz --json FILE       # where the GPU is; needs no decoder

Clips are in yuv420p. `compare` exits with 1 if a transition differs.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from collection.detectors import transnet
from mlst.records import Transition

Frames = NDArray[np.uint8]
THRESHOLD, EXTENT = 0.5, 0.1
"""The detector's defaults."""


@dataclass(frozen=True, slots=True)
class Small:
    """A frame as the network sees it, in place of a `Thumb`."""

    frame: Frames
    """(27, 48, 3) R, G, B."""

    def bgr(self) -> Frames:
        return self.frame[..., ::-1]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a device made of a clip."""

    chances: NDArray[np.float64]
    """(frames, 2)."""
    transitions: list[Transition]
    ms: float
    """Of a frame."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A clip on both devices."""

    clip: str
    frames: int
    transitions: int
    same_transitions: bool
    largest_difference: float
    """Between probabilities."""
    nearest_to_threshold: float
    """The least distance of a frame's first probability from the threshold, on the CPU."""
    cpu_ms: float
    gpu_ms: float


def main() -> None:
    """Decode, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    decode = commands.add_parser("frames")
    decode.add_argument("clips", nargs="+", type=Path)
    decode.add_argument("--to", type=Path, required=True)
    compare = commands.add_parser("compare")
    compare.add_argument("frames", type=Path)
    compare.add_argument("--device", default="cuda")
    compare.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "frames":
        np.savez_compressed(chosen.to, **{clip.name: seen_frames(clip) for clip in chosen.clips})
        return
    found = compared(chosen.frames, chosen.device)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    for one in found:
        print(one)
    sys.exit(not all(one.same_transitions for one in found))


def seen_frames(clip: Path) -> Frames:
    """(frames, 27, 48, 3) R, G, B: the clip as the network sees it."""
    from tests.splices import decoded  # noqa: PLC0415 - it decodes, which `compare` does without

    size = (transnet.WIDTH, transnet.HEIGHT)
    return np.stack([cv2.resize(t.bgr(), size, interpolation=cv2.INTER_AREA)[..., ::-1] for t in decoded(clip)])


def compared(path: Path, device: str) -> list[Compared]:
    """Every clip of a file of frames on the CPU and on `device`."""
    cpu, gpu = transnet.predictor("cpu"), transnet.predictor(device)
    results = []
    with np.load(path) as clips:
        for name in clips:
            frames = clips[name]
            look(gpu, frames[:1])  # it chooses kernels
            here, there = look(cpu, frames), look(gpu, frames)
            difference = float(np.abs(here.chances - there.chances).max())
            near = float(np.abs(here.chances[:, 0] - THRESHOLD).min())
            same = here.transitions == there.transitions
            count = len(here.transitions)
            results.append(Compared(name, len(frames), count, same, difference, near, here.ms, there.ms))
    return results


def look(predict: transnet.Predict, frames: Frames) -> Seen:
    """What a network says of a clip."""
    began, chances = time.perf_counter(), transnet.Chances(predict)
    found = [c for frame in frames for c in chances.push(Small(frame))] + chances.finish()
    ms = 1e3 * (time.perf_counter() - began) / len(frames)
    runs = transnet.Runs(THRESHOLD, EXTENT)
    ended = [*found, (0.0, 0.0)]
    return Seen(np.array(found), [t for at, chance in enumerate(ended) for t in runs.push(at, chance)], ms)


if __name__ == "__main__":
    print(f"torch {torch.__version__}", flush=True)
    main()
