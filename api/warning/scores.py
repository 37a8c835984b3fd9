"""How good warnings were: by event, by moment, and beside the static rate of the training days."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.warning.truth import DayEvents
from traffic.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BIN_S = 900.0  # of the time of day, for static rates
BINS = 10  # of a reliability curve


@dataclass(frozen=True, slots=True)
class AlertSpan:
    """One alert of one day; `end_s` is the day's when it still stood then."""

    raised_s: float
    end_s: float
    cause: str
    severity: str


@dataclass(frozen=True, eq=False)
class WarnedDay:
    """A day's true breakdowns and the alerts of it."""

    name: str
    kind: str
    events: DayEvents
    begin_s: float
    end_s: float
    alerts: tuple[AlertSpan, ...]


@dataclass(frozen=True)
class EventScores:
    """See `score_events`. Ratios are None where there is nothing to divide by."""

    days: int
    events: int
    warned: int
    late: int  # found only after the onset
    missed: int
    false_alarms: int
    repeated: int  # further alerts of an event that had one
    recall: float | None
    precision: float | None
    median_lead_min: float | None
    lead_quartiles_min: tuple[float, float] | None
    false_per_hour: float
    share_in_alarm: float
    share_in_false_alarm: float


def score_events(days: Sequence[WarnedDay]) -> EventScores:
    """Score alerts by event.

    A breakdown is warned of when an alert was raised before its onset and still stood then. An
    alert is false when no breakdown stood while it did. Precision is of true among both.
    """
    leads_s: list[float] = []
    counts = dict.fromkeys(("events", "late", "missed", "false", "repeated"), 0)
    false_s = alarm_s = 0.0
    for day in days:
        spans = [
            (b.onset_s, day.end_s if b.recovery_s is None else b.recovery_s)
            for b in day.events.breakdowns
        ]
        alarm_s += sum(alert.end_s - alert.raised_s for alert in day.alerts)
        for onset_s, over_s in spans:
            counts["events"] += 1
            own = [a for a in day.alerts if a.raised_s < over_s and a.end_s >= onset_s]
            before = [a.raised_s for a in own if a.raised_s <= onset_s]
            counts["repeated"] += max(len(own) - 1, 0)
            if before:
                leads_s.append(onset_s - min(before))
            elif own:
                counts["late"] += 1
            else:
                counts["missed"] += 1
        for alert in day.alerts:
            if not any(alert.raised_s < over and alert.end_s >= onset for onset, over in spans):
                counts["false"] += 1
                false_s += alert.end_s - alert.raised_s
    total_s = sum(day.end_s - day.begin_s for day in days)
    warned, false = len(leads_s), counts["false"]
    quartiles = np.percentile(leads_s, (25, 50, 75)) / 60 if leads_s else None
    return EventScores(
        days=len(days),
        events=counts["events"],
        warned=warned,
        late=counts["late"],
        missed=counts["missed"],
        false_alarms=false,
        repeated=counts["repeated"],
        recall=warned / counts["events"] if counts["events"] else None,
        precision=warned / (warned + false) if warned + false else None,
        median_lead_min=None if quartiles is None else float(quartiles[1]),
        lead_quartiles_min=None
        if quartiles is None
        else (float(quartiles[0]), float(quartiles[2])),
        false_per_hour=false / (total_s / SECONDS_PER_HOUR),
        share_in_alarm=alarm_s / total_s,
        share_in_false_alarm=false_s / total_s,
    )


@dataclass(frozen=True, eq=False)
class Odds:
    """Chances of an event within one lead, and whether it came; N moments."""

    group: NDArray[np.int_]  # N, place
    time_s: Floats  # N, since midnight
    chance: Floats  # N
    came: Flags  # N

    def keep(self, at: Flags) -> "Odds":
        return Odds(self.group[at], self.time_s[at], self.chance[at], self.came[at])


def join_odds(parts: Iterable[Odds]) -> Odds:
    parts = list(parts)
    return Odds(
        np.concatenate([part.group for part in parts]),
        np.concatenate([part.time_s for part in parts]),
        np.concatenate([part.chance for part in parts]),
        np.concatenate([part.came for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class StaticRate:
    """How often the event came within the lead on training days, by place and time of day.

    Each bin is shrunk towards the place's rate by the weight of `prior` moments.
    """

    begin_s: float
    rate: Floats  # G x B

    def find(self, odds: Odds) -> Floats:
        at = ((odds.time_s - self.begin_s) // BIN_S).astype(int)
        return np.asarray(self.rate[odds.group, np.clip(at, 0, self.rate.shape[1] - 1)])


def fit_static(odds: Odds, prior: float = 30.0) -> StaticRate:
    """Count on training days; `odds.chance` is not used."""
    begin_s = float(odds.time_s.min() // BIN_S * BIN_S)
    at = ((odds.time_s - begin_s) // BIN_S).astype(int)
    shape = int(odds.group.max()) + 1, int(at.max()) + 1
    came, seen = np.zeros(shape), np.zeros(shape)
    np.add.at(came, (odds.group, at), odds.came)
    np.add.at(seen, (odds.group, at), 1)
    base = came.sum(axis=1, keepdims=True) / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    return StaticRate(begin_s, (came + prior * base) / (seen + prior))


def find_average_precision(chance: Floats, came: Flags) -> float:
    """Return the mean precision over recall: sum of (R_n - R_n-1) P_n, equal chances as one step.

    NaN without an event.
    """
    if not came.any():
        return float("nan")
    order = np.argsort(-chance, kind="stable")
    hits = np.cumsum(came[order])
    ends = np.append(np.flatnonzero(np.diff(chance[order])), len(order) - 1)
    precision = hits[ends] / (ends + 1)
    recall = hits[ends] / hits[-1]
    return float(np.sum(np.diff(np.concatenate(([0.0], recall))) * precision))


@dataclass(frozen=True)
class OddsScores:
    """`reliability` holds (mean chance, share that came, moments) by tenths of the chance."""

    moments: int
    events: int  # moments followed by one
    brier: float
    static_brier: float
    brier_skill: float
    average_precision: float
    static_average_precision: float
    reliability: tuple[tuple[float, float, int], ...]

    def to_plain(self) -> dict[str, Any]:
        return {k: (None if v != v else v) for k, v in asdict(self).items()}


def score_odds(odds: Odds, static: StaticRate) -> OddsScores:
    """Score chances beside the static rate. Raises ValueError when there is no moment."""
    if not odds.came.size:
        raise ValueError("no moment to score")
    rate = static.find(odds)
    brier = float(np.mean((odds.chance - odds.came) ** 2))
    static_brier = float(np.mean((rate - odds.came) ** 2))
    return OddsScores(
        moments=int(odds.came.size),
        events=int(odds.came.sum()),
        brier=brier,
        static_brier=static_brier,
        brier_skill=1 - brier / static_brier if static_brier > 0 else float("nan"),
        average_precision=find_average_precision(odds.chance, odds.came),
        static_average_precision=find_average_precision(rate, odds.came),
        reliability=tuple(_list_reliability(odds)),
    )


def _list_reliability(odds: Odds) -> Iterable[tuple[float, float, int]]:
    at = np.minimum((odds.chance * BINS).astype(int), BINS - 1)
    for number in range(BINS):
        inside = at == number
        if inside.any():
            mean = float(odds.chance[inside].mean())
            yield mean, float(odds.came[inside].mean()), int(inside.sum())
