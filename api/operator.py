"""The operator's door: what the road does, orders to the engine, a stream of what changes."""

import json
import logging
import secrets
from asyncio import Queue
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from api import schemas, trust
from api.partners import format_utc
from api.problems import TooManyReadersError, build_problem, describe_problems
from api.schemas import HealthOut, OrderIn, PlanOut, PlansOut, StateOut
from api.service import Condition, PlanView, Published, Service
from api.settings import Settings
from api.tokens import build_token_check
from traffic.congestion import Alert

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    id: str
    name: str
    data: str  # JSON


class Reader:
    """One client's events; it is dropped when it lags by more than its backlog."""

    def __init__(self, backlog: int, missed: list[Event], last_id: str) -> None:
        self.missed = missed
        self.last_id = last_id  # of the last event before those in the queue
        self._queue: Queue[Event] = Queue(backlog)
        self._is_dropped = False

    def offer(self, event: Event) -> bool:
        """Return whether there was room; without it, what waits is the last this reader gets."""
        if self._queue.full():
            self._is_dropped = True
            return False
        self._queue.put_nowait(event)
        return True

    async def read(self) -> AsyncIterator[Event]:
        while not (self._is_dropped and self._queue.empty()):
            yield await self._queue.get()


class EventLog:
    """The last events and those who read them. Lives in the event loop; nothing in it waits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._run = secrets.token_hex(4)  # ids of an earlier process mean nothing here
        self._count = 0
        self._kept: deque[Event] = deque(maxlen=settings.events_kept)
        self.readers: set[Reader] = set()

    @property
    def last_id(self) -> str:
        return f"{self._run}-{self._count}"

    def add(self, name: str, data: dict[str, Any]) -> None:
        self._count += 1
        event = Event(self.last_id, name, json.dumps(data, ensure_ascii=False))
        self._kept.append(event)
        self.readers = {reader for reader in self.readers if reader.offer(event)}

    def open(self, last_id: str | None) -> Reader:
        """Return a reader that continues after last_id. Raises TooManyReadersError.

        Where that is not possible, its first event is `reset`: the client must ask for the state.
        """
        if len(self.readers) >= self._settings.max_readers:
            raise TooManyReadersError(f"{len(self.readers)} clients read already")
        reader = Reader(self._settings.reader_backlog, self._find_missed(last_id), self.last_id)
        self.readers.add(reader)
        return reader

    @contextmanager
    def hold(self, reader: Reader) -> Iterator[None]:
        """Keep the reader's place until the end of the block."""
        try:
            yield
        finally:
            self.readers.discard(reader)

    def _find_missed(self, last_id: str | None) -> list[Event]:
        if last_id is None or last_id == self.last_id:
            return []
        for at, event in enumerate(self._kept):
            if event.id == last_id:
                return list(self._kept)[at + 1 :]
        if last_id == f"{self._run}-0" and self._count == len(self._kept):
            return list(self._kept)
        return [Event(self.last_id, "reset", json.dumps({"reason": "events were lost"}))]


class EventStream(EventSourceResponse):
    """Frees the reader's place at the end, quietly when the client took nothing any more."""

    def __init__(self, place: AbstractContextManager[Any], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place, suppress(SendTimeoutError):
            await super().__call__(scope, receive, send)
            if self.active:  # cut off by the server's end, not by the client's
                await send({"type": "http.response.body", "body": b"", "more_body": False})


def _tell_apart(alert: Alert) -> tuple[object, ...]:
    """What makes an alert news; its text and readings change with each batch."""
    return (
        alert.level,
        alert.severity,
        alert.cause,
        alert.cleared_s,
        alert.acknowledged_s,
        alert.snoozed_until_s,
        alert.escalated_by,
    )


def describe_changes(
    service: Service, settings: Settings, before: Published, after: Published
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (event name, data) for what differs between two publications."""
    if after.engine is not before.engine:
        health = schemas.build_health(service.check_health(), after, settings.to_utc)
        yield "health", health.model_dump(mode="json")
    yield from trust.describe_changes(service.network, settings, before, after)
    if after.strategy is None or after.strategy is before.strategy:
        return
    old = before.strategy
    known = {a.id: _tell_apart(a) for a in old.alerts} if old else {}
    for alert in after.strategy.alerts:
        if known.get(alert.id) != _tell_apart(alert):
            yield "alert", schemas.build_alert(alert, settings.to_utc).model_dump(mode="json")
    for plan in service.plans.values():
        active = after.find_active(plan.id)
        if active != before.find_active(plan.id):
            view = PlanView(plan, active, None)
            yield "response", schemas.build_plan(view, settings.to_utc).model_dump(mode="json")
    for refusal in after.strategy.response.refused:
        yield "refusal", schemas.build_refusal(refusal).model_dump(mode="json")
    for denied in after.strategy.alert_refusals:
        yield "refusal", schemas.build_alert_refusal(denied).model_dump(mode="json")
    advised = {a.id: a for a in old.advisories} if old else {}
    for advisory in after.strategy.advisories:
        if advisory != advised.pop(advisory.id, None):
            yield (
                "advisory",
                {
                    "id": advisory.id,
                    "state": "current",
                    "expires": format_utc(settings, advisory.expires_s),
                    "text": dict(advisory.text),
                },
            )
    for advisory in advised.values():
        yield "advisory", {"id": advisory.id, "state": "withdrawn"}


def build_router(service: Service, settings: Settings, events: EventLog, token: str) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["operator"])
    names = {link.id: link.name for link in service.network.links.values()}
    junctions = {a.id: a.junction for a in service.network.approaches.values()}
    to_utc = settings.to_utc

    require_token = build_token_check(token)

    def report_health() -> HealthOut:
        return schemas.build_health(service.check_health(), service.published, to_utc)

    def beat(last_id: str | None = None) -> ServerSentEvent:
        now_s = service.estimate_now_s()
        data = {
            "time": format_utc(settings, now_s) if now_s is not None else None,
            "health": service.check_health().condition.value,
        }
        return ServerSentEvent(json.dumps(data), event="heartbeat", id=last_id)

    def give_order(kind: str, plan_id: str, order: OrderIn | None, response: Response) -> PlanOut:
        order = order or OrderIn()
        view, is_queued = service.order(kind, plan_id, order.who)
        if is_queued:
            response.status_code = 202
            log.info("%s %s, ordered by %r because %r", kind, plan_id, order.who, order.why)
        return schemas.build_plan(view, to_utc)

    @router.get("/state", summary="What the engine believes", responses=describe_problems(503))
    async def get_state() -> StateOut:
        snapshot = service.get_snapshot()
        return schemas.build_state(snapshot, report_health(), names, junctions, to_utc)

    @router.get("/responses", summary="Response plans", responses=describe_problems(503))
    async def get_responses() -> PlansOut:
        snapshot = service.get_snapshot()
        response = snapshot.strategy.response if snapshot.strategy else None
        return PlansOut(
            time=to_utc(snapshot.time_s),
            responses=[schemas.build_plan(service.get_plan(p), to_utc) for p in service.plans],
            refused=[schemas.build_refusal(r) for r in response.refused] if response else [],
        )

    accepted: dict[int | str, dict[str, Any]] = {
        200: {"description": "It holds already, or was ordered before: nothing is queued."},
        202: {"model": PlanOut, "description": "Queued; heeded with the next batch of readings."},
    }
    problems = describe_problems(401, 404, 409, 413, 422)

    @router.post(
        "/responses/{plan_id}/activate",
        summary="Activate a response plan",
        dependencies=[Depends(require_token)],
        responses={**accepted, **problems},
    )
    async def activate(plan_id: str, response: Response, order: OrderIn | None = None) -> PlanOut:
        return give_order("activate", plan_id, order, response)

    @router.post(
        "/responses/{plan_id}/stop",
        summary="Stop a response plan; traffic held back is released over several cycles",
        dependencies=[Depends(require_token)],
        responses={**accepted, **problems},
    )
    async def stop(plan_id: str, response: Response, order: OrderIn | None = None) -> PlanOut:
        return give_order("stop", plan_id, order, response)

    @router.get(
        "/events",
        summary="What changes, as server-sent events",
        response_class=EventSourceResponse,
        responses={
            200: {
                "description": "Events `alert`, `response`, `refusal`, `advisory`, `detectors`, "
                "`health`, `heartbeat`, and `reset` when events since Last-Event-ID are no longer "
                "kept. A reader that lags is dropped and may come back with Last-Event-ID.",
                "content": {
                    "text/event-stream": {
                        "schema": {"type": "string"},
                        "example": 'id: 5f0c2a1b-7\nevent: alert\ndata: {"id": "tunnel-1"}\n\n',
                    }
                },
            },
            **describe_problems(503),
        },
    )
    async def get_events(
        last_event_id: Annotated[str | None, Header(max_length=100)] = None,
    ) -> EventStream:
        reader = events.open(last_event_id)

        async def stream() -> AsyncIterator[ServerSentEvent]:
            for event in reader.missed:
                yield ServerSentEvent(event.data, event=event.name, id=event.id)
            yield beat(reader.last_id)
            async for event in reader.read():
                yield ServerSentEvent(event.data, event=event.name, id=event.id)

        return EventStream(
            events.hold(reader),
            stream(),
            ping=settings.heartbeat_s,
            ping_message_factory=beat,
            send_timeout=settings.send_timeout_s,
        )

    @router.get(
        "/health",
        summary="Whether the engine may be relied upon",
        response_model=HealthOut,
        responses=describe_problems(503),
    )
    async def get_health() -> HealthOut | Response:
        health = report_health()
        if service.check_health().condition is Condition.RED:
            return build_problem(
                503,
                title="The engine must not be relied upon",
                detail="; ".join(health.reasons),
                instance="/v1/health",
                **health.model_dump(mode="json"),
            )
        return health

    return router
