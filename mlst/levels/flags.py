"""What a user may want to keep out: yes or no, from a clip's statistics."""

from collections.abc import Callable, Collection

from mlst.levels.levels import Levels
from mlst.records import Statistics
from mlst.registry import Registry

flag: Registry[Callable[[Statistics, Levels], bool]] = Registry("flag")
"""Conditions on one clip, named as recipes name them."""

NEEDS = {"camera_only": ("camera_speed", "camera_residual"), "shaky": ("camera_shake",)}
"""Statistics that a flag needs and not every clip has."""


STUTTER = 0.2
"""Share of exact repeats from which a rate was raised by repeating frames: 24 frames a second made 30 have a fifth."""


def only_camera(speed: float, residual: float) -> bool:
    """Whether a camera of this speed is all that moves, both in % of the width per second; see `camera_only`."""
    return speed >= 1 and residual <= 0.4 + 0.15 * speed


def telling(measured: Collection[str]) -> tuple[str, ...]:
    """Names of the flags that statistics of these names tell of, sorted."""
    return tuple(name for name in flag if set(NEEDS.get(name, ())) <= set(measured))


def flags(statistics: Statistics, levels: Levels) -> tuple[str, ...]:
    """Names of the flags that a clip carries, sorted."""
    return tuple([name for name, carried in flag.items() if carried(statistics, levels)])


@flag
def black(statistics: Statistics, levels: Levels) -> bool:
    """At least half of its frames are black."""
    return statistics.black_ratio >= 0.5


@flag
def frozen(statistics: Statistics, levels: Levels) -> bool:
    """At least nine in ten frames repeat the one before: a still image."""
    return statistics.freeze_ratio >= 0.9


@flag
def static(statistics: Statistics, levels: Levels) -> bool:
    """TI on the 10 Hz grid stays below 1 of 255: a fixed camera and nothing that moves, but coding noise."""
    return statistics.ti10 < 1


@flag
def stutter(statistics: Statistics, levels: Levels) -> bool:
    """At least a fifth of its frames are exact repeats: its rate was raised by repeating frames."""
    return statistics.duplicate_ratio >= STUTTER


@flag
def flash(statistics: Statistics, levels: Levels) -> bool:
    """It flashes."""
    return statistics.flash_count >= 1


@flag
def interlaced(statistics: Statistics, levels: Levels) -> bool:
    """At least 0.05 % of its pixels comb: 25 times what running water, the worst progressive clip at hand, shows."""
    return statistics.comb_ratio >= 0.0005


@flag
def low_resolution(statistics: Statistics, levels: Levels) -> bool:
    """Its source has fewer lines than the canonical picture: it shows too little texture."""
    return statistics.scale > 1


@flag
def borderline_s(statistics: Statistics, levels: Levels) -> bool:
    """Texture is nearer to a cut than the margin of the definition."""
    return levels.s.distance(statistics) < levels.s.margin


@flag
def borderline_t(statistics: Statistics, levels: Levels) -> bool:
    """Motion is nearer to a cut than the margin of the definition."""
    return levels.t.distance(statistics) < levels.t.margin


@flag
def borderline(statistics: Statistics, levels: Levels) -> bool:
    """Borderline in texture or in motion."""
    return borderline_s(statistics, levels) or borderline_t(statistics, levels)


@flag
def spatial_disagree(statistics: Statistics, levels: Levels) -> bool:
    """What decides texture and its second opinion are two levels apart."""
    return abs(levels.s.step(statistics) - levels.s.second_step(statistics)) == 2


@flag
def temporal_disagree(statistics: Statistics, levels: Levels) -> bool:
    """TI and optical flow are two levels apart: flicker without motion, or fast motion of low contrast."""
    return abs(levels.t.step(statistics) - levels.t.second_step(statistics)) == 2


@flag
def camera_only(statistics: Statistics, levels: Levels) -> bool:
    """The camera moves and nothing else: a still picture that is panned or zoomed, or a scene in which all is still.

    What is left without the camera's motion is what flow leaves of panned stills: at most 0.4 % of the width per
    second and 15 % of the camera's speed, which is at least 1 %.
    """
    speed, residual = statistics.camera_speed, statistics.camera_residual
    return speed is not None and residual is not None and only_camera(speed, residual)


@flag
def shaky(statistics: Statistics, levels: Levels) -> bool:
    """The camera's velocity changes by 5 % of the width per second and more from one tenth of a second to the next."""
    return statistics.camera_shake is not None and statistics.camera_shake >= 5
