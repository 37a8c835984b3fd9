"""The alerts' door: orders reach the engine once, with a token, and bad ones are told."""

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest
from doors import (
    ALERT,
    AUTH,
    BEGIN_S,
    FakeEngine,
    check_problem,
    opened,
    wait_for_strategy,
    wait_until,
)

from traffic.alerts.alert import Cause, Level, Severity

KINDS = ("acknowledge", "snooze", "escalate", "clear")
URL = f"/v1/alerts/{ALERT.id}"


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_on_an_alert_is_pending_and_then_heeded(kind: str) -> None:
    engine = FakeEngine()
    with opened(engine) as client:
        wait_for_strategy(client)
        engine.go.clear()  # so that the first order is still pending when it is repeated
        body = {"who": "李伟", "why": "seen on camera"}
        first = client.post(f"{URL}/{kind}", headers=AUTH, json=body)
        again = client.post(f"{URL}/{kind}", headers=AUTH, json={"who": "someone else"})
        assert (first.status_code, again.status_code) == (202, 202)
        assert [(one["kind"], one["by"]) for one in again.json()["pending"]] == [(kind, "李伟")]
        engine.go.set()
        wait_until(lambda: engine.heeded_alerts)
        (order,) = engine.heeded_alerts
        assert (order.kind, order.alert, order.by) == (kind, ALERT.id, "李伟")
        wait_until(lambda: not read_alert(client)["pending"])


def read_alert(client: httpx.Client) -> dict[str, Any]:
    (alert,) = client.get("/v1/alerts").json()["alerts"]
    return alert


def test_a_snooze_says_until_when() -> None:
    engine = FakeEngine()
    with opened(engine) as client:
        wait_for_strategy(client)
        client.post(f"{URL}/snooze", headers=AUTH, json={"for_s": 600})
        wait_until(lambda: engine.heeded_alerts)
        (order,) = engine.heeded_alerts
        assert order.until_s == order.at_s + 600
        assert order.at_s > BEGIN_S


def test_an_alert_tells_what_it_is_and_what_it_rests_on(shared: httpx.Client) -> None:
    alert = read_alert(shared)
    assert (alert["severity"], alert["cause"]) == ("minor", "recurrent")
    for name in ("acknowledged_by", "acknowledged", "snoozed_until", "escalated_by", "cleared_by"):
        assert alert[name] is None
    assert (alert["readings"], alert["advice"], alert["pending"]) == ([], {}, [])


def test_a_blocked_lane_away_from_any_bottleneck_has_a_place_but_no_bottleneck() -> None:
    engine = FakeEngine()
    engine.alerts = (
        replace(
            ALERT,
            id="blockage-1.1",
            bottleneck=None,
            level=Level.SUSPECTED,
            cause=Cause.INCIDENT,
            breakdown_chance=float("nan"),
            links=("a", "b"),
            confidence=0.75,
        ),
    )
    with opened(engine) as client:
        wait_for_strategy(client)
        alert = read_alert(client)
        assert (alert["bottleneck"], alert["level"], alert["cause"]) == (
            None, "suspected", "incident",
        )  # fmt: skip
        assert (alert["links"], alert["confidence"], alert["breakdown_chance"]) == (
            ["a", "b"], 0.75, None,
        )  # fmt: skip
        assert alert["evidence"] == [dict(line) for line in ALERT.evidence]
        assert client.post("/v1/alerts/blockage-1.1/clear", headers=AUTH).status_code == 202
        wait_until(lambda: engine.heeded_alerts)


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_needs_the_token_and_an_open_alert(shared: httpx.Client, kind: str) -> None:
    check_problem(shared.post(f"{URL}/{kind}"), 401, "token-needed")
    response = shared.post(f"/v1/alerts/none/{kind}", headers=AUTH)
    problem = check_problem(response, 404, "unknown-alert")
    assert ALERT.id in problem["detail"]


def test_every_fault_of_a_snooze_is_listed_at_once(shared: httpx.Client) -> None:
    body = {"who": " ", "for_s": -1, "more": 1}
    problem = check_problem(
        shared.post(f"{URL}/snooze", headers=AUTH, json=body), 422, "invalid-request"
    )
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {"/body/who", "/body/for_s", "/body/more"}


def test_the_console_speaks_both_languages_and_takes_nothing_from_elsewhere(
    shared: httpx.Client,
) -> None:
    page = shared.get("/console")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page.text)
    for word in ("拥堵预警", "Congestion alerts"):
        assert word in page.text
    script = shared.get("/console.js")
    assert script.headers["content-type"].startswith("text/javascript")
    words = {
        language: set(re.findall(r'(?:^|[,{\s])"?([a-z][a-z ]*)"?: "', block))
        for language, block in re.findall(r"  (zh|en): \{(.*?)\n  \},", script.text, re.DOTALL)
    }
    assert words["zh"] == words["en"]
    told = {*KINDS, *(one.value for kind in (Severity, Cause, Level) for one in kind)}
    assert told <= words["zh"]


def test_an_engine_that_has_ended_heeds_no_order() -> None:
    engine = FakeEngine()
    with opened(engine) as client:
        wait_for_strategy(client)
        engine.has_ended = True
        wait_until(lambda: client.get("/v1/health").json()["engine"] == "ended")
        check_problem(client.post(f"{URL}/clear", headers=AUTH), 409, "order-impossible")
