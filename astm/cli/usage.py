"""`astm predict` and `astm publish`: what is done with a trained model."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from astm.cli.console import console, say
from astm.cli.options import READY, AsJson, Device, or_files
from mlst.exits import check_file
from mlst.text import number_of


def predict(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A run, checkpoint, saved or bundled model, or copy_last.",
            autocompletion=or_files(READY),
        ),
    ],
    video: Annotated[
        Path, typer.Argument(metavar="FILM", help="A video, a folder of frames, or arrays (.npy, .npz, .tar).")
    ],
    out: Annotated[Path, typer.Option(help="The video to write (.mp4).", callback=check_file)] = Path("predicted.mp4"),
    horizon: Annotated[int, typer.Option(min=0, help="Frames to predict; 0 for as many as in training, else 10.")] = 0,
    past: Annotated[int, typer.Option(min=0, help="Input frames; 0 for as many as in training, else 10.")] = 0,
    start: Annotated[int, typer.Option(help="Index of the first input frame; -10 is the tenth from the end.")] = 0,
    size: Annotated[str, typer.Option(metavar="SIDE|HEIGHTxWIDTH", help="By default as trained, else 256.")] = "",
    film: Annotated[str, typer.Option(help="Key or number of the film, where there are several.")] = "",
    layout: Annotated[str, typer.Option(help="Axes of an array, e.g. TNHW.")] = "",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Predict frames and write them beside the truth: left what happened, right what was predicted.

    Beyond the end of the film there is no truth, and the left half says so.
    """
    import numpy as np
    import torch

    from astm.cli.films import beside, chosen_film, sides, without_truth
    from astm.cli.reading import fits
    from astm.data.own import as_pictures
    from astm.data.video import write_video
    from astm.evaluation.evaluate import to_bytes
    from astm.metrics import metric
    from astm.training.checkpoint import load_predictor
    from astm.training.team import prepared

    predictor, where = load_predictor(source), prepared(device)
    channels = int(getattr(predictor.settings, "channels", 3))
    past, horizon = past or predictor.origin.past or 10, horizon or predictor.origin.horizon or 10
    height, width = sides(size, predictor.origin.picture)
    chosen = chosen_film(video, film, layout)
    pictures = as_pictures(chosen.cut(start, past, horizon), channels, (height, width))
    frames = torch.from_numpy(pictures)[None].float().div_(255).to(where)
    with torch.no_grad(), fits(source):
        predicted = predictor.to(where).eval()(frames[:, :past], horizon)
    known = frames.shape[1] - past
    psnr = metric["psnr_frame"](predicted[:, :known], frames[:, past:])[0].tolist()
    shown = np.concatenate([pictures[:past], to_bytes(predicted[0])])
    write_video(out, beside(without_truth(pictures, past + horizon), shown), chosen.rate)
    if as_json:
        told = {"out": str(out), "past": past, "horizon": horizon, "with_truth": known, "psnr_frame": psnr}
        sys.stdout.write(json.dumps(told) + "\n")
        return
    score = f"psnr_frame {sum(psnr) / known:.2f} dB" if known else "no truth to compare with"
    part = f" of the {known} that the film has" if 0 < known < horizon else ""
    say(f"{out}: {number_of(past, 'frame')} shown, {horizon} predicted, {score}{part}")


def publish(
    source: Annotated[str, typer.Argument(metavar="MODEL", help="A run, checkpoint or saved model.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Model repository; made if missing.")],
    results: Annotated[
        list[Path] | None, typer.Option("--results", help="results.json of `astm evaluate`; may be repeated.")
    ] = None,
    label: Annotated[str, typer.Option(help="The model's label in the results, if several match.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights, e.g. mit or cc-by-4.0.")] = "",
    revision: Annotated[str, typer.Option(help="Branch; made from main if missing.")] = "main",
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the card to standard output; upload nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish a model on the Hugging Face Hub: weights, settings and a card with its scores, in one commit.

    The token comes from HF_TOKEN or from `hf auth login`.
    """
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from astm.predictor import described
    from astm.pretrained.card import About, card
    from astm.pretrained.hub import address, check_name
    from astm.pretrained.store import CONFIG
    from astm.training.checkpoint import load_predictor
    from astm.training.train import PRETRAINED

    exported = Path(source) / PRETRAINED
    predictor = load_predictor(str(exported) if (exported / CONFIG).is_file() else source)
    if dry_run:
        check_name(repository)
        sys.stdout.write(card(described(predictor), About(repository, licence, tuple(results or ()), label)))
        return
    if as_json or not console.is_terminal:
        disable_progress_bars()
    commit = predictor.push_to_hub(repository, private, results or (), label, licence, revision)
    if as_json:
        sys.stdout.write(json.dumps({"repository": repository, "commit": commit}) + "\n")
    else:
        say(f"published: {address(repository, commit)}")
