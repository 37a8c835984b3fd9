"""What goes over the wire; pydantic lives only here, in trust_schemas and in the settings.

Moments are UTC (RFC 3339), lengths of time are seconds, ratios 0..1; what is not known is null.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.service import Health, PlanView, Published
from traffic.alerts.alert import AlertOrder, AlertRefusal
from traffic.congestion import Alert
from traffic.estimation import State
from traffic.response import Refusal
from traffic.snapshot import Snapshot

ToUtc = Callable[[float], datetime]

TEXT_EXAMPLE = {"en": "Breakdown expected at the tunnel", "zh": "预计隧道将发生拥堵"}
Who = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
Why = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True)


class InvalidPartOut(Wire):
    """One thing wrong with a request."""

    pointer: str = Field(description="Where, from the request's root.", examples=["/body/who"])
    detail: str = Field(examples=["String should have at most 80 characters"])


class ProblemOut(Wire):
    """A problem document, RFC 9457."""

    type: str = Field(examples=["tag:traffic-response,2025:unknown-plan", "about:blank"])
    title: str = Field(examples=["No such response plan"])
    status: int = Field(examples=[404])
    detail: str | None = None
    instance: str | None = Field(None, examples=["/v1/responses/unknown/activate"])
    errors: list[InvalidPartOut] | None = Field(None, description="With status 422.")
    health: str | None = Field(None, description="From /v1/health.", examples=["red"])
    reasons: list[str] | None = Field(None, description="From /v1/health.")


class HealthOut(Wire):
    """Whether the engine may be relied upon; red is answered with status 503."""

    health: Literal["ok", "degraded", "red"]
    reasons: list[str] = Field(examples=[["12 of 80 loops are not trusted"]])
    engine: Literal["starting", "running", "ended", "dead"]
    time: datetime | None = Field(
        description="Of the last step.", examples=["2025-03-09T23:10:00Z"]
    )
    pace: float | None = Field(description="Multiple of real time, measured.", examples=[1.0])


class LinkOut(Wire):
    id: str
    name: str
    speed_mps: float | None
    density_vpkm: float | None
    travel_time_s: float | None
    confidence: float | None


class QueueOut(Wire):
    """The queue at one signal approach."""

    approach: str
    junction: str
    queue_veh: float | None
    storage_share: float | None
    spillback: bool
    confidence: float | None


class StateOut(Wire):
    """The road as the engine believes it to be; links and queues are empty before 30 s."""

    time: datetime = Field(examples=["2025-03-09T23:10:00Z"])
    estimated: datetime | None = Field(description="When links and queues were last estimated.")
    health: HealthOut
    links: list[LinkOut]
    queues: list[QueueOut]
    signals: dict[str, dict[str, str]] = Field(
        description="Junction to phase to what its signal shows.",
        examples=[{"j1": {"north": "green", "east": "red"}}],
    )
    vetoes: list[str] = Field(description="Commands that the interlock refused in this second.")


class LoopReadingOut(Wire):
    """What one loop told in the last batch."""

    loop: str
    count_veh: float | None
    occupancy: float | None
    speed_mps: float | None
    quality: str = Field(examples=["good"])


class AlertPendingOut(Wire):
    kind: str = Field(examples=["acknowledge"])
    by: str
    at: datetime


class AlertOut(Wire):
    """An alert of congestion or of a blocked lane; cleared is null while it is open."""

    id: str
    bottleneck: str | None = Field(description="Null: a blocked lane away from any.")
    links: list[str] = Field(description="Where, upstream to downstream.")
    level: Literal["suspected", "warning", "confirmed"]
    raised: datetime
    updated: datetime
    cleared: datetime | None
    expected_onset: datetime | None
    breakdown_chance: float | None
    text: dict[str, str] = Field(examples=[TEXT_EXAMPLE])
    evidence: list[dict[str, str]] = Field(
        examples=[[{"en": "speed 69 km/h", "zh": "速度 69 公里/小时"}]]
    )
    confidence: float = Field(description="0..1, in the loops by which it is confirmed.")
    severity: Literal["minor", "major", "critical"]
    cause: Literal["recurrent", "incident", "demand surge", "detector fault"]
    advice: dict[str, str] = Field(
        description="On the queue's farthest tail, for the police; empty when none is likely.",
        examples=[{"en": "Slow from Exit 2 to G50, tail near Exit 2 at 07:40.", "zh": "..."}],
    )
    readings: list[LoopReadingOut] = Field(description="The newest behind it.")
    acknowledged_by: str | None
    acknowledged: datetime | None
    snoozed_until: datetime | None = Field(description="It wakes before that when it gets worse.")
    escalated_by: str | None
    cleared_by: str | None = Field(description="An operator; null when it cleared by itself.")
    settings: str = Field(description="Version of the thresholds.", examples=["heishizi-1"])
    pending: list[AlertPendingOut] = Field(description="Orders that are heeded with next batch.")


class AlertRefusalOut(Wire):
    """An order on an alert that the engine could not follow."""

    kind: str
    alert: str
    by: str
    reason: str


class AlertsOut(Wire):
    time: datetime
    alerts: list[AlertOut]
    refused: list[AlertRefusalOut] = Field(description="At the last batch of readings.")


class OrderIn(BaseModel):
    """Who orders it and why; both are kept in the log, neither is needed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"who": "Li Wei", "why": "queue reaches the exit"}]},
    )

    who: Who = "operator"
    why: Why = ""


class SnoozeIn(OrderIn):
    """How long an alert sleeps; a scene's settings may allow less."""

    for_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0


class PendingOut(Wire):
    """An order that the engine heeds when the next batch of readings arrives."""

    kind: str = Field(examples=["activate"])
    by: str
    at: datetime


class PlanOut(Wire):
    id: str
    title: dict[str, str]
    bottleneck: str
    steps: list[str] = Field(examples=[["advice", "gating", "timing"]])
    state: Literal["standby", "active", "recovering"]
    since: datetime | None
    by: str | None
    pending: PendingOut | None


class RefusalOut(Wire):
    """An order that the engine could not follow."""

    kind: str
    plan: str
    by: str
    reason: str


class PlansOut(Wire):
    time: datetime
    responses: list[PlanOut]
    refused: list[RefusalOut] = Field(description="At the last batch of readings.")


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _moment(to_utc: ToUtc, time_s: float | None) -> datetime | None:
    return to_utc(time_s) if time_s is not None and math.isfinite(time_s) else None


def build_health(health: Health, published: Published, to_utc: ToUtc) -> HealthOut:
    return HealthOut(
        health=health.condition.value,
        reasons=list(health.reasons),
        engine=published.engine.value,
        time=to_utc(published.snapshot.time_s) if published.snapshot else None,
        pace=round(published.pace, 2) if published.pace is not None else None,
    )


def _build_links(state: State, names: Mapping[str, str]) -> list[LinkOut]:
    columns = (state.speed_mps, state.density_vpkm, state.travel_time_s, state.confidence)
    return [
        LinkOut(
            id=link,
            name=names.get(link, ""),
            speed_mps=_number(speed),
            density_vpkm=_number(density),
            travel_time_s=_number(travel_time),
            confidence=_number(confidence),
        )
        for link, speed, density, travel_time, confidence in zip(state.links, *columns, strict=True)
    ]


def _build_queues(state: State, junctions: Mapping[str, str]) -> list[QueueOut]:
    columns = (state.queue_veh, state.storage_share, state.spillback, state.approach_confidence)
    return [
        QueueOut(
            approach=approach,
            junction=junctions[approach],
            queue_veh=_number(queue),
            storage_share=_number(share),
            spillback=bool(spillback),
            confidence=_number(confidence),
        )
        for approach, queue, share, spillback, confidence in zip(
            state.approaches, *columns, strict=True
        )
    ]


def build_state(
    snapshot: Snapshot,
    health: HealthOut,
    names: Mapping[str, str],
    junctions: Mapping[str, str],
    to_utc: ToUtc,
) -> StateOut:
    """`names` maps links to their names, `junctions` approaches to their junctions."""
    state = snapshot.strategy.state if snapshot.strategy else None
    shown = {**snapshot.raw.signals, **snapshot.shown}
    return StateOut(
        time=to_utc(snapshot.time_s),
        estimated=to_utc(state.time_s) if state else None,
        health=health,
        links=_build_links(state, names) if state else [],
        queues=_build_queues(state, junctions) if state else [],
        signals={j: {p: a.value for p, a in phases.items()} for j, phases in shown.items()},
        vetoes=[f"{v.command.junction}: {reason}" for v in snapshot.vetoes for reason in v.reasons],
    )


def build_alert(alert: Alert, to_utc: ToUtc, pending: Sequence[AlertOrder] = ()) -> AlertOut:
    return AlertOut(
        id=alert.id,
        bottleneck=alert.bottleneck,
        links=list(alert.links),
        level=alert.level.value,
        raised=to_utc(alert.raised_s),
        updated=to_utc(alert.updated_s),
        cleared=_moment(to_utc, alert.cleared_s),
        expected_onset=_moment(to_utc, alert.expected_onset_s),
        breakdown_chance=_number(alert.breakdown_chance),
        text=dict(alert.text),
        evidence=[dict(line) for line in alert.evidence],
        confidence=round(alert.confidence, 3),
        severity=alert.severity.value,
        cause=alert.cause.value,
        advice=dict(alert.advice),
        readings=[
            LoopReadingOut(
                loop=reading.loop,
                count_veh=_number(reading.count_veh),
                occupancy=_number(reading.occupancy),
                speed_mps=_number(reading.speed_mps),
                quality=reading.quality,
            )
            for reading in alert.readings
        ],
        acknowledged_by=alert.acknowledged_by,
        acknowledged=_moment(to_utc, alert.acknowledged_s),
        snoozed_until=_moment(to_utc, alert.snoozed_until_s if alert.is_snoozed else None),
        escalated_by=alert.escalated_by,
        cleared_by=alert.cleared_by,
        settings=alert.settings,
        pending=[AlertPendingOut(kind=one.kind, by=one.by, at=to_utc(one.at_s)) for one in pending],
    )


def build_alert_refusal(refusal: AlertRefusal) -> AlertRefusalOut:
    order = refusal.order
    return AlertRefusalOut(kind=order.kind, alert=order.alert, by=order.by, reason=refusal.reason)


def build_plan(view: PlanView, to_utc: ToUtc) -> PlanOut:
    plan, active, pending = view.plan, view.active, view.pending
    return PlanOut(
        id=plan.id,
        title=dict(plan.title),
        bottleneck=plan.bottleneck,
        steps=sorted(step.name.lower() for step in plan.steps),
        state=active.life.value if active else "standby",
        since=_moment(to_utc, active.since_s) if active else None,
        by=active.by if active else None,
        pending=PendingOut(kind=pending.kind, by=pending.by, at=to_utc(pending.at_s))
        if pending
        else None,
    )


def build_refusal(refusal: Refusal) -> RefusalOut:
    order = refusal.order
    return RefusalOut(kind=order.kind, plan=order.plan, by=order.by, reason=refusal.reason)
