"""An alert: one event, how sure and how bad it is, why it came, what it rests on, who heeds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Level(Enum):
    """What an alert rests on; later ones say more than earlier ones."""

    SUSPECTED = "suspected"  # loops speak for a blocked lane, nothing yet for a breakdown
    WARNING = "warning"  # a forecast
    CONFIRMED = "confirmed"  # measured speeds

    @property
    def rank(self) -> int:
        return list(Level).index(self)


class Severity(Enum):
    """How bad it is, or will be, from the least to the worst."""

    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class Cause(Enum):
    """What sort of event it is, as far as loops tell; later ones stand before earlier ones."""

    RECURRENT = "recurrent"  # the usual demand passes the capacity
    SURGE = "demand surge"  # demand rises beyond the day's own course
    INCIDENT = "incident"  # capacity is lost
    DETECTOR_FAULT = "detector fault"  # the loops behind it are in doubt

    @property
    def rank(self) -> int:
        return list(Cause).index(self)


@dataclass(frozen=True, slots=True)
class LoopReading:
    """What one loop told, the newest batch behind an alert; NaN where it told nothing."""

    loop: str
    count_veh: float
    occupancy: float
    speed_mps: float
    quality: str


@dataclass(frozen=True)
class Alert:
    """One event: congestion expected or seen at a bottleneck, or a lane blocked anywhere."""

    id: str
    bottleneck: str | None  # None: a blocked lane away from any
    level: Level
    raised_s: float
    updated_s: float
    cleared_s: float | None
    expected_onset_s: float | None  # of a warning; None once confirmed
    breakdown_chance: float  # 0..1, NaN when no forecast could be made
    text: Mapping[str, str]  # language -> text
    evidence: tuple[Mapping[str, str], ...]  # lines, each language -> text
    severity: Severity = Severity.MINOR
    cause: Cause = Cause.RECURRENT
    advice: Mapping[str, str] = field(default_factory=dict)  # for the police, language -> text
    readings: tuple[LoopReading, ...] = ()
    acknowledged_by: str | None = None
    acknowledged_s: float | None = None
    snoozed_until_s: float | None = None
    escalated_by: str | None = None
    cleared_by: str | None = None  # an operator; None when it cleared by itself
    settings: str = ""  # version of the thresholds
    warned_s: float | None = None  # when a suspicion became more; None: at once, or not yet
    links: tuple[str, ...] = ()  # of the bottleneck or the blocked lane, upstream to downstream
    confidence: float = 1.0  # 0..1, how far the loops can be trusted by which it is confirmed

    @property
    def is_snoozed(self) -> bool:
        return self.snoozed_until_s is not None and self.updated_s < self.snoozed_until_s


@dataclass(frozen=True, slots=True)
class AlertOrder:
    """What an operator does with an alert: kind is one of ALERT_ORDERS.

    `until_s` is the end of a snooze, and None for all others.
    """

    kind: str
    alert: str
    by: str
    at_s: float
    until_s: float | None = None


ALERT_ORDERS = ("acknowledge", "snooze", "escalate", "clear")


@dataclass(frozen=True, slots=True)
class AlertRefusal:
    """An order that could not be followed, and why."""

    order: AlertOrder
    reason: str
