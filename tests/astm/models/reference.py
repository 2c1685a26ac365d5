"""The cells again, in NumPy, float64 and plain loops, written from the equations and independent of `astm`.

A weight is looked up in `w` by the name of its convolution, (out, in, *kernel), with `<name>.b` its bias and, if layer
normalisation follows, `<name>.scale` and `<name>.shift`. Arrays carry no batch: (channels, *grid), where the grid is
(h, w) or (L, h, w).
"""

import itertools

import numpy as np


def conv(x, weight, bias=0.0, pads=None):
    """Correlation with zero padding; `pads` gives (before, after) per axis, by default the symmetric one."""
    kernel = weight.shape[2:]
    pads = pads or [(side // 2, side // 2) for side in kernel]
    padded = np.pad(x, [(0, 0), *pads])
    sides = [padded.shape[1 + axis] - side + 1 for axis, side in enumerate(kernel)]
    y = np.zeros((weight.shape[0], *sides))
    for tap in itertools.product(*map(range, kernel)):
        window = padded[(slice(None), *(slice(start, start + side) for start, side in zip(tap, sides, strict=True)))]
        y += np.einsum("oi,i...->o...", weight[(slice(None), slice(None), *tap)], window)
    return y + np.reshape(bias, (-1,) + (1,) * (y.ndim - 1)) if np.ndim(bias) else y + bias


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer_norm(x, scale, shift):
    """Over channels and grid together, scale and shift per channel or per element; epsilon as in PyTorch."""
    if scale.ndim == 1:
        scale, shift = (one.reshape((-1,) + (1,) * (x.ndim - 1)) for one in (scale, shift))
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * scale + shift


def eifag(memories, F):
    """Equations (7) and (8) of ASTM."""
    total = sum(np.exp(C * F) for C in memories)
    return sum(np.exp(C * F) / total * C for C in memories)


def convlstm(w, X, H, C):
    """Equation (3) of Shi et al., peepholes W_ci, W_cf, W_co per channel."""

    def gate(name):
        return conv(X, w["x" + name]) + conv(H, w["h" + name]) + w["b" + name][:, None, None]

    def peep(name):
        return w["c" + name][:, None, None]

    i = sigmoid(gate("i") + peep("i") * C)
    f = sigmoid(gate("f") + peep("f") * C)
    C = f * C + i * np.tanh(gate("c"))
    o = sigmoid(gate("o") + peep("o") * C)
    return o * np.tanh(C), C


def st_lstm(w, X, H, C, M, bias=1.0):
    """The ST-LSTM of PredRNN."""
    g = np.tanh(conv(X, w["xg"]) + conv(H, w["hg"]))
    i = sigmoid(conv(X, w["xi"]) + conv(H, w["hi"]))
    f = sigmoid(conv(X, w["xf"]) + conv(H, w["hf"]) + bias)
    C = f * C + i * g
    g = np.tanh(conv(X, w["xg'"]) + conv(M, w["mg'"]))
    i = sigmoid(conv(X, w["xi'"]) + conv(M, w["mi'"]))
    f = sigmoid(conv(X, w["xf'"]) + conv(M, w["mf'"]) + bias)
    M = f * M + i * g
    o = sigmoid(conv(X, w["xo"]) + conv(H, w["ho"]) + conv(C, w["co"]) + conv(M, w["mo"]))
    return o * np.tanh(conv(np.concatenate([C, M]), w["1"])), C, M


def normed(w, name, x, pads=None):
    """A convolution with bias, and its layer normalisation if it has one."""
    y = conv(x, w[name], w[name + ".b"], pads)
    return layer_norm(y, w[name + ".scale"], w[name + ".shift"]) if name + ".scale" in w else y


def astm(w, X, H, Cs, Ms, bias=1.0):
    """Equations (1) to (5) of ASTM. Cs and Ms are what is attended to; the paper's M is Ms with one entry."""
    M = Ms[-1]
    xI, xF, xG, xi, xf, xg, xO = np.split(normed(w, "x", X), 7)
    hI, hF, hG, hO = np.split(normed(w, "h", H), 4)
    mi, mf, mg = np.split(normed(w, "m", M), 3)
    F = sigmoid(xF + hF + bias)
    C = sigmoid(xI + hI) * np.tanh(xG + hG) + F * eifag(Cs, F)
    f = sigmoid(xf + mf + bias)
    M = eifag(Ms, f) * f + sigmoid(xi + mi) * np.tanh(xg + mg)
    o = sigmoid(xO + hO + normed(w, "o", np.concatenate([C, M])))
    return o * np.tanh(normed(w, "1", np.concatenate([C, M]))), C, M


def astm_network(cells, decoder, frames, steps, tau=5, spatial_tau=1, window=2, alias=False):
    """Figure 1 of ASTM with patches as input: `frames` (T, depth, h, w) are read, then predictions; (steps, ...) out.

    With `alias`, the history is a list of tau references to the latest memory, as in the authors' code.
    """
    n, (_, h, width) = cells[0]["h"].shape[1], frames[0].shape
    zero = np.zeros((n, window, h, width))
    H, C, M = [zero] * len(cells), [[zero] for _ in cells], [zero]
    seen, out = [np.zeros_like(frames[0])] * (window - 1), []
    for t in range(steps):
        seen.append(frames[t] if t < len(frames) else out[-1])
        X = np.stack(seen[-window:], axis=1)
        for k, w in enumerate(cells):
            history = [C[k][-1]] * min(len(C[k]), tau) if alias else C[k][-tau:]
            H[k], c, m = astm(w, X, H[k], history, M[-spatial_tau:])
            C[k].append(c)
            M.append(m)
            X = H[k]
        weight, shift = decoder
        out.append(np.einsum("oil,ilhw->ohw", weight[..., 0, 0], X) + shift[:, None, None])
    return np.stack(out)


def causal_lstm(w, X, H, C, M, bias=1.0):
    """The Causal LSTM of PredRNN++ as its authors' code computes it (see models.predrnn_pp)."""
    xg, xi, xf, xgp, xip, xfp, xo = np.split(normed(w, "x", X), 7)
    hg, hi, hf, ho = np.split(normed(w, "h", H), 4)
    cg, ci, cf = np.split(normed(w, "c", C), 3)
    mi, mf, mm = np.split(normed(w, "m", M), 3)
    C = sigmoid(xf + hf + cf + bias) * C + sigmoid(xi + hi + ci) * np.tanh(xg + hg + cg)
    ngp, nip, nfp, no = np.split(normed(w, "c new", C), 4)
    M = sigmoid(xfp + mf + nfp + bias) * np.tanh(mm) + sigmoid(xip + mi + nip) * np.tanh(xgp + ngp)
    o = np.tanh(xo + ho + no + normed(w, "m new", M))
    return o * np.tanh(normed(w, "1", np.concatenate([C, M]))), C, M


def ghu(w, X, Z):
    """The Gradient Highway Unit of PredRNN++, equation (4)."""
    n = len(X)
    x, z = normed(w, "x", X), normed(w, "z", Z)
    P, S = np.tanh(x[:n] + z[:n]), sigmoid(x[n:] + z[n:])
    return S * P + (1 - S) * Z


def recall(R, memories):
    """RECALL of E3D-LSTM, position by position."""
    positions = list(itertools.product(*map(range, R.shape[1:])))
    states = np.array([C[(slice(None), *p)] for C in memories for p in positions])  # (n * L * h * w, channels)
    found = np.zeros_like(R)
    for p in positions:
        query = R[(slice(None), *p)]
        weight = np.exp(states @ query)
        found[(slice(None), *p)] = weight / weight.sum() @ states
    return found


def e3d_lstm(w, X, H, Cs, M, bias=1.0):
    """The Eidetic 3D LSTM, with the memory that is returned being the new one."""
    pads = [((side - 1) // 2, side // 2) for side in w["x"].shape[2:]]  # an even side: one more behind
    xI, xG, xR, xO, xi, xg, xf = np.split(normed(w, "x", X, pads), 7)
    hI, hG, hR, hO = np.split(normed(w, "h", H, pads), 4)
    mi, mf, mg, mm = np.split(normed(w, "m", M, pads), 4)
    R = sigmoid(xR + hR)
    attended = layer_norm(Cs[-1] + recall(R, Cs), w["C.scale"], w["C.shift"])
    C = sigmoid(xI + hI) * np.tanh(xG + hG) + attended
    M = sigmoid(xi + mi) * np.tanh(xg + mg) + sigmoid(xf + mf + bias) * np.tanh(mm)
    o = sigmoid(np.tanh(xO + hO + normed(w, "co", C, pads) + normed(w, "mo", M, pads)))
    return o * np.tanh(normed(w, "1", np.concatenate([C, M]), [(0, 0)] * 3)), C, M
