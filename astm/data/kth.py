"""KTH human actions (Schuldt, Laptev, Caputo 2004): six actions of 25 persons, grey, 160 x 120 at 25 fps.

Protocol of PredRNN (Wang et al. 2017): persons 1-16 train, 17-25 test; only annotated frames; 128 x 128 by bilinear
resizing; windows of past + horizon consecutive frames, found from the end of each video backwards, the next one a
whole window earlier, or 3 frames for jogging and running. Papers disagree on how many sequences that gives, so the
list of windows is hashed and counted here.

Read are the official .avi files beside `00sequences.txt` (https://www.csc.kth.se/cvap/actions/), or the frame folders
of PredRNN, `<action>/person01_<action>_d1_uncomp/image-0001.png`, which hold annotated frames alone.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from astm.data.clips import ClipFrames, Clips, DataError, DataSettings, dataset, fitting
from astm.data.video import frames_of
from mlst.draws import stream
from mlst.files import whole
from mlst.records import digest

ACTIONS = {"boxing": 0, "handclapping": 0, "handwaving": 0, "walking": 0, "jogging": 3, "running": 3}
"""Frames from one window to the one before it; 0 for a whole window."""

PERSONS = {"train": range(1, 17), "validation": range(1, 17), "test": range(17, 26)}
SEQUENCES = "00sequences.txt"
VIDEO = re.compile(rf"person(\d\d)_({'|'.join(ACTIONS)})_d([1-4])(_uncomp)?")
IMAGE = re.compile(r"image[-_](\d+)\.(png|jpe?g)")


class KthSettings(DataSettings):
    """Settings of KTH."""

    places: ClassVar[tuple[str, ...]] = ("root", "cache")

    root: str = "data/kth"
    size: Annotated[int, Field(ge=8, le=4096)] = 128
    channels: Literal[1] = 1
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the training persons' videos, chosen by a hash of their names, that is kept for choosing the best
    checkpoint. With 0, all are used for training and there is no validation split."""
    cache: str = ""
    """Folder for decoded frames, 16 KB each; by default `$XDG_CACHE_HOME/astm/kth`, or `~/.cache/astm/kth`."""


@dataclass(frozen=True, slots=True)
class KthVideo:
    """An annotated video."""

    name: str
    """`person01_boxing_d1`."""
    person: int
    action: str
    path: Path
    """An .avi file or a folder of frames."""
    numbers: tuple[int, ...]
    """Annotated frames, ascending, from 1."""


@dataclass(frozen=True, slots=True)
class Window:
    """A clip: consecutive annotated frames of a video."""

    video: str
    first: int
    """Number of the first frame, from 1."""
    length: int


@dataset.named("kth")
class Kth(Clips):
    """Windows of the persons of a split, decoded once into memory-mapped files."""

    Settings = KthSettings

    settings: KthSettings

    def __init__(self, settings: KthSettings, split: str) -> None:
        super().__init__(settings, split)
        everything = find_videos(Path(settings.root))
        videos = [v for v in everything if split_of(v, settings.validation_share) == split]
        if not videos:
            found = ", ".join(str(p) for p in sorted({v.person for v in everything}))
            raise DataError(
                f"{settings.root} has no KTH videos for {split} (persons {PERSONS[split][0]}-{PERSONS[split][-1]}, "
                f"validation_share {settings.validation_share}); it has persons {found}"
            )
        self.videos = {v.name: v for v in videos}
        self.windows = [w for v in videos for w in windows(v, settings.length)]
        if not self.windows:
            longest = max(len(v.numbers) for v in videos)
            raise DataError(
                f"no {settings.past} + {settings.horizon} consecutive frames in the {len(videos)} {split} videos of "
                f"{settings.root}, the longest of {longest} frames; lower past or horizon"
            )
        persons = len({v.person for v in videos})
        self.protocol = (
            f"kth {split}: {persons} persons, {len(videos)} videos, {len(self.windows)} windows; "
            f"{settings.past} -> {settings.horizon}, {settings.size} px"
        )
        self._frames: dict[str, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> ClipFrames:
        window = self.windows[index]
        video = self.videos[window.video]
        if video.name not in self._frames:
            self._frames[video.name] = decoded(video, self.settings.size, cache_folder(self.settings.cache))
        at = video.numbers.index(window.first)
        clip = self._frames[video.name][at : at + window.length]
        if len(clip) < window.length:
            raise DataError(f"{video.path} ends before the annotated frame {window.first + window.length - 1}")
        return ClipFrames(np.array(clip)[:, None], f"{window.video}-{window.first:04d}", video.action)

    def video(self, key: str) -> str:
        """A key is `<video>-<first frame>`."""
        return key.rpartition("-")[0]

    @cached_property
    def fingerprint(self) -> str:
        return digest([self.settings.past, self.settings.size, manifest(self.windows)])


def windows(video: KthVideo, length: int) -> list[Window]:
    """The windows of a video, as they are found: last one first."""
    step = ACTIONS[video.action] or length
    return [Window(video.name, video.numbers[i], length) for i in backwards(video.numbers, length, step)]


def backwards(numbers: Sequence[int], length: int, step: int) -> list[int]:
    """Where runs of `length` consecutive numbers begin, searched from the end, `step` on after each hit, else 1."""
    found, last = [], len(numbers) - 1
    while last >= length - 1:
        first = last - length + 1
        hit = numbers[last] - numbers[first] == length - 1
        if hit:
            found.append(first)
        last -= step if hit else 1
    return found


def manifest(found: Iterable[Window]) -> str:
    """The list of windows as text: video, first frame, length; sorted, so that folders' order does not matter."""
    return "".join(f"{w.video} {w.first} {w.length}\n" for w in sorted(found, key=lambda w: (w.video, w.first)))


def split_of(video: KthVideo, validation_share: float) -> str:
    """Train, validation or test."""
    if video.person in PERSONS["test"]:
        return "test"
    held = int(stream("kth", video.name)) / 2**64 < validation_share
    return "validation" if held else "train"


def find_videos(root: Path) -> list[KthVideo]:
    """Every annotated video under `root`, by name."""
    annotated = read_sequences(root)
    found: dict[str, KthVideo] = {}
    for path in sorted(root.rglob("person*")):
        match = VIDEO.fullmatch(path.stem)
        if not match or not (path.is_dir() or path.suffix == ".avi"):
            continue
        name = f"person{match[1]}_{match[2]}_d{match[3]}"
        if path.is_dir():
            numbers = tuple(sorted(int(m[1]) for file in path.iterdir() if (m := IMAGE.fullmatch(file.name))))
        elif name in annotated:
            numbers = annotated[name]
        else:
            raise DataError(f"{path}: {name} is not in a {SEQUENCES} under {root}; put the official list there")
        if numbers:
            found.setdefault(name, KthVideo(name, int(match[1]), match[2], path, numbers))
    if not found:
        wanted = [f"person01_boxing_d1_uncomp.avi with {SEQUENCES}", "boxing/person01_boxing_d1_uncomp/image-0001.png"]
        raise DataError(
            f"{fitting(root, wanted)}. Fetch KTH from https://www.csc.kth.se/cvap/actions/, or set data.root"
        )
    return [found[name] for name in sorted(found)]


def read_sequences(root: Path) -> dict[str, tuple[int, ...]]:
    """Annotated frames by video from the official list: `person01_boxing_d1 frames 1-95, 96-185`, ends included."""
    lists = sorted(root.rglob(SEQUENCES)) if root.is_dir() else []
    annotated = {}
    for line in lists[0].read_text(encoding="ascii", errors="replace").splitlines() if lists else []:
        match = re.match(r"\s*(person\d\d_\w+_d\d)\s+frames\s+(.*)", line)
        if match:
            spans = re.findall(r"(\d+)\s*-\s*(\d+)", match[2])
            annotated[match[1]] = tuple(sorted({n for a, b in spans for n in range(int(a), int(b) + 1)}))
    return annotated


def cache_folder(given: str) -> Path:
    """Where decoded frames are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(given) if given else Path(base) / "astm" / "kth"


def decoded(video: KthVideo, size: int, cache: Path) -> NDArray[np.uint8]:
    """(N, size, size), the annotated frames in order, mapped from a file that is made when it is first asked for."""
    file = cache / f"{video.name}-{_identity(video)}-{size}.npy"
    if not file.is_file():
        read: Callable[[KthVideo], list[NDArray[np.uint8]]] = _read_folder if video.path.is_dir() else _read_avi
        frames = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_LINEAR) for frame in read(video)]
        with whole(file) as temporary:
            np.save(temporary, np.stack(frames))
    stored: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
    return stored


def _identity(video: KthVideo) -> str:
    """Changes when the source does: names and sizes of its files, and the annotation."""
    files = sorted(video.path.iterdir()) if video.path.is_dir() else [video.path]
    text = repr([(file.name, file.stat().st_size) for file in files]) + repr(video.numbers)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _read_avi(video: KthVideo) -> list[NDArray[np.uint8]]:
    """Annotations may run past the end of a file; what is there is taken."""
    wanted = set(video.numbers)
    frames = [frame for i, frame in enumerate(frames_of(video.path, ".avi", "gray"), 1) if i in wanted]
    if not frames:
        raise DataError(f"{video.path} has none of the annotated frames {video.numbers[0]}-{video.numbers[-1]}")
    return frames


def _read_folder(video: KthVideo) -> list[NDArray[np.uint8]]:
    frames = []
    for file in sorted(video.path.iterdir(), key=lambda f: int(m[1]) if (m := IMAGE.fullmatch(f.name)) else 0):
        if IMAGE.fullmatch(file.name):
            picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            if picture is None:
                raise DataError(f"{file} is not a readable picture")
            frames.append(picture.astype(np.uint8, copy=False))
    return frames
