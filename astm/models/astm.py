"""ASTM: an attention based spatiotemporal model for video prediction using 3D convolutional neural networks.

Chang et al.; equations (1) to (8) in the paper's letters. What the paper leaves open, and what we
chose, is argued in docs/models.md. The `astm_basic` of Table 3 is the same class without attention.

Letters: I, G, F and i, g, f temporal and spatial gates; C^k_t temporal memory; M^k_t spatial memory, which zig-zags
through the layers of a time step and on to the first layer of the next; H^k_t hidden state; T_t what EIFAG makes of
the last tau temporal memories; L length of the window of frames that enters at a time step.
Shapes: a state is (B, hidden, L, h, w).

Departures from the paper's text, each with its reason:
* The encoder is the identity by default: layer 1's own 3D convolution reads the patches, as in the authors' later code
  (STAM, https://github.com/ZhengChang467/STAM-TMM). `encoder="conv"` is the single 3D convolution of the text.
* Frames enter as patches (space to depth): with stride 1 at 64 x 64 pixels the training graph of one sequence is
  2.1 GiB, against the 225 MB of Table 1.
* A bias of 1 is added to F and f, as in the authors' code. `forget_bias=0` is the text.
* Before tau memories exist, EIFAG attends to those that do (`warmup="grow"`, as in the authors' code).
Departure from the authors' code:
* There the history holds the same tensor tau times, whatever the layer and the step, so that T_t = C_{t-1} and EIFAG
  does nothing (docs/models.md). Here the tau memories are distinct, as equation (7) says. `history="alias"`
  reproduces the code: attending to equal states returns that state, so one is kept.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from astm.models.convolution import Conv3d
from astm.models.recurrent import Count, OddSide, Recurrent, RecurrentSettings, State
from astm.predictor import model
from astm.pretrained.provenance import Paper


class ASTMSettings(RecurrentSettings):
    """The paper's values where it gives them: 4 layers of 64, 3 x 5 x 5, tau 5."""

    layers: Count = 4
    hidden: Count = 64
    kernel: tuple[OddSide, OddSide, OddSide] = (3, 5, 5)
    """Time, height, width."""
    tau: Count = 5
    """Temporal memories that EIFAG attends to."""
    window: Count = 2
    """L, frames per time step."""
    attention: Literal["eifag", "none"] = "eifag"
    """"none": T_t = C_{t-1}, the paper's Basic Model."""
    encoder: Literal["identity", "conv"] = "identity"
    norm: Literal["none", "group", "layer"] = "none"
    """After each gate convolution: nothing (the text); GroupNorm of one group (layer normalisation over channels,
    window and grid with a scale per channel; any size); or LayerNorm with a scale per element (as the authors' code;
    one size)."""
    grid: tuple[Count, Count] = (16, 16)
    """Height and width in patches that norm = "layer" is made for; otherwise without effect."""
    history: Literal["paper", "alias"] = "paper"
    warmup: Literal["grow", "zeros", "mask"] = "grow"
    """Before tau memories exist: attend to the initial zero state and those that exist; to tau zero states that are
    pushed out one by one; or only to those that exist, without the initial one."""
    pad: Literal["zeros", "replicate"] = "zeros"
    """What stands for the frames before the first one."""
    forget_bias: float = 1.0

    def misfit(self, height: int, width: int) -> str:
        made_for = tuple(side * self.patch for side in self.grid)
        if self.norm != "layer" or (height, width) == made_for:
            return ""
        return (
            f"with norm = 'layer' this model is made for {made_for[0]} x {made_for[1]} pixels (grid {self.grid}), "
            f"got {height} x {width}; norm = 'group' takes any size"
        )


class BasicSettings(ASTMSettings):
    """ASTM without EIFAG."""

    attention: Literal["none"] = "none"


class History(NamedTuple):
    """Memories to attend to, always tau of them, so that a compiled cell sees one signature at every time step."""

    memories: tuple[Tensor, ...]
    """C_{t-tau} ... C_{t-1}, the latest last, each (B, hidden, L, h, w)."""
    absent: Tensor
    """(tau,), float32: 0 for a memory, -inf for one that does not exist yet and gets no weight."""


class EIFAG(torch.autograd.Function):
    """Equations (7) and (8) without keeping the stacked history for the backward pass.

    Only references to F and to the memories are kept, which the graph holds anyway; the stack, the weights and T are
    computed again. With a_i the weights: dT/dC_i = a_i (1 + F (C_i - T)), dT/dF = sum_i a_i C_i (C_i - T).
    """

    @staticmethod
    def forward(ctx: Any, F: Tensor, absent: Tensor, *memories: Tensor) -> Tensor:
        ctx.save_for_backward(F, absent, *memories)
        _, C, a = attend(F, absent, memories)
        return (a * C).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dT: Tensor) -> tuple[Tensor | None, ...]:
        gate, absent, *memories = ctx.saved_tensors
        F, C, a = attend(gate, absent, memories)
        D = C - (a * C).sum(0)  # C_i - T
        dF = dT * (a * C * D).sum(0)
        dC = dT * a * (1 + F * D)
        return dF.to(gate.dtype), None, *(d.to(c.dtype) for d, c in zip(dC, memories, strict=True))


def attend(F: Tensor, absent: Tensor, memories: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """F, the stack of memories (tau, B, hidden, L, h, w) and their IFA-Maps, equation (8), in float32 or wider.

    The softmax is over the memories, for each element by itself; its maximum is subtracted, because exp(C F) leaves
    float16 at C F = 11 and float32 at 88.
    """
    wide = torch.promote_types(F.dtype, torch.float32)
    C = torch.stack([memory.to(wide) for memory in memories])
    F = F.to(wide)
    return F, C, torch.softmax(C * F + absent.to(wide).reshape(-1, *[1] * F.ndim), dim=0)


def eifag(F: Tensor, history: History) -> Tensor:
    """T_t, equation (3), from F_t and C_{t-tau} ... C_{t-1}. The sum over a single memory is that memory."""
    if len(history.memories) == 1:
        return history.memories[0]
    T: Tensor = EIFAG.apply(F, history.absent, *history.memories)  # type: ignore[no-untyped-call]
    return T


class ASTMCell(nn.Module):
    """Equations (1), (2), (4) and (5), one layer at one time step.

    The convolutions of all gates on one operand are one convolution: of X for (I, F, G, i, f, g, O), of H for
    (I, F, G, O), of M for (i, f, g), of [C, M] for O. Names and orders are those of the authors' code, so that its
    weights fit.
    """

    def __init__(self, inputs: int, settings: ASTMSettings) -> None:
        super().__init__()
        self.forget_bias = settings.forget_bias
        n = settings.hidden
        self.conv_x = self._gates(inputs, 7 * n, settings)
        self.conv_h = self._gates(n, 4 * n, settings)
        self.conv_m = self._gates(n, 3 * n, settings)
        self.conv_o = self._gates(2 * n, n, settings)
        self.conv_last = Conv3d(2 * n, n, 1)

    @staticmethod
    def _gates(inputs: int, outputs: int, settings: ASTMSettings) -> nn.Sequential:
        conv = Conv3d(inputs, outputs, settings.kernel, padding="same")
        match settings.norm:
            case "none":
                return nn.Sequential(conv)
            case "group":
                return nn.Sequential(conv, nn.GroupNorm(1, outputs))
            case "layer":
                return nn.Sequential(conv, nn.LayerNorm([outputs, settings.window, *settings.grid]))

    def forward(self, X: Tensor, H: Tensor, Cs: History, Ms: History) -> tuple[Tensor, Tensor, Tensor]:
        """X_t, H^k_{t-1}, C^k_{t-tau} ... C^k_{t-1}, and M^{k-1}_t (in STAM earlier ones too) -> H, C, M of k, t."""
        I_x, F_x, G_x, i_x, f_x, g_x, O_x = self.conv_x(X).chunk(7, dim=1)
        I_h, F_h, G_h, O_h = self.conv_h(H).chunk(4, dim=1)
        i_m, f_m, g_m = self.conv_m(Ms.memories[-1]).chunk(3, dim=1)

        I = torch.sigmoid(I_x + I_h)  # noqa: E741, the paper's letter
        G = torch.tanh(G_x + G_h)
        F = torch.sigmoid(F_x + F_h + self.forget_bias)  # (1)
        C = I * G + F * eifag(F, Cs)  # (2), (3)

        i = torch.sigmoid(i_x + i_m)
        g = torch.tanh(g_x + g_m)
        f = torch.sigmoid(f_x + f_m + self.forget_bias)
        M = eifag(f, Ms) * f + i * g  # (4)

        CM = torch.cat([C, M], dim=1)
        O = torch.sigmoid(O_x + O_h + self.conv_o(CM))  # noqa: E741
        H = O * torch.tanh(self.conv_last(CM))  # (5)
        return H, C, M


@model
class ASTM(Recurrent):
    """Layers of `ASTMCell` between an encoder of windows and a decoder of frames, equation (6).

    State: the last L - 1 frames; H per layer; the temporal memories to attend to, per layer; the spatial memories.
    """

    Settings: ClassVar[type[ASTMSettings]] = ASTMSettings

    paper = Paper(
        title=(
            "ASTM: An Attention based SpatioTemporal Model for Video Prediction Using 3D Convolutional Neural Networks"
        ),
        authors="Chang, Zheng and others",
        venue="",
        year="",
        url="",
    )

    settings: ASTMSettings

    def __init__(self, settings: ASTMSettings | None = None) -> None:
        super().__init__(settings)
        s, n = self.settings, self.settings.hidden
        self.encoder: nn.Module = nn.Identity()
        if s.encoder == "conv":
            self.encoder = Conv3d(s.depth, n, s.kernel, padding="same")
        first = n if s.encoder == "conv" else s.depth
        self.cells = nn.ModuleList(ASTMCell(first if k == 0 else n, s) for k in range(s.layers))
        self.decoder = Conv3d(n, s.depth, (s.window, 1, 1), stride=(s.window, 1, 1))
        absent = torch.zeros(s.tau, s.tau).masked_fill(torch.ones(s.tau, s.tau).tril(-1).flip(0) > 0, -torch.inf)
        self.register_buffer("absent", absent, persistent=False)  # row n - 1: for n memories in tau places
        self.absent: Tensor

    def usual_size(self) -> tuple[int, int]:
        s = self.settings
        return (s.grid[0] * s.patch, s.grid[1] * s.patch) if s.norm == "layer" else super().usual_size()

    @property
    def temporal(self) -> int:
        """Temporal memories attended to. Attending to equal ones returns that one, so of an alias one is enough."""
        s = self.settings
        return s.tau if s.attention == "eifag" and s.history == "paper" else 1

    @property
    def spatial(self) -> int:
        """Spatial memories attended to: the latest, equation (4)."""
        return 1

    def start(self, x: Tensor) -> State:
        s = self.settings
        zero = x.new_zeros(x.shape[0], s.hidden, s.window, *x.shape[2:])
        before = x if s.pad == "replicate" else torch.zeros_like(x)
        memories = (zero,) * {"grow": 1, "zeros": self.temporal, "mask": 0}[s.warmup]
        return (before,) * (s.window - 1), (zero,) * s.layers, (memories,) * s.layers, (zero,)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        frames, H, Cs, Ms = state
        frames = (*frames, x)
        X = self.encoder(torch.stack(frames, dim=2))  # (B, depth or hidden, L, h, w)
        H_t, Cs_t = [], []
        for cell, h, memories in zip(self.cells, H, Cs, strict=True):
            temporal = self.history(memories or (torch.zeros_like(h),), self.temporal)
            X, C, M = cell(X, h, temporal, self.history(Ms, self.spatial))
            H_t.append(X)
            Cs_t.append((*memories, C)[-self.temporal :])
            Ms = (*Ms, M)[-self.spatial :]
        return self.decoder(X).squeeze(2), (frames[1:], tuple(H_t), tuple(Cs_t), Ms)

    def history(self, memories: tuple[Tensor, ...], places: int) -> History:
        """Fill the places of memories that do not exist yet with one that does, to get no weight."""
        n = len(memories)
        filling = tuple(memories[0].view_as(memories[0]) for _ in range(places - n))
        return History(filling + memories, self.absent[n - 1, -places:])


@model.named("astm_basic")
class ASTMBasic(ASTM):
    """The Basic Model of the paper's ablation (Table 3): T_t = C^k_{t-1}; a 3D ST-LSTM."""

    Settings = BasicSettings
