"""Simulated days and how warnings are scored on them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from api.errors import UserError
from api.warning.recording import check_days, draw_scoring, draw_training
from api.warning.scores import (
    AlertSpan,
    Odds,
    WarnedDay,
    find_average_precision,
    fit_static,
    score_events,
    score_odds,
)
from api.warning.truth import DayEvents, find_events
from networks import heishizi
from networks.day_records import DayRecord, DayTruth, load_record, write_record
from networks.days import (
    BEGIN_S,
    CYCLE,
    END_S,
    Fault,
    Kind,
    LoopFault,
    draw_day,
    draw_days,
    draw_faults,
    keep_loops,
    spoil,
)
from networks.demand import Flow
from traffic.model import Bottleneck, Detector, DetectorKind, Link, ModelError, Network
from traffic.performance import Breakdown
from traffic.readings import LoopBatch, Quality

LOOPS = ("a", "b", "c")


def build_batch(end_s: float = BEGIN_S + 1800) -> LoopBatch:
    return LoopBatch(
        end_s, 30.0, LOOPS, np.full(3, 10.0), np.full(3, 0.1), np.full(3, 20.0),
        np.zeros(3, np.int8),
    )  # fmt: skip


# Days


def test_half_of_the_days_are_calm_and_no_seed_is_both_fitted_and_scored() -> None:
    days = draw_scoring(60)
    calm = [day for day in days if day.kind in (Kind.CALM, Kind.CALM_FAILED)]
    assert len(calm) == 30
    assert {day.kind for day in days} == set(Kind)
    assert not {day.seed for day in days} & {day.seed for day in draw_training(40)}


def test_a_day_is_the_same_for_one_seed_and_another_for_the_next() -> None:
    assert draw_days(range(30)) == draw_days(range(30))
    levels = [draw_day(Kind.NORMAL, seed).level for seed in range(30)]
    assert len(set(levels)) > 25


def test_a_day_bends_the_usual_course_by_level_and_surge() -> None:
    flow = Flow("tunnel_mainline", ("x",), 1000.0, (1.0,) * 10)
    day = draw_day(Kind.SURGE, 3)
    assert day.surge is not None
    factors = np.array(day.bend(flow).factors)
    assert factors.min() == pytest.approx(day.level)
    assert factors.max() == pytest.approx(day.level * day.surge.factor)
    local = Flow("local", ("x",), 1000.0, (1.0,) * 10)
    assert np.ptp(day.bend(local).factors) == pytest.approx(0.0)
    assert len(factors) == (END_S - BEGIN_S) / 300


def test_calm_days_stay_below_the_capacity_and_incidents_lie_in_the_tunnel() -> None:
    peak_vph = 1.1 * 3515.0
    for seed in range(200):
        assert draw_day(Kind.CALM, seed).level * peak_vph < heishizi.CAPACITY_VPH
        closure = draw_day(Kind.INCIDENT, seed).closure
        assert closure is not None
        assert 0 < closure.position_m < 2000
        assert BEGIN_S < closure.begin_s < closure.end_s < END_S + 1800


def test_loops_fail_on_days_of_that_kind_only() -> None:
    loops = [f"loop{i}" for i in range(30)]
    assert draw_faults(draw_day(Kind.NORMAL, 1), loops) == ()
    faults = draw_faults(draw_day(Kind.FAILED, 1), loops)
    assert len(faults) == 5
    assert len({fault.loop for fault in faults}) == 5


def test_a_failed_loop_says_something_else_while_it_fails_and_others_do_not() -> None:
    batch = build_batch()
    told = {
        fault: spoil(batch, [LoopFault("b", fault, batch.end_s, batch.end_s + 60)])
        for fault in Fault
    }
    assert told[Fault.DEAD].count_veh[1] == 0
    assert (told[Fault.STUCK].occupancy[1], told[Fault.STUCK].count_veh[1]) == (1.0, 0.0)
    assert told[Fault.CHATTER].count_veh[1] == 60
    assert np.isnan(told[Fault.SILENT].count_veh[1])
    assert told[Fault.SILENT].quality[1] == Quality.MISSING
    for spoiled in told.values():
        assert spoiled.count_veh[[0, 2]].tolist() == [10.0, 10.0]
    late = spoil(batch, [LoopFault("b", Fault.DEAD, batch.end_s + 30, batch.end_s + 60)])
    assert late.count_veh.tolist() == [10.0] * 3
    assert keep_loops(batch, {"c", "a"}).detectors == ("a", "c")


def test_a_negative_seed_and_a_number_without_shares_are_refused() -> None:
    with pytest.raises(ModelError, match="seed -1"):
        draw_day(Kind.CALM, -1)
    for days in (0, 15, 5000):
        with pytest.raises(UserError, match=f"--days {days}"):
            check_days("--days", days)
    check_days("--days", len(CYCLE))


def build_truth(tail_m: np.ndarray) -> DayTruth:
    """One minute a row, 100 m a column: 20 m/s, but 5 m/s within the tail of a 5 km road."""
    edges_m = np.arange(0.0, 5001.0, 100.0)
    back_m = 5000.0 - edges_m[:-1]
    slow = back_m[None, :] <= tail_m[:, None]
    speed = np.where(slow, 5.0, 20.0)
    density = np.where(slow, 100.0, 40.0)
    edges_s = BEGIN_S + 60.0 * np.arange(len(tail_m) + 1)
    return DayTruth(edges_s, edges_m, speed, density * speed * 3.6, density)


def build_place() -> tuple[Network, Bottleneck]:
    links = {
        name: Link(name, f"{name}-", f"{name}+", length, 2, 20.0, ((0, 0), (1, 0)))
        for name, length in (("up", 5000.0), ("t", 1000.0))
    }
    loop = Detector("w", DetectorKind.MAINLINE, "up", 0, 4950.0)
    neck = Bottleneck("neck", "t", 3500, 3000, ("up", "t"), ("w",), {"w": (1.0, 5.0)})
    turns = frozenset({("up", "t")})
    return Network("n", links, turns, {}, {}, {}, {"w": loop}, {"neck": neck}), neck


def test_the_truth_tells_onset_recovery_and_when_the_tail_passed() -> None:
    tail_m = np.concatenate(
        (np.zeros(20), np.linspace(700, 3000, 24), np.full(6, 3000.0), np.zeros(30))
    )
    network, neck = build_place()
    events = find_events(build_truth(tail_m), network, neck)
    (breakdown,) = events.breakdowns
    assert (breakdown.onset_s, breakdown.recovery_s) == (BEGIN_S + 1200, BEGIN_S + 3000)
    assert events.find_passing_s(600.0) == BEGIN_S + 1260
    assert events.find_passing_s(2900.0) == BEGIN_S + 60 * 43
    assert events.find_passing_s(3100.0) == float("inf")


def test_a_record_reads_back_what_was_written(tmp_path: Path) -> None:
    truth = build_truth(np.full(30, 900.0))
    record = DayRecord("1-calm", {"level": 0.8}, (build_batch(), build_batch(1e5)), truth, 0, 0)
    path = tmp_path / "day.npz"
    write_record(record, path)
    read = load_record(path)
    assert [batch.end_s for batch in read.batches] == [batch.end_s for batch in record.batches]
    assert read.batches[0].detectors == LOOPS
    assert read.truth.speed_mps == pytest.approx(truth.speed_mps)
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="can't be read"):
        load_record(path)


# Scores


def build_day(onset_s: float | None, over_s: float | None, *alerts: tuple[float, float]):  # type: ignore[no-untyped-def]
    breakdowns = () if onset_s is None else (Breakdown(onset_s, over_s),)
    events = DayEvents(breakdowns, np.zeros(0), np.zeros(0))
    spans = tuple(AlertSpan(a, b, "recurrent", "minor") for a, b in alerts)
    return WarnedDay("day", "normal", events, 0.0, 3600.0, spans)


def test_warnings_are_scored_by_event() -> None:
    found = score_events(
        [
            build_day(2000.0, 3000.0, (800.0, 3600.0)),  # 20 min ahead
            build_day(2000.0, None, (1400.0, 3600.0), (2500.0, 2600.0)),  # 10 min, and again
            build_day(2000.0, 3000.0, (2300.0, 3000.0)),  # late
            build_day(2000.0, 3000.0, (500.0, 1000.0)),  # gone before: a false alarm and a miss
            build_day(None, None, (600.0, 1320.0)),  # false
            build_day(None, None),
        ]
    )
    assert (found.events, found.warned, found.late, found.missed) == (4, 2, 1, 1)
    assert (found.false_alarms, found.repeated) == (2, 1)
    assert (found.recall, found.precision) == (0.5, 0.5)
    assert found.median_lead_min == 15.0
    assert found.false_per_hour == pytest.approx(2 / 6)
    assert found.share_in_false_alarm == pytest.approx((500 + 720) / (6 * 3600))


def test_without_events_and_alerts_there_are_no_ratios() -> None:
    found = score_events([build_day(None, None)])
    assert (found.recall, found.precision, found.median_lead_min) == (None, None, None)


def test_average_precision_is_that_of_the_closed_cases() -> None:
    """A perfect order gives 1, equal chances the rate, and 1, 0, 1 in order 1/2 (1 + 2/3)."""
    came = np.array([True, False, True, False])
    assert find_average_precision(np.array([0.9, 0.1, 0.8, 0.2]), came) == 1.0
    assert find_average_precision(np.full(4, 0.3), came) == 0.5
    three = np.array([True, False, True])
    assert find_average_precision(np.array([0.9, 0.8, 0.7]), three) == pytest.approx(5 / 6)
    assert np.isnan(find_average_precision(np.ones(2), np.zeros(2, bool)))


def test_the_static_rate_is_that_of_place_and_quarter_hour() -> None:
    came = np.repeat([True, False, False], [90, 30, 60])
    group = np.repeat([0, 1], [120, 60])
    time_s = np.concatenate((np.full(60, 100.0), np.full(60, 1000.0), np.full(60, 100.0)))
    static = fit_static(Odds(group, time_s, np.zeros(180), came), prior=1e-9)
    asked = Odds(np.array([0, 0, 1]), np.array([0.0, 1700.0, 5000.0]), np.zeros(3), came[:3])
    assert static.find(asked) == pytest.approx([1.0, 0.5, 0.0])


def test_a_sure_forecast_has_all_skill_and_the_static_rate_none() -> None:
    came = np.tile([True, False], 50)
    group, time_s = np.zeros(100, int), np.zeros(100)
    sure = Odds(group, time_s, came.astype(float), came)
    static = fit_static(sure)
    assert score_odds(sure, static).brier_skill == pytest.approx(1.0)
    plain = Odds(group, time_s, static.find(sure), came)
    assert score_odds(plain, static).brier_skill == pytest.approx(0.0)
    assert score_odds(sure, static).reliability == ((0.0, 0.0, 50), (1.0, 1.0, 50))


def test_the_command_names_everything_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    asked = ["bench", "warning", "--out", str(tmp_path / "file"), "--days", "7", "--train", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "api.entry", *asked], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    for part in ("--days 7", "--train 3", "is a file"):
        assert part in done.stderr
