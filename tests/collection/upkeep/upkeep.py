"""A dataset of real videos on disk, on a web server and on a video site, all of them on this machine."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av

from collection.engine.run import Driver
from collection.engine.stage import Outcome, Stage, attempt
from collection.fetch.ytdlp import Access
from collection.order import read_order
from collection.pipeline import Built, build
from collection.politeness.budget import Budget, Patience
from collection.workspace.folder import Workspace
from tests.media_server import MediaServer, Page

CLIPS = Path(__file__).parents[3] / "manifests/demo/clips"
RABBIT, GIRL = CLIPS / "rabbit_orbit_8s_320x240.mp4", CLIPS / "his_girl_friday_6s_640x480.mp4"
SIGNER, WATER = CLIPS / "asl_signer_book_4s_640x480.mkv", CLIPS / "stream_of_water_3s_480x360.webm"
TRACTOR = CLIPS / "tractor_pan_10s_512x288_vp9.webm"
ACCESS = Access(
    budget=Budget(requests_per_minute=60000, burst=1000, spacing=0.0, breaker_after=1000),
    patience=Patience(attempts=2, base=0.01, longest=0.05, silence=1.0),
)
HEAD = "id,url,start,end,licence,title,channel,group,provenance\n"
RECIPE = """\
name = "upkeep"
levels = "p910-240p-v1"
version = "1.0.0"
sources = "sources.csv"

[fetch]
extractors = ["loopback"]
local = true
http = true
private = true
short_side = 96

[scan]
size = 32

[select]
reject = []
"""


class Here:
    """Works on one item after the other in this process."""

    def __call__(self, stage: Stage, items: Iterable[Any], work: Workspace) -> Iterator[Outcome]:
        """See `Executor`."""
        return (attempt(stage, item, work) for item in items)


class Quiet:
    """Watches nothing."""

    def begin(self, stage: str, total: int, known: int) -> None: ...
    def start(self, stage: str, key: str) -> None: ...
    def outcome(self, stage: str, outcome: Outcome) -> None: ...
    def fewer(self, stage: str) -> None: ...
    def end(self, stage: str) -> None: ...


def driver(work: Path) -> Driver:
    """Runs stages in this process."""
    return Driver(Workspace(work, ""), Here(), Quiet(), False, 8, False)


def source(name: str, url: str, start: str = "0", end: str = "") -> str:
    """A row of a manifest."""
    return f"{name},{url},{start},{end},CC0-1.0,Title of {name},Channel,{name},tests\n"


def watch(server: MediaServer, media: Path, **page: Any) -> str:
    """The page of a video on the site, and the video."""
    server.pages["/media/site.webm"] = Page(media.read_bytes(), kind="video/webm")
    formats = [{"url": server.url("/media/site.webm?lmt=1577836800000000&sig=sEcReT"), "format_id": "18"}]
    formats[0] |= {"ext": "webm", "width": 512, "height": 288, "vcodec": "vp9", "acodec": "none"}  # type: ignore[dict-item]
    formats[0] |= {"filesize": media.stat().st_size}  # type: ignore[dict-item]
    body = json.dumps({"formats": formats, "duration": 10, "license": "CC BY", "availability": "public"} | page)
    server.pages["/watch/abc"] = Page(body.encode(), kind="application/json")
    return server.url("/watch/abc")


def made(folder: Path, rows: Iterable[str], recipe: str = RECIPE) -> Built:
    """Build `folder`/dataset from a manifest in `folder`."""
    (folder / "sources.csv").write_text(HEAD + "".join(rows))
    (folder / "recipe.toml").write_text(recipe)
    order = read_order(folder / "recipe.toml", ACCESS)
    return build(order, folder / "dataset", driver(folder / "work"))  # type: ignore[arg-type]


def remux(path: Path, target: Path, until: float = 1e9) -> None:
    """The same packets, up to `until` seconds, in the container that the suffix of `target` names."""
    with av.open(str(path)) as media, av.open(str(target), "w") as out:
        stream = media.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in media.demux(stream):
            if packet.dts is not None and packet.pts * stream.time_base < until:
                packet.stream = copy
                out.mux(packet)


def reencode(path: Path, target: Path, paint: Any = None) -> None:
    """The same pictures at half the size and poor quality, or those of `paint`, at the same times."""
    with av.open(str(path)) as media, av.open(str(target), "w") as out:
        stream = media.streams.video[0]
        coded = out.add_stream("libx264", rate=stream.average_rate, options={"crf": "32", "preset": "veryfast"})
        coded.width, coded.height, coded.pix_fmt = stream.width // 4 * 2, stream.height // 4 * 2, "yuv420p"
        for number, frame in enumerate(media.decode(stream)):
            small = frame.reformat(coded.width, coded.height, "yuv420p")
            if paint:
                small = av.VideoFrame.from_ndarray(paint(number, coded.height, coded.width), format="yuv420p")
            small.pts, small.time_base = frame.pts, frame.time_base
            small.pict_type = 0
            out.mux(coded.encode(small))
        out.mux(coded.encode())
