"""What a scan worker's answer must be: it decoded a stranger's video and may have been taken over.

Everything that later steps index, divide or name with is held against the item; what remains is what the video shows.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from math import floor

from mlst.pictures.fingerprints import FRAMES, HASHED, is_fingerprint
from mlst.records import Clip, Scan, Shot, Stream, Transition, Video

SHA256 = re.compile("[0-9a-f]{64}")
LONGEST = FRAMES * 2 * HASHED
"""Hex digits of a clip's fingerprint."""
KINDS = ("cut", "dissolve", "fade", "wipe", "break")


def check_scan(scan: Scan, video: Video, length: int) -> None:
    """Raise ValueError where a scan cannot be that of a video, cut into clips of `length` frames."""
    _must(scan.source == video.source and bool(scan.file), f"a scan of {scan.source!r} in {scan.file!r}")
    _check_stream(scan.stream)
    _check_parts(scan.transitions, scan.shots, scan.stream.frames)
    _must(len({clip.key for clip in scan.clips}) == len(scan.clips), "a key that comes twice")
    end = 0
    for clip in sorted(scan.clips, key=lambda clip: clip.offset):
        _check_clip(clip, scan, video, length)
        _must(clip.offset >= end, f"clip {clip.key!r} overlaps another in the file")
        end = clip.offset + clip.size


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _check_stream(stream: Stream) -> None:
    _must(
        all(value > 0 for value in (stream.time_base, stream.rate, stream.sar, stream.stride)),
        "a rate, ratio or time base that is 0",
    )
    _must(stream.width > 0 and stream.height > 0 and stream.rotation in (0, 90, 180, 270), "a picture of no size")
    _must(1 <= stream.depth <= 16, f"samples of {stream.depth} bits")
    _must(max(map(len, (stream.pixel_format, stream.matrix, stream.transfer))) <= 32, "a name that is none")


def _check_parts(transitions: Sequence[Transition], shots: Sequence[Shot], frames: int) -> None:
    for start, end in [(part.start, part.end) for part in transitions] + [(part.start, part.end) for part in shots]:
        _must(start <= min(end, frames), f"frames {start} to {end} of {frames}")
    _must(all(shot.end <= frames for shot in shots), f"a shot behind frame {frames}")
    _must(all(transition.kind in KINDS for transition in transitions), "a transition of no known kind")
    _must(all(one.end <= other.start for one, other in pairwise(shots)), "shots that overlap or are out of order")


def _check_clip(clip: Clip, scan: Scan, video: Video, length: int) -> None:
    base = video.probe.time_base
    key = f"{video.source}_{floor((clip.start_pts * base - video.origin) * 1000):09d}"
    _must((clip.source, clip.key) == (video.source, key), f"a clip {clip.key!r} of {clip.source!r}, not {key!r}")
    _must((clip.time_base, clip.stride) == (base, scan.stream.stride), f"clip {key!r} in another clock or stride")
    _must(clip.frames == length, f"clip {key!r} of {clip.frames} frames")
    _must(clip.shot < len(scan.shots), f"clip {key!r} in shot {clip.shot} of {len(scan.shots)}")
    shot = scan.shots[clip.shot]
    _must(shot.start <= clip.first_frame < clip.end_frame <= shot.end, f"clip {key!r} outside its shot")
    _must(clip.start_pts < clip.end_pts, f"clip {key!r} ends before it begins")
    box = clip.box
    _must(0 <= box.left < box.right <= 1 and 0 <= box.top < box.bottom <= 1, f"clip {key!r} with no active picture")
    _must(bool(SHA256.fullmatch(clip.sha256)) and clip.size > 0, f"clip {key!r} without content")
    _must(is_fingerprint(clip.fingerprint) and len(clip.fingerprint) <= LONGEST, f"clip {key!r} with odd hashes")
