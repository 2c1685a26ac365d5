"""Videos that benchmarks run on: those of the demo, which every clone has, and what is made of them."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import av
import imageio_ffmpeg

ROOT = Path(__file__).resolve().parent.parent
CLIPS = ROOT / "manifests/demo/clips"
TIERS = (240, 360, 480, 720, 1080)
"""Heights of which aims are told."""


def demo(*names: str) -> list[Path]:
    """Those of the demo's videos whose names begin so; all without a name. Raises ValueError for an unknown one."""
    found = [path for path in sorted(CLIPS.iterdir()) if path.name.startswith(names or ("",))]
    if len(found) < len(names):
        raise ValueError(f"{', '.join(names)}: choose from {', '.join(path.name for path in demo())}")
    return found


def tier(path: Path) -> int:
    """The largest of `TIERS` that the shorter side of a video reaches; the smallest for what is smaller still."""
    with av.open(str(path)) as media:
        context = media.streams.video[0].codec_context
        side = min(context.width, context.height)
    return max((height for height in TIERS if height <= side), default=TIERS[0])


def with_full_hd(videos: Iterable[Path], folder: Path) -> list[Path]:
    """The videos, and one made in `folder` if none of them has 1080 lines."""
    known = list(videos)
    return known if any(tier(path) >= 1080 for path in known) else [*known, full_hd(folder)]


def full_hd(folder: Path) -> Path:
    """Three seconds of 1920 x 1080 pixels, scaled up from 720p: decodes faster than what a camera took."""
    how = ("-vf", "scale=1920:1080", "-c:v", "libx264", "-preset", "veryfast", "-threads", "1")
    return _part(folder / "scaled_up_3s_1920x1080.mp4", 3, how)


def excerpt(folder: Path) -> Path:
    """Eight seconds of 1280 x 720 pixels as they are coded: six, and what is before them from a key frame on."""
    return _part(folder / "excerpt_8s_1280x720.webm", 6, ("-c:v", "copy"))


def _part(target: Path, seconds: int, how: Iterable[str]) -> Path:
    """Some seconds of the demo's 720p, without sound."""
    (source,) = demo("bbb_opening_30s_1280x720")
    target.parent.mkdir(parents=True, exist_ok=True)
    command = (imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-ss", "8", "-t", str(seconds), "-i", str(source))
    subprocess.run([*command, "-an", *how, str(target)], check=True)
    return target
