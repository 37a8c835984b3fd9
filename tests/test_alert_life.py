"""What an operator may do with an alert, how bad it is, why it came, and what it says."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from networks.scene import find_alert_settings, load_alert_settings, load_warning_models
from traffic.alerts.alert import ALERT_ORDERS, Alert, AlertOrder, Cause, Level, Severity
from traffic.alerts.causes import find_cause, find_severity
from traffic.alerts.settings import CongestionSettings
from traffic.alerts.texts import tell_alert, tell_tail
from traffic.congestion import Congestion
from traffic.estimation import Estimator
from traffic.forecasting import Forecast
from traffic.journal import Journal, read_steps
from traffic.model import Bottleneck, Detector, DetectorKind, Link, ModelError, Network
from traffic.readings import LoopBatch
from traffic.snapshot import Snapshot
from traffic.warning.breakdown import Signs
from traffic.warning.foresight import Foresight
from traffic.warning.spillback import QueueOutlook, Storage

NAN = float("nan")
LEADS = (300.0, 600.0, 1800.0)
LOOPS = ("up.0", "up.1")
SOUND = Signs(0.9, 0.1, 0.0, 1.0, 1.0, 1.0)


def build_network() -> Network:
    link = Link("t", "a", "b", 1000, 2, 19.4, ((0, 0), (1, 0)), "Tunnel")
    loops = {loop: Detector(loop, DetectorKind.MAINLINE, "t", int(loop[-1]), 100) for loop in LOOPS}
    neck = Bottleneck("neck", "t", 3500, 3100, ("t",), LOOPS, {"up.0": (1, 60)})
    return Network("n", {"t": link}, frozenset(), {}, {}, {}, loops, {"neck": neck})


NETWORK = build_network()


def build_queue(
    tail_m: float = 0.0, spill: float = 0.0, farthest_m: tuple[float, ...] = (0.0, 0.0, 0.0)
) -> QueueOutlook:
    passing = np.zeros((2, 3, len(LEADS)))
    passing[:, -1] = spill
    return QueueOutlook(
        "neck",
        tail_m,
        LEADS,
        (Storage("entry", 1000.0), Storage("exit", 3000.0)),
        passing,
        np.full(2, np.inf),
        np.tile(farthest_m, (len(LEADS), 1)),
    )


class Desk:
    """A watched tunnel; each minute brings two batches, orders come with the next."""

    def __init__(self, settings: CongestionSettings | None = None) -> None:
        self.congestion = Congestion(NETWORK, settings)
        self.state = Estimator(NETWORK).update(self._build_batch(0.0, 70.0))
        self.now_s = 7 * 3600.0

    def _build_batch(self, now_s: float, kmph: float) -> LoopBatch:
        speed = np.full(2, kmph / 3.6)
        return LoopBatch(
            now_s, 30, LOOPS, np.full(2, 8.0), np.full(2, 0.1), speed, np.zeros(2, np.int8)
        )

    def run(
        self,
        minutes: float,
        chance: float = 0.0,
        kmph: float = 70.0,
        signs: Signs = SOUND,
        queue: QueueOutlook | None = None,
        orders: tuple[AlertOrder, ...] = (),
    ) -> tuple[Alert, ...]:
        alerts: tuple[Alert, ...] = ()
        for _ in range(round(minutes * 2)):
            self.now_s += 30
            inflow = np.full((1, len(LEADS), 3), 3400.0)
            chances = np.full((1, len(LEADS)), chance)
            forecast = Foresight(self.now_s, ("neck",), LEADS, inflow, chances, (signs,), (queue,))
            batch = self._build_batch(self.now_s, kmph)
            alerts = self.congestion.update(batch, self.state, forecast, orders)
            orders = ()
        return alerts

    def order(self, kind: str, alert: str, until_s: float | None = None) -> AlertOrder:
        return AlertOrder(kind, alert, "Li Wei", self.now_s, until_s)


def raise_warning(desk: Desk) -> Alert:
    (alert,) = desk.run(3, chance=0.9)
    return alert


def test_an_acknowledged_alert_says_by_whom_and_stays_one() -> None:
    desk = Desk()
    alert = raise_warning(desk)
    (seen,) = desk.run(0.5, chance=0.9, orders=(desk.order("acknowledge", alert.id),))
    assert (seen.id, seen.acknowledged_by, seen.acknowledged_s) == (alert.id, "Li Wei", desk.now_s)
    (later,) = desk.run(5, chance=0.9)
    assert later.acknowledged_by == "Li Wei"
    assert desk.congestion.refused == ()


def test_a_snooze_ends_in_time_or_when_it_gets_worse() -> None:
    desk = Desk()
    alert = raise_warning(desk)
    order = desk.order("snooze", alert.id, until_s=desk.now_s + 600)
    (asleep,) = desk.run(0.5, chance=0.9, orders=(order,))
    assert asleep.is_snoozed
    (awake,) = desk.run(10, chance=0.9)
    assert not awake.is_snoozed
    order = desk.order("snooze", alert.id, until_s=desk.now_s + 3000)
    (asleep,) = desk.run(0.5, chance=0.9, orders=(order,))
    assert asleep.is_snoozed
    (jam,) = desk.run(5, chance=0.9, kmph=20)
    assert (jam.level, jam.is_snoozed) == (Level.CONFIRMED, False)


def test_an_escalation_is_one_step_and_falls_only_after_a_while() -> None:
    desk = Desk()
    alert = raise_warning(desk)
    assert alert.severity is Severity.MINOR
    (worse,) = desk.run(0.5, chance=0.9, orders=(desk.order("escalate", alert.id),))
    assert (worse.severity, worse.escalated_by) == (Severity.MAJOR, "Li Wei")
    (still,) = desk.run(9, chance=0.9)
    assert still.severity is Severity.MAJOR
    (later,) = desk.run(1, chance=0.9)
    assert later.severity is Severity.MINOR


def test_a_cleared_warning_does_not_come_back_but_a_jam_does() -> None:
    desk = Desk()
    alert = raise_warning(desk)
    (cleared,) = desk.run(0.5, chance=0.9, orders=(desk.order("clear", alert.id),))
    assert (cleared.cleared_s, cleared.cleared_by) == (desk.now_s, "Li Wei")
    assert cleared.text["en"].endswith("by Li Wei.")
    assert desk.run(20, chance=0.9) == ()
    (jam,) = desk.run(5, chance=0.9, kmph=20)
    assert jam.level is Level.CONFIRMED
    assert jam.id != alert.id


def test_after_its_reason_has_gone_a_cleared_warning_may_come_anew() -> None:
    desk = Desk()
    alert = raise_warning(desk)
    desk.run(0.5, chance=0.9, orders=(desk.order("clear", alert.id),))
    assert desk.run(11, chance=0.0) == ()
    assert raise_warning(desk).id != alert.id


def test_orders_that_cannot_be_are_refused_with_the_reason() -> None:
    desk = Desk()
    alert = raise_warning(desk)
    orders = (
        desk.order("polish", alert.id),
        desk.order("acknowledge", "none"),
        desk.order("snooze", alert.id, until_s=None),
        desk.order("snooze", alert.id, until_s=desk.now_s + 1e6),
    )
    desk.run(0.5, chance=0.9, orders=orders)
    reasons = [refusal.reason for refusal in desk.congestion.refused]
    assert reasons[0] == f"unknown kind of order 'polish', known: {', '.join(ALERT_ORDERS)}"
    assert reasons[1] == "no open alert none"
    assert all("a snooze ends within 3600 s" in reason for reason in reasons[2:])
    (jam,) = desk.run(5, chance=0.9, kmph=20, queue=build_queue(spill=0.9))
    assert jam.severity is Severity.CRITICAL
    desk.run(0.5, kmph=20, queue=build_queue(spill=0.9), orders=(desk.order("escalate", alert.id),))
    assert "critical already" in desk.congestion.refused[0].reason


def test_an_alert_carries_its_readings_and_the_version_of_its_thresholds() -> None:
    alert = raise_warning(Desk(CongestionSettings(version="scene-7")))
    assert alert.settings == "scene-7"
    assert [(one.loop, one.count_veh, one.quality) for one in alert.readings] == [
        ("up.0", 8.0, "good"),
        ("up.1", 8.0, "good"),
    ]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({}, Cause.RECURRENT),
        ({"ratio": 1.3}, Cause.SURGE),
        ({"ratio": 1.3, "held_beyond": 0.3}, Cause.INCIDENT),
        ({"slow_beyond": 0.8}, Cause.INCIDENT),
        ({"held_beyond": 0.3, "good_share": 0.3}, Cause.DETECTOR_FAULT),
        ({"ratio": NAN, "ratio_before": NAN, "held_beyond": NAN}, Cause.RECURRENT),
    ],
)
def test_the_cause_is_told_by_the_signs(changes: dict[str, float], cause: Cause) -> None:
    assert find_cause(replace(SOUND, **changes), CongestionSettings()) is cause


def test_an_incident_stays_one_when_its_queue_hides_the_signs() -> None:
    desk = Desk()
    (alert,) = desk.run(3, chance=0.9, signs=replace(SOUND, held_beyond=0.4))
    assert alert.cause is Cause.INCIDENT
    (alert,) = desk.run(3, chance=0.9, signs=replace(SOUND, ratio=1.4))
    assert alert.cause is Cause.INCIDENT


@pytest.mark.parametrize(
    ("level", "queue", "severity"),
    [
        (Level.WARNING, None, Severity.MINOR),
        (Level.WARNING, build_queue(spill=0.2), Severity.MINOR),
        (Level.WARNING, build_queue(spill=0.6), Severity.MAJOR),
        (Level.CONFIRMED, None, Severity.MAJOR),
        (Level.CONFIRMED, build_queue(400.0, 0.2), Severity.MAJOR),
        (Level.CONFIRMED, build_queue(900.0, 0.2), Severity.CRITICAL),  # 0.8 of 1,000 m
        (Level.CONFIRMED, build_queue(400.0, 0.6), Severity.CRITICAL),
        (Level.CONFIRMED, build_queue(3500.0), Severity.CRITICAL),  # all storage is full
    ],
)
def test_severity_follows_level_and_storage(
    level: Level, queue: QueueOutlook | None, severity: Severity
) -> None:
    assert find_severity(level, queue, CongestionSettings()) is severity


PLACE = {"en": "Tunnel", "zh": "隧道"}
GOLDEN = Alert("neck@1", "neck", Level.WARNING, 25_200.0, 25_200.0, None, 26_100.0, 0.82, {}, ())


@pytest.mark.parametrize(
    ("alert", "en", "zh"),
    [
        (
            GOLDEN,
            "Tunnel: breakdown expected about 07:15 (chance 82%).",
            "隧道：预计约 07:15 发生拥堵（概率 82%）。",
        ),
        (
            replace(GOLDEN, cause=Cause.INCIDENT),
            "Tunnel: breakdown expected about 07:15 (chance 82%), incident.",
            "隧道：预计约 07:15 发生拥堵（概率 82%），疑似事件。",
        ),
        (
            replace(GOLDEN, level=Level.CONFIRMED, cause=Cause.SURGE),
            "Tunnel: congestion confirmed, demand surge, alert since 07:00.",
            "隧道：已确认拥堵，流量突增，07:00 起预警。",
        ),
        (
            replace(GOLDEN, cleared_s=27_000.0),
            "Tunnel: congestion alert of 07:00 cleared at 07:30.",
            "隧道：07:00 发布的拥堵预警已于 07:30 解除。",
        ),
        (
            replace(GOLDEN, cleared_s=27_000.0, cleared_by="李伟"),
            "Tunnel: congestion alert of 07:00 cleared at 07:30 by 李伟.",
            "隧道：07:00 发布的拥堵预警已于 07:30 由 李伟 解除。",
        ),
    ],
)
def test_texts_are_as_agreed(alert: Alert, en: str, zh: str) -> None:
    assert tell_alert(alert, PLACE) == {"en": en, "zh": zh}


def test_advice_names_the_tail_by_the_ramp_near_it_with_its_window() -> None:
    names = {"exit": {"en": "Exit 2", "zh": "2 号出口"}}
    queue = build_queue(500.0, farthest_m=(1500.0, 3000.0, 4500.0))
    assert tell_tail(queue, 25_200.0, PLACE, names) == {
        "en": "Slow from Exit 2 to Tunnel, tail near Exit 2 at 07:05 "
        "(1.5 to 4.5 km before Tunnel).",
        "zh": "2 号出口至隧道缓行，预计 07:05 队尾位于2 号出口附近（隧道上游 1.5 至 4.5 公里）。",
    }
    beyond = build_queue(500.0, farthest_m=(1500.0, 3500.0, 4500.0))
    assert "0.5 km before Exit 2" in tell_tail(beyond, 25_200.0, PLACE, names)["en"]
    assert "2 号出口上游 0.5 公里" in tell_tail(beyond, 25_200.0, PLACE, names)["zh"]
    assert "3.0 km before Tunnel" in tell_tail(queue, 25_200.0, PLACE, {})["en"]


def test_nothing_is_advised_where_no_queue_is_likely_or_nothing_is_known() -> None:
    assert tell_tail(None, 0.0, PLACE, {}) == {}
    assert tell_tail(build_queue(), 0.0, PLACE, {}) == {}
    assert tell_tail(build_queue(farthest_m=(NAN, NAN, NAN)), 0.0, PLACE, {}) == {}


def test_alert_orders_are_journaled_and_read_back() -> None:
    from traffic.control import RawReadings

    stream = io.StringIO()
    journal = Journal(stream, {})
    empty = np.zeros(0)
    batch = LoopBatch(1.0, 1.0, (), empty, empty.copy(), empty.copy(), np.zeros(0, np.int8))
    order = AlertOrder("snooze", "neck@1", "Li Wei", 1.0, 601.0)
    raw = RawReadings(1.0, batch, None, {})
    journal.record(Snapshot(1.0, raw, (order,), None, False, (), {}, (), {}))
    ((_, orders),) = read_steps(stream.getvalue().splitlines())
    assert orders == (order,)


def test_a_forecast_without_signs_still_makes_alerts() -> None:
    desk = Desk()
    inflow, chances = np.full((1, 3, 3), 3400.0), np.full((1, 3), 0.9)
    for k in range(6):
        now_s = desk.now_s + 30 * k
        forecast = Forecast(now_s, ("neck",), LEADS, inflow.copy(), chances.copy())
        batch = desk._build_batch(now_s, 70.0)
        alerts = desk.congestion.update(batch, desk.state, forecast)
    assert (alerts[0].cause, alerts[0].advice) == (Cause.RECURRENT, {})


# What is kept of a scene


def test_the_scene_of_heishizi_has_thresholds_with_a_version_and_names() -> None:
    settings = find_alert_settings("heishizi")
    assert settings.version.startswith("heishizi-")
    assert settings.places["g09_X2"]["zh"] == "2 号出口"
    assert find_alert_settings("nowhere") == CongestionSettings()


def test_every_fault_of_a_scenes_settings_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "alerts.toml"
    path.write_text(
        'warn_chance = 2.0\njam_s = "long"\nstrange = 1\n[places.exit]\nen = "Exit"\n',
        encoding="utf-8",
    )
    with pytest.raises(ModelError) as error:
        load_alert_settings(path)
    for part in ("no version", "unknown strange", "jam_s 'long'", "places.exit"):
        assert part in str(error.value)
    path.write_text("version = ", encoding="utf-8")
    with pytest.raises(ModelError, match="can't be read"):
        load_alert_settings(path)


def test_every_fault_of_a_scenes_models_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "warning.json"
    path.write_text(json.dumps({"format": 9, "bottlenecks": {"neck": {}}}), encoding="utf-8")
    with pytest.raises(ModelError) as error:
        load_warning_models(path)
    for part in ("format 9", "neck: has no breakdown", "neck: has no queue"):
        assert part in str(error.value)
