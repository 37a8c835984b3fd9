"""The life of an alert: raised, confirmed, cleared, and not for a flicker."""

import numpy as np
import pytest

from traffic.congestion import Alert, Congestion, CongestionSettings, Level
from traffic.estimation import Estimator
from traffic.forecasting import Forecast
from traffic.model import Bottleneck, Detector, DetectorKind, Link, ModelError, Network
from traffic.readings import LoopBatch, Quality

NAN = float("nan")
LEADS = (300.0, 900.0, 1800.0)
LOOPS = ("up.0", "up.1", "in.0", "in.1")


def build_network() -> Network:
    """A tunnel watched at two stations of two lanes: before it and inside."""
    link = Link("t", "a", "b", 1000, 2, 19.4, ((0, 0), (1, 0)), "Tunnel 隧道")
    loops = [
        Detector(loop, DetectorKind.MAINLINE, "t", int(loop[3]), 100 if loop[0] == "u" else 600)
        for loop in LOOPS
    ]
    neck = Bottleneck("neck", "t", 3500, 3100, ("t",), LOOPS, {"up.0": (1, 60)})
    return Network(
        "n", {"t": link}, frozenset(), {}, {}, {}, {d.id: d for d in loops}, {"neck": neck}
    )


class Watch:
    """Feeds alerts with a chance and speeds in km/h, minute by minute."""

    def __init__(self, settings: CongestionSettings | None = None) -> None:
        self.network = build_network()
        self.estimator = Estimator(self.network)
        self.congestion = Congestion(self.network, settings)
        self.now_s = 7 * 3600.0

    def run(
        self,
        minutes: float,
        chance: float = 0.0,
        up_kmph: float = 65,
        in_kmph: float = 65,
        quality: Quality = Quality.GOOD,
    ) -> tuple[Alert, ...]:
        alerts: tuple[Alert, ...] = ()
        for _ in range(round(minutes * 2)):
            self.now_s += 30
            speed = np.array([up_kmph, up_kmph, in_kmph, in_kmph]) / 3.6
            count = np.where(speed > 0, 8.0, 0.0)
            occupancy = np.where(speed > 0, 0.1, 1.0)
            speed = np.where(speed > 0, speed, NAN)
            marks = np.full(4, quality, np.int8)
            batch = LoopBatch(self.now_s, 30, LOOPS, count, occupancy, speed, marks)
            inflow = np.tile(np.array([3300.0, 3600.0, 3900.0]), (1, 3, 1))
            chances = np.array([[0.0 * chance, chance, chance]])
            forecast = Forecast(self.now_s, ("neck",), LEADS, inflow, chances)
            alerts = self.congestion.update(batch, self.estimator.update(batch), forecast)
        return alerts


def test_a_high_chance_that_stays_is_a_warning_with_its_time_and_place() -> None:
    watch = Watch()
    assert watch.run(1.5, chance=0.9) == ()
    (alert,) = watch.run(0.5, chance=0.9)
    assert alert.level is Level.WARNING
    assert alert.raised_s == watch.now_s
    assert alert.expected_onset_s == watch.now_s + 900
    assert alert.breakdown_chance == pytest.approx(0.9)
    assert "Tunnel 隧道" in alert.text["en"]
    assert "07:17" in alert.text["en"]
    assert "07:17" in alert.text["zh"]
    assert "3600 (3300-3900) veh/h" in alert.evidence[0]["en"]


def test_a_chance_that_flickers_raises_nothing() -> None:
    watch = Watch()
    for _ in range(20):
        assert watch.run(1.5, chance=0.9) == ()
        assert watch.run(0.5, chance=0.6) == ()


def test_a_warning_that_comes_true_stays_one_alert() -> None:
    watch = Watch()
    (warning,) = watch.run(5, chance=0.9)
    (still,) = watch.run(3.5, chance=0.9, up_kmph=30)
    (confirmed,) = watch.run(0.5, chance=0.9, up_kmph=30)
    assert still.level is Level.WARNING
    assert confirmed.level is Level.CONFIRMED
    assert (confirmed.id, confirmed.raised_s) == (warning.id, warning.raised_s)
    assert confirmed.expected_onset_s is None
    assert "30 km/h" in confirmed.evidence[-1]["en"]
    assert "已确认拥堵" in confirmed.text["zh"]


def test_a_breakdown_without_warning_is_confirmed_by_speed_or_by_standing() -> None:
    for speed in (30.0, 0.0):
        (alert,) = Watch().run(4, up_kmph=speed)
        assert alert.level is Level.CONFIRMED


def test_three_slow_minutes_in_five_confirm_nothing() -> None:
    watch = Watch()
    for _ in range(10):
        assert watch.run(3, up_kmph=30) == ()
        assert watch.run(2) == ()


def test_a_merge_that_is_slow_but_moves_confirms_nothing() -> None:
    assert Watch().run(30, up_kmph=42) == ()


def test_a_confirmed_alert_needs_speed_and_chance_to_clear() -> None:
    watch = Watch()
    watch.run(10, chance=0.9, up_kmph=30)
    (alert,) = watch.run(30, chance=0.5)  # fast again, but more may come
    assert alert.cleared_s is None
    (alert,) = watch.run(30, chance=0.1, up_kmph=50)  # neither jam nor free
    assert alert.cleared_s is None
    (alert,) = watch.run(4.5, chance=0.1)
    assert alert.cleared_s is None
    (alert,) = watch.run(0.5, chance=0.1)
    assert alert.cleared_s == watch.now_s
    assert "cleared" in alert.text["en"]
    assert watch.run(5, chance=0.1) == ()


def test_a_jam_that_nobody_sees_any_more_is_not_over_for_that() -> None:
    watch = Watch()
    watch.run(10, chance=0.9, up_kmph=30)
    (alert,) = watch.run(120, chance=NAN, quality=Quality.MISSING)
    assert alert.level is Level.CONFIRMED
    assert alert.cleared_s is None
    assert alert.confidence == 0
    (alert,) = watch.run(4.5)
    assert alert.cleared_s is None
    (alert,) = watch.run(0.5)
    assert alert.cleared_s == watch.now_s


def test_a_warning_that_did_not_come_true_clears_and_the_next_is_another() -> None:
    watch = Watch()
    (first,) = watch.run(5, chance=0.9)
    (alert,) = watch.run(9.5, chance=0.1)
    assert alert.cleared_s is None
    (alert,) = watch.run(0.5, chance=0.1)
    assert alert.cleared_s == watch.now_s
    (second,) = watch.run(5, chance=0.9)
    assert second.id != first.id


def test_a_forecast_that_fails_does_not_clear_a_warning_at_once() -> None:
    watch = Watch()
    watch.run(5, chance=0.9)
    (alert,) = watch.run(29, chance=NAN)
    assert alert.cleared_s is None
    assert np.isnan(alert.breakdown_chance)
    watch.run(10, chance=NAN)
    assert watch.run(1, chance=NAN) == ()


def test_bad_settings_are_named_at_once() -> None:
    with pytest.raises(ModelError) as error:
        CongestionSettings(warn_chance=0.3, jam_mps=20.0, jam_s=400.0, free_s=0.0)
    for part in ("clear_chance", "jam_mps", "jam_s 400.0", "free_s 0.0"):
        assert part in str(error.value)
