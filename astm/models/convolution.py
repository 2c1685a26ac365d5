"""3D convolution that may be trained in bfloat16 on a CPU too."""

import torch
from torch import Tensor, nn


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d`, which computes in float32 where a CPU would compute in bfloat16. The result is bfloat16.

    oneDNN 3.12 (in PyTorch 2.13, on CPUs with AVX-512 BF16) does not write the gradient of every weight: the slices
    of a kernel that reach past both ends of the depth keep what was in memory before, which is NaN, 1e36 or, worse,
    an ordinary number. `jit_bf16:avx512_core_bf16`, `backward_weights` is the primitive; kernels of depth 3 on 2
    frames, of depth 5 on 2 to 4 and of depth 2 on 1 are among those concerned. Its 2D convolution is right.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type != "cpu" or not _is_bfloat16(input):
            narrow: Tensor = super()._conv_forward(input, weight, bias)
            return narrow
        with torch.autocast("cpu", enabled=False):
            wide: Tensor = super()._conv_forward(input.float(), weight.float(), None if bias is None else bias.float())
        return wide.to(torch.bfloat16)


def _is_bfloat16(x: Tensor) -> bool:
    """Whether a convolution of `x` would be computed in bfloat16."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == torch.bfloat16
