"""What an officer is told of blocked lanes: one alert an event, with its place, and its end."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from incident_desk import NETWORK, Desk, build_batch, find
from test_incidents import NETWORK as ROAD_NETWORK
from test_incidents import Road, teach

from traffic.alerts.alert import ALERT_ORDERS, Cause, Level, Severity
from traffic.alerts.settings import CongestionSettings
from traffic.congestion import Congestion
from traffic.control import RawReadings
from traffic.estimation import Estimator
from traffic.forecasting import Forecast
from traffic.incidents.detection import IncidentDetector, IncidentFinding
from traffic.incidents.raising import SAME_EVENT_S
from traffic.journal import Journal
from traffic.model import ModelError
from traffic.policy import Policy
from traffic.readings import LoopBatch
from traffic.response import Response
from traffic.snapshot import Snapshot, Strategy

STREET = find("incident@1", "street")
BELOW = find("incident@2", "m5", "m6")  # after the bottleneck
NEAR = find("incident@3", "m3", "neck")
FAR = find("incident@4", "m0", "m1")  # more than NEAR_M upstream


def test_a_lane_blocked_away_from_any_bottleneck_has_an_alert_of_its_own() -> None:
    desk = Desk()
    (alert,) = desk.run(0.5, STREET)
    assert (alert.bottleneck, alert.level, alert.cause) == (None, Level.SUSPECTED, Cause.INCIDENT)
    assert (alert.links, alert.raised_s, alert.severity) == (
        ("street",), desk.now_s, Severity.MINOR,
    )  # fmt: skip
    assert alert.text == {
        "en": "between street and street: blockage suspected since 07:00 (chance 80%).",
        "zh": "street 与 street 之间：07:00 起疑似车道受阻（概率 80%）。",
    }
    assert [line["en"] for line in alert.evidence] == [
        "between street and street: blocked (chance 80%)"
    ]
    assert {one.loop for one in alert.readings} == {"street.0", "street.1"}
    assert np.isnan(alert.breakdown_chance)


def test_an_alert_s_chance_is_that_of_the_latest_interval() -> None:
    desk = Desk()
    desk.run(2.5, STREET)
    (alert,) = desk.run(2.5, replace(STREET, probability=0.2))
    assert "(chance 20%)" in alert.text["en"]


def test_the_alert_clears_a_while_after_the_finding_and_outlives_a_flicker() -> None:
    desk = Desk(CongestionSettings(incident_clear_s=300.0))
    (first,) = desk.run(2, STREET)
    for _ in range(3):
        (quiet,) = desk.run(4.5)
        assert quiet.cleared_s is None
        assert quiet.text["en"].endswith("no longer seen.")
        (again,) = desk.run(1, STREET)
        assert again.id == first.id
    (cleared,) = desk.run(5)
    assert (cleared.id, cleared.cleared_s, cleared.cleared_by) == (first.id, desk.now_s, None)
    assert cleared.text["en"].startswith("between street and street: suspected blockage of 07:00")
    assert desk.run(1) == ()
    (anew,) = desk.run(0.5, find("incident@9", "street"))
    assert anew.id != first.id


def test_a_neighbor_found_while_the_alert_still_stands_is_the_same_event() -> None:
    desk = Desk()
    (first,) = desk.run(2, STREET)
    desk.run(2)
    (again,) = desk.run(1, find("incident@5", "side"))
    assert again.id == first.id
    assert again.cleared_s is None


def test_neighbors_of_one_event_share_its_alert_and_others_do_not() -> None:
    desk = Desk()
    (alert,) = desk.run(1, STREET)
    (still,) = desk.run(1, STREET, find("incident@5", "side"))
    assert still.id == alert.id
    assert len(still.evidence) == 2
    both = desk.run(1, STREET, find("incident@5", "side"), FAR)
    assert len({one.id for one in both}) == 2
    assert both[1].links == ("m0", "m1")


@pytest.mark.parametrize("finding", [BELOW, NEAR])
def test_a_lane_blocked_at_a_bottleneck_is_the_cause_of_its_alert(finding: IncidentFinding) -> None:
    desk = Desk()
    (warning,) = desk.run(3, chance=0.9)
    assert warning.cause is Cause.RECURRENT
    (told,) = desk.run(0.5, finding, chance=0.9)
    assert (told.id, told.cause, told.level) == (warning.id, Cause.INCIDENT, Level.WARNING)
    assert told.evidence[-1]["en"].endswith("blocked (chance 80%)")
    assert told.evidence[-1]["zh"].endswith("受阻（概率 80%）")
    assert "incident" in told.text["en"]


def test_a_cause_keeps_its_place_when_the_loops_no_longer_tell_it() -> None:
    """A queue covers the signs of what made it; the officer still has to go there."""
    desk = Desk()
    desk.run(6, BELOW, chance=0.9, slow=("m3",))
    (later,) = desk.run(20, chance=0.9, slow=("m3",))
    assert later.cause is Cause.INCIDENT
    assert later.evidence[-1] == {
        "en": "between m5 and m6: probably blocked since about 07:00, no longer seen since 07:06",
        "zh": "m5 与 m6 之间：约 07:00 起可能受阻，07:06 起已无迹象",
    }
    many = [find(f"incident@{k}", "m5", "m6") for k in range(20, 26)]
    for one in many:
        (alert,) = desk.run(1, one, chance=0.9, slow=("m3",))
    lines = [line["en"] for line in alert.evidence if "blocked" in line["en"]]
    assert len(lines) == 3
    assert lines[-1].endswith("(chance 80%)")


def test_a_suspicion_at_a_bottleneck_becomes_its_warning_and_its_jam() -> None:
    desk = Desk()
    (suspected,) = desk.run(1, BELOW)
    assert (suspected.bottleneck, suspected.level) == ("neck", Level.SUSPECTED)
    (warning,) = desk.run(3, BELOW, chance=0.9)
    assert (warning.id, warning.level, warning.cause) == (
        suspected.id, Level.WARNING, Cause.INCIDENT,
    )  # fmt: skip
    assert warning.warned_s == desk.now_s - 60
    (jam,) = desk.run(5, BELOW, chance=0.9, slow=("m3",))
    assert (jam.id, jam.level) == (suspected.id, Level.CONFIRMED)


def test_waves_of_a_standing_queue_are_no_cause_but_what_lies_beyond_it_is() -> None:
    desk = Desk()
    (jam,) = desk.run(6, chance=0.9, slow=("m3",))
    (still,) = desk.run(1, find("incident@6", "m3", onset_s=27000.0), chance=0.9, slow=("m3",))
    assert (still.id, still.cause) == (jam.id, Cause.RECURRENT)
    assert not any("blocked" in line["en"] for line in still.evidence)
    (told,) = desk.run(1, BELOW, chance=0.9, slow=("m3",))
    assert (told.id, told.cause) == (jam.id, Cause.INCIDENT)


def test_a_jam_that_is_over_leaves_the_suspicion_and_no_response() -> None:
    desk, policy = Desk(), Policy()
    (jam,) = desk.run(30, BELOW, chance=0.9, slow=("m3",))
    assert policy.heeds(jam, desk.now_s)
    (after,) = desk.run(11, BELOW)
    assert (after.id, after.level, after.cleared_s) == (jam.id, Level.SUSPECTED, None)
    assert not policy.heeds(after, desk.now_s)
    alerts = desk.run(5)
    assert [one.cleared_s for one in alerts] == [desk.now_s]


def test_no_suspicion_starts_a_response_and_its_age_is_no_patience() -> None:
    """A jam without a forecast has to stand for patience_s, however long it was suspected."""
    desk, policy = Desk(), Policy()
    for alert in (*desk.run(40, BELOW), *desk.run(1, STREET)):
        assert not policy.heeds(alert, desk.now_s)
    desk.run(1, BELOW)
    (jam,) = (one for one in desk.run(5, BELOW, slow=("m3",)) if one.bottleneck)
    assert jam.level is Level.CONFIRMED
    assert not policy.heeds(jam, desk.now_s)
    assert policy.heeds(jam, desk.now_s + policy.patience_s)


def test_vehicles_that_queue_where_they_come_in_make_it_major_at_once() -> None:
    desk = Desk()
    desk.run(1, STREET)
    (worse,) = desk.run(0.5, STREET, slow=("street",))
    assert worse.severity is Severity.MAJOR
    (still,) = desk.run(9.5, STREET)
    assert still.severity is Severity.MAJOR
    (later,) = desk.run(0.5, STREET)
    assert later.severity is Severity.MINOR


def test_an_officer_acknowledges_snoozes_escalates_and_clears_it_as_any_other() -> None:
    desk = Desk()
    (alert,) = desk.run(1, STREET)
    (seen,) = desk.run(0.5, STREET, orders=(desk.order("acknowledge", alert.id),))
    assert seen.acknowledged_by == "Li Wei"
    order = desk.order("snooze", alert.id, desk.now_s + 900)
    (asleep,) = desk.run(0.5, STREET, orders=(order,))
    assert asleep.is_snoozed
    (awake,) = desk.run(0.5, STREET, slow=("street",))
    assert not awake.is_snoozed
    (worse,) = desk.run(0.5, STREET, orders=(desk.order("escalate", alert.id),))
    assert (worse.severity, worse.escalated_by) == (Severity.CRITICAL, "Li Wei")
    desk.run(0.5, STREET, orders=(desk.order("escalate", alert.id), desk.order("snooze", alert.id)))
    assert len(desk.congestion.refused) == 2
    (cleared,) = desk.run(0.5, STREET, orders=(desk.order("clear", alert.id),))
    assert (cleared.cleared_by, cleared.cleared_s) == ("Li Wei", desk.now_s)
    assert desk.run(20, STREET) == ()
    for _ in range(3):  # nor when it flickers
        assert desk.run(1) == ()
        assert desk.run(1, STREET) == ()
    (news,) = desk.run(0.5, STREET, find("incident@7", "side"))
    assert news.id != alert.id
    assert [line["en"] for line in news.evidence] == ["between side and side: blocked (chance 80%)"]


def test_a_suspicion_cleared_at_a_bottleneck_stays_so_and_a_warning_is_news() -> None:
    desk = Desk()
    (alert,) = desk.run(1, BELOW)
    desk.run(0.5, BELOW, orders=(desk.order("clear", alert.id),))
    assert desk.run(20, BELOW) == ()
    (warning,) = desk.run(3, BELOW, chance=0.9)
    assert (warning.level, warning.cause) == (Level.WARNING, Cause.RECURRENT)


def test_a_warning_cleared_by_an_officer_does_not_come_back_with_a_suspicion() -> None:
    desk = Desk()
    (alert,) = desk.run(3, chance=0.9)
    desk.run(0.5, chance=0.9, orders=(desk.order("clear", alert.id),))
    for told in (desk.run(1, BELOW, chance=0.9), desk.run(9, BELOW, chance=0.9)):
        assert [one.level for one in told] == [Level.SUSPECTED]
        assert told[0].expected_onset_s is None
    desk.run(11, BELOW)  # its reason has gone
    (anew,) = desk.run(3, BELOW, chance=0.9)
    assert anew.level is Level.WARNING


PLACES = (STREET, find("incident@5", "side"), BELOW, NEAR, FAR, find("incident@8", "m7", "m8"))
STEPS = st.tuples(
    st.sets(st.sampled_from(range(len(PLACES)))),
    st.sampled_from((0.0, 0.5, 0.9, float("nan"))),
    st.sampled_from(((), ("m3",), ("street",))),
    st.sampled_from((None, *ALERT_ORDERS)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whatever_comes_alerts_have_a_life_with_an_order(
    steps: list[tuple[set[int], float, tuple[str, ...], str | None]],
) -> None:
    """Each id is raised once, never again after it was cleared; no finding that stands is
    told by two alerts; a bottleneck has at most one."""
    desk = Desk()
    open_ids: set[str] = set()
    over: set[str] = set()
    for found, chance, slow, kind in steps:
        target = next(iter(sorted(open_ids)), None)
        order = () if kind is None or target is None else (desk.order(kind, target),)
        alerts = desk.run(
            1, *(PLACES[i] for i in sorted(found)), chance=chance, slow=slow, orders=order
        )
        ids = [one.id for one in alerts]
        assert len(ids) == len(set(ids))
        told = {one.id for one in alerts}
        assert not told & over - {one.id for one in alerts if one.cleared_s == desk.now_s}
        assert sum(one.bottleneck == "neck" for one in alerts) <= 1
        lines = [line["en"] for one in alerts for line in one.evidence]
        standing = [line for line in lines if "blocked (chance" in line]
        assert len(standing) == len(set(standing))
        for one in alerts:
            assert one.text.keys() == {"en", "zh"}
            assert one.level is not Level.SUSPECTED or one.cause is not Cause.SURGE
        open_ids = {one.id for one in alerts if one.cleared_s is None}
        cleared = {one.id for one in desk.seen if one.cleared_s is not None}
        assert not cleared & open_ids
        over = cleared


def test_a_blocked_lane_goes_from_the_loops_to_the_desk() -> None:
    """Readings in, one alert out, and nothing more once the lane is free again."""
    detector = IncidentDetector(ROAD_NETWORK, teach())
    congestion, estimator = Congestion(ROAD_NETWORK), Estimator(ROAD_NETWORK)
    road, told = Road(9), []

    def update(blocked: bool) -> None:
        batch = road.batch(blocked)
        forecast = Forecast(batch.end_s, (), (), np.zeros((0, 0, 3)), np.zeros((0, 0)))
        state = estimator.update(batch)
        told.append(congestion.update(batch, state, forecast, (), detector.update(batch)))

    for blocked, number in ((False, 40), (True, 20), (False, 70)):
        for _ in range(number):
            update(blocked)
    assert told[:40] == [()] * 40
    assert {alert.id for alerts in told for alert in alerts} == {"blockage-1.1"}
    (alert,) = told[59]
    assert "lane 2 from the right" in alert.text["en"]
    assert told[-1] == ()


def test_what_rises_again_within_the_same_event_is_the_same_finding() -> None:
    """Within 15 min the alarm is none of its own, and yet the lane is not told to be free."""
    detector, road = IncidentDetector(ROAD_NETWORK, teach()), Road(9)
    for _ in range(40):
        detector.update(road.batch())
    for _ in range(6):
        told = detector.update(road.batch(blocked=True))
    found_s = told[0].found_s
    cleared_s = None
    while cleared_s is None:
        told = detector.update(road.batch())
        cleared_s = told[0].cleared_s
    assert road.now_s - found_s < SAME_EVENT_S
    again = [detector.update(road.batch(blocked=True)) for _ in range(12)]
    assert [f.id for f in again[-1]] == ["incident@1"]
    assert again[-1][0].cleared_s is None


def test_loops_that_a_batch_lacks_are_missing_and_in_any_order() -> None:
    whole, partial = (IncidentDetector(ROAD_NETWORK, teach()) for _ in range(2))
    road = Road(9)
    for k in range(70):
        batch = road.batch(blocked=k >= 40)
        keep = np.arange(len(batch.detectors))[::-1]
        part = LoopBatch(
            batch.end_s, batch.interval_s, tuple(batch.detectors[i] for i in keep),
            batch.count_veh[keep], batch.occupancy[keep], batch.speed_mps[keep],
            batch.quality[keep],
        )  # fmt: skip
        assert partial.update(part) == whole.update(batch)


def test_the_journal_keeps_what_was_found() -> None:
    batch = build_batch(30.0)
    nothing = Forecast(30.0, (), (), np.zeros((0, 0, 3)), np.zeros((0, 0)))
    state = Estimator(NETWORK).update(batch)
    strategy = Strategy(batch, state, nothing, (), Response(30.0), (), (), (STREET,))
    stream = io.StringIO()
    raw = RawReadings(30.0, batch, batch, {})
    Journal(stream, {}).record(Snapshot(30.0, raw, (), strategy, True, (), {}, (), {}))
    (finding,) = json.loads(stream.getvalue().splitlines()[-1])["findings"]
    assert (finding["id"], finding["probability"], finding["place"]["zh"]) == (
        "incident@1", 0.8, "street 与 street 之间",
    )  # fmt: skip


def test_thresholds_of_incidents_are_settings_like_all_others() -> None:
    with pytest.raises(ModelError) as error:
        CongestionSettings(incident_threshold=0.0, incident_clear_s=-1.0)
    assert [problem.split()[0] for problem in error.value.problems] == [
        "incident_threshold", "incident_clear_s",
    ]  # fmt: skip
    assert NETWORK.bottlenecks["neck"].watch
