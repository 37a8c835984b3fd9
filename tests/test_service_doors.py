"""Events, health, pace, settings and the description of the service."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from doors import (
    ADVICE,
    ALERT,
    AUTH,
    BATCH_S,
    BEGIN_S,
    PLAN,
    TOKEN,
    FakeEngine,
    build_service,
    build_settings,
    check_problem,
    opened,
    read_events,
    wait_for_strategy,
    wait_until,
)
from pydantic import ValidationError

from api.app import create_app, serve
from api.operator import EventLog
from api.settings import Settings
from traffic.model import ModelError

# Events


def test_events_tell_what_changes_and_resume_after_the_last_one_seen() -> None:
    engine = FakeEngine()
    engine.alerts = engine.advisories = ()
    with opened(engine, build_settings(heartbeat_s=0.2)) as client:
        wait_for_strategy(client)
        with client.stream("GET", "/v1/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            events = read_events(response)
            first = next(events)
            assert first["event"] == "heartbeat"
            assert json.loads(first["data"])["health"] == "ok"
            engine.alerts = (ALERT,)
            alert = next(e for e in events if e["event"] == "alert")
            assert json.loads(alert["data"])["id"] == ALERT.id
            engine.advisories = (ADVICE,)
            advice = next(e for e in events if e["event"] == "advisory")
            assert json.loads(advice["data"])["state"] == "current"
            client.post(f"/v1/responses/{PLAN.id}/activate", headers=AUTH)
            answer = next(e for e in events if e["event"] == "response")
            assert json.loads(answer["data"])["state"] == "active"
            assert "id" not in next(e for e in events if e["event"] == "heartbeat")
        engine.advisories = ()
        wait_until(lambda: client.get("/v1/advisories").json()["features"] == [])
        with client.stream("GET", "/v1/events", headers={"Last-Event-ID": alert["id"]}) as response:
            events = read_events(response)
            missed = [next(events) for _ in range(4)]
    assert [e["event"] for e in missed] == ["advisory", "response", "advisory", "heartbeat"]
    assert missed[0]["id"] == advice["id"]
    assert json.loads(missed[2]["data"]) == {"id": ADVICE.id, "state": "withdrawn"}
    assert missed[3]["id"] == missed[2]["id"]


@pytest.mark.parametrize(
    "last_id", ["0", "x-1", "-", "00000000-5", "٣-٣".encode().decode("latin-1")]
)
def test_a_reader_that_missed_too_much_is_told_to_start_anew(
    shared: httpx.Client, last_id: str
) -> None:
    headers = [(b"Last-Event-ID", last_id.encode("latin-1"))]
    with shared.stream("GET", "/v1/events", headers=headers) as response:
        assert next(read_events(response))["event"] == "reset"


def test_the_event_log_is_bounded() -> None:
    log = EventLog(build_settings(events_kept=3))
    start = log.last_id
    for number in range(3):
        log.add("alert", {"number": number})
    assert len(log.open(start).missed) == 3
    second = log.open(None).last_id
    log.add("alert", {"number": 3})
    assert [e.name for e in log.open(start).missed] == ["reset"]
    assert [json.loads(e.data) for e in log.open(second).missed] == [{"number": 3}]


def test_a_slow_reader_is_dropped_and_others_go_on() -> None:
    engine = FakeEngine()
    settings = build_settings(reader_backlog=4, send_timeout_s=0.3, max_readers=1)
    with opened(engine, settings) as client:
        wait_for_strategy(client)
        host, port = client.base_url.host, client.base_url.port
        assert port is not None
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((host, port))
            slow.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            assert slow.recv(12) == b"HTTP/1.1 200"
            check_problem(client.get("/v1/events"), 503, "too-many-readers")
            long = "x" * 1_000_000
            for number in range(8):
                before = engine._now_s
                text = {"en": long, "zh": long}
                engine.alerts = (replace(ALERT, id=f"alert-{number}", text=text),)
                wait_until(lambda b=before: engine._now_s > b + 2 * BATCH_S)  # type: ignore[misc]

            def is_free() -> bool:
                with client.stream("GET", "/v1/events") as response:
                    return response.status_code == 200

            wait_until(is_free)
            assert client.get("/v1/health").json()["health"] == "ok"


# Health


def test_a_field_that_dies_turns_health_red_and_withdraws_all_advice() -> None:
    engine = FakeEngine()
    with opened(engine) as client:
        wait_for_strategy(client)
        assert client.get("/v1/health").json()["health"] == "ok"
        assert client.get("/v1/advisories").json()["features"]
        with client.stream("GET", "/v1/events") as response:
            events = read_events(response)
            next(events)
            engine.failure = OSError("field gone")
            died = next(e for e in events if e["event"] == "health")
        assert json.loads(died["data"])["health"] == "red"
        problem = check_problem(client.get("/v1/health"), 503)
        assert problem["health"] == "red"
        assert problem["reasons"] == ["the engine died: OSError: field gone"]
        assert client.get("/v1/state").json()["health"]["health"] == "red"
        assert client.get("/v1/advisories").json()["features"] == []
        order = client.post(f"/v1/responses/{PLAN.id}/activate", headers=AUTH)
        assert "field gone" not in check_problem(order, 409, "order-impossible")["title"]


def test_a_field_that_falls_silent_turns_health_red_until_it_answers() -> None:
    engine = FakeEngine()
    with opened(engine, stale_s=0.3) as client:
        wait_for_strategy(client)
        engine.go.clear()
        wait_until(lambda: client.get("/v1/health").status_code == 503)
        assert "not answered" in client.get("/v1/health").json()["reasons"][0]
        assert client.get("/v1/advisories").json()["features"] == []
        order = client.post(f"/v1/responses/{PLAN.id}/activate", headers=AUTH)
        check_problem(order, 409, "order-impossible")
        engine.go.set()
        wait_until(lambda: client.get("/v1/health").status_code == 200)


def test_faults_and_the_end_of_the_field_are_told() -> None:
    engine = FakeEngine()
    with opened(engine) as client:
        wait_for_strategy(client)
        engine.faults = {"j1": "ValueError: no plan"}
        wait_until(lambda: client.get("/v1/health").json()["health"] == "degraded")
        assert "j1" in client.get("/v1/health").json()["reasons"][0]
        engine.has_ended = True
        wait_until(lambda: client.get("/v1/health").json()["engine"] == "ended")
        assert engine.closed.wait(1)
        assert client.get("/v1/health").status_code == 200
        order = client.post(f"/v1/responses/{PLAN.id}/activate", headers=AUTH)
        check_problem(order, 409, "order-impossible")


# Pace, settings, description


def test_the_engine_keeps_the_pace_that_is_asked() -> None:
    engine = FakeEngine()
    service = build_service(engine, speed=50.0)
    service.start()
    begin_s = time.monotonic()
    time.sleep(1.0)
    steps, real_s = engine._now_s - BEGIN_S, time.monotonic() - begin_s
    service.stop()
    assert engine.closed.is_set()
    assert 0.6 * 50 * real_s <= steps <= 50 * real_s + 2


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_an_impossible_speed_raises(speed: float) -> None:
    with pytest.raises(ModelError, match="speed"):
        build_service(FakeEngine(), speed=speed)


def test_settings_list_all_problems_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_TOKEN", "half-secret")
    monkeypatch.setenv("TRAFFIC_PORT", "70000")
    monkeypatch.setenv("TRAFFIC_DAY", "0001-01-01")  # of which some moments have no date in UTC
    with pytest.raises(ValidationError, match="3 validation errors") as caught:
        Settings()
    assert "half-secret" not in str(caught.value)
    monkeypatch.setenv("TRAFFIC_TOKEN", "")
    monkeypatch.delenv("TRAFFIC_PORT")
    monkeypatch.delenv("TRAFFIC_DAY")
    settings = Settings()
    assert (settings.token, settings.host) == (None, "127.0.0.1")
    monkeypatch.setenv("TRAFFIC_TOKEN", TOKEN)
    assert TOKEN not in repr(Settings())


def test_the_description_covers_every_door_with_its_problems(shared: httpx.Client) -> None:
    document = shared.get("/openapi.json").json()
    paths = document["paths"]
    assert set(paths) == {
        f"/v1/{path}"
        for path in (
            "state",
            "alerts",
            "alerts/{alert_id}/acknowledge",
            "alerts/{alert_id}/snooze",
            "alerts/{alert_id}/escalate",
            "alerts/{alert_id}/clear",
            "responses",
            "responses/{plan_id}/activate",
            "responses/{plan_id}/stop",
            "advisories",
            "detectors",
            "forecasts",
            "events",
            "health",
        )
    }
    order = paths["/v1/responses/{plan_id}/activate"]["post"]
    assert order["security"]
    assert {"200", "202", "401", "404", "409", "413", "422"} <= order["responses"].keys()
    operations = [o for path in paths.values() for o in path.values()]
    for operation in operations:
        for status, response in operation["responses"].items():
            if status == "default" or status >= "400":
                assert set(response["content"]) == {"application/problem+json"}
    schemas = document["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert name in schemas


def run_server(port: str) -> None:
    settings = Settings(port=int(port))
    with ExitStack() as stack:
        stack.callback(print, "closed")
        serve(create_app(build_service(FakeEngine()), settings), settings)


def test_a_served_process_prints_its_token_and_ends_cleanly_when_told() -> None:
    here = Path(__file__).parent
    code = f"import sys; sys.path.insert(0, {str(here)!r}); import test_service_doors as doors"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRAFFIC_")}
    command = [sys.executable, "-c", f"{code}; doors.run_server('0')"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=here.parent,
        env=environment,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        token = process.stdout.readline().split()[-1]
        assert url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=url) as client:
            wait_for_strategy(client)
            order = f"/v1/responses/{PLAN.id}/activate"
            assert client.post(order, headers=AUTH).status_code == 401
            given = client.post(order, headers={"Authorization": f"Bearer {token}"})
            assert given.status_code == 202
            with client.stream("GET", "/v1/events") as response:
                next(read_events(response))
                with pytest.raises(OSError, match="in use"):
                    run_server(url.rsplit(":", 1)[1])
                process.send_signal(signal.SIGTERM)
                assert process.communicate(timeout=30) == ("closed\n", "")
                assert process.returncode == 0
