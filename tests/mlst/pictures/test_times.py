"""Times that rise, whatever is said of them."""

import pytest

from mlst.pictures.times import Claim, Order, Times, in_order_only, too_many


def times(claims: list[Claim], *, in_order: bool = False, stores: bool = True) -> tuple[list[int | None], Times]:
    """At a usual distance of 10 and 250 ticks to the second."""
    clock = Times(10, 250, in_order, stores)
    return [None if (time := clock(claim)) is None else time.ticks for claim in claims], clock


def stored(*pts: int | None) -> list[Claim]:
    return [Claim(time, None, False) for time in pts]


def test_stored_times_that_rise_are_taken_as_they_are() -> None:
    found, clock = times(stored(5, 15, 40, 41))
    assert (found, clock.repaired, clock.dropped) == ([5, 15, 40, 41], 0, 0)


def test_what_is_missing_follows_at_the_usual_distance_for_a_second() -> None:
    found, clock = times(stored(0, None, None, 30, *[None] * 26, 300))
    assert found == [0, 10, 20, 30, *range(40, 281, 10), None, 300]
    assert (clock.repaired, clock.dropped) == (27, 1)


def test_what_is_missing_takes_the_time_of_its_place_moved_by_the_delay() -> None:
    claims = [Claim(20, 0, True), Claim(None, 10, False), Claim(None, 20, False), Claim(50, 30, False)]
    assert times(claims)[0] == [20, 30, 40, 50]


def test_stored_times_out_of_order_give_way_to_the_order() -> None:
    """An MP4 file without `ctts`: decoding times in the order in which frames are shown."""
    claims = [Claim(pts, 10 * k, k == 0) for k, pts in enumerate((0, 20, 30, 10, 50, 60, 40))]
    assert in_order_only(claims)
    found, clock = times(claims, in_order=True)
    assert (found, clock.repaired) == ([0, 10, 20, 30, 40, 50, 60], 6)
    late, clock = times(claims)
    assert (late, clock.dropped) == ([0, 20, 30, 40, 50, 60, 70], 0), "believed until they fall, then moved with them"


def test_stored_times_are_believed_where_the_order_is_no_better() -> None:
    assert not in_order_only([Claim(0, 0, True), Claim(20, None, False), Claim(10, None, False)])
    assert not in_order_only([Claim(0, 0, True), Claim(20, 20, False), Claim(10, 10, False)])


def test_a_clock_that_jumps_back_goes_on() -> None:
    clock = Times(10, 250, False, True)
    found = [clock(claim) for claim in stored(1000, 1010, 0, 10, 20)]
    assert [(time.ticks, time.jumped) for time in found if time] == [
        (1000, False), (1010, False), (1020, True), (1030, False), (1040, False),
    ]  # fmt: skip
    assert (clock.repaired, clock.dropped) == (0, 0)


def test_one_stray_time_moves_no_other() -> None:
    assert times(stored(1000, 1010, 0, 1030, 1040))[0] == [1000, 1010, 1020, 1030, 1040]


def test_a_key_frame_that_comes_too_early_begins_another_recording() -> None:
    claims = [Claim(0, None, True), Claim(10, None, False), Claim(20, None, False), Claim(10, None, True)]
    assert times(claims)[0] == [0, 10, 20, 30]
    assert times([*claims[:3], Claim(10, None, False)])[0] == [0, 10, 20, None]
    assert times([*claims[:3], Claim(20, None, True)])[0] == [0, 10, 20, None]


@pytest.mark.parametrize(
    ("packets", "depth", "wanted"),
    [
        ([1, 1, 1, 1], 0, [0, 1, 2, 3]),
        ([1, 1, 0, 1, 1], 0, [0, 1, 3, 4]),
        ([0, 1, 1, 1], 1, [0, 1, 2, 3]),
        ([0, 1, 0, 1, 1], 1, [0, 1, 3, 4]),
        ([0, 0, 1, 1, 2, 0], 2, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_frames_take_the_times_of_packets_that_give_frames(packets: list[int], depth: int, wanted: list[int]) -> None:
    order = Order()
    found = [time for dts, frames in enumerate(packets) for time in order.sent(dts, frames, depth)]
    assert found + order.taken(len(wanted) - len(found)) == wanted


def test_times_beyond_64_bits_are_none() -> None:
    found, clock = times(stored(0, 1 << 62, 10, -(1 << 62), 20))
    assert (found, clock.repaired, clock.dropped) == ([0, 10, 11, 21, 22], 4, 0)


def test_few_frames_may_lack_a_time() -> None:
    assert [too_many(*counts) for counts in ((2, 3), (3, 3), (20, 980), (21, 979))] == [False, True, False, True]
