"""Small files of every kind that the datasets read, and a dataset and settings that train in milliseconds."""

import gzip
import io
import re
import struct
import tempfile
from collections import defaultdict
from pathlib import Path

import av
import cv2
import numpy as np

from astm.training.settings import merge, parse
from mlst.levels.splits import split_of
from mlst.records import SPLITS
from tests import tiny


def digits(count, seed):
    """(N, 28, 28) blobs, all different."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 7, 7), np.uint8)
    return np.kron(coarse, np.ones((1, 4, 4), np.uint8))


def write_idx(path, images):
    """An IDX file, packed if its name ends in .gz."""
    data = struct.pack(">4i", 2051, *images.shape) + images.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def mnist(root: Path):
    """MNIST's two files of images."""
    root.mkdir(parents=True, exist_ok=True)
    write_idx(root / "train-images-idx3-ubyte.gz", digits(40, 0))
    write_idx(root / "t10k-images-idx3-ubyte", digits(20, 1))
    return root


def film(length, height, width, seed):
    """(T, H, W, 3): a square that moves over a textured ground."""
    generator = np.random.default_rng(seed)
    ground = cv2.resize(generator.integers(0, 200, (4, 4, 3), np.uint8), (width, height))
    frames = np.repeat(ground[None], length, axis=0)
    for t in range(length):
        frames[t, height // 4 : height // 2, 2 + t % (width // 2) : 8 + t % (width // 2)] = (250, 20, 100)
    return frames


def encode(frames, container="mp4", codec="libx264rgb"):
    """A video's bytes, lossless by default."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=25, options={"crf": "0", "g": "8"} if "264" in codec else {})
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "rgb24" if codec == "libx264rgb" else "yuv420p"
        if codec == "mpeg4":
            stream.bit_rate = 4_000_000
        for picture in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        out.mux(stream.encode(None))
    return file.getvalue()


def mlst_dataset(root: Path, levels=("s0t0", "s2t1"), splits=SPLITS, clips=3):
    """A real dataset of 6 frames of 32 x 32 pixels, with `clips` clips in each of these levels and splits."""
    shares = dict.fromkeys(splits, 1 / len(splits))
    names = defaultdict(list)
    for i in range(1000):
        names[split_of(f"video{i:06d}", shares, "mlst")].append(f"video{i:06d}")
    chosen = [name for split in splits for name in names[split][:clips]]
    cells = [(int(level[1]), int(level[3])) for level in levels]
    table = ", ".join(f"{split} = {share}" for split, share in shares.items())
    recipe = re.sub(r"splits = .*", f"splits = {{ {table} }}", tiny.RECIPE)
    with tempfile.TemporaryDirectory() as folder:
        scans = {}
        for i, name in enumerate(chosen):
            videos = [tiny.mp4(len(cells) * i + j) for j in range(len(cells))]
            scans[name] = tiny.scan(name, cells, videos)
            path = Path(folder, scans[name].file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(videos))
        sources = {name: tiny.source(name) for name in chosen}
        made = tiny.Material(sources, {name: tiny.video(name, scans[name]) for name in chosen}, scans)
        tiny.build(Path(folder), root, made, recipe)


def experiment(root, *trees):
    """A very small model on very small Moving MNIST."""
    base = {
        "model": {"name": "convlstm", "hidden": [4], "kernel": 3, "patch": 8, "sampling_steps": 20},
        "data": {
            "name": "moving_mnist",
            "root": str(root),
            "size": 32,
            "past": 3,
            "horizon": 2,
            "test": "generated",
            "train_count": 20,
            "validation_count": 6,
            "test_count": 7,
        },
        "train": {"steps": 12, "batch_size": 4, "validate_every": 5, "validate_on": 4},
        "run": {"log_every": 2, "save_every": 100, "threads": 1},
    }
    return parse(merge(base, *trees))
