"""A service goes on from what its engine had learned before it was stopped, or says why not."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from real_engine import (
    BEGIN_S,
    SPEED_MPS,
    STEP_S,
    Change,
    build_real_engine,
    build_real_memory,
    build_road,
)
from test_incidents import NETWORK, STREET_LOOPS, run_street

from api.assembly import build_memory
from api.memory import MemoryFile, Remembering
from networks import load
from traffic.feed import FeedFault
from traffic.forecasting.outlook import SPEED, LoopOutlook
from traffic.incidents.detection import IncidentDetector
from traffic.incidents.normal import Usual
from traffic.incidents.sections import Layout, build_sections
from traffic.learned import put_back, take_out
from traffic.memory import Memory
from traffic.model import Network
from traffic.readings import LoopBatch
from traffic.snapshot import Snapshot
from traffic.warning.foresight import Foresight

MIDNIGHT = datetime(2025, 3, 9, 16, tzinfo=UTC)
HOURS = 2.6
STOP_S = BEGIN_S + 5530.0  # within an interval of the forecasts


def to_utc(time_s: float) -> datetime:
    return MIDNIGHT + timedelta(seconds=time_s)


def next_day(time_s: float) -> datetime:
    return to_utc(time_s + 86_400.0)


def keep(path: Path, network: Network, clock: Callable[[float], datetime] = to_utc) -> MemoryFile:
    return MemoryFile(path, network, clock)


BLOCKED = {
    "m1.1": (0.0, np.nan), "m1.0": (1.4, 20.0), "m1.2": (1.4, 20.0),
    "m2.1": (0.6, 20.0), "m0.0": (0.7, 4.0), "m0.1": (0.5, 3.0), "m0.2": (0.7, 4.0),
}  # fmt: skip


def block(batch: LoopBatch) -> Iterable[LoopBatch]:
    """Lane 1 is blocked ahead of m1 for the last three quarters of an hour."""
    if batch.end_s < BEGIN_S + 3600 * HOURS - 2700:
        return (batch,)
    count, speed = np.array(batch.count_veh), np.array(batch.speed_mps)
    for loop, (share, mps) in BLOCKED.items():
        at = batch.detectors.index(loop)
        count[at], speed[at] = np.round(count[at] * share), mps
    occupancy = np.nan_to_num(count * 6.0 / speed / 30.0)
    return (replace(batch, count_veh=count, occupancy=occupancy, speed_mps=speed),)


def flow(batch: LoopBatch) -> Iterable[LoopBatch]:
    return (batch,)


def run(
    memory: Memory,
    begin_s: float = BEGIN_S,
    until_s: float = np.inf,
    file: MemoryFile | None = None,
    change: Change = block,
) -> list[Snapshot]:
    engine = build_real_engine(change, HOURS, None, memory, begin_s)
    # A queue above a bottleneck is nothing new; here it is to tell of a blockage.
    engine.incidents = IncidentDetector(replace(build_road(), bottlenecks={}), memory.usual)
    steps = engine if file is None else Remembering(engine, file)
    told = []
    while (snapshot := steps.step()) is not None:
        told.append(snapshot)
        if snapshot.time_s >= until_s:
            break
    return told


def last_outlook(told: list[Snapshot]) -> LoopOutlook:
    strategy = told[-1].strategy
    assert strategy is not None
    assert strategy.forecast.loops is not None
    return strategy.forecast.loops


def list_parts(memory: Memory) -> tuple[object, ...]:
    """All that is to be the same to the last digit.

    Suspicion begins cold and adds nothing to the backgrounds in its first minutes.
    """
    usual = memory.usual
    return (memory.health, memory.estimator, memory.forecaster, usual.normal, usual._shares)


def assert_same(one: Memory, other: Memory) -> None:
    for here, there in zip(list_parts(one), list_parts(other), strict=True):
        mine, theirs = take_out(here), take_out(there)
        assert json.dumps(mine.plain) == json.dumps(theirs.plain)
        for a, b in zip(mine.arrays, theirs.arrays, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_an_engine_that_was_stopped_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    """Forecasts of loops and inflows to the last digit, and the same blocked lane at the same time.

    What suspicion had gathered is not kept, so the blockage begins well after the restart.
    """
    network = build_road()
    whole = build_real_memory(network)
    sound = run(whole)
    path = tmp_path / "memory.npz"
    first = keep(path, network)
    run(first.recall(lambda: build_real_memory(network), BEGIN_S), BEGIN_S, STOP_S, first)
    assert path.exists()  # it was written as time went by
    first.write()
    second = keep(path, network)
    memory = second.recall(lambda: build_real_memory(network), STOP_S + STEP_S)
    assert second.notices == ()
    told = run(memory, STOP_S + STEP_S)
    compared = 0
    for mine, theirs in zip(told, sound[-len(told) :], strict=True):
        assert mine.time_s == theirs.time_s
        if mine.strategy is None or theirs.strategy is None:
            continue
        one, other = mine.strategy.forecast, theirs.strategy.forecast
        np.testing.assert_array_equal(one.inflow_vph, other.inflow_vph)
        np.testing.assert_array_equal(one.coverage, other.coverage)
        if one.loops is None or other.loops is None:
            continue  # until the interval is over that was under way
        compared += 1
        for quantity, made in one.loops.by_quantity.items():
            for name in ("value", "quantiles", "trusted", "onset_chance", "judged", "coverage"):
                np.testing.assert_array_equal(
                    getattr(made, name), getattr(other.loops.by_quantity[quantity], name)
                )
    assert compared > 0.9 * len(told)

    def findings(run: list[Snapshot]) -> set[tuple[str, int | None, float]]:
        return {
            (one.section, one.lane, one.found_s)
            for snapshot in run
            if snapshot.strategy is not None
            for one in snapshot.strategy.findings
        }

    assert findings(told) == findings(sound) != set()
    assert_same(memory, whole)


def test_half_an_hour_is_bridged_and_told(tmp_path: Path) -> None:
    """Forecasts of loops go on over a gap that is filled in; the feed tells of it."""
    network = build_road()
    first = keep(tmp_path / "memory.npz", network)
    memory = first.recall(lambda: build_real_memory(network), BEGIN_S)
    run(memory, BEGIN_S, STOP_S, first, flow)
    first.write()
    again_s = STOP_S + 1800.0
    second = keep(tmp_path / "memory.npz", network)
    memory = second.recall(lambda: build_real_memory(network), again_s)
    told = run(memory, again_s, again_s + 600, change=flow)
    assert [one.fault for one in told[-1].health.feed] == [FeedFault.GAP]
    outlook = last_outlook(told)
    assert set(outlook.by_quantity[SPEED].model) == {"mixture"}
    np.testing.assert_allclose(outlook.by_quantity[SPEED].value, SPEED_MPS, atol=1.5)


def test_warnings_go_on_to_the_last_digit_after_a_short_stop() -> None:
    pytest.importorskip("sumo")
    scenario = load("heishizi", seed=1)
    loops = scenario.network.detectors.values()
    free_mps = np.array([scenario.network.links[d.link].free_speed_mps for d in loops])

    def draw(number: int) -> LoopBatch:
        rng = np.random.default_rng(number)
        count = rng.poisson(9.0, len(free_mps)).astype(float)
        speed = np.where(count > 0, rng.normal(0.8, 0.1, len(count)) * free_mps, np.nan)
        occupancy = np.nan_to_num(count * 5.5 / speed / 30.0)
        return LoopBatch(
            scenario.begin_s + 30.0 * number, 30.0, tuple(d.id for d in loops), count,
            occupancy, speed, np.zeros(len(count), np.int8),
        )  # fmt: skip

    def foresee(memory: Memory, numbers: range) -> list[Foresight]:
        made = []
        for number in numbers:
            batch = memory.health.screen(draw(number), scenario.begin_s + 30.0 * number)
            assert batch is not None
            forecast = memory.forecaster.update(batch, memory.estimator.update(batch))
            assert isinstance(forecast, Foresight)
            made.append(forecast)
        return made

    whole = build_memory(scenario)
    expected = foresee(whole, range(1, 81))[60:]
    first, second = build_memory(scenario), build_memory(scenario)
    foresee(first, range(1, 61))
    second.put_back(first.take_out(), 1.0)
    made = foresee(second, range(61, 81))
    assert not np.isnan(made[0].breakdown_chance).any()
    for mine, sound in zip(made, expected, strict=True):
        np.testing.assert_array_equal(mine.breakdown_chance, sound.breakdown_chance)
        assert repr(mine.signs) == repr(sound.signs)  # some are NaN
        for one, other in zip(mine.queues, sound.queues, strict=True):
            assert one is not None
            assert other is not None
            np.testing.assert_array_equal(one.passing, other.passing)
    assert_same(second, whole)
    # After a longer one what was heard minutes ago no longer tells of now.
    third = build_memory(scenario)
    third.put_back(first.take_out(), 600.0)
    assert np.isnan(foresee(third, range(80, 81))[0].breakdown_chance).all()


def test_a_day_later_what_was_learned_stays_and_the_course_begins_anew(tmp_path: Path) -> None:
    network = build_road()
    path = tmp_path / "memory.npz"
    first = keep(path, network)
    memory = first.recall(lambda: build_real_memory(network), BEGIN_S)
    learned = run(memory, BEGIN_S, file=first, change=flow)
    first.write()
    second = keep(path, network, next_day)
    memory = second.recall(lambda: build_real_memory(network), BEGIN_S)
    hour_s = BEGIN_S + 4000
    told = run(memory, BEGIN_S, hour_s, change=flow)
    fresh = run(build_real_memory(network), BEGIN_S, hour_s, change=flow)
    assert not any(snapshot.health.feed for snapshot in told)
    mine, theirs, before = last_outlook(told), last_outlook(fresh), last_outlook(learned)
    assert mine.time_s == theirs.time_s
    for quantity, made in mine.by_quantity.items():
        assert made.judged[0] >= before.by_quantity[quantity].judged[0] > 0
        # A window of an hour has to fill anew; then intervals are as well known as they were.
        assert not np.isnan(made.quantiles[:, 0]).any()
        assert np.isnan(theirs.by_quantity[quantity].quantiles).all()


def test_streets_that_were_heard_before_the_stop_are_judged_after_it() -> None:
    network = replace(NETWORK, detectors=STREET_LOOPS)
    layout = Layout(build_sections(network), tuple(STREET_LOOPS))
    first, second = Usual(layout), Usual(layout)
    assert run_street(IncidentDetector(network, first), 0, blocked_from=120) == []
    put_back(second, take_out(first))
    assert run_street(IncidentDetector(network, second), 1, blocked_from=60) != []
    assert run_street(IncidentDetector(network, Usual(layout)), 1, blocked_from=60) == []
