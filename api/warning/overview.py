"""What a benchmark of warnings comes to: every figure, for machines and for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from api.warning.judging import list_breakdown_odds, list_fitted, list_queue_odds, warn
from api.warning.scores import (
    EventScores,
    Odds,
    OddsScores,
    WarnedDay,
    fit_static,
    join_odds,
    score_events,
    score_odds,
)
from api.warning.series import DaySeries
from networks.scenario import Scenario
from traffic.congestion import CongestionSettings
from traffic.units import to_clock
from traffic.warning.models import WarningModels
from traffic.warning.spillback import SHARES

FORMAT = 1
TOLD_LEADS_S = (300.0, 600.0, 900.0, 1800.0)
FITTED, PRESENT = "fitted", "inflow against capacity"  # the warnings that are compared
GOALS: Mapping[str, str] = {
    "recall": ">= 0.95",
    "precision": ">= 0.9",
    "median lead, min": ">= 15",
    "share of time in false alarm": "<= 0.05",
    "spillback within 10 min, average precision": ">= 0.68, and 0.12 above the static rate",
}
PROTOCOL = (
    "Simulated days of Heishizi from 06:30 to 08:15 in steps of 1 s without a response, half of "
    "them calm. A breakdown is speed below 40 km/h upstream of the bottleneck for 5 min and in the "
    "mean of 15. It is warned of when an alert was raised before and stood at its onset. An alert "
    "is false when no breakdown stood while it did. Odds are scored at moments 30 s apart before "
    "the event, where the next minutes are known; the static rate is that of the training days by "
    "place and quarter-hour."
)


@dataclass(frozen=True, eq=False)
class Judged:
    """Warnings of one sort over the scored days, and their odds beside the static rate."""

    days: tuple[WarnedDay, ...]
    events: EventScores
    odds: Mapping[float, OddsScores]  # lead, s -> of breakdown within it


def judge(
    training: Sequence[DaySeries],
    scored: Sequence[DaySeries],
    scenario: Scenario,
    settings: CongestionSettings,
    models: WarningModels | None,
) -> Judged:
    """Score warnings: of the models, or without any those of the plain forecast."""
    warned, odds = [], {}
    for day in scored:
        forecasts = day.forecasts if models is None else list_fitted(day, models)
        warned.append(warn(day, scenario, forecasts, settings))
    leads = scored[0].forecasts[0].lead_s
    for lead_s in TOLD_LEADS_S:
        at = leads.index(lead_s)
        static = fit_static(_join_breakdown(training, None, at))
        odds[lead_s] = score_odds(_join_breakdown(scored, models, at), static)
    return Judged(tuple(warned), score_events(warned), odds)


def _join_breakdown(days: Sequence[DaySeries], models: WarningModels | None, at: int) -> Odds:
    return join_odds(
        list_breakdown_odds(
            day,
            day.base_chance if models is None else models.breakdown.find_chance(day.breakdown),
            at,
        )
        for day in days
    )


def judge_queues(
    training: Sequence[DaySeries], scored: Sequence[DaySeries], models: WarningModels
) -> dict[tuple[float, float], OddsScores]:
    """Return (share of storage, lead, s) -> scores, storages at which nothing came left in."""
    leads = scored[0].forecasts[0].lead_s
    found = {}
    for share in SHARES:
        for lead_s in TOLD_LEADS_S:
            at = leads.index(lead_s)
            static = fit_static(_join_queue(training, models, at, share))
            found[share, lead_s] = score_odds(_join_queue(scored, models, at, share), static)
    return found


def _join_queue(days: Sequence[DaySeries], models: WarningModels, at: int, share: float) -> Odds:
    return join_odds(odds for day in days for odds in list_queue_odds(day, models, at, share))


def count_causes(days: Sequence[WarnedDay]) -> dict[str, dict[str, int]]:
    """Return kind of day -> cause told -> alerts of breakdowns."""
    counts: dict[str, dict[str, int]] = {}
    for day in days:
        for alert in day.alerts if day.events.breakdowns else ():
            of_kind = counts.setdefault(day.kind, {})
            of_kind[alert.cause] = of_kind.get(alert.cause, 0) + 1
    return counts


def build_overview(
    scenario: Scenario,
    training: Sequence[DaySeries],
    judged: Mapping[str, Judged],
    queues: Mapping[tuple[float, float], OddsScores],
    settings: CongestionSettings,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "scenario": scenario.id,
        "protocol": PROTOCOL,
        "goals": dict(GOALS),
        "settings": settings.version,
        "training_days": [day.name for day in training],
        "warnings": {
            name: {
                "events": asdict(one.events),
                "causes": count_causes(one.days),
                "odds": {f"{lead:g}": scores.to_plain() for lead, scores in one.odds.items()},
                "days": [_tell_day(day) for day in one.days],
            }
            for name, one in judged.items()
        },
        "queue": {
            f"{share:g} of storage within {lead:g} s": scores.to_plain()
            for (share, lead), scores in queues.items()
        },
    }


def _tell_day(day: WarnedDay) -> dict[str, Any]:
    return {
        "day": day.name,
        "breakdowns": [asdict(one) for one in day.events.breakdowns],
        "alerts": [asdict(alert) for alert in day.alerts],
    }


def print_overview(
    judged: Mapping[str, Judged],
    queues: Mapping[tuple[float, float], OddsScores],
    console: Console,
) -> None:
    table = Table("warnings", *judged, title="by event")
    rows = {
        "days": "days", "breakdowns": "events", "warned of": "warned", "late": "late",
        "missed": "missed", "false alarms": "false_alarms", "repeated": "repeated",
        "recall": "recall", "precision": "precision", "median lead, min": "median_lead_min",
        "false alarms per network-hour": "false_per_hour",
        "share of time in alarm": "share_in_alarm",
        "share of time in false alarm": "share_in_false_alarm",
    }  # fmt: skip
    for title, name in rows.items():
        values = (getattr(one.events, name) for one in judged.values())
        table.add_row(title, *(_tell(value) for value in values))
    console.print(table)
    table = Table("breakdown within", title="odds, Brier skill and average precision (static)")
    for name in judged:
        table.add_column(name)
    for lead_s in TOLD_LEADS_S:
        scores = [one.odds[lead_s] for one in judged.values()]
        table.add_row(f"{lead_s / 60:g} min", *map(_tell_odds, scores))
    console.print(table)
    table = Table("queue passes", *(f"{lead / 60:g} min" for lead in TOLD_LEADS_S), title="queue")
    for share in SHARES:
        table.add_row(
            f"{share:.0%} of storage",
            *(_tell_odds(queues[share, lead_s]) for lead_s in TOLD_LEADS_S),
        )
    console.print(table)
    for name, one in judged.items():
        for day in one.days:
            truth = ", ".join(to_clock(b.onset_s) for b in day.events.breakdowns) or "none"
            raised = ", ".join(
                f"{to_clock(a.raised_s)}-{to_clock(a.end_s)} {a.cause}" for a in day.alerts
            )
            console.print(f"{name}: {day.name}: breakdown {truth}; alerts {raised or 'none'}")


def _tell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _tell_odds(scores: OddsScores) -> str:
    return (
        f"{scores.brier_skill:.2f}, {scores.average_precision:.2f} "
        f"({scores.static_average_precision:.2f})"
    )
