"""Which blockages were found, how soon, and which alarms were false."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.benchmark.incident_days import Day, read_stands
from networks.recordings import Recording
from traffic.incidents.raising import Alarm
from traffic.incidents.sections import Section, SectionKind

Flags = NDArray[np.bool_]

SHORTEST_S = 300.0  # a blockage that lasted less is neither to be found nor false
EXCUSED_S = 600.0  # after a blockage, while its queue clears
TOGETHER_S = 60.0  # vehicles of one blockage stand within


@dataclass(frozen=True, slots=True)
class Event:
    """A blockage as it truly was, and the section that encloses it; None where none does."""

    place: str
    seed: int
    section: int | None
    link: str
    lanes: tuple[int, ...]
    position_m: float
    begin_s: float
    end_s: float

    @property
    def counts(self) -> bool:
        return self.end_s - self.begin_s >= SHORTEST_S


def find_events(day: Day, sections: Sequence[Section]) -> tuple[Event, ...]:
    """Return the day's blockages; vehicles side by side are one."""
    groups: list[list[Mapping[str, Any]]] = []
    for stand in read_stands(day.target):
        for group in groups:
            last = group[-1]
            is_same = last["link"] == stand["link"]
            if is_same and abs(last["position_m"] - stand["position_m"]) < 30.0:
                group.append(stand)
                break
        else:
            groups.append([stand])
    return tuple(
        Event(
            day.place,
            day.seed,
            find_section(sections, group[0]["link"], group[0]["position_m"]),
            group[0]["link"],
            tuple(sorted(int(s["lane"]) for s in group)),
            group[0]["position_m"],
            min(s["begin_s"] for s in group),
            max(s["end_s"] for s in group),
        )
        for group in groups
    )


def find_section(sections: Sequence[Section], link: str, position_m: float) -> int | None:
    """Return the section that encloses a place; None when no loops do."""
    for i, section in enumerate(sections):
        if link not in section.links:
            continue
        is_mainline = section.kind is SectionKind.MAINLINE
        if is_mainline and link == section.links[0] and position_m < section.from_m:
            continue
        if is_mainline and link == section.links[-1] and position_m >= section.to_m:
            continue
        return i
    return None


def find_excused(events: Iterable[Event], recording: Recording, near: Flags) -> Flags:
    """Return T x S: where and when an alarm is right or an aftermath."""
    excused = np.zeros((len(recording.end_s), len(near)), bool)
    for event in events:
        if event.section is not None:
            when = recording.end_s > event.begin_s
            when &= recording.end_s <= event.end_s + EXCUSED_S
            excused[np.ix_(when, near[event.section])] = True
    return excused


@dataclass(frozen=True, slots=True)
class DayScore:
    """What one algorithm made of one day."""

    seed: int
    hours: float
    events: int  # blockages of 5 min and more
    delays_s: tuple[float, ...]  # from the begin of each found one to its alarm
    false_alarms: int
    is_clear: bool  # no vehicle stood that day


def score_day(
    day: Day, recording: Recording, events: Sequence[Event], alarms: Sequence[Alarm], near: Flags
) -> DayScore:
    """Score the alarms of a day.

    A blockage is found by an alarm of its section, or of one beside it, while it lasts. False is
    an alarm with no blockage there then or in the 10 min before.
    """
    counted = [event for event in events if event.counts]
    delays_s = []
    for event in counted:
        if event.section is None:
            continue
        hits = [
            alarm.time_s - event.begin_s
            for alarm in alarms
            if near[event.section, alarm.section] and event.begin_s < alarm.time_s <= event.end_s
        ]
        if hits:
            delays_s.append(min(hits))
    excused = find_excused(events, recording, near)
    row = {end_s: t for t, end_s in enumerate(recording.end_s.tolist())}
    false_alarms = sum(not excused[row[alarm.time_s], alarm.section] for alarm in alarms)
    hours = len(recording.end_s) * recording.interval_s / 3600.0
    return DayScore(
        day.seed, hours, len(counted), tuple(delays_s), false_alarms, is_clear=not events
    )


def fold_scores(scores: Sequence[DayScore], rng: np.random.Generator) -> dict[str, Any]:
    """Return rates over days with 95 % intervals, by drawing days again and again (bootstrap)."""
    picks = rng.integers(0, len(scores), (2000, len(scores)))
    columns = np.array(
        [[s.hours, s.events, len(s.delays_s), sum(s.delays_s), s.false_alarms] for s in scores]
    )
    drawn = columns[picks].sum(axis=1)  # draws x columns
    whole = columns.sum(axis=0)
    clear = columns[[s.is_clear for s in scores]].sum(axis=0)
    return {
        "days": len(scores),
        "hours": round(float(whole[0]), 2),
        "blockages": int(whole[1]),
        "found": int(whole[2]),
        "false_alarms": int(whole[4]),
        "detection_rate": _tell(whole[2], whole[1], drawn[:, 2], drawn[:, 1]),
        "false_per_hour": _tell(whole[4], whole[0], drawn[:, 4], drawn[:, 0]),
        "false_per_hour_clear_days": _round(clear[4], clear[0]),
        "time_to_detect_min": _tell(whole[3] / 60, whole[2], drawn[:, 3] / 60, drawn[:, 2]),
    }


def _round(part: float, of: float) -> float | None:
    return round(float(part / of), 3) if of > 0 else None


def _tell(part: float, of: float, parts: Any, wholes: Any) -> dict[str, float | None]:
    known = wholes > 0
    if not of > 0 or not known.any():
        return {"mean": None, "low": None, "high": None}
    low, high = np.quantile(parts[known] / wholes[known], (0.025, 0.975))
    return {"mean": _round(part, of), "low": round(float(low), 3), "high": round(float(high), 3)}
