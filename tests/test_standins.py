"""Where a bottleneck is looked at when its own loops cannot be trusted, and what that is worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from incident_desk import FREE_MPS, LEADS, LOOPS, NETWORK, Desk, build_batch

from traffic.alerts.alert import Level
from traffic.forecasting import Forecast
from traffic.optimization.gating import is_broken
from traffic.readings import Quality
from traffic.warning.breakdown import FADE_S, FEATURES, BreakdownWatch
from traffic.warning.standins import STAND_IN_WORTH, StandIns, WatchPost

NECK = NETWORK.bottlenecks["neck"]
M2, M3 = ("m2.0", "m2.1"), ("m3.0", "m3.1")
UPSTREAM, DOWNSTREAM = ("m0.0", "m0.1", "m1.0", "m1.1"), ("neck.0", "neck.1", "m5.0", "m5.1")


def break_loops(*loops: str, quality: Quality = Quality.CHATTER) -> dict[str, Quality]:
    return dict.fromkeys(loops, quality)


def test_sound_loops_are_looked_at_themselves() -> None:
    look = WatchPost(NETWORK, NECK).look(build_batch(30.0))
    assert [station.link for station in look.stations] == ["m2", "m3"]
    assert (look.stand_ins, look.confidence) == ((), 1.0)


@pytest.mark.parametrize(
    ("bad", "looked", "seen_at", "confidence"),
    [
        (M2[:1], ["m2", "m3"], [], 0.75),  # one lane of two, at one of two cross-sections
        (M2, ["m3"], ["m3"], 0.5 + 0.5 * STAND_IN_WORTH),
        (M3, ["m2"], ["m2"], 0.5 + 0.5 * STAND_IN_WORTH),
        ((*M2, *M3), ["m1"], ["m1", "m1"], STAND_IN_WORTH),  # a queue reaches m1 next
        ((*M2, *M3, "m1.0", "m1.1"), ["m0"], ["m0", "m0"], STAND_IN_WORTH),
        ((*M2, *M3, *UPSTREAM), ["neck"], ["neck", "neck"], STAND_IN_WORTH),
        ((*M2, *M3, *UPSTREAM, *DOWNSTREAM), ["m6"], ["m6", "m6"], STAND_IN_WORTH),
    ],
)
def test_the_next_loops_that_can_be_trusted_stand_in(
    bad: tuple[str, ...], looked: list[str], seen_at: list[str], confidence: float
) -> None:
    look = WatchPost(NETWORK, NECK).look(build_batch(30.0, bad=break_loops(*bad)))
    assert [station.link for station in look.stations] == looked
    assert [one.seen_at.link for one in look.stand_ins if one.seen_at] == seen_at
    assert look.confidence == pytest.approx(confidence)


def test_where_nothing_can_be_trusted_nothing_is_seen_and_nothing_filled() -> None:
    batch = build_batch(30.0, bad=break_loops(*LOOPS))
    look = WatchPost(NETWORK, NECK).look(batch)
    assert (look.stations, look.confidence) == ((), 0.0)
    assert [one.seen_at for one in look.stand_ins] == [None, None]
    assert StandIns(NETWORK).fill(batch) is batch


def test_a_blind_bottleneck_is_filled_and_marked_and_one_that_sees_is_left_alone() -> None:
    stand_ins = StandIns(NETWORK)
    for bad in ((), M2, M3, M2[:1]):
        batch = build_batch(30.0, bad=break_loops(*bad))
        assert stand_ins.fill(batch) is batch
    batch = build_batch(30.0, slow=("m1",), bad=break_loops(*M2, *M3))
    filled = stand_ins.fill(batch)
    at = [LOOPS.index(loop) for loop in (*M2, *M3)]
    others = [i for i in range(len(LOOPS)) if i not in at]
    assert (filled.quality[at] == Quality.ESTIMATED).all()
    assert filled.speed_mps[at] == pytest.approx(10.0 / 3.6)
    for name in ("count_veh", "occupancy", "speed_mps", "quality"):
        np.testing.assert_array_equal(getattr(filled, name)[others], getattr(batch, name)[others])
    assert is_broken(NETWORK, NECK, filled, 0.6)
    assert not is_broken(NETWORK, NECK, batch, 0.6)


@given(st.sets(st.sampled_from(LOOPS)))
def test_what_fails_more_is_never_worth_more(bad: set[str]) -> None:
    """Confidence lies in 0..1 and falls, or stands, as one more loop fails."""
    post = WatchPost(NETWORK, NECK)
    before = post.look(build_batch(30.0, bad=break_loops(*bad)))
    assert 0.0 <= before.confidence <= 1.0
    own = {*M2, *M3}
    for loop in sorted(own - bad):
        after = post.look(build_batch(30.0, bad=break_loops(*bad, loop)))
        assert after.confidence <= before.confidence + STAND_IN_WORTH
        assert len(after.stand_ins) >= len(before.stand_ins)
    for station in before.stations:
        assert not set(station.loops) <= bad


def test_a_jam_is_confirmed_by_those_that_stand_in_and_the_officer_is_told_so() -> None:
    desk = Desk()
    bad = break_loops(*M2, *M3, quality=Quality.NO_HITS)
    assert desk.run(10, bad=bad) == ()
    (jam,) = desk.run(6, slow=("m1",), bad=bad)
    assert jam.level is Level.CONFIRMED
    assert jam.confidence == STAND_IN_WORTH
    told = [(line["en"], line["zh"]) for line in jam.evidence]
    assert (
        "seen at m1 500 m, because m3 500 m is not trusted (no hits)",
        "m3 500 m 线圈不可信（无计数），改看 m1 500 m 线圈",
    ) in told
    assert {"m1.0", "m1.1"} <= {one.loop for one in jam.readings}


def test_a_stuck_cross_section_confirms_nothing_that_its_neighbor_denies() -> None:
    desk = Desk()
    bad = break_loops(*M3, quality=Quality.LOCKED_ON)
    assert desk.run(20, slow=("m3",), bad=bad) == ()


def test_warnings_see_the_queue_by_those_that_stand_in_and_know_it_is_estimated() -> None:
    """Blind, the speed ahead is unknown; filled, it is that upstream, faded by the lead."""
    stand_ins = StandIns(NETWORK)
    inflow = np.full((1, len(LEADS), 3), 3000.0)
    told = {}
    for is_filled in (False, True):
        watch = BreakdownWatch(NETWORK, NECK)
        for k in range(1, 60):
            batch = build_batch(30.0 * k, slow=("m1",), bad=break_loops(*M2, *M3))
            watch.hear(stand_ins.fill(batch) if is_filled else batch)
        forecast = Forecast(watch.now_s, ("neck",), LEADS, inflow, np.zeros((1, len(LEADS))))
        told[is_filled] = watch.compute(forecast, 0)[0, FEATURES.index("slow")]
        assert watch.build_signs().good_share == pytest.approx(2 / 6)
    assert np.isnan(told[False])
    assert told[True] == pytest.approx((1 - 10 / 3.6 / FREE_MPS) * np.exp(-LEADS[0] / FADE_S))
