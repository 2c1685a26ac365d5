"""E3D-LSTM: Eidetic 3D LSTM, a model for video prediction and beyond.

Wang, Jiang, Yang, Li, Long, Fei-Fei, ICLR 2019, https://openreview.net/forum?id=B1lKS2AqtX; the paper's letters.

Departures from the paper, with the authors' code (https://github.com/google/e3d_lstm):
* M' = f' o tanh(m) + i' o g' with m a fourth part of the convolution of M, instead of f' o M + i' o g'.
* O = sigmoid(tanh(...)): the sum of the four convolutions passes a tanh before the sigmoid.
* RECALL attends to every earlier C and to the initial zero state; `recall=n` keeps the last n, the paper's tau.
* Layer normalisation (per-channel scale) after the convolutions of X, H and M and on C + RECALL; 1 is added to f'.
* Kernels are 2 x 5 x 5; with an even length the padding in time goes behind, as TensorFlow's "same" does.
Departures from that code:
* It returns the old M from each cell, so that M stays zero (acknowledged in its issues 1 and 29). Here the new M is
  passed on; `stale_memory=True` reproduces the code, and then the convolution of M only ever sees zeros.
* The loss is MSE / 2 + MAE, means instead of sums over the batch: same ratio, and Adam divides the factor out again.
* No exponential moving average of the weights; the code kept one and did not test with it.
`form = "openstl"` computes what OpenSTL's port of that code does (https://github.com/chengtan9907/OpenSTL, 2024-03),
which is another function, so that a row of its tables can be repeated and its checkpoints run:
* RECALL cuts C and R into rows without moving the channels to the back, so that a row is of neighbouring positions.
* Convolutions are not padded in time, so that a window of 2 gives one picture, which nearest neighbours make two
  alike again; likewise where `stride` made it smaller.
* No biases, and no normalisation but that of C + RECALL, which has a scale per element (`grid`).
* Its loss is MSE + MAE, of means; and it returns the old M (`stale_memory = True`).
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from astm.models.convolution import Conv3d
from astm.models.recurrent import MOST, Count, Recurrent, RecurrentSettings, State
from astm.predictor import model
from astm.pretrained.provenance import Counts, Paper


class E3DLSTMSettings(RecurrentSettings):
    """4 layers of 64, 2 x 5 x 5, windows of 2 frames."""

    layers: Count = 4
    hidden: Count = 64
    kernel: tuple[Count, Count, Count] = (2, 5, 5)
    """Time, height, width."""
    window: Count = 2
    """Frames per time step."""
    recall: Annotated[int, Field(ge=0, le=MOST)] = 0
    """The last states that RECALL attends to; 0 for all. Its cost grows with (window * h * w)^2 for each."""
    stale_memory: bool = False
    forget_bias: float = 1.0
    form: Literal["authors", "openstl"] = "authors"
    """Whose cell and loss."""
    stride: Count = 1
    """Of the convolutions of form = "openstl"; otherwise without effect."""
    grid: tuple[Count, Count] = (16, 16)
    """Height and width of a state that form = "openstl" is made for; otherwise without effect."""

    def misfit(self, height: int, width: int) -> str:
        made_for = tuple(side * self.patch for side in self.grid)
        if self.form == "authors" or (height, width) == made_for:
            return super().misfit(height, width)
        return (
            f"with form = 'openstl' this model is made for {made_for[0]} x {made_for[1]} pixels (grid {self.grid}), "
            f"got {height} x {width}; set model.grid to [{height // self.patch}, {width // self.patch}]"
        )


class SameConv3d(nn.Module):
    """A convolution that keeps the shape; an even side is padded by one more behind than in front."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = Conv3d(inputs, outputs, kernel)
        self.padding = [length for side in reversed(kernel) for length in ((side - 1) // 2, side // 2)]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(functional.pad(x, self.padding))
        return y


class RepeatedConv3d(nn.Module):
    """OpenSTL's convolution: whatever is lost in time, or to a stride, nearest neighbours give back."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int) -> None:
        super().__init__()
        padding = (0, kernel[1] // 2, kernel[2] // 2)
        self.conv = Conv3d(inputs, outputs, kernel, stride, padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(self.conv(x), x.shape[2:], mode="nearest")


def recall(R: Tensor, memories: tuple[Tensor, ...], mixed: bool = False) -> Tensor:
    """RECALL(R_t, C): softmax(R C^T) C over every position of every memory, unscaled.

    R is (B, hidden, L, h, w), and so is each memory and the result; R, C are matrices of positions x channels. `mixed`
    reads such matrices from memory as it lies, as OpenSTL does.
    """
    B, n, *_ = R.shape

    def rows(x: Tensor) -> Tensor:  # (B, L*h*w, hidden)
        return x.reshape(B, -1, n) if mixed else x.flatten(2).transpose(1, 2)

    Q = rows(R)
    C = torch.cat([rows(memory) for memory in memories], dim=1).to(Q.dtype)  # (B, n*L*h*w, hidden)
    found = functional.scaled_dot_product_attention(Q[:, None], C[:, None], C[:, None], scale=1.0)[:, 0]
    return (found if mixed else found.transpose(1, 2)).reshape(R.shape)


class E3DLSTMCell(nn.Module):
    """One layer at one time step."""

    def __init__(self, inputs: int, settings: E3DLSTMSettings) -> None:
        super().__init__()
        self.forget_bias = settings.forget_bias
        self.stale_memory = settings.stale_memory
        self.mixed = settings.form == "openstl"
        n = settings.hidden
        self.conv_x = self._normed(inputs, 7 * n, settings)
        self.conv_h = self._normed(n, 4 * n, settings)
        self.conv_m = self._normed(n, 4 * n, settings)
        self.norm_c = nn.LayerNorm((n, settings.window, *settings.grid)) if self.mixed else nn.GroupNorm(1, n)
        self.conv_oc = self._convolution(n, n, settings)
        self.conv_om = self._convolution(n, n, settings)
        self.conv_last = Conv3d(2 * n, n, 1, bias=not self.mixed)

    @staticmethod
    def _convolution(inputs: int, outputs: int, s: E3DLSTMSettings) -> nn.Module:
        if s.form == "openstl":
            return RepeatedConv3d(inputs, outputs, s.kernel, s.stride)
        return SameConv3d(inputs, outputs, s.kernel)

    @classmethod
    def _normed(cls, inputs: int, outputs: int, s: E3DLSTMSettings) -> nn.Sequential:
        norm = [] if s.form == "openstl" else [nn.GroupNorm(1, outputs)]
        return nn.Sequential(cls._convolution(inputs, outputs, s), *norm)

    def forward(self, X: Tensor, H: Tensor, Cs: tuple[Tensor, ...], M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """X_t, H^k_{t-1}, earlier C^k (latest last), M^{k-1}_t -> H^k_t, C^k_t, M^k_t, each (B, channels, L, h, w)."""
        I_x, G_x, R_x, O_x, ip_x, gp_x, fp_x = self.conv_x(X).chunk(7, dim=1)
        I_h, G_h, R_h, O_h = self.conv_h(H).chunk(4, dim=1)
        ip_m, fp_m, gp_m, m_m = self.conv_m(M).chunk(4, dim=1)
        R, I = torch.sigmoid(R_x + R_h), torch.sigmoid(I_x + I_h)  # noqa: E741, the paper's letter
        G = torch.tanh(G_x + G_h)
        C = I * G + self.norm_c(Cs[-1] + recall(R, Cs, self.mixed))
        ip, gp = torch.sigmoid(ip_x + ip_m), torch.tanh(gp_x + gp_m)
        fp = torch.sigmoid(fp_x + fp_m + self.forget_bias)
        M_t = ip * gp + fp * torch.tanh(m_m)
        O = torch.sigmoid(torch.tanh(O_x + O_h + self.conv_oc(C) + self.conv_om(M_t)))  # noqa: E741
        H = O * torch.tanh(self.conv_last(torch.cat([C, M_t], dim=1)))
        return H, C, M if self.stale_memory else M_t


@model.named("e3d_lstm")
class E3DLSTM(Recurrent):
    """A stack of E3D-LSTM cells. State: the last window - 1 frames, H per layer, all earlier C per layer, M."""

    Settings = E3DLSTMSettings

    paper = Paper(
        title="Eidetic 3D LSTM: A Model for Video Prediction and Beyond",
        authors="Wang, Yunbo and Jiang, Lu and Yang, Ming-Hsuan and Li, Li-Jia and Long, Mingsheng and Fei-Fei, Li",
        venue="ICLR",
        year="2019",
        url="https://openreview.net/forum?id=B1lKS2AqtX",
    )
    published = Counts(51.0, 298.9, "4 x 128 (50.8 M here)")

    settings: E3DLSTMSettings

    def __init__(self, settings: E3DLSTMSettings | None = None) -> None:
        super().__init__(settings)
        s = self.settings
        self.cells = nn.ModuleList(E3DLSTMCell(s.depth if k == 0 else s.hidden, s) for k in range(s.layers))
        whole = (s.window, 1, 1)
        self.decoder = Conv3d(s.hidden, s.depth, whole, stride=whole, bias=s.form == "authors")

    def usual_size(self) -> tuple[int, int]:
        s = self.settings
        return (s.grid[0] * s.patch, s.grid[1] * s.patch) if s.form == "openstl" else super().usual_size()

    def start(self, x: Tensor) -> State:
        s = self.settings
        zero = x.new_zeros(x.shape[0], s.hidden, s.window, *x.shape[2:])
        return (torch.zeros_like(x),) * (s.window - 1), (zero,) * s.layers, ((zero,),) * s.layers, zero

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        frames, H, Cs, M = state
        frames = (*frames, x)
        X = torch.stack(frames, dim=2)  # (B, depth, window, h, w)
        H_t, Cs_t = [], []
        for cell, h, memories in zip(self.cells, H, Cs, strict=True):
            X, C, M = cell(X, h, memories, M)
            H_t.append(X)
            Cs_t.append((*memories, C)[-self.settings.recall :])
        return self.decoder(X).squeeze(2), (frames[1:], tuple(H_t), tuple(Cs_t), M)

    def compile_cells(self, backend: str = "inductor") -> None:
        """Nothing: RECALL sees one memory more at every time step, and each would be compiled again."""

    def criterion(self, predicted: Tensor, frames: Tensor) -> Tensor:
        """Half the mean squared plus the mean absolute error; in OpenSTL's form not half of it."""
        squared = functional.mse_loss(predicted, frames)
        return (squared if self.settings.form == "openstl" else squared / 2) + functional.l1_loss(predicted, frames)
