"""Fetch and scan a few sources at a time, so that the disk holds the videos of one wave and not those of the manifest.

A fetched video is needed until its scan is final. Then it is removed, and its source is fetched again only where other
scan settings or a lost file ask for the video once more.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from operator import not_

from collection.engine.run import Driver, Result, Run
from collection.fetch.stage import FetchStage
from collection.scan.stage import ScanStage
from mlst.records import Scan, Source, Video

NO_ROW = -1


@dataclass(frozen=True, slots=True)
class Seen:
    """The videos that were scanned, each with its scan, by source id; read from the ledgers, every time anew."""

    fetched: Result
    scanned: Result

    def __iter__(self) -> Iterator[tuple[Video, Scan]]:
        videos: Iterator[Video] = iter(self.fetched.outputs)
        for scan in self.scanned.outputs:
            yield next(video for video in videos if video.source == scan.source), scan


def fetch_and_scan(fetch: FetchStage, scan: ScanStage, sources: Sequence[Source], do: Driver) -> Seen:
    """What the videos of the sources show; `sources` by id. What is known already is not done again."""
    with do.start(fetch) as fetching, do.start(scan) as scanning:
        waves = _Waves(fetching, scanning, do, sources)
        left = waves.left()
        waves.announce(left)
        for start in range(0, len(left), do.wave):
            waves.wave(left[start : start + do.wave])
        return waves.end()


class _Waves:
    """Sources by number, with the rows of their fetch and of their scan."""

    def __init__(self, fetching: Run, scanning: Run, do: Driver, sources: Sequence[Source]) -> None:
        self.fetching, self.scanning, self.do, self.sources = fetching, scanning, do, sources
        self.fetched = fetching.expect(sources)
        self.scanned = array("q", [NO_ROW]) * len(sources)

    def video(self, n: int) -> tuple[Video, ...]:
        """The video of a source as it was fetched last, if it was; notes the row of its scan."""
        videos: tuple[Video, ...] = self.fetching.outputs(self.fetched[n])
        self.scanned[n] = self.scanning.row(videos[0]) if videos else NO_ROW
        return videos

    def is_left(self, n: int) -> bool:
        """Whether there is work to do on a source. Removes the video of one that is finished."""
        videos = self.video(n)
        if not videos:
            return self.fetching.is_open(self.fetched[n])
        if self.scanning.is_open(self.scanned[n]):
            return True
        if self.fetching.has(videos[0].file):
            self.drop(n, videos[0])
        return False

    def left(self) -> "array[int]":
        """The sources there is work to do on. Those that failed before come last: what a site refuses to give must not
        stand before all the others in every run."""
        left = array("Q", (n for n in range(len(self.sources)) if self.is_left(n)))
        tried = bytes(self.fetching.was_tried(self.fetched[n]) for n in left)
        return array("Q", chain(compress(left, map(not_, tried)), compress(left, tried)))

    def announce(self, left: Sequence[int]) -> None:
        """Say how much there is to do, of the whole build."""
        fetches = sum(self.fetching.is_open(self.fetched[n]) for n in left)
        begun = sum(self.scanned[n] != NO_ROW for n in left)
        known = sum(row != NO_ROW for row in self.scanned) - begun
        self.do.watcher.begin(self.fetching.stage.name, len(self.sources), len(self.sources) - fetches)
        self.do.watcher.begin(self.scanning.stage.name, known + len(left), known)

    def wave(self, part: Sequence[int]) -> None:
        """Fetch and scan some sources, and remove their videos."""
        self.fetching([self.sources[n] for n in part if self.fetching.is_open(self.fetched[n])])
        videos = {n: video for n in part for video in self.video(n)}
        to_scan = [video for n, video in videos.items() if self.scanning.is_open(self.scanned[n])]
        self.scanning(to_scan)
        for n, video in videos.items():
            self.drop(n, video)
        for _ in range(len(part) - len(to_scan)):
            self.do.watcher.fewer(self.scanning.stage.name)

    def drop(self, n: int, video: Video) -> None:
        """Remove a video that is not needed any more. Of a local file that is our link, never the user's file."""
        ours = video.file.startswith(f"{self.fetching.work.folder}/")
        if ours and not self.do.keep_videos and self.scanning.is_final(self.scanned[n]):
            self.do.work.remove(video.file)

    def end(self) -> Seen:
        """What came of all sources, finished in whichever run."""
        for run in (self.fetching, self.scanning):
            self.do.watcher.end(run.stage.name)
        scanned = (row for row in self.scanned if row != NO_ROW)
        return Seen(self.fetching.result(self.fetched), self.scanning.result(scanned))
