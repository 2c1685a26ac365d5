"""Which frames of the demo's clips are single shots, in two halves that share no film."""

from dataclasses import dataclass

from mlst.records import Transition
from tests.splices.pictures import Footage

TUNING = (
    Footage("crystal_orbit_12s_720x480.mp4", 0, 359),
    Footage("his_girl_friday_6s_640x480.mp4", 0, 185),
    Footage("asl_signer_book_4s_640x480.mkv", 0, 109),
    Footage("static_road_cars_30s_768x432.mp4", 0, 240),
    Footage("bbb_opening_30s_854x480.mp4", 60, 280),
    Footage("bbb_opening_30s_854x480.mp4", 290, 374),
    Footage("bbb_opening_30s_854x480.mp4", 384, 490),
    Footage("bbb_opening_30s_854x480.mp4", 556, 600),
    Footage("bbb_trailer_33s_640x360.webm", 114, 156),
    Footage("bbb_trailer_33s_640x360.webm", 232, 276),
    Footage("bbb_trailer_33s_640x360.webm", 378, 398),
    Footage("bbb_trailer_33s_640x360.webm", 626, 648),
)
"""Footage on which the thresholds of the `mlst` detector are set."""

HOLD_OUT = (
    Footage("pig_zoom_7s_720x480.mp4", 0, 196),
    Footage("rabbit_orbit_8s_320x240.mp4", 0, 234),
    Footage("flower_timelapse_5s_960x540.mp4", 0, 150),
    Footage("stream_of_water_3s_480x360.webm", 0, 90),
    Footage("talking_head_24s_320x192.mp4", 0, 300),
    Footage("tractor_pan_10s_512x288_vp9.webm", 0, 248),
    Footage("sintel_trailer_52s_480x204.mp4", 302, 333),
    Footage("sintel_trailer_52s_480x204.mp4", 456, 493),
    Footage("sintel_trailer_52s_480x204.mp4", 548, 571),
    Footage("sintel_trailer_52s_480x204.mp4", 577, 604),
    Footage("sintel_trailer_52s_480x204.mp4", 792, 826),
    Footage("sintel_trailer_52s_480x204.mp4", 872, 940),
)
"""Other footage, on which the detectors are compared."""


@dataclass(frozen=True)
class LabelledFilm:
    """A whole file whose transitions were told by eye, frame by frame; not all are among the demo's clips."""

    file: str
    rate: int
    frames: int
    transitions: tuple[Transition, ...]
    undecided: tuple[Transition, ...]
    """Frames where it is a matter of taste: lettering that comes and goes; what is found there does not count."""


def _cuts(*at: int) -> tuple[Transition, ...]:
    return tuple(Transition("cut", frame, frame) for frame in at)


def _spans(kind: str, *spans: tuple[int, int]) -> tuple[Transition, ...]:
    return tuple(Transition(kind, start, end) for start, end in spans)


FILMS = {
    "tuning": (
        LabelledFilm(
            "bbb_trailer_33s_640x360.webm",
            25,
            812,
            (
                *_spans("dissolve", (87, 112), (158, 178)),
                *_cuts(227, 280, 330, 347, 375, 400, 415, 623, 650, 749, 756, 776),
                *_spans("fade", (465, 480), (490, 504), (516, 530), (541, 554), (566, 580), (666, 672)),
            ),
            _spans("lettering", (0, 16), (800, 812)),
        ),
        LabelledFilm(
            "bbb_opening_30s_854x480.mp4",
            24,
            720,
            (*_spans("fade", (8, 53)), *_cuts(285, 378, 553)),
            _spans("lettering", (60, 260)),
        ),
        LabelledFilm("bbb_2s_1080p60.mp4", 60, 120, _cuts(21), ()),
        LabelledFilm("static_room_people_139s_768x432.mp4", 10, 1394, (), ()),
        LabelledFilm("timedmediahandler__stream.144p.video.mjpeg.mov", 30, 1422, (), ()),
        LabelledFilm("media__sample_with_increasing_timestamps_320w_240h_fragmented.mp4", 60, 932, (), ()),
    ),
    "hold-out": (
        LabelledFilm(
            "sintel_trailer_52s_480x204.mp4",
            24,
            1252,
            (
                *_spans("fade", (14, 104), (119, 146), (192, 226), (265, 302), (356, 398), (422, 472), (493, 556)),
                *_spans("fade", (674, 704), (757, 796), (1098, 1142), (1222, 1223)),
                *_cuts(336, 406, 573, 623, 660, 1165),
                *_spans("dissolve", (822, 862)),
            ),
            _spans("lettering", (936, 1020)),
        ),
        LabelledFilm("nasa_venus_transit_12s_640x360.mov", 30, 371, _cuts(186), ()),
        LabelledFilm("talking_head_24s_320x192.mp4", 60, 1465, (), ()),
    ),
}
