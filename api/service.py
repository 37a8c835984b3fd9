"""Runs the engine in a thread of its own and publishes what it did, for readers who never block it.

The engine's thread is the only writer. Readers take the latest `Published`, which never changes;
operators' orders wait in a queue that the next step drains.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import Enum
from threading import Event
from typing import Protocol

import numpy as np

from traffic.advisory import Advisory
from traffic.alerts.alert import Alert, AlertOrder
from traffic.model import ModelError, Network
from traffic.readings import Quality
from traffic.response import ActivePlan, Life, Order, ResponsePlan
from traffic.snapshot import Snapshot, Strategy

PACE_STEPS = 60  # over which the pace is measured
SLOW_SHARE = 0.9  # of the asked pace, below which the service is degraded
BAD_LOOP_SHARE = 0.1  # of loops not trusted, above which the service is degraded
MIN_SPEED = 1 / 3600  # simulated seconds a real second
KEPT_ORDERS = 100  # on alerts, to tell which are pending
MAX_LAG_S = 1.0  # real seconds that the engine may catch up

log = logging.getLogger(__name__)


class Steps(Protocol):
    """What the service needs of an engine."""

    def step(self, orders: Sequence[Order | AlertOrder] = ()) -> Snapshot | None:
        """Run one second; None when the field has ended."""
        ...


class UnknownPlanError(LookupError):
    """No response plan has that id."""


class UnknownAlertError(LookupError):
    """No open alert has that id."""


class UnknownPlaceError(LookupError):
    """No loop, link or bottleneck has that id."""


class OrderImpossibleError(RuntimeError):
    """The order cannot take effect: no engine heeds it, or there is nothing to stop."""


class NotReadyError(RuntimeError):
    """The engine has not made its first step."""


class EngineState(Enum):
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"
    DEAD = "dead"


class Condition(Enum):
    """OK, DEGRADED: works with less than it should have, RED: must not be relied upon."""

    OK = "ok"
    DEGRADED = "degraded"
    RED = "red"


@dataclass(frozen=True)
class Health:
    condition: Condition
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """What the engine's thread last made known."""

    engine: EngineState
    at_s: float  # on the monotonic clock
    snapshot: Snapshot | None = None
    heeded: int = 0  # orders that the strategic half has seen, from the start
    pace: float | None = None  # simulated seconds a real second; None until measured
    fault: str | None = None  # why the engine died

    @property
    def strategy(self) -> Strategy | None:
        return self.snapshot.strategy if self.snapshot else None

    def find_active(self, plan: str) -> ActivePlan | None:
        active = self.strategy.response.active if self.strategy else ()
        return next((one for one in active if one.plan.id == plan), None)


@dataclass(frozen=True)
class PlanView:
    """A response plan, whether it is active, and the order that the engine has yet to heed."""

    plan: ResponsePlan
    active: ActivePlan | None
    pending: Order | None

    @property
    def will_be_active(self) -> bool:
        if self.pending is not None:
            return self.pending.kind == "activate"
        return self.active is not None and self.active.life is Life.ACTIVE


@dataclass(frozen=True)
class AlertView:
    """An open alert, and the orders that the engine has yet to heed."""

    alert: Alert
    pending: tuple[AlertOrder, ...]


Listener = Callable[[Published, Published], None]


def check_speed(speed: float) -> None:
    """Raise ModelError unless the engine can run at it: an hour a step is as slow as it gets."""
    if not speed >= MIN_SPEED:
        raise ModelError("service", [f"speed {speed} must be above 0, and at least {MIN_SPEED:g}"])


class Service:
    """Owns the engine; all methods but the thread's own return at once.

    `open_engine` is entered and left in the engine's thread, where a simulator must live.
    `speed` is simulated seconds a real second, infinity for as fast as it goes. `notices` are what
    else the service lacks. Raises ModelError.
    """

    def __init__(
        self,
        open_engine: Callable[[], AbstractContextManager[Steps]],
        network: Network,
        plans: Sequence[ResponsePlan],
        speed: float = 1.0,
        *,
        stale_s: float = 30.0,
        notices: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        check_speed(speed)
        self.network = network
        self.speed = speed
        self._open_engine = open_engine
        self._notices = notices
        self._plans = {plan.id: plan for plan in plans}
        # One slow step is no silence.
        self._stale_s = max(stale_s, 3 / speed)
        self._orders: deque[Order | AlertOrder] = deque()
        self._ordered = 0
        self._last: dict[str, tuple[int, Order]] = {}
        self._of_alerts: deque[tuple[int, AlertOrder]] = deque(maxlen=KEPT_ORDERS)
        self._stopping = Event()
        self._executor = ThreadPoolExecutor(1, "engine")
        self._future: Future[None] | None = None
        self._listener: Listener | None = None
        self._published = Published(EngineState.STARTING, time.monotonic())

    # Readers' side

    @property
    def published(self) -> Published:
        return self._published

    @property
    def plans(self) -> Mapping[str, ResponsePlan]:
        return self._plans

    def get_snapshot(self) -> Snapshot:
        """Return the last step's snapshot; raises NotReadyError before the first."""
        snapshot = self._published.snapshot
        if snapshot is None:
            raise NotReadyError("the engine has not made its first step")
        return snapshot

    def get_plan(self, plan_id: str) -> PlanView:
        """Return the plan with its state; raises UnknownPlanError naming those that exist."""
        plan = self._plans.get(plan_id)
        if plan is None:
            known = ", ".join(sorted(self._plans)) or "none"
            raise UnknownPlanError(f"no response plan {plan_id[:100]!r}; there are: {known}")
        published = self._published
        number, order = self._last.get(plan_id, (0, None))
        pending = order if number > published.heeded else None
        return PlanView(plan, published.find_active(plan_id), pending)

    def order(self, kind: str, plan_id: str, by: str) -> tuple[PlanView, bool]:
        """Queue an order unless it repeats what holds or is pending; return whether it was queued.

        Called from one thread only. Raises UnknownPlanError, OrderImpossibleError.
        """
        view = self.get_plan(plan_id)
        now_s = self._require_heed()
        if view.will_be_active == (kind == "activate"):
            if kind == "stop" and view.active is None and not self._was_stopped(plan_id):
                raise OrderImpossibleError(f"plan {plan_id} stands by: there is nothing to stop")
            return view, False
        order = Order(kind, plan_id, by, now_s)
        self._ordered += 1
        self._last[plan_id] = (self._ordered, order)
        self._orders.append(order)
        return self.get_plan(plan_id), True

    def _require_heed(self) -> float:
        """Return the moment of the last step; raises OrderImpossibleError when none will heed."""
        published, health = self._published, self.check_health()
        if published.engine is not EngineState.RUNNING or published.snapshot is None:
            raise OrderImpossibleError(
                f"the engine is {published.engine.value}, no order takes effect"
            )
        if health.condition is Condition.RED:
            raise OrderImpossibleError("; ".join(health.reasons))
        return published.snapshot.time_s

    def list_pending(self, alert_id: str) -> tuple[AlertOrder, ...]:
        """Return the orders on an alert that the engine has yet to heed."""
        heeded = self._published.heeded
        return tuple(
            order
            for number, order in self._of_alerts
            if number > heeded and order.alert == alert_id
        )

    def order_alert(
        self, kind: str, alert_id: str, by: str, for_s: float | None = None
    ) -> AlertView:
        """Queue an order on an open alert, unless the same is pending.

        Called from one thread only. Raises UnknownAlertError, OrderImpossibleError.
        """
        now_s = self._require_heed()
        strategy = self._published.strategy
        alerts = strategy.alerts if strategy else ()
        still = {alert.id: alert for alert in alerts if alert.cleared_s is None}
        if alert_id not in still:
            known = ", ".join(sorted(still)) or "none"
            raise UnknownAlertError(f"no open alert {alert_id[:100]!r}; there are: {known}")
        until_s = None if for_s is None else now_s + for_s
        order = AlertOrder(kind, alert_id, by, now_s, until_s)
        if not any(one.kind == kind for one in self.list_pending(alert_id)):
            self._ordered += 1
            self._of_alerts.append((self._ordered, order))
            self._orders.append(order)
        return AlertView(still[alert_id], self.list_pending(alert_id))

    def _was_stopped(self, plan_id: str) -> bool:
        last = self._last.get(plan_id)
        return last is not None and last[1].kind == "stop"

    def estimate_now_s(self) -> float | None:
        """Return the simulated time by the real clock, also while a step takes long."""
        published = self._published
        if published.snapshot is None:
            return None
        now_s = published.snapshot.time_s
        if published.engine is EngineState.RUNNING and math.isfinite(self.speed):
            now_s += (time.monotonic() - published.at_s) * self.speed
        return now_s

    def list_advisories(self) -> tuple[Advisory, ...]:
        """Return the advice that holds now: none from an engine that no longer watches the road."""
        published, now_s = self._published, self.estimate_now_s()
        if (
            published.strategy is None
            or now_s is None
            or published.engine is not EngineState.RUNNING
        ):
            return ()
        if self.check_health().condition is Condition.RED:
            return ()
        return tuple(a for a in published.strategy.advisories if now_s < a.expires_s)

    def check_health(self) -> Health:
        published = self._published
        if published.engine is EngineState.DEAD:
            return Health(Condition.RED, (f"the engine died: {published.fault}",))
        silent_s = time.monotonic() - published.at_s
        if published.engine is EngineState.RUNNING and silent_s > self._stale_s:
            return Health(Condition.RED, (f"the field has not answered for {silent_s:.0f} s",))
        reasons = tuple(self._check_running(published))
        return Health(Condition.DEGRADED if reasons else Condition.OK, reasons)

    def _check_running(self, published: Published) -> list[str]:
        if published.engine is not EngineState.RUNNING or published.snapshot is None:
            return [f"the engine is {published.engine.value}"]
        reasons = [
            f"controller of {junction} was not heard: {fault}"
            for junction, fault in sorted(published.snapshot.faults.items())
        ]
        if published.pace is not None and published.pace < SLOW_SHARE * self.speed < math.inf:
            reasons.append(f"runs at {published.pace:.2g} times real time, asked {self.speed:g}")
        reasons += self._notices()
        reasons += [one.text["en"] for one in published.snapshot.health.feed if one.is_now]
        if published.strategy is not None:
            quality = published.strategy.readings.quality
            bad = int(np.count_nonzero(quality != Quality.GOOD))
            if bad > BAD_LOOP_SHARE * quality.size:
                reasons.append(f"{bad} of {quality.size} loops are not trusted")
        return reasons

    # The engine's thread

    def start(self, listener: Listener | None = None) -> None:
        """Start the thread; it calls `listener(before, after)` each time it publishes."""
        self._listener = listener
        self._future = self._executor.submit(self._run)
        self._future.add_done_callback(self._finish)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread after the step that it is in, waiting at most timeout_s."""
        self._stopping.set()
        if self._future is not None:
            wait([self._future], timeout_s)
        self._executor.shutdown(wait=False)

    def _run(self) -> None:
        step_s = 1 / self.speed
        times: deque[float] = deque(maxlen=PACE_STEPS + 1)
        handed = heeded = 0
        with self._open_engine() as engine:
            due_s = time.monotonic()
            while not self._stopping.wait(max(0.0, due_s - time.monotonic())):
                orders = [self._orders.popleft() for _ in range(len(self._orders))]
                handed += len(orders)
                snapshot = engine.step(orders)
                if snapshot is None:
                    return
                if snapshot.is_fresh:
                    heeded = handed
                now_s = time.monotonic()
                due_s = max(due_s + step_s, now_s - MAX_LAG_S)
                times.append(now_s)
                is_measured = len(times) == times.maxlen and now_s > times[0]
                pace = PACE_STEPS / (now_s - times[0]) if is_measured else None
                self._publish(Published(EngineState.RUNNING, now_s, snapshot, heeded, pace))

    def _finish(self, future: Future[None]) -> None:
        fault = future.exception()
        now_s = time.monotonic()
        if fault is None:
            self._publish(replace(self._published, engine=EngineState.ENDED, at_s=now_s))
            return
        log.error("the engine died", exc_info=fault)
        reason = f"{type(fault).__name__}: {fault}"[:300]
        self._publish(replace(self._published, engine=EngineState.DEAD, at_s=now_s, fault=reason))

    def _publish(self, published: Published) -> None:
        before, self._published = self._published, published
        if self._listener is not None and not self._stopping.is_set():
            self._listener(before, published)
