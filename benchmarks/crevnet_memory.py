"""Bytes that CrevNet keeps for the backward pass, per sample: `python -m benchmarks.crevnet_memory [--device cuda]`.

One sample of Moving MNIST, 10 -> 10 frames of 64 x 64, float32; columns as in `benchmarks.astm_memory`, and the
seconds of the CPU, or of the clock on a GPU, for a forward and backward pass.
"plain" leaves everything to autograd; "step" recomputes whole time steps (activation checkpointing, which any
recurrent model could do); "reversible" is `checkpoint = True`: the auto-encoder goes back block by block.
"""

import argparse
import time

import torch
from torch import Tensor

from astm import count_parameters
from astm.evaluation.cost import saved_bytes
from astm.models.crevnet import CrevNet, decode, encode, psi, unpsi
from astm.models.recurrent import State, recomputed
from benchmarks.astm_memory import MIB, allocated


class WholeSteps(CrevNet):
    """The same network, recomputed time step by time step."""

    def advance(self, clip: Tensor, state: State) -> tuple[Tensor, State]:
        return recomputed(self.whole, clip, state)

    def whole(self, clip: Tensor, state: State) -> tuple[Tensor, State]:
        """A time step that keeps everything."""
        x, state = self.predict(encode(self.all_blocks, psi(clip)), state)
        return unpsi(decode(self.all_blocks, x)), state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    device = parser.parse_args().device
    clock = time.process_time if device == "cpu" else time.perf_counter
    torch.manual_seed(0)
    past, future = torch.rand(2, 1, 10, 1, 64, 64).to(device)
    print("| cells | backward pass | parameters | saved MiB | live MiB | peak MiB | seconds |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for cell in ("conv_lstm", "st_lstm"):
        for label, kind in {"plain": CrevNet, "step": WholeSteps, "reversible": CrevNet}.items():
            predictor = kind.of(cell=cell).to(device)
            predictor.checkpoint = label == "reversible"
            sizes = [saved_bytes(predictor, past, future), *allocated(predictor, past, future)]
            began = clock()
            predictor.loss(past, future, 0).backward()
            if device == "cuda":
                torch.cuda.synchronize()
            seconds = clock() - began
            cells = "".join(f" {size / MIB:.1f} |" for size in sizes)
            print(f"| {cell} | {label} | {count_parameters(predictor):,} |{cells} {seconds:.2f} |")


if __name__ == "__main__":
    main()
