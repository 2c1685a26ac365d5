"""What a model costs with the settings of a command line."""

from dataclasses import asdict
from typing import Any

import torch

from astm.cli.experiment import experiment_of
from astm.data import dataset
from astm.evaluation.cost import Stopwatch, cost
from astm.predictor import model
from astm.size import count_parameters, macs
from astm.training.optimisation import make_optimiser, make_scaler, mixed
from astm.training.settings import Experiment, SettingsError, presets


def measure(experiment: Experiment, device: torch.device, repeat: int) -> dict[str, Any]:
    """Clips per second in training and prediction, and memory of each."""
    s, d = experiment.train, experiment.data_settings
    torch.manual_seed(s.seed)
    predictor = experiment.predictor().to(device)
    predictor.checkpoint = s.checkpoint
    shape = (s.batch_size, d.length, d.channels, *d.picture)
    clips = torch.rand(shape, device=device)
    past, future = clips[:, : d.past], clips[:, d.past :]
    watch = Stopwatch(device)
    with torch.no_grad(), mixed(device, s.precision):
        predictor.eval()(past, d.horizon)
        for _ in range(repeat):
            watch.predict(predictor, past, d.horizon)
    predictor.train()
    spent = cost(predictor, watch, past[:1], future[:1])
    row = asdict(spent)
    if spent.parameters == 0:
        return row
    if s.compile:
        predictor.compile_cells()
    optimiser, scaler = make_optimiser(predictor, s, device), make_scaler(device, s.precision)
    timer = Stopwatch(device)
    for i in range(repeat + 1):
        if i == 1:  # the first one warms up
            timer = Stopwatch(device)
        with timer.running():
            optimiser.zero_grad(set_to_none=True)
            for p, f in zip(past.chunk(s.accumulate), future.chunk(s.accumulate), strict=True):
                with mixed(device, s.precision):
                    loss = predictor.loss(p, f, i, s.seed) / s.accumulate
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimiser)
            scaler.update()
    rate = repeat * s.batch_size / timer.seconds
    return {**row, "training_clips_per_second": rate, "training_peak_bytes": timer.peak_bytes}


def model_row(name: str, data: str, chosen: str) -> dict[str, Any]:
    """`macs` is None of a model whose defaults are for pictures of another size."""
    count: int | None = None
    with torch.device("meta"):
        try:
            experiment = experiment_of(name, data, chosen, [])
            predictor, d = experiment.predictor(), experiment.data_settings
            count = macs(predictor, d.past, d.horizon, (d.size, d.size))
        except SettingsError:
            if chosen:
                raise
            predictor, d = model[name](), dataset[data].Settings()
    return {
        "model": name,
        "parameters": count_parameters(predictor),
        "published_parameters": predictor.published.parameters,
        "published_remark": predictor.published.remark,
        "macs": count,
        "frames": f"{d.past} -> {d.horizon}",
        "size": f"{d.channels} x {d.size} x {d.size}",
        "about": (type(predictor).__doc__ or "").split("\n")[0],
        "presets": ", ".join(preset for preset, models in presets(data).items() if name in models),
    }
