"""Feeds that lie while the engine runs: each fault is named, and poisons nothing."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from real_engine import (
    BATCH_S,
    BEGIN_S,
    SPEED_MPS,
    Change,
    build_batch,
    build_real_engine,
    build_real_memory,
    build_road,
)

from traffic.feed import FeedFault
from traffic.forecasting.outlook import FLOW, OCCUPANCY, SPEED, LoopOutlook, LoopOutlooks
from traffic.intake import Intake
from traffic.journal import Journal
from traffic.learned import take_out
from traffic.memory import Memory
from traffic.readings import LoopBatch, Quality
from traffic.response import Order
from traffic.snapshot import Snapshot
from traffic.trouble import KEPT_S, LOOP_TEXTS

# 19 min of faults from within an interval of the forecasts, when these are under way.
FAULT_S = (BEGIN_S + 4560, BEGIN_S + 5700)
HOURS = 1.9


def within(batch: LoopBatch) -> bool:
    return FAULT_S[0] < batch.end_s <= FAULT_S[1]


def as_mph(batch: LoopBatch) -> Iterable[LoopBatch]:
    yield replace(batch, speed_mps=batch.speed_mps / 1.609)


def in_percent(batch: LoopBatch) -> Iterable[LoopBatch]:
    yield replace(batch, occupancy=100 * batch.occupancy)


def twice(batch: LoopBatch) -> Iterable[LoopBatch]:
    yield from (batch, batch)


class Shuffled:
    """Every second batch is held back and comes after the next."""

    def __init__(self) -> None:
        self.held: LoopBatch | None = None

    def __call__(self, batch: LoopBatch) -> Iterable[LoopBatch]:
        if self.held is None:
            self.held = batch
            return
        yield from (batch, self.held)
        self.held = None


def silence(batch: LoopBatch) -> Iterable[LoopBatch]:
    return ()


class WithoutSpeeds:
    """What is believed of mph read as km/h: odd speeds are left out until the unit is named."""

    def __init__(self) -> None:
        self.left = 3

    def __call__(self, batch: LoopBatch) -> Iterable[LoopBatch]:
        self.left -= 1
        if self.left >= 0:
            yield replace(batch, speed_mps=np.full(len(batch.detectors), np.nan))
        else:
            yield from blank(batch)


def blank(batch: LoopBatch) -> Iterable[LoopBatch]:
    nothing = np.full((3, len(batch.detectors)), np.nan)
    yield replace(batch, count_veh=nothing[0], occupancy=nothing[1], speed_mps=nothing[2])


class EverySecond:
    def __init__(self) -> None:
        self.is_second = True

    def __call__(self, batch: LoopBatch) -> Iterable[LoopBatch]:
        self.is_second = not self.is_second
        return (batch,) if self.is_second else ()


def an_hour(sign: int) -> Change:
    return lambda batch: (replace(batch, end_s=batch.end_s + 3600 * sign),)


# How a feed lies, and what that is called.
CASES: dict[str, tuple[FeedFault, Callable[[], Change]]] = {
    "mph read as km/h": (FeedFault.SPEED_UNITS, lambda: as_mph),
    "percent": (FeedFault.OCCUPANCY_UNITS, lambda: in_percent),
    "an hour ahead": (FeedFault.CLOCK_OFFSET, lambda: an_hour(1)),
    "an hour behind": (FeedFault.CLOCK_OFFSET, lambda: an_hour(-1)),
    "twice": (FeedFault.DUPLICATE, lambda: twice),
    "out of order": (FeedFault.OUT_OF_ORDER, Shuffled),
    "silent": (FeedFault.SILENT, lambda: silence),
}


# The true feed that a lying one is as good as, once what lies is left out.
AS_GOOD_AS: dict[str, Callable[[], Change]] = {
    "mph read as km/h": WithoutSpeeds,
    "percent": lambda: blank,
    "an hour ahead": lambda: silence,
    "an hour behind": lambda: silence,
    "twice": lambda: lambda batch: (batch,),
    "out of order": EverySecond,
}


def drive(change: Change, hours: float = HOURS, memory: Memory | None = None) -> list[Snapshot]:
    """Run an engine of real parts; return the snapshots of all steps."""
    engine = build_real_engine(
        lambda batch: change(batch) if within(batch) else (batch,), hours, memory=memory
    )
    told = []
    while (snapshot := engine.step()) is not None:
        told.append(snapshot)
    return told


@cache
def drive_case(name: str) -> list[Snapshot]:
    return drive(CASES[name][1]())


CLEAN = drive(lambda batch: (batch,))


def test_a_sound_feed_is_given_on_batch_for_batch_without_a_word() -> None:
    fresh = [s for s in CLEAN if s.is_fresh]
    assert len(fresh) == HOURS * 3600 / BATCH_S - 1  # the last step ends the field
    assert all(s.strategy is not None and s.strategy.readings.end_s == s.time_s for s in fresh)
    assert {s.health.loops + s.health.feed for s in CLEAN} == {()}
    assert CLEAN[-1].health.watched == len(build_road().detectors)


@pytest.mark.parametrize("name", CASES)
def test_each_fault_of_a_running_feed_is_named_within_minutes_and_ends(
    name: str,
) -> None:
    fault, told = CASES[name][0], drive_case(name)
    first = next(s for s in told if any(one.fault is fault for one in s.health.feed))
    assert FAULT_S[0] < first.time_s <= FAULT_S[0] + 150
    during = [s for s in told if FAULT_S[0] + 150 < s.time_s <= FAULT_S[1]]
    assert all(any(one.fault is fault for one in s.health.feed) for s in during)
    (trouble,) = (one for one in during[-1].health.feed if one.fault is fault)
    assert FAULT_S[0] <= trouble.since_s <= FAULT_S[0] + 150
    assert trouble.last_s >= FAULT_S[1] - 3 * BATCH_S
    assert trouble.text.keys() == {"en", "zh"}
    # It is of the feed, and of no loop.
    assert {s.health.loops for s in told} == {()}
    over = [s for s in told if s.time_s > FAULT_S[1] + 2 * BATCH_S]
    assert not any(one.is_now for s in over for one in s.health.feed)
    assert told[-1].time_s > FAULT_S[1] + KEPT_S + BATCH_S
    assert told[-1].health.feed == ()


@pytest.mark.parametrize("name", CASES)
def test_no_fault_of_the_feed_poisons_what_is_learned(
    name: str,
) -> None:
    """Forecasts during the fault, and after it, are near those of the sound feed."""
    told = drive_case(name)
    pairs = [
        (one, other)
        for one, other in zip(told, CLEAN, strict=True)
        if one.strategy is not None and one.time_s > FAULT_S[0] + 300
    ]
    assert pairs
    for one, other in pairs:
        assert one.strategy is not None
        assert other.strategy is not None
        mine, sound = one.strategy.forecast.loops, other.strategy.forecast.loops
        assert mine is not None
        assert sound is not None
        assert sound.time_s - mine.time_s in (0, 300)
        speed = mine.by_quantity[SPEED].value
        np.testing.assert_allclose(speed, SPEED_MPS, atol=1.5)
        for quantity, near in ((FLOW, 200), (OCCUPANCY, 0.02)):
            usual = np.nanmean(sound.by_quantity[quantity].value)
            np.testing.assert_allclose(mine.by_quantity[quantity].value, usual, atol=near)
    last, sound_last = (run[-1].strategy for run in (told, CLEAN))
    assert last is not None
    assert sound_last is not None
    assert last.forecast.inflow_vph[0, :, 1] == pytest.approx(
        sound_last.forecast.inflow_vph[0, :, 1], rel=0.1
    )
    assert last.alerts == ()


@pytest.mark.parametrize("name", AS_GOOD_AS)
def test_what_a_feed_says_falsely_leaves_no_trace_in_what_is_forecast_or_learned(name: str) -> None:
    """To the last digit those of the feed that says the rest of it and nothing false."""
    mine, sound = (build_real_memory(build_road()) for _ in range(2))
    told = drive(CASES[name][1](), memory=mine)
    true = drive(AS_GOOD_AS[name](), memory=sound)
    for part in ("forecaster", "estimator", "usual"):
        pairs = zip(
            *(take_out(getattr(memory, part)).arrays for memory in (mine, sound)), strict=True
        )
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)
    compared = set()
    for one, other in zip(told, true, strict=True):
        assert (one.strategy is None) == (other.strategy is None)
        if one.strategy is None or other.strategy is None:
            continue
        now, then = one.strategy.forecast, other.strategy.forecast
        np.testing.assert_array_equal(now.inflow_vph, then.inflow_vph)
        assert (now.loops is None) == (then.loops is None)
        if now.loops is None or then.loops is None:
            continue
        assert now.loops.time_s == then.loops.time_s
        for quantity, made in now.loops.by_quantity.items():
            for array in ("value", "quantiles", "trusted"):
                np.testing.assert_array_equal(
                    getattr(made, array), getattr(then.loops.by_quantity[quantity], array)
                )
        compared.add(now.loops.time_s)
    assert len(compared) >= int(HOURS * 12) - 1


def test_half_a_day_missing_leaves_forecasts_as_near_the_truth_as_they_were() -> None:
    """Two hours after it, within 1 m/s, 200 veh/h and 0.02 of those of a feed without a gap."""
    network = build_road()
    gap_s = (BEGIN_S + 10_800, BEGIN_S + 10_800 + 43_200)

    def forecast(has_gap: bool) -> LoopOutlook:
        intake, outlooks = Intake(network), LoopOutlooks(network)
        outlook = None
        for now_s in np.arange(BEGIN_S + BATCH_S, gap_s[1] + 7201, BATCH_S).tolist():
            is_lost = has_gap and gap_s[0] < now_s <= gap_s[1]
            labelled = intake.screen(None if is_lost else build_batch(network, now_s), now_s)
            if labelled is not None:
                outlook = outlooks.update(labelled)
        assert outlook is not None
        return outlook

    mine, sound = forecast(has_gap=True), forecast(has_gap=False)
    assert mine.time_s == sound.time_s
    for quantity, near in ((SPEED, 1.0), (FLOW, 200), (OCCUPANCY, 0.02)):
        one, other = mine.by_quantity[quantity], sound.by_quantity[quantity]
        np.testing.assert_allclose(one.value, other.value, atol=near)
        # Trust of what had been judged often enough comes back, of what was learned before it.
        assert one.judged[0] > 40
        assert one.trusted[0].all()


def test_half_a_day_missing_is_told_while_it_lasts_and_when_it_is_over() -> None:
    network = build_road()
    intake = Intake(network)
    seen: dict[FeedFault, tuple[float, float]] = {}
    given: list[LoopBatch] = []
    gap_s = (BEGIN_S + 1800, BEGIN_S + 1800 + 43_200)
    for now_s in np.arange(BEGIN_S + BATCH_S, gap_s[1] + 1800, BATCH_S).tolist():
        batch = None if gap_s[0] < now_s <= gap_s[1] else build_batch(network, now_s)
        labelled = intake.screen(batch, now_s)
        if labelled is not None:
            given.append(labelled)
        for one in intake.report.feed:
            seen[one.fault] = (min(now_s, seen.get(one.fault, (now_s,))[0]), one.since_s)
    assert seen.keys() == {FeedFault.SILENT, FeedFault.GAP}
    assert seen[FeedFault.SILENT][0] == gap_s[0] + 2 * BATCH_S
    assert seen[FeedFault.GAP] == (gap_s[1] + BATCH_S, gap_s[0])
    # One batch an interval all along, none of it invented.
    steps = np.diff([batch.end_s for batch in given])
    assert (steps >= BATCH_S).all()
    assert (steps <= 3 * BATCH_S).all()
    empty = [batch for batch in given if np.isnan(batch.count_veh).all()]
    assert len(empty) == 43_200 / BATCH_S - 1
    assert all((batch.quality == Quality.MISSING).all() for batch in empty)


def test_a_leap_of_our_clock_is_a_gap_and_not_made_up_for() -> None:
    network = build_road()
    intake = Intake(network)
    for k in range(1, 20):
        assert intake.screen(build_batch(network, BEGIN_S + 30 * k), BEGIN_S + 30 * k) is not None
    later_s = BEGIN_S + 20_000
    given = [intake.screen(None, later_s + second) for second in range(90)]
    ends_s = [batch.end_s for batch in given if batch is not None]
    assert ends_s == [later_s - 120, later_s - 90, later_s - 60]
    assert intake.screen(build_batch(network, later_s + 60), later_s + 90) is not None


def test_a_feed_that_never_sent_anything_is_told() -> None:
    intake = Intake(build_road())
    given = [intake.screen(None, BEGIN_S + second) for second in range(100)]
    assert [i for i, batch in enumerate(given) if batch is not None] == [60, 90]
    (trouble,) = intake.report.feed
    assert (trouble.fault, trouble.since_s, trouble.is_now) == (
        FeedFault.SILENT,
        BEGIN_S,
        True,
    )


def test_a_loop_that_is_in_no_batch_is_told_as_sending_nothing() -> None:
    network = build_road()
    intake = Intake(network)
    whole = build_batch(network, BEGIN_S + 30)
    part = LoopBatch(
        whole.end_s,
        whole.interval_s,
        whole.detectors[1:],
        *(getattr(whole, name)[1:] for name in ("count_veh", "occupancy", "speed_mps", "quality")),
    )
    intake.screen(part, BEGIN_S + 30)
    (trouble,) = intake.report.loops
    assert (trouble.loop, trouble.fault) == (whole.detectors[0], Quality.MISSING)


def test_orders_are_heeded_while_the_feed_is_silent() -> None:
    engine = build_real_engine(silence, 0.1)
    order = Order("stop", "none:at-all", "officer", BEGIN_S)
    snapshot, refused = engine.step([order]), []
    while snapshot is not None:
        if snapshot.strategy is not None:
            refused = [one.order for one in snapshot.strategy.response.refused] or refused
        snapshot = engine.step()
    assert refused == [order]


def test_a_loop_that_lies_is_told_with_its_link_its_fault_and_since_when() -> None:
    def silent_loop(batch: LoopBatch) -> Sequence[LoopBatch]:
        i = batch.detectors.index("m1.1")
        count, occupancy, speed = (
            np.array(getattr(batch, name)) for name in ("count_veh", "occupancy", "speed_mps")
        )
        count[i], occupancy[i], speed[i] = 0.0, 0.0, np.nan
        return [replace(batch, count_veh=count, occupancy=occupancy, speed_mps=speed)]

    told = drive(silent_loop)
    lists = [s.health.loops for s in told if s.health.loops]
    assert {(one.loop, one.link, one.lane, one.fault) for loops in lists for one in loops} == {
        ("m1.1", "m1", 1, Quality.NO_HITS)
    }
    (since_s,) = {one.since_s for loops in lists for one in loops}
    assert FAULT_S[0] < since_s <= FAULT_S[0] + 900
    assert told[-1].health.loops == ()
    # Its forecast is of what was filled in, and never 0.
    outlook = next(
        s.strategy.forecast.loops for s in told if s.time_s >= FAULT_S[1] - 60 and s.strategy
    )
    assert outlook is not None
    at = outlook.loops.index("m1.1")
    assert outlook.by_quantity[FLOW].estimated[at]
    assert outlook.by_quantity[FLOW].value[0, at] > 500


def test_the_journal_tells_of_the_feed_when_it_changes_and_repeats_itself() -> None:
    def run() -> str:
        stream = io.StringIO()
        engine = build_real_engine(
            lambda batch: in_percent(batch) if within(batch) else (batch,),
            1.5,
            Journal(stream, {}),
        )
        while engine.step() is not None:
            pass
        return stream.getvalue()

    one = run()
    assert one == run()
    assert '"feed":[{"fault":"occupancy_units"' in one
    assert '"forecast":{"time_s":' in one
    assert "by_quantity" not in one


def test_every_quality_that_is_a_fault_has_words_in_both_languages() -> None:
    assert set(LOOP_TEXTS) == set(Quality) - {Quality.GOOD, Quality.ESTIMATED}
    assert all(text.keys() == {"en", "zh"} for text in LOOP_TEXTS.values())
