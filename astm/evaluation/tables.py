"""The paper's Tables 1-3, and OpenSTL's as the fourth: what was published, by which definition, and what was measured.

The definitions of the published numbers are those of the code they are known to come from; where that is an inference,
the note says so.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from astm.results import Evaluation, base_and_ending, read_results
from mlst.exits import UserError
from mlst.text import number_of

TITLES = {
    1: "Table 1: Moving MNIST, 10 -> 10",
    2: "Table 2: KTH (trained 10 -> 10) and MLST",
    3: "Table 3: ablation",
    4: "Table 4: OpenSTL's protocols, Moving MNIST 10 -> 10 by epochs and KTH 10 -> 20",
}


class TableError(UserError, ValueError):
    """No such table."""


@dataclass(frozen=True, slots=True)
class Column:
    """What a column of a table holds."""

    head: str
    dataset: str
    horizon: int
    quantity: str
    """`mse`, `mse_raw`, `ssim`, `psnr`, or `memory`."""
    epochs: int = 0
    """Of training, where they make a protocol of its own: 625 batches of 16 each; 0 where they do not."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A published number and ours by the same definition."""

    column: Column
    published: str
    """As printed; "-" where the paper has none."""
    definition: str
    """The name of our metric of the same definition, or `memory`."""
    measured: str
    """"-" where no result was given."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table."""

    method: str
    cells: tuple[Comparison, ...]
    note: str
    """Where the published numbers come from."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, ready to print."""

    number: int
    title: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """A row as printed in the paper."""

    method: str
    model: str
    """Our registered model of the same kind; "" where there is none."""
    values: tuple[str, ...]
    ssim: str
    """Our name of its definition of SSIM."""
    note: str
    best: bool = False
    """Whether it is of the best of many samples of each clip; measured is then that too, where samples were scored."""


MNIST_MSE = Column("MSE", "moving_mnist", 10, "mse")
MNIST_SSIM = Column("SSIM", "moving_mnist", 10, "ssim")
MEMORY = Column("Memory", "moving_mnist", 10, "memory")
KTH_20 = (Column("KTH 20 SSIM", "kth", 20, "ssim"), Column("KTH 20 PSNR", "kth", 20, "psnr"))
KTH_40 = (Column("KTH 40 SSIM", "kth", 40, "ssim"), Column("KTH 40 PSNR", "kth", 40, "psnr"))
MLST_20 = Column("MLST 20 PSNR", "mlst", 20, "psnr")

COLUMNS = {
    1: (MNIST_SSIM, MNIST_MSE, MEMORY),
    2: (*KTH_20, *KTH_40, MLST_20),
    3: (MNIST_MSE, MNIST_SSIM, KTH_40[1], KTH_40[0], MLST_20),
    4: (
        *(Column(f"MSE, {n:,} epochs", "moving_mnist", 10, "mse_raw", n) for n in (200, 600, 2000)),
        Column("SSIM, 200 epochs", "moving_mnist", 10, "ssim", 200),
        *KTH_20,
    ),
}

RERUN = "a re-run by the PredRNN authors' line of work, not the method's own paper"
COPIED = (
    "as in the table of Jin et al. (CVPR 2020), so copied and not run again [inference]; MLST: trained by the authors"
)
OWN = "the authors' code reads SSIM from floats without a range, which scikit-image then took as 2 [inference]"

EIGHT_BIT = "its own code: SSIM of 8-bit pictures"

ROWS: dict[int, tuple[Published, ...]] = {
    1: (
        Published("Conv-LSTM", "convlstm", ("0.707", "103.3", "-"), "ssim_sk_u8", RERUN),
        Published(
            "FRNN", "frnn", ("0.819", "68.4", "717MB"), "ssim_wang", f"{RERUN}; FRNN's own code logs 0.912 and 38.8"
        ),
        Published(
            "VPN", "vpn", ("0.870", "70.0", "5206MB"), "ssim_sk_u8", f"{RERUN}: the non-autoregressive baseline"
        ),
        Published("PredRNN", "predrnn", ("0.869", "56.8", "-"), "ssim_sk_u8", EIGHT_BIT),
        Published("PredRNN++", "predrnn_pp", ("0.898", "46.5", "-"), "ssim_sk_u8", EIGHT_BIT),
        Published("E3D-LSTM", "e3d_lstm", ("0.910", "41.3", "2695MB"), "ssim_sk_u8", EIGHT_BIT),
        Published(
            "CrevNet + ConvLSTM",
            "crevnet",
            ("0.928", "38.5", "130MB"),
            "ssim_wang",
            "its own data (32 px digits, integer speeds) and SSIM with a Gaussian window: not comparable; measured is "
            "a reconstruction, as these cells are not public",
        ),
        Published("ASTM", "astm", ("0.944", "37.2", "225MB"), "ssim_sk_dr2", f"own split of 10,000 / 3,000; {OWN}"),
    ),
    2: (
        Published("ConvLSTM", "convlstm", ("0.712", "23.58", "0.639", "22.85", "21.35"), "ssim_sk_u8", COPIED),
        Published(
            "FRNN",
            "frnn",
            ("0.771", "26.12", "0.678", "23.77", "-"),
            "ssim_wang",
            f"{COPIED}; FRNN itself used 64 x 80 pictures, where 128 x 128 is asked for here",
        ),
        Published("PredRNN", "predrnn", ("0.839", "27.55", "0.703", "24.16", "22.90"), "ssim_sk_u8", COPIED),
        Published("PredRNN++", "predrnn_pp", ("0.865", "28.47", "0.741", "25.21", "23.16"), "ssim_sk_u8", COPIED),
        Published(
            "SAVP-VAE",
            "savp_vae",
            ("0.852", "27.77", "0.811", "26.18", "-"),
            "ssim_wang",
            f"{COPIED}; very probably the best of 100 samples, at 64 x 64 [inference]",
            best=True,
        ),
        Published("E3D-LSTM", "e3d_lstm", ("0.879", "29.31", "0.810", "27.24", "23.37"), "ssim_sk_u8", COPIED),
        Published(
            "Jin et al.",
            "stmfanet",
            ("0.893", "29.85", "0.851", "27.56", "-"),
            "ssim_sk_u8",
            "its own paper; measured is a reconstruction, the temporal wavelet module not being public",
        ),
        Published("ASTM", "astm", ("0.908", "30.02", "0.865", "28.12", "24.73"), "ssim_sk_dr2", OWN),
    ),
    3: (
        Published("Basic Model", "astm_basic", ("45.4", "0.905", "25.58", "0.789", "23.21"), "ssim_sk_dr2", OWN),
        Published(
            "ASTM",
            "astm",
            ("36.2", "0.936", "28.12", "0.865", "24.73"),
            "ssim_sk_dr2",
            f"Table 1 says 37.2 and 0.944 for the same model; {OWN}",
        ),
    ),
    4: (
        *(
            Published(
                method, name, values, "ssim_sk_dr2", "OpenSTL's table; the best epoch was chosen on the test set"
            )
            for method, name, values in (
                ("ConvLSTM-S", "convlstm", ("29.80", "-", "22.41", "0.9288", "0.8977", "26.99")),
                ("PredRNN", "predrnn", ("23.97", "-", "26.43", "0.9462", "0.9097", "27.95")),
                ("PredRNN++", "predrnn_pp", ("22.06", "-", "14.07", "0.9509", "0.9124", "28.13")),
                ("E3D-LSTM", "e3d_lstm", ("35.97", "-", "24.07", "0.9320", "0.8153", "21.78")),
                ("CrevNet", "crevnet", ("30.15", "-", "-", "0.9350", "-", "-")),
                ("PredRNN.V2", "predrnn_v2", ("24.13", "-", "17.26", "0.9453", "0.9099", "28.01")),
                ("MAU", "mau", ("26.86", "-", "22.25", "0.9398", "0.8945", "26.73")),
                ("PhyDNet", "phydnet", ("28.19", "-", "20.35", "0.9374", "0.8322", "23.41")),
                ("SimVP+gSTA", "simvp", ("26.69", "22.53", "15.05", "0.9402", "0.9049", "27.04")),
                ("TAU", "tau", ("24.60", "-", "15.69", "0.9454", "0.9086", "27.10")),
            )
        ),
    ),
}

OTHERS: dict[int, tuple[Published, ...]] = {
    1: (
        Published(
            "SimVP (gSTA)",
            "simvp",
            ("0.9402", "26.69", "-"),
            "ssim_sk_dr2",
            "not in the paper; published are OpenSTL's numbers, 200 epochs, the best epoch chosen on the test set",
        ),
    ),
    2: (
        Published(
            "SimVP (gSTA)",
            "simvp",
            ("0.9049", "27.04", "-", "-", "-"),
            "ssim_sk_dr2",
            "not in the paper; published are OpenSTL's numbers, trained on 20 frames, where the paper trains on 10",
        ),
    ),
}
"""What else is known to be published of models that the paper does not have."""

RESULTS = Path(__file__).parent / "measured"
"""What was measured for this version: files of `astm evaluate`, and the memory of full-size models."""

ABLATION = 3
"""The table that compares a model with itself."""
OPENSTL = 4
"""The table that is not the paper's."""
NOT_RUN = "not run"
SHIPPED = (
    "Measured for this version on one CPU core, with the `tiny` presets, in 400 steps where papers take a hundred "
    "thousand: it shows that the models learn, not how good they are. SAVP-VAE was measured before its up-sampling at "
    "borders was made that of its authors. MLST is the small demo dataset that `make demo` "
    "builds, at 64 pixels. Memory alone is of the models at full size, their default settings. For your own "
    "trainings, give the results.json files of `astm evaluate`."
)
WHY_NOT = {
    "kth": "KTH was not run: its videos must be downloaded by hand, for non-commercial use, and all were missing but "
    "a few of persons 1 and 15; the test split is persons 17 to 25.",
}

NOTES = {
    1: (
        'The paper heads the column "MSE (10^-4)"; the quoted numbers are squared errors summed over the 4,096 pixels '
        "of a frame, `mse_sum` here.",
        "SSIM in this table has three definitions, so its rows are not comparable with each other: the same "
        "predictions score up to 0.09 apart.",
        "Memory is taken for training memory of one sample [inference]; measured are the bytes kept for the backward "
        "pass of one clip.",
        "The usual test set is `mnist_test_seq.npy`, 10,000 sequences; the paper's 3,000 are not public.",
    ),
    2: (
        "KTH sequences depend on how windows are cut, and papers disagree on their number; results here carry the "
        "hash and count of theirs.",
        "PSNR is averaged over frames; on 8-bit pictures (PredRNN, E3D-LSTM) it differs by less than 0.1 dB.",
        "The paper's MLST is not public: measured columns are of the dataset that was given to `astm evaluate`.",
    ),
    3: (
        "In the authors' public code EIFAG sees one tensor tau times, which makes ASTM and the Basic Model the same; "
        'here it sees tau different ones (`history = "alias"` gives theirs).',
    ),
    OPENSTL: (
        "200, 600 and 2,000 epochs are protocols of their own, which papers mix: `--preset openstl` with "
        "train.steps=125000, 375000 and 1250000.",
        "Results do not say for how long a model was trained: a measured number stands where its label ends in the "
        "epochs, as that of a run in runs/simvp-2000 does.",
        "MSE is not clipped (`mse_sum_raw`). OpenSTL chose the best epoch on the test set; here it is chosen on "
        "validation clips.",
        'OpenSTL\'s E3D-LSTM computes another function than its paper (`form = "openstl"`, as in its preset), and '
        "its CrevNet predicts from three frames (`restart = true`).",
    ),
}


def table(number: int, results: Sequence[Evaluation]) -> Table:
    """One of the tables with what was measured; models that it does not have come last. Raises `TableError`."""
    if number not in ROWS:
        raise TableError(f"no table {number}; there are {', '.join(map(str, ROWS))}")
    columns = COLUMNS[number]
    lines = [_line(row, columns, results) for row in ROWS[number]]
    known = {row.model for row in ROWS[number]}
    fits = {(column.dataset, column.horizon) for column in columns}
    for result in results:
        if result.model not in known and (result.dataset, result.horizon) in fits:
            known.add(result.model)
            blank = Published(
                result.label, result.model, ("-",) * len(columns), "ssim_sk_u8", _where(result.model, number)
            )
            elsewhere = {row.model: row for row in OTHERS.get(number, ())}
            lines.append(_line(elsewhere.get(result.model, blank), columns, results))
    ran = (result for result in results if (result.dataset, result.horizon) in fits)
    protocols = sorted({f"Measured on {result.protocol}, {number_of(result.clips, 'clip')}." for result in ran})
    return Table(number, TITLES[number], tuple(lines), (*NOTES[number], *protocols))


def shipped(number: int) -> Table:
    """The table with what was measured for this version, from the package's own results. Raises `TableError`.

    Memory is of the models at their default settings, those of their papers; all else of the `tiny` presets.
    """
    if number == OPENSTL or number not in ROWS:
        return table(number, [])
    results = [result for file in sorted(RESULTS.glob("*_tiny.json")) for result in read_results(file)]
    if number == ABLATION:
        results = [result for result in results if result.model in {row.model for row in ROWS[number]}]
    sizes = json.loads((RESULTS / "memory.json").read_bytes())
    made = table(number, results)
    rows = {row.method: row.model for row in (*ROWS[number], *OTHERS.get(number, ()))}
    lines = tuple(_complete(line, sizes.get(rows.get(line.method, line.method), 0)) for line in made.lines)
    absent = {cell.column.dataset for line in lines for cell in line.cells if cell.measured == NOT_RUN}
    notes = (*made.notes, SHIPPED, *(WHY_NOT[dataset] for dataset in sorted(absent)))
    return replace(made, lines=lines, notes=notes)


def _complete(line: Line, memory: int) -> Line:
    """With the memory of the full-size model, and plain words where nothing was measured."""
    measured = {"memory": f"{memory / 2**20:.0f}MiB" if memory else "0MiB"}
    cells = (
        replace(cell, measured=measured.get(cell.column.quantity, NOT_RUN if cell.measured == "-" else cell.measured))
        for cell in line.cells
    )
    return replace(line, cells=tuple(cells))


def markdown(t: Table) -> str:
    """A table with a published and a measured column for each of the paper's, then where each number comes from."""
    heads = [f"{c.column.head} {what}" for c in t.lines[0].cells for what in ("published", "measured")]
    lines = [t.title, "", "| Method | " + " | ".join(heads) + " |", "| --- " * (len(heads) + 1) + "|"]
    for line in t.lines:
        cells = [text for cell in line.cells for text in (cell.published, cell.measured)]
        lines.append("| " + " | ".join([line.method, *cells]) + " |")
    lines += ["", "Definitions of the published numbers, and the measured ones beside them:", ""]
    for line in t.lines:
        named = sorted(
            {f"{c.column.quantity.upper()} = {c.definition}" for c in line.cells if c.definition != "memory"}
        )
        lines.append(f"- {line.method}: {', '.join(named)}; {line.note}.")
    return "\n".join([*lines, "", *(f"- {note}" for note in t.notes)]) + "\n"


def _where(model: str, number: int) -> str:
    """Which of the paper's tables have a model that this one does not."""
    others = [n for n, rows in ROWS.items() if n not in (number, OPENSTL) and model in {row.model for row in rows}]
    return f"in the paper's Table {' and '.join(map(str, others))}, not in this one" if others else "not in the paper"


def _line(row: Published, columns: Sequence[Column], results: Sequence[Evaluation]) -> Line:
    cells = []
    for column, value in zip(columns, row.values, strict=True):
        definition = {
            "mse": "mse_sum",
            "mse_raw": "mse_sum_raw",
            "ssim": row.ssim,
            "psnr": "psnr_frame",
            "memory": "memory",
        }[column.quantity]
        if row.best:
            definition = _best(row.model, column, definition, results)
        cells.append(Comparison(column, value, definition, _measured(row.model, column, definition, results)))
    return Line(row.method, tuple(cells), row.note + (_drawn(cells) if row.best else ""))


def _best(model: str, column: Column, definition: str, results: Sequence[Evaluation]) -> str:
    """The name under which the best sample was scored by a definition; the definition itself where it was not."""
    for result in results:
        if (result.model, result.dataset, result.horizon) == (model, column.dataset, column.horizon):
            for score in result.groups[0].scores:
                base, ending = base_and_ending(score.metric)
                if base == definition and ending.startswith("best_of_"):
                    return score.metric
    return definition


def _drawn(cells: Sequence[Comparison]) -> str:
    """What the measured numbers are of, for a row whose published ones are of the best sample."""
    measured = [cell.definition for cell in cells if cell.measured != "-"]
    endings = sorted({base_and_ending(definition)[1].replace("_", " ") or "one prediction" for definition in measured})
    if not endings:
        return ""
    remedy = "" if "one prediction" not in endings else " (`astm evaluate --samples 100` scores the best of 100)"
    return f"; measured: {', '.join(endings)}{remedy}"


def _measured(model: str, column: Column, definition: str, results: Sequence[Evaluation]) -> str:
    for result in results:
        if (result.model, result.dataset, result.horizon) == (model, column.dataset, column.horizon):
            if column.epochs and not re.search(rf"(?<!\d){column.epochs}$", result.label):
                continue
            if definition == "memory":
                return f"{result.cost.activation_bytes / 2**20:.0f}MiB" if result.cost.device else "-"
            try:
                value = result.score(definition).mean
            except KeyError:
                continue
            return f"{value:.3f}" if column.quantity == "ssim" else f"{value:.2f}"
    return "-"
