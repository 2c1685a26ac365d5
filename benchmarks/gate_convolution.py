"""Ways to compute ASTM's gate convolution: as it stands, channels last, and folded over time into a 2D convolution.

With L = 2 frames and a kernel of 3 in time, a third of the 3D convolution multiplies padding. Folded, the frames
become channels, tap b - a + 1 connects input frame b with output frame a, and 176 GMAC per sequence become 117.

    python -m benchmarks.gate_convolution [--batch 8]
    python -m benchmarks.gate_convolution --device cuda --precision float32 tf32 bfloat16
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv3d

PRECISIONS = ("float32", "tf32", "bfloat16")

HIDDEN, GATES, L, GRID = 64, 7, 2, 16
REPEATS, ROUNDS = {"cpu": 4, "cuda": 20}, 5


def fold(weight: Tensor, frames: int) -> Tensor:
    """(O, I, 3, h, w) -> (frames O, frames I, h, w): the same convolution over `frames` zero-padded frames."""
    zero = torch.zeros_like(weight[:, :, 0])
    taps = [[weight[:, :, b - a + 1] if abs(b - a) <= 1 else zero for b in range(frames)] for a in range(frames)]
    return torch.cat([torch.cat(row, dim=1) for row in taps], dim=0)


def plain(x: Tensor, weight: Tensor) -> Tensor:
    """(B, I, L, h, w) -> (B, O, L, h, w)."""
    return conv3d(x, weight, padding=(1, 2, 2))


def channels_last(x: Tensor, weight: Tensor) -> Tensor:
    """The same in the other memory layout."""
    return conv3d(
        x.contiguous(memory_format=torch.channels_last_3d),
        weight.contiguous(memory_format=torch.channels_last_3d),
        padding=(1, 2, 2),
    )


def folded(x: Tensor, weight: Tensor) -> Tensor:
    """The same as a 2D convolution; folding the weights is part of the time."""
    batch, channels, frames, h, w = x.shape
    y = conv2d(x.transpose(1, 2).reshape(batch, frames * channels, h, w), fold(weight, frames), padding=2)
    return y.view(batch, frames, -1, h, w).transpose(1, 2)


def seconds(way: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, train: bool) -> float:
    """Of one call, with its backward pass when training; CPU time on a CPU, wall clock on a GPU."""
    clock = time.process_time if x.device.type == "cpu" else time.perf_counter
    repeats = REPEATS[x.device.type]
    begin = clock()
    for _ in range(repeats):
        y = way(x, weight)
        if train:
            y.sum().backward()
    if x.device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - begin) / repeats


def main() -> None:
    """Print milliseconds and ratios; ways take turns, so that a busy machine is busy for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["float32"])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    for precision in chosen.precision:
        measure(precision, chosen.batch, chosen.device)


def measure(precision: str, batch: int, device: str) -> None:
    """Print a table of one precision."""
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    x = torch.randn(batch, HIDDEN, L, GRID, GRID, device=device)
    weight = torch.randn(GATES * HIDDEN, HIDDEN, 3, 5, 5, device=device) * 0.02
    for way in (channels_last, folded):
        torch.testing.assert_close(way(x, weight), plain(x, weight), rtol=1e-3, atol=1e-4)
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    for train in (False, True):
        inputs = x.to(kind, copy=True).requires_grad_(train), weight.to(kind, copy=True).requires_grad_(train)
        best = dict.fromkeys((plain, channels_last, folded), float("inf"))
        for turn in range(ROUNDS + 1):
            for way in best:
                took = seconds(way, *inputs, train)
                best[way] = min(best[way], took) if turn else best[way]  # the first chooses kernels
        for way, least in best.items():
            word = "training" if train else "prediction"
            row = f"{precision:<8} {word:<10} {way.__name__:<13} {least * 1e3:8.3f} ms"
            print(f"{row}  {least / best[plain]:.2f} of plain")


if __name__ == "__main__":
    main()
