"""A real server on loopback before an engine that does as it is told, for tests of the doors."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.service import Service
from api.settings import Settings
from traffic.advisory import Advisory
from traffic.alerts.alert import AlertOrder
from traffic.congestion import Alert, Level
from traffic.control import RawReadings
from traffic.estimation import State
from traffic.forecasting import Forecast
from traffic.model import Link, Network
from traffic.readings import LoopBatch
from traffic.response import STEPS, ActivePlan, Life, Order, Response, ResponsePlan
from traffic.snapshot import Snapshot, Strategy
from traffic.trouble import NOTHING_WATCHED

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
    ({"en": "inflow 3,600 veh/h", "zh": "来流 3,600 辆/小时"},),
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
        self.health = NOTHING_WATCHED
        self.failure: Exception | None = None
        self.has_ended = False
        self.go = Event()
        self.go.set()
        self.closed = Event()
        self.heeded: list[Order] = []
        self._now_s = BEGIN_S
        self._waiting: list[Order | AlertOrder] = []
        self.heeded_alerts: list[AlertOrder] = []
        self._active: dict[str, ActivePlan] = {}
        self._strategy: Strategy | None = None

    def step(self, orders: Sequence[Order | AlertOrder] = ()) -> Snapshot | None:
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
            self._now_s, raw, tuple(orders), self._strategy, is_fresh, (), {}, (), self.faults,
            self.health,
        )  # fmt: skip

    def _plan(self) -> Strategy:
        for order in self._waiting:
            if isinstance(order, AlertOrder):
                self.heeded_alerts.append(order)
                continue
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
