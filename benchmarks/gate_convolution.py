"""Ways to compute ASTM's gate convolution: as it stands, channels last, and folded over time into a 2D convolution.

With L = 2 frames and a kernel of 3 in time, a third of the 3D convolution multiplies padding. Folded, the frames
become channels, tap b - a + 1 connects input frame b with output frame a, and 176 GMAC per sequence become 117.

    python -m benchmarks.gate_convolution [--device cuda] [--batch 8]
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv3d

HIDDEN, GATES, L, GRID = 64, 7, 2, 16
REPEATS, ROUNDS = 4, 5


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
    begin = clock()
    for _ in range(REPEATS):
        y = way(x, weight)
        if train:
            y.sum().backward()
    if x.device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - begin) / REPEATS


def main() -> None:
    """Print milliseconds and ratios; ways take turns, so that a busy machine is busy for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(chosen.batch, HIDDEN, L, GRID, GRID, device=chosen.device)
    weight = torch.randn(GATES * HIDDEN, HIDDEN, 3, 5, 5, device=chosen.device) * 0.02
    for way in (channels_last, folded):
        torch.testing.assert_close(way(x, weight), plain(x, weight), rtol=1e-3, atol=1e-4)
    for train in (False, True):
        inputs = x.clone().requires_grad_(train), weight.clone().requires_grad_(train)
        best = dict.fromkeys((plain, channels_last, folded), float("inf"))
        for _ in range(ROUNDS):
            for way in best:
                best[way] = min(best[way], seconds(way, *inputs, train))
        for way, least in best.items():
            word = "training" if train else "prediction"
            print(f"{word:<10} {way.__name__:<13} {least * 1e3:7.1f} ms   {least / best[plain]:.2f} of plain")


if __name__ == "__main__":
    main()
