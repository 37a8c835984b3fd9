"""Offsets: bands and delays that are known by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_response import TOWN

from traffic.optimization.bandwidth import BandSignal, optimize_bandwidth
from traffic.optimization.greens import build_green_runs
from traffic.optimization.offsets import (
    Feed,
    build_delay_table,
    discharge,
    disperse,
    find_feeds,
    measure_offsets,
    optimize_offsets,
)
from traffic.optimization.streams import Stream, build_streams


def build_signals(count: int, green_s: int = 30) -> list[BandSignal]:
    return [BandSignal(f"j{i}", (0, green_s), (0, green_s)) for i in range(count)]


def test_half_a_cycle_apart_both_directions_get_the_whole_green() -> None:
    """Travel time C / 2 between signals: offsets 0, C/2, 0, ... give bands as wide as the green."""
    times = [0.0, 30.0, 60.0, 90.0]
    found = optimize_bandwidth(build_signals(4), 60, times, times)
    assert found.status == "optimal"
    assert (found.outbound_s, found.inbound_s) == (30, 30)
    assert found.offset_s == (0, 30, 0, 30)


@pytest.mark.parametrize("travel_s", [0, 5, 10, 15, 20, 30, 40])
def test_two_signals_have_the_band_that_is_solved_by_hand(travel_s: int) -> None:
    """With greens g and offset o the bands are g - |o - t| and g - |o + t|, both modulo C within
    -C/2..C/2 and not below 0. Their sum is largest at o = 0 or C/2: 2 g - 2 min(t, C/2 - t)."""
    t = travel_s % 30
    found = optimize_bandwidth(build_signals(2), 60, [0, travel_s], [0, travel_s])
    assert found.outbound_s + found.inbound_s == 2 * 30 - 2 * min(t, 30 - t)


def test_three_signals_with_a_short_green_between() -> None:
    """One way only the shortest green bounds the band: 20 s of 30."""
    signals = [*build_signals(1), BandSignal("short", (0, 20), (0, 20)), *build_signals(1)]
    found = optimize_bandwidth(signals, 60, [0, 13, 37], [0, 13, 37], 100, 1)
    assert found.outbound_s == 20


def test_three_signals_at_unequal_distances_have_the_bands_that_are_solved_by_hand() -> None:
    """C = 60 s, greens of 30 s, 10 and 25 s of travel from the first signal, both ways.

    A band is the green less the range of o_i - t_i outbound, of o_i + t_i inbound. At offsets x
    and 30 + y of the others the ranges are at least |15 + y - x| and |15 + x - y|: 30 s together.
    With the second signal near half a cycle they are 40 s at least, with the third one near 0 they
    are 50 s. So both bands together have 2 * 30 - 30 s, at best 15 s each, at offsets 0, 0, 30.
    """
    times = [0, 10, 25]
    found = optimize_bandwidth(build_signals(3), 60, times, times)
    assert (found.outbound_s, found.inbound_s) == (15, 15)
    assert found.status == "optimal"
    first, second, third = found.offset_s
    for sign, width in ((1, found.outbound_s), (-1, found.inbound_s)):
        ahead = [
            (offset - sign * time + 30) % 60 - 30
            for offset, time in ((first, 0), (second, 10), (third, 25))
        ]
        assert 30 - (max(ahead) - min(ahead)) == width


def test_a_platoon_comes_after_its_travel_time_and_spreads() -> None:
    """Robertson: its head after beta t, its mean after (beta + alpha beta) t, as the geometric
    spreading with F = 1 / (1 + alpha beta t) takes (1 - F) / F = alpha beta t longer."""
    pulse = np.zeros(600)
    pulse[0] = 1.0
    spread = disperse(pulse, 20.0)
    assert int(np.flatnonzero(spread > 1e-12)[0]) == round(0.8 * 20)
    assert float(np.arange(600) @ spread) == pytest.approx((0.8 + 0.35 * 0.8) * 20, abs=1e-6)


def test_a_direction_that_gets_no_band_does_not_narrow_the_other() -> None:
    greens = [32, 32, 20, 31, 32]
    signals = [BandSignal(str(i), (5, g), (5, g)) for i, g in enumerate(greens)]
    times = [0, 22, 51, 74, 93]
    assert optimize_bandwidth(signals, 70, times, times, 6, 4).outbound_s == 20


def test_bad_bands_are_named_together() -> None:
    signal = BandSignal("x", (70, 5), (0, 90))
    with pytest.raises(ValueError, match="inbound_travel_s has 0") as caught:
        optimize_bandwidth([signal], 60, [0], [])
    assert "signal x: green (70, 5)" in str(caught.value)
    assert "signal x: green (0, 90)" in str(caught.value)


@given(
    st.lists(st.floats(0, 1), min_size=10, max_size=40),
    st.integers(1, 9),
    st.floats(0.2, 3),
)
def test_what_comes_is_queued_or_gone(arrivals: list[float], green: int, rate: float) -> None:
    """Store and forward: queue(t+1) = queue(t) + in(t) - out(t)."""
    come = np.array(arrivals)
    served = np.where(np.arange(len(come)) < green, rate, 0.0)
    left, queued = discharge(come, served)
    scale = min(1.0, 0.999 * served.sum() / max(come.sum(), 1e-12))
    before = np.roll(queued, 1)
    # The last second's queue is that with which the steady cycle begins.
    assert queued[1:] == pytest.approx((before + come * scale - left)[1:], abs=1e-9)
    assert (left <= served + 1e-12).all()
    assert (queued >= -1e-12).all()


@settings(deadline=None)
@given(st.lists(st.floats(0, 2), min_size=20, max_size=60), st.floats(0, 100))
def test_dispersion_loses_no_vehicle(profile: list[float], travel_s: float) -> None:
    spread = disperse(np.array(profile), travel_s)
    assert spread.sum() == pytest.approx(sum(profile))
    assert spread.max() <= max(profile) + 1e-9


def test_a_platoon_that_does_not_spread_finds_the_offset_of_its_travel_time() -> None:
    """At a travel time of 0 nothing spreads: equal greens in step leave nobody waiting twice."""
    plan = TOWN.plans["J2"]
    approach = next(a for a in TOWN.approaches.values() if a.junction == "J2" and a.phases)
    phase = approach.phases[0]
    stream = Stream(approach.id, phase, 400, 1800)
    feed = Feed("J2", phase, approach.id, "J2", 0.0, 400, 1800, approach.id)
    table = build_delay_table(TOWN, {"J2": plan}, [feed], {"J2": [stream]})
    assert table[0] == pytest.approx(0, abs=1e-6)
    assert int(np.argmin(table)) == 0
    run = next(r for r in build_green_runs(TOWN.junctions["J2"], plan) if r.phase == phase)
    # Its worst moment: the head of the platoon comes as the green ends.
    worst = int(np.argmax(table))
    assert table[worst] > 0
    assert run.green_s < plan.cycle_s


def test_offsets_of_least_cost_are_found_round_a_loop() -> None:
    """Three pairs that want 10, 20 and 30 s: 10 + 20 = 30, so that all can have what they want."""
    cycle = 60
    away = np.minimum(np.arange(cycle), cycle - np.arange(cycle)).astype(float)
    tables = {
        ("a", "b"): np.roll(away, 10),
        ("b", "c"): np.roll(away, 20),
        ("a", "c"): np.roll(away, 30),
    }
    found = optimize_offsets(["a", "b", "c"], cycle, tables)
    assert (found.offset_s, found.cost, found.status) == ({"a": 0, "b": 10, "c": 30}, 0, "optimal")


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_no_other_offsets_cost_less(seed: int) -> None:
    draw = np.random.default_rng(seed)
    tables = {pair: draw.random(12).round(2) for pair in (("a", "b"), ("b", "c"), ("a", "c"))}
    found = optimize_offsets(["a", "b", "c"], 12, tables)
    least = min(
        measure_offsets({"a": 0, "b": b, "c": c}, 12, tables) for b in range(12) for c in range(12)
    )
    assert found.cost == pytest.approx(least)


def test_feeds_keep_the_flow_that_leaves_a_signal() -> None:
    streams = {id_: build_streams(TOWN, id_, {}) for id_ in TOWN.junctions}
    for feed in find_feeds(TOWN, streams):
        assert feed.travel_s >= 0
        own = [s.flow_vph for s in streams[feed.from_junction] if s.phase == feed.from_phase]
        assert feed.flow_vph <= sum(own) + 1e-9
