"""The loops' outlook in the engine's loop: what it gathers, and how far it trusts itself."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from test_health import build_network

from api.forecasting.los_loop import load_los_loop
from api.settings import Settings
from traffic.forecasting import LoopForecaster, LoopOutlook, LoopOutlooks, UsualDay
from traffic.forecasting.calendar import Calendar
from traffic.forecasting.doubt import tell_loop_doubt
from traffic.forecasting.outlook import (
    FLOW,
    OCCUPANCY,
    QUANTITIES,
    SETTINGS,
    SPEED,
    build_loop_neighbors,
)
from traffic.forecasting.settings import LoopForecastSettings
from traffic.readings import LoopBatch, Quality

LOS_LOOP = Path(__file__).parents[2] / "shared" / "data"
NETWORK = build_network()
LOOPS = tuple(NETWORK.detectors)
BEGIN_S = 25_200.0
# Few random features: they have nothing to find here.
FAST = {name: replace(SETTINGS[name], bent=5) for name in QUANTITIES}

Values = tuple[float, float, float]


def batch_at(
    end_s: float, values: Values = (6.0, 0.1, 20.0), interval_s: float = 30, **other: Values
) -> LoopBatch:
    """Return a batch whose loops all tell the same but for others by name; m0_1 is m0.1."""
    rows = np.tile(np.array(values)[:, None], (1, len(LOOPS)))
    for name, told in other.items():
        rows[:, LOOPS.index(name.replace("_", "."))] = told
    quality = np.where(np.isnan(rows[0]), Quality.MISSING, Quality.GOOD).astype(np.int8)
    return LoopBatch(end_s, interval_s, LOOPS, *(row.copy() for row in rows), quality)


def of(outlook: LoopOutlook | None, quantity: str, loop: str, lead: int = 0) -> float:
    assert outlook is not None
    return float(outlook.by_quantity[quantity].value[lead, LOOPS.index(loop)])


def run(outlooks: LoopOutlooks, intervals: int, seed: int = 1, spread: float = 1.0) -> LoopOutlook:
    """Feed free flow with noise from BEGIN_S on; return the last outlook."""
    rng = np.random.default_rng(seed)
    outlook = None
    for k in range(10 * intervals):
        count = rng.integers(7, 12, len(LOOPS)).astype(float)
        speed = rng.normal(20, spread, len(LOOPS))
        end_s = BEGIN_S + 30 * (k + 1)
        outlook = outlooks.update(
            LoopBatch(end_s, 30, LOOPS, count, count * 5.5 / 600, speed, np.zeros(11, np.int8))
        )
    assert outlook is not None
    return outlook


def test_an_interval_is_the_mean_of_its_batches_and_speeds_weigh_by_their_vehicles() -> None:
    outlooks = LoopOutlooks(NETWORK, settings=FAST)
    nothing = (np.nan, np.nan, np.nan)
    for k in range(9):
        even, odd = (8.0, 0.2, 10.0), (2.0, 0.1, 20.0)
        told = outlooks.update(batch_at(BEGIN_S + 30 * (k + 1), (even, odd)[k % 2]))
        assert told is None
    # The last batch: one loop sees nobody, another says nothing.
    last = batch_at(BEGIN_S + 300, (2.0, 0.1, 20.0), m0_0=(0.0, 0.0, np.nan), m0_1=nothing)
    told = outlooks.update(last)
    assert told is not None
    assert (told.time_s, told.since_s, told.lead_s[0]) == (BEGIN_S + 300, BEGIN_S, 300)
    # Until there is more to go by, all stays as it is.
    assert of(told, FLOW, "m2.0") == pytest.approx(50 * 12)
    assert of(told, OCCUPANCY, "m2.0") == pytest.approx(0.15)
    assert of(told, SPEED, "m2.0") == pytest.approx((40 * 10 + 10 * 20) / 50)
    assert of(told, FLOW, "m0.0") == pytest.approx(48 * 12)
    assert of(told, SPEED, "m0.0") == pytest.approx((40 * 10 + 8 * 20) / 48)
    assert of(told, FLOW, "m0.1") == pytest.approx(48 * 3600 / 270)


def test_nothing_of_what_follows_is_looked_at() -> None:
    one, other = LoopOutlooks(NETWORK, settings=FAST), LoopOutlooks(NETWORK, settings=FAST)
    for k in range(10):
        told = [each.update(batch_at(BEGIN_S + 30 * (k + 1))) for each in (one, other)]
    first = told[0]
    assert first is not None
    for k in range(10, 19):
        # The outlook stands until the next interval is over.
        assert one.update(batch_at(BEGIN_S + 30 * (k + 1))) is first
        other.update(batch_at(BEGIN_S + 30 * (k + 1), (1.0, 0.9, 2.0)))
    assert of(other.update(batch_at(BEGIN_S + 600, (1.0, 0.9, 2.0))), SPEED, "m1.1") == 2
    assert of(one.update(batch_at(BEGIN_S + 600)), SPEED, "m1.1") == 20


def test_batches_out_of_step_belong_where_their_middle_lies() -> None:
    outlooks = LoopOutlooks(NETWORK, settings=FAST)
    times = []
    for k in range(40):
        outlook = outlooks.update(batch_at(BEGIN_S + 20 + 30 * (k + 1)))
        if outlook is not None and outlook.time_s not in times:
            times.append(outlook.time_s)
            assert BEGIN_S + 20 + 30 * (k + 1) + 15 >= outlook.time_s
    assert times == [BEGIN_S + 300 * (k + 1) for k in range(4)]


def test_a_lost_last_batch_of_an_interval_delays_its_forecast_and_no_more() -> None:
    outlooks = LoopOutlooks(NETWORK, settings=FAST)
    for k in range(9):
        assert outlooks.update(batch_at(BEGIN_S + 30 * (k + 1))) is None
    late = outlooks.update(batch_at(BEGIN_S + 330, (1.0, 0.9, 2.0)))
    assert late is not None
    assert late.time_s == BEGIN_S + 300
    assert of(late, SPEED, "m1.1") == 20
    # One that comes back in time changes nothing.
    assert outlooks.update(batch_at(BEGIN_S + 300, (1.0, 0.9, 2.0))) is late


def test_hours_without_readings_are_outlived() -> None:
    outlooks = LoopOutlooks(NETWORK, settings=FAST)
    run(outlooks, 3)
    later_s = BEGIN_S + 43_200
    for k in range(10):
        outlook = outlooks.update(batch_at(later_s + 30 * (k + 1)))
    assert outlook is not None
    assert outlook.time_s == later_s + 300
    assert of(outlook, SPEED, "m1.1") == 20


def test_a_fresh_one_says_that_it_knows_nothing_yet() -> None:
    outlook = run(LoopOutlooks(NETWORK, settings=FAST), 1)
    assert not outlook.is_primed
    for quantity in QUANTITIES:
        made = outlook.by_quantity[quantity]
        assert not made.trusted.any()
        assert np.isnan(made.quantiles).all()
        assert set(made.model) == {"persistence"}
        doubt = tell_loop_doubt(outlook, quantity, 0, 0)
        assert doubt is not None
        assert "0 of 12" in doubt["en"]
        assert "0/12" in doubt["zh"]


def test_trust_is_earned_and_lost_and_the_reason_told() -> None:
    outlooks = LoopOutlooks(NETWORK, settings=FAST)
    # At first errors are those of a few moments: too small, which costs trust until it is mended.
    outlook = run(outlooks, 100)
    made = outlook.by_quantity[SPEED]
    assert made.judged[0] == 100 - 12
    assert made.trusted[:2].all()
    assert tell_loop_doubt(outlook, SPEED, 0, 0) is None
    assert made.coverage[0] == pytest.approx(0.9, abs=0.04)
    assert (np.diff(made.quantiles, axis=0) >= 0).all()
    settings = {n: replace(FAST[n], watch=6.0, coverage_gain=1e-6) for n in QUANTITIES}
    outlooks = LoopOutlooks(NETWORK, settings=settings)
    run(outlooks, 40)
    rng = np.random.default_rng(3)
    for k in range(400, 490):
        # Speeds swing from one interval to the next as they never did.
        speed = 20 + (8 if (k // 10) % 2 else -8) + rng.normal(0, 1)
        outlook_now = outlooks.update(batch_at(BEGIN_S + 30 * (k + 1), (9.0, 0.1, float(speed))))
    assert outlook_now is not None
    assert not outlook_now.by_quantity[SPEED].trusted[0].any()
    doubt = tell_loop_doubt(outlook_now, SPEED, 0, 0)
    assert doubt is not None
    assert "held only" in doubt["en"]


@pytest.mark.skipif(not LOS_LOOP.is_dir(), reason="the Los-loop data are not here")
def test_trust_is_earned_on_real_roads_within_hours_as_the_docs_say() -> None:
    """On the training rows; trusted at nine loops in ten, and so from then on."""
    data = load_los_loop(LOS_LOOP)
    settings = LoopForecastSettings(least_scale=1, most=80)
    forecaster = LoopForecaster(len(data.detectors), data.calendar, settings, data.neighbors)
    last_h = dict.fromkeys(range(12), 0.0)  # when a lead time was last not trusted
    for row in range(12 * 16):
        made = forecaster.update(300.0 * (row + 1), data.speed_mph[row])
        for lead in range(12):
            if made.trusted[lead].mean() < 0.9:
                last_h[lead] = (row + 1) / 12
    assert [round(last_h[lead], 1) for lead in (3, 5, 11)] == pytest.approx(
        [3.3, 5.0, 12.8], abs=0.3
    )


def test_a_usual_day_gives_a_loop_its_profile_before_it_is_heard() -> None:
    flow = np.linspace(600, 1800, 12)[:, None] * np.ones(2)
    usual = UsualDay(21_600.0, 900.0, ("m0.0", "not here"), flow)
    nothing = (np.nan, np.nan, np.nan)
    told: dict[bool, LoopOutlook | None] = {}
    for is_primed in (True, False):
        outlooks = LoopOutlooks(NETWORK, settings=FAST, usual=usual if is_primed else None)
        for k in range(10):
            told[is_primed] = outlooks.update(batch_at(BEGIN_S + 30 * (k + 1), m0_0=nothing))
    primed = told[True]
    assert primed is not None
    assert primed.is_primed
    expected = float(usual.find_flow("m0.0", np.array([BEGIN_S + 150]))[0])
    assert of(primed, FLOW, "m0.0") == pytest.approx(expected, rel=0.1)
    assert primed.by_quantity[FLOW].estimated[LOOPS.index("m0.0")]
    assert not primed.by_quantity[FLOW].trusted.any()
    assert np.isnan(of(told[False], FLOW, "m0.0"))


def foresee_next(day: date, holidays: str = "") -> float:
    """Learn four days from one on, busy ones at work and others calm; return the flow that is
    foretold at a loop on the fifth before anything is heard."""
    calendar = Settings(day=day, holidays=holidays).build_calendar()
    outlooks = LoopOutlooks(NETWORK, calendar, FAST)
    for number in range(4):
        is_calm = (day + timedelta(number)).weekday() >= 5
        for k in range(200):
            end_s = 86_400.0 * number + BEGIN_S + 30.0 * (k + 1)
            outlooks.update(batch_at(end_s, (2.0 if is_calm else 10.0, 0.05, 20.0)))
    outlook, nothing = None, (np.nan, np.nan, np.nan)
    for k in range(60, 70):
        outlook = outlooks.update(batch_at(4 * 86_400.0 + BEGIN_S + 30.0 * (k + 1), nothing))
    return of(outlook, FLOW, "m0.0")


def test_a_day_is_forecast_by_the_profile_of_its_own_kind() -> None:
    """The date says which that is: 10 vehicles in 30 s on workdays, 2 on weekends and holidays."""
    thursday = date(2025, 3, 13)
    assert foresee_next(thursday) == pytest.approx(1200, rel=0.15)  # a Monday
    assert foresee_next(thursday, "2025-05-01, 2025-03-17") == pytest.approx(240, rel=0.5)
    assert foresee_next(date(2025, 3, 12)) == pytest.approx(240, rel=0.5)  # a Sunday


def test_a_primed_day_must_fit() -> None:
    forecaster = LoopForecaster(2, Calendar(), LoopForecastSettings())
    with pytest.raises(ValueError, match=r"shape \(3, 1\), expected \(3, 2\)"):
        forecaster.prime(np.arange(3) * 300.0, np.zeros((3, 1), np.float32))


@pytest.mark.parametrize("neighbors", [True, False])
def test_what_a_loop_said_before_it_was_found_to_fail_is_not_carried_on(neighbors: bool) -> None:
    """Without neighbors its profile speaks; with them, off by as much as they are."""
    near = build_loop_neighbors(NETWORK) if neighbors else None
    forecaster = LoopForecaster(11, Calendar(), FAST[SPEED], near)
    for k in range(30):
        forecaster.update(300.0 * (k + 1), np.full(11, 20, np.float32))
    values = np.full(11, 10, np.float32)
    values[4] = 0.5
    forecaster.update(300.0 * 31, values)
    values[4] = np.nan
    found = np.arange(11) == 4
    made = forecaster.update(300.0 * 32, values, disowned=found)
    assert made.estimated[4]
    assert made.value[0, 4] == pytest.approx(10 if neighbors else 20, abs=2)


def test_neighbors_are_lanes_beside_first_and_then_the_next_stations() -> None:
    near = build_loop_neighbors(NETWORK)
    at = LOOPS.index("m1.1")
    by_weight: Mapping[float, set[str]] = {
        weight: {
            LOOPS[i] for i, w in zip(near.index[at], near.weight[at], strict=True) if w == weight
        }
        for weight in (1.0, 0.5)
    }
    assert by_weight[1.0] == {"m1.0", "m1.2"}
    assert by_weight[0.5] == {f"m{s}.{lane}" for s in (0, 2) for lane in range(3)}
