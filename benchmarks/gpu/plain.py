"""ASTM as one writes its equations down, to measure ours against: a convolution for each letter, nothing recomputed.

It runs on an `ASTM`'s own weights, so that both must give the same frames. For the form of the paper's text: no
normalisation, EIFAG over distinct memories, zeros before the first frame.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from astm.models.astm import ASTM, ASTMCell
from astm.predictor import patchify, unpatchify


class PlainASTM(nn.Module):
    """Equations (1) to (8) for each layer and time step."""

    def __init__(self, astm: ASTM) -> None:
        super().__init__()
        s = astm.settings
        if (s.norm, s.attention, s.history, s.warmup, s.pad) != ("none", "eifag", "paper", "grow", "zeros"):
            raise ValueError(f"the plain form has no norm and the paper's attention, got {s}")
        self.astm = astm

    def forward(self, past: Tensor, horizon: int) -> Tensor:
        """(B, T, C, H, W) -> (B, horizon, C, H, W)."""
        predicted = self.unroll(patchify(past, self.astm.settings.patch), past.shape[1] + horizon - 1)
        return unpatchify(predicted[:, past.shape[1] - 1 :], self.astm.settings.patch)

    def loss(self, past: Tensor, future: Tensor, step: int) -> Tensor:
        """Mean squared error of every output, predictions fed back: `ASTM.loss` after scheduled sampling."""
        frames = patchify(torch.cat([past, future], dim=1), self.astm.settings.patch)
        predicted = self.unroll(frames[:, : past.shape[1]], frames.shape[1] - 1)
        return functional.mse_loss(predicted.float(), frames[:, 1:].float())

    def unroll(self, frames: Tensor, steps: int) -> Tensor:
        """Patched frames (B, T, D, h, w) -> (B, steps, D, h, w)."""
        s = self.astm.settings
        batch, seen, _, h, w = frames.shape
        zero = frames.new_zeros(batch, s.hidden, s.window, h, w)
        H = [zero] * s.layers
        Cs = [[zero] for _ in range(s.layers)]
        M = zero
        window = [torch.zeros_like(frames[:, 0])] * s.window
        predicted: list[Tensor] = []
        for t in range(steps):
            window = [*window[1:], frames[:, t] if t < seen else predicted[-1]]
            X = self.astm.encoder(torch.stack(window, dim=2))
            for k, cell in enumerate(self.astm.cells):
                X, C, M = step(cell, X, H[k], Cs[k], M)
                H[k], Cs[k] = X, [*Cs[k], C][-s.tau :]
            predicted.append(self.astm.decoder(X).squeeze(2))  # (6)
        return torch.stack(predicted, dim=1)


def step(cell: ASTMCell, X: Tensor, H: Tensor, Cs: list[Tensor], M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """X_t, H^k_{t-1}, C^k_{t-tau} ... C^k_{t-1}, M^{k-1}_t, each (B, hidden, L, h, w) -> H, C, M of k, t."""
    Ix, Fx, Gx, ix, fx, gx, Ox = letters(cell.conv_x, X, 7)
    Ih, Fh, Gh, Oh = letters(cell.conv_h, H, 4)
    im, fm, gm = letters(cell.conv_m, M, 3)
    I = torch.sigmoid(Ix + Ih)  # noqa: E741
    G = torch.tanh(Gx + Gh)
    F = torch.sigmoid(Fx + Fh + cell.forget_bias)  # (1)
    stack = torch.stack(Cs)
    A = torch.softmax(stack * F, dim=0)  # (8)
    T = (A * stack).sum(0)  # (7)
    C = I * G + F * T  # (2), (3)
    i, g = torch.sigmoid(ix + im), torch.tanh(gx + gm)
    f = torch.sigmoid(fx + fm + cell.forget_bias)
    M = f * M + i * g  # (4)
    CM = torch.cat([C, M], dim=1)
    (Oc,) = letters(cell.conv_o, CM, 1)
    return torch.sigmoid(Ox + Oh + Oc) * torch.tanh(cell.conv_last(CM)), C, M  # (5)


def letters(gates: nn.Sequential, x: Tensor, count: int) -> list[Tensor]:
    """A convolution for each of the gates whose weights lie in one."""
    conv = gates[0]
    assert isinstance(conv, nn.Conv3d)
    assert conv.bias is not None
    parts = zip(conv.weight.chunk(count), conv.bias.chunk(count), strict=True)
    return [functional.conv3d(x, weight, bias, padding="same") for weight, bias in parts]
