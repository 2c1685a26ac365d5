"""The settings that a command line asks for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astm.data import DataSettings, find_dataset
from astm.predictor import model
from astm.training.checkpoint import read_experiment
from astm.training.settings import Experiment, SettingsError, merge, override, parse, preset, presets


def experiment_of(name: str, data: str, chosen: str, assignments: Sequence[str]) -> Experiment:
    """A preset or the defaults of a model and a dataset, with some settings changed. Raises `SettingsError`."""
    find_dataset(data)
    base = (
        preset(data, chosen, name) if chosen and ":" not in data else {"model": {"name": name}, "data": {"name": data}}
    )
    return parse(merge(base, override(assignments)))


def data_of(sources: Sequence[str], data: str, chosen: str, assignments: Sequence[str]) -> tuple[str, DataSettings]:
    """The dataset to evaluate on: a named one, or that of the first model that was trained."""
    if data:
        table = {**_data_table(data, chosen), "name": data}
    else:
        if chosen:
            raise SettingsError(f"--preset {chosen} is of a dataset; name it with --data")
        known = next((source for source in sources if Path(source).exists() or source not in model), sources[0])
        table = read_experiment(known).tree()["data"]
    changes = override(assignments)
    if others := changes.keys() - {"data"}:
        raise SettingsError(f"evaluation takes settings of data, not of {', '.join(sorted(others))}")
    tree = merge({"data": table, "model": {"name": "copy_last"}}, changes)
    checked = parse(tree)
    return checked.data, checked.data_settings


def _data_table(data: str, chosen: str) -> dict[str, Any]:
    find_dataset(data)
    if not chosen:
        return {}
    found = presets(data)
    if chosen not in found:
        raise SettingsError(f"unknown preset {chosen!r} of {data}; choices are {', '.join(found)}")
    table: dict[str, Any] = preset(data, chosen, found[chosen][0])["data"]
    return table
