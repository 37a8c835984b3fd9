"""The doors, end to end: a real server on loopback before an engine that does as it is told."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from jsonschema import Draft7Validator
from pydantic import ValidationError
from pyproj import Geod

from api.app import create_app, serve
from api.operator import EventLog
from api.service import Service
from api.settings import Settings
from traffic.advisory import Advisory
from traffic.congestion import Alert, Level
from traffic.control import RawReadings
from traffic.estimation import State
from traffic.forecasting import Forecast
from traffic.model import Link, ModelError, Network
from traffic.readings import LoopBatch
from traffic.response import STEPS, ActivePlan, Life, Order, Response, ResponsePlan
from traffic.snapshot import Snapshot, Strategy

GEOJSON = Path(__file__).parents[2] / "shared" / "oracles" / "geojson" / "FeatureCollection.json"
TOKEN = "a-token-of-the-tests"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
BEGIN_S = 23_400.0  # 06:30 in Shanghai is 22:30 UTC of the day before
BATCH_S = 5
FAST = 200.0
PLAN = ResponsePlan("tunnel:full", {"en": "All", "zh": "联动"}, "tunnel", STEPS["full"])
OTHER = ResponsePlan("tunnel:gating", {"en": "Gates", "zh": "截流"}, "tunnel", STEPS["gating"])
ALERT = Alert(
    "tunnel-1",
    "tunnel",
    Level.WARNING,
    BEGIN_S,
    BEGIN_S,
    None,
    BEGIN_S + 900,
    0.8,
    {"en": "Breakdown expected", "zh": "预计拥堵"},
    ("inflow 3,600 veh/h",),
)
ADVICE = Advisory(
    "hill-1",
    "tunnel",
    "a",
    "c",
    ("b",),
    ("t",),
    0.25,
    900.0,
    780.0,
    0.0,
    BEGIN_S,
    BEGIN_S + 1e6,
    {"en": "Take the hill road", "zh": "请绕行山路"},
)


def build_network(origin: tuple[float, float] | None = (106.6, 29.6)) -> Network:
    shapes = {
        "a": ((-1000.0, 0.0), (0.0, 0.0)),
        "b": ((0.0, 0.0), (500.0, 800.0), (1000.0, 0.0)),
        "c": ((1000.0, 0.0), (3000.0, 0.0)),
        "t": ((0.0, 0.0), (1000.0, 0.0)),
    }
    links = {i: Link(i, "n", "m", 1000.0, 2, 20.0, s, f"road {i}") for i, s in shapes.items()}
    return Network("small", links, frozenset(), {}, {}, {}, {}, origin=origin)


def build_batch(now_s: float) -> LoopBatch:
    empty = np.zeros(0)
    return LoopBatch(now_s, 1.0, (), empty, empty.copy(), empty.copy(), np.zeros(0, np.int8))


def build_state(now_s: float) -> State:
    def row(*values: float) -> Any:
        return np.array(values)

    return State(
        now_s,
        ("a", "t"),
        row(20.0, np.nan),
        row(np.nan, 5.0),
        row(50.0, 200.0),
        row(0.9, 0.1),
        (),
        row(),
        row(),
        np.zeros(0, bool),
        row(),
    )


class FakeEngine:
    """Does what the test set, from the next step on; heeds orders when a batch comes."""

    def __init__(self) -> None:
        self.alerts: tuple[Alert, ...] = (ALERT,)
        self.advisories: tuple[Advisory, ...] = (ADVICE,)
        self.faults: dict[str, str] = {}
        self.failure: Exception | None = None
        self.has_ended = False
        self.go = Event()
        self.go.set()
        self.closed = Event()
        self.heeded: list[Order] = []
        self._now_s = BEGIN_S
        self._waiting: list[Order] = []
        self._active: dict[str, ActivePlan] = {}
        self._strategy: Strategy | None = None

    def step(self, orders: Sequence[Order] = ()) -> Snapshot | None:
        self.go.wait(10)
        if self.failure is not None:
            raise self.failure
        if self.has_ended:
            return None
        self._now_s += 1
        self._waiting += orders
        is_fresh = self._now_s % BATCH_S == 0
        if is_fresh:
            self._strategy = self._plan()
        raw = RawReadings(self._now_s, build_batch(self._now_s), None, {})
        return Snapshot(
            self._now_s, raw, tuple(orders), self._strategy, is_fresh, (), {}, (), self.faults
        )

    def _plan(self) -> Strategy:
        for order in self._waiting:
            plan = PLAN if order.plan == PLAN.id else OTHER
            life = Life.ACTIVE if order.kind == "activate" else Life.RECOVERING
            self._active[order.plan] = ActivePlan(plan, life, self._now_s, order.by)
            self.heeded.append(order)
        self._waiting = []
        now_s, chances = self._now_s, np.zeros((0, 0))
        forecast = Forecast(now_s, (), (), np.zeros((0, 0, 3)), chances)
        response = Response(now_s, tuple(self._active.values()))
        return Strategy(
            build_batch(now_s), build_state(now_s), forecast, self.alerts, response, self.advisories
        )


def build_service(
    engine: FakeEngine,
    speed: float = FAST,
    network: Network | None = None,
    stale_s: float = 30.0,
) -> Service:
    @contextmanager
    def open_engine() -> Iterator[FakeEngine]:
        yield engine
        engine.closed.set()

    return Service(open_engine, network or build_network(), (PLAN, OTHER), speed, stale_s=stale_s)


def build_settings(**changes: Any) -> Settings:
    return Settings(**{"token": TOKEN, **changes})


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """Serve in a thread on a free loopback port; yields the base URL."""
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@contextmanager
def opened(
    engine: FakeEngine, settings: Settings | None = None, **service: Any
) -> Iterator[httpx.Client]:
    app = create_app(build_service(engine, **service), settings or build_settings())
    with listening(app) as url, httpx.Client(base_url=url, timeout=5) as client:
        yield client


def wait_until(is_done: Callable[[], Any], limit_s: float = 5.0) -> None:
    end_s = time.monotonic() + limit_s
    while not is_done():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)


def wait_for_strategy(client: httpx.Client) -> None:
    wait_until(lambda: (r := client.get("/v1/state")).status_code == 200 and r.json()["estimated"])


def read_events(response: httpx.Response) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            yield event
            event = {}


def check_problem(response: httpx.Response, status: int, slug: str | None = None) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["title"]
    expected = f"tag:traffic-response,2025:{slug}" if slug else "about:blank"
    assert problem["type"] == expected
    return problem


@pytest.fixture(scope="module")
def shared() -> Iterator[httpx.Client]:
    """A server whose engine stays well, for tests that change nothing but plan OTHER."""
    with opened(FakeEngine()) as client:
        wait_for_strategy(client)
        yield client


# State, alerts, responses


def test_the_state_tells_utc_and_nulls_for_what_is_not_known(shared: httpx.Client) -> None:
    state = shared.get("/v1/state").json()
    assert state["time"].startswith("2025-03-09T22:3")
    assert state["time"].endswith("Z")
    assert state["health"]["engine"] == "running"
    first, second = state["links"]
    assert (first["id"], first["name"], first["speed_mps"]) == ("a", "road a", None)
    assert first["density_vpkm"] == 20.0
    assert (second["speed_mps"], second["density_vpkm"]) == (5.0, None)


def test_alerts_and_plans_are_listed_in_both_languages(shared: httpx.Client) -> None:
    (alert,) = shared.get("/v1/alerts").json()["alerts"]
    assert alert["level"] == "warning"
    assert alert["expected_onset"] == "2025-03-09T22:45:00Z"
    assert alert["text"] == {"en": "Breakdown expected", "zh": "预计拥堵"}
    plans = {p["id"]: p for p in shared.get("/v1/responses").json()["responses"]}
    assert plans[PLAN.id]["state"] == "standby"
    assert plans[PLAN.id]["steps"] == ["advice", "emergency_lane", "gating", "timing"]
    assert plans[PLAN.id]["title"]["zh"] == "联动"


def test_before_the_first_step_there_is_nothing_to_show_and_nothing_to_order() -> None:
    engine = FakeEngine()
    engine.go.clear()
    with opened(engine) as client:
        response = client.get("/v1/state")
        check_problem(response, 503, "not-ready")
        assert response.headers["retry-after"] == "1"
        assert client.get("/v1/health").json()["reasons"] == ["the engine is starting"]
        assert client.get("/v1/advisories").json()["features"] == []
        order = client.post(f"/v1/responses/{PLAN.id}/activate", headers=AUTH)
        check_problem(order, 409, "order-impossible")
        engine.go.set()


# Orders


def test_an_order_given_twice_reaches_the_engine_once() -> None:
    engine = FakeEngine()
    with opened(engine) as client:
        wait_for_strategy(client)
        url = f"/v1/responses/{PLAN.id}"

        def read_plan() -> dict[str, Any]:
            plans = client.get("/v1/responses").json()["responses"]
            return next(p for p in plans if p["id"] == PLAN.id)

        engine.go.clear()  # so that the first order is still pending when it is repeated
        body = {"who": "李伟", "why": "queue reaches the exit"}
        first = client.post(f"{url}/activate", headers=AUTH, json=body)
        again = client.post(f"{url}/activate", headers=AUTH, json={"who": "someone else"})
        assert (first.status_code, again.status_code) == (202, 200)
        assert first.json()["pending"]["kind"] == "activate"
        assert again.json()["pending"]["by"] == "李伟"
        engine.go.set()
        wait_until(lambda: read_plan()["state"] == "active")
        assert client.post(f"{url}/activate", headers=AUTH).status_code == 200
        assert (read_plan()["by"], read_plan()["pending"]) == ("李伟", None)

        assert client.post(f"{url}/stop", headers=AUTH).status_code == 202
        assert client.post(f"{url}/stop", headers=AUTH).status_code == 200
        wait_until(lambda: read_plan()["state"] == "recovering")
        assert client.post(f"{url}/stop", headers=AUTH).status_code == 200
        assert [(o.kind, o.by) for o in engine.heeded] == [
            ("activate", "李伟"),
            ("stop", "operator"),
        ]


def test_a_plan_that_stands_by_cannot_be_stopped(shared: httpx.Client) -> None:
    problem = check_problem(
        shared.post(f"/v1/responses/{PLAN.id}/stop", headers=AUTH), 409, "order-impossible"
    )
    assert PLAN.id in problem["detail"]


def test_an_unknown_plan_is_named_with_those_that_exist(shared: httpx.Client) -> None:
    problem = check_problem(
        shared.post("/v1/responses/moat:full/activate", headers=AUTH), 404, "unknown-plan"
    )
    assert "moat:full" in problem["detail"]
    assert PLAN.id in problem["detail"]
    assert problem["instance"] == "/v1/responses/moat%3Afull/activate"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xff\xfe",
        "Bearer " + "A" * 8000,
    ],
)
def test_an_order_without_the_token_is_refused(shared: httpx.Client, header: str | None) -> None:
    headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
    response = shared.post(f"/v1/responses/{OTHER.id}/activate", headers=headers)
    check_problem(response, 401, "token-needed")
    assert response.headers["www-authenticate"].startswith("Bearer")
    plans = shared.get("/v1/responses").json()["responses"]
    assert {p["id"]: p["pending"] for p in plans}[OTHER.id] is None


# Hostile input


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 10_000,
        b'"text"',
        b"[]",
        b'{"who": 1}',
        b'{"who": ""}',
        b'{"who": null}',
        b'{"who": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"who": "' + b"x" * 81 + b'"}',
        b'{"why": NaN}',
        b'{"more": 1}',
        b"\xff\xfe\x00",
    ],
)
def test_a_bad_body_is_a_problem_and_no_order(shared: httpx.Client, body: bytes) -> None:
    response = shared.post(
        f"/v1/responses/{OTHER.id}/activate",
        headers={**AUTH, "Content-Type": "application/json"},
        content=body,
    )
    assert response.status_code in (400, 422)
    check_problem(
        response, response.status_code, "invalid-request" if response.status_code == 422 else None
    )
    plans = shared.get("/v1/responses").json()["responses"]
    assert {p["id"]: p["pending"] for p in plans}[OTHER.id] is None


def test_every_fault_of_a_body_is_listed_at_once(shared: httpx.Client) -> None:
    body = {"who": "", "why": "y" * 501, "more": 1}
    response = shared.post(f"/v1/responses/{OTHER.id}/stop", headers=AUTH, json=body)
    problem = check_problem(response, 422, "invalid-request")
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {"/body/who", "/body/why", "/body/more"}
    assert "y" * 100 not in response.text


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_large_body_is_refused(shared: httpx.Client, is_chunked: bool) -> None:
    body = b'{"why": "' + b"x" * 20_000 + b'"}'
    response = shared.post(
        f"/v1/responses/{OTHER.id}/activate",
        headers={**AUTH, "Content-Type": "application/json"},
        content=iter([body[:9000], body[9000:]]) if is_chunked else body,
    )
    check_problem(response, 413)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with opened(FakeEngine(), build_settings(send_timeout_s=0.05)) as client:
        host, port = client.base_url.host, client.base_url.port
        with socket.create_connection((host, port or 80), timeout=5) as slow:
            head = f"POST /v1/responses/{OTHER.id}/stop HTTP/1.1\r\nHost: {host}\r\n"
            slow.sendall(f"{head}Content-Length: 10\r\n\r\n{{".encode())
            answer = b"".join(iter(lambda: slow.recv(4096), b"")).decode()
    assert answer.startswith("HTTP/1.1 408 ")
    assert "content-type: application/problem+json" in answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/state/", 404),
        ("GET", "/v1/%00%ff../../etc/passwd", 404),
        ("GET", "/v1/" + "x" * 5000, 404),
        ("DELETE", "/v1/state", 405),
        ("GET", f"/v1/responses/{PLAN.id}/activate", 405),
        ("PUT", "/v1/advisories", 405),
    ],
)
def test_an_unknown_path_or_method_is_a_problem(
    shared: httpx.Client, method: str, path: str, status: int
) -> None:
    response = shared.request(method, path)
    problem = check_problem(response, status)
    assert len(problem["instance"]) <= 700
    if status == 405:
        assert response.headers["allow"]


def test_a_fault_of_the_service_tells_nothing_of_its_inside() -> None:
    app = create_app(build_service(FakeEngine()), build_settings())

    @app.get("/broken")
    async def fail() -> None:
        raise ZeroDivisionError("secret detail")

    with listening(app) as url:
        response = httpx.get(f"{url}/broken")
    check_problem(response, 500)
    assert "secret" not in response.text


# Advisories


def test_advice_is_geojson_along_the_detour(shared: httpx.Client) -> None:
    response = shared.get("/v1/advisories")
    assert response.headers["content-type"] == "application/geo+json"
    assert "max-age=15" in response.headers["cache-control"]
    collection = response.json()
    assert collection["type"] == "FeatureCollection"
    (feature,) = collection["features"]
    assert (feature["type"], feature["id"]) == ("Feature", "hill-1")
    properties = feature["properties"]
    assert (properties["from"], properties["to"], properties["share"]) == ("a", "c", 0.25)
    assert properties["issued"] == "2025-03-09T22:30:00Z"
    assert datetime.fromisoformat(properties["expires"]).utcoffset() is not None
    assert properties["text"]["zh"] == "请绕行山路"
    line = feature["geometry"]["coordinates"]
    assert len(line) == 5  # 2 + 3 + 2 points, joints once
    # The projection keeps distance and direction from the origin: 3 km east of it ends the line.
    azimuth, _, distance_m = Geod(ellps="WGS84").inv(106.6, 29.6, *line[-1])
    assert distance_m == pytest.approx(3000, abs=0.2)
    assert azimuth == pytest.approx(90, abs=0.01)


@pytest.mark.skipif(not GEOJSON.is_file(), reason="needs the official schema beside the project")
@pytest.mark.parametrize("origin", [(106.6, 29.6), None])
def test_advice_is_valid_by_the_official_schema(origin: tuple[float, float] | None) -> None:
    validator = Draft7Validator(json.loads(GEOJSON.read_text(encoding="utf-8")))
    with opened(FakeEngine(), network=build_network(origin)) as client:
        wait_for_strategy(client)
        collection = client.get("/v1/advisories").json()
    assert collection["features"]
    assert [error.message for error in validator.iter_errors(collection)] == []
    collection["features"][0]["geometry"] = {"type": "LineString", "coordinates": [[106.6, 29.6]]}
    assert not validator.is_valid(collection)  # the schema does look


def test_a_partner_that_knows_the_advice_gets_304(shared: httpx.Client) -> None:
    first = shared.get("/v1/advisories")
    etag = first.headers["etag"]
    assert etag == f'"{hashlib.sha256(first.content).hexdigest()[:32]}"'
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = shared.get("/v1/advisories", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert "max-age" in again.headers["cache-control"]
    for unknown in ('"other"', etag.strip('"'), "", '"' * 5000, '"\xe9"'):
        again = shared.get(
            "/v1/advisories", headers=[(b"If-None-Match", unknown.encode("latin-1"))]
        )
        assert again.status_code == 200


def test_the_etag_changes_with_the_advice_and_expired_advice_is_gone() -> None:
    engine = FakeEngine()
    with opened(engine) as client:
        wait_for_strategy(client)
        etag = client.get("/v1/advisories").headers["etag"]
        engine.advisories = (replace(ADVICE, share=0.5, usual_time_s=float("nan")),)
        wait_until(lambda: client.get("/v1/advisories").headers["etag"] != etag)
        (feature,) = client.get("/v1/advisories").json()["features"]
        assert (feature["properties"]["share"], feature["properties"]["usual_time_s"]) == (
            0.5,
            None,
        )
        engine.advisories = (replace(ADVICE, expires_s=BEGIN_S),)
        wait_until(lambda: client.get("/v1/advisories").json()["features"] == [])


def test_advice_expires_by_the_clock_while_a_step_hangs() -> None:
    engine = FakeEngine()
    with opened(engine, speed=20.0) as client:
        wait_for_strategy(client)
        engine.go.clear()
        time.sleep(0.1)
        now_s = engine._now_s
        engine.advisories = (replace(ADVICE, expires_s=now_s + 14.0),)
        engine.go.set()
        wait_until(
            lambda: (
                client.get("/v1/advisories").json()["features"][0]["properties"]["expires"]
                < "2025-03-10"
            )
        )
        response = client.get("/v1/advisories")
        assert response.headers["cache-control"] == "public, max-age=0"  # 14 s are 0.7 s at x 20
        engine.go.clear()
        wait_until(lambda: client.get("/v1/advisories").json()["features"] == [], 3)
        engine.go.set()


def test_advice_of_a_network_nowhere_on_earth_has_no_geometry() -> None:
    with opened(FakeEngine(), network=build_network(origin=None)) as client:
        wait_for_strategy(client)
        (feature,) = client.get("/v1/advisories").json()["features"]
        assert feature["geometry"] is None


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
            "responses",
            "responses/{plan_id}/activate",
            "responses/{plan_id}/stop",
            "advisories",
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
    code = f"import sys; sys.path.insert(0, {str(here)!r}); import test_api; test_api.run_server"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRAFFIC_")}
    command = [sys.executable, "-c", f"{code}('0')"]
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
