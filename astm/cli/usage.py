"""`astm predict` and `astm publish`: what is done with a trained model."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from astm.cli.console import console, say
from astm.cli.options import AsJson, Device


def predict(
    source: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run, checkpoint, saved or bundled model, or copy_last.")
    ],
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="Any video file.")],
    out: Annotated[Path, typer.Option(help="The video to write (.mp4).")] = Path("predicted.mp4"),
    horizon: Annotated[int, typer.Option(min=1, help="Frames to predict.")] = 10,
    past: Annotated[int, typer.Option(min=1, help="Input frames.")] = 10,
    start: Annotated[int, typer.Option(min=0, help="Index of the first input frame.")] = 0,
    size: Annotated[int, typer.Option(min=0, help="Height and width; by default as trained, else 256.")] = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Predict a video's frames and write them beside the truth: left what happened, right what was predicted."""
    import numpy as np
    import torch

    from astm.cli.films import beside
    from astm.cli.reading import fits
    from astm.data import DataError
    from astm.data.video import frame_rate, frames_at, planes, presentation_times, resize, write_video
    from astm.evaluation.evaluate import to_bytes
    from astm.metrics import metric
    from astm.training.checkpoint import load_predictor
    from astm.training.team import prepared

    predictor, where = load_predictor(source), prepared(device)
    channels = int(getattr(predictor.settings, "channels", 3))
    side = size or predictor.origin.size or 256
    times = presentation_times(video)
    if len(times) < start + past + horizon:
        raise DataError(
            f"{video} has {len(times)} frames; {past} + {horizon} from frame {start} need "
            f"{start + past + horizon}: lower --horizon, --past or --start"
        )
    pictures = planes(resize(frames_at(video, times[start : start + past + horizon]), side), channels)
    frames = torch.from_numpy(pictures)[None].float().div_(255).to(where)
    with torch.no_grad(), fits(source):
        predicted = predictor.to(where).eval()(frames[:, :past], horizon)
    psnr = metric["psnr_frame"](predicted, frames[:, past:])[0].tolist()
    shown = np.concatenate([pictures[:past], to_bytes(predicted[0])])
    write_video(out, beside(pictures, shown), frame_rate(video))
    if as_json:
        sys.stdout.write(json.dumps({"out": str(out), "past": past, "horizon": horizon, "psnr_frame": psnr}) + "\n")
    else:
        say(f"{out}: {past} frames shown, {horizon} predicted, psnr_frame {sum(psnr) / len(psnr):.2f} dB")


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
