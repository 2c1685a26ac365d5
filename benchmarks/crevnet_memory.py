"""Bytes that CrevNet keeps for the backward pass, per sample: `python -m benchmarks.crevnet_memory`.

One sample of Moving MNIST, 10 -> 10 frames of 64 x 64, float32, on the CPU; columns as in `benchmarks.astm_memory`.
"plain" leaves everything to autograd; "step" recomputes whole time steps (activation checkpointing, which any
recurrent model could do); "reversible" is `checkpoint = True`: the auto-encoder goes back block by block.
"""

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
    torch.manual_seed(0)
    past, future = torch.rand(2, 1, 10, 1, 64, 64)
    print("| cells | backward pass | parameters | saved MiB | live MiB | peak MiB | CPU seconds |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for cell in ("conv_lstm", "st_lstm"):
        for label, kind in {"plain": CrevNet, "step": WholeSteps, "reversible": CrevNet}.items():
            predictor = kind.of(cell=cell)
            predictor.checkpoint = label == "reversible"
            sizes = [saved_bytes(predictor, past, future), *allocated(predictor, past, future)]
            began = time.process_time()
            predictor.loss(past, future, 0).backward()
            cells = "".join(f" {size / MIB:.1f} |" for size in sizes)
            seconds = time.process_time() - began
            print(f"| {cell} | {label} | {count_parameters(predictor):,} |{cells} {seconds:.2f} |")


if __name__ == "__main__":
    main()
