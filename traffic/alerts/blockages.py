"""Alerts of blocked lanes away from any bottleneck, and what findings tell to any alert.

Findings of one event, a blockage with the queue behind it, belong together: neighbors that are
found while one stands join it. An event ends when nothing has been found for a while.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from traffic.alerts.alert import Alert, Cause, Level, Severity
from traffic.alerts.evidence import Line, find_speed_mps, list_readings
from traffic.alerts.orders import Attended
from traffic.alerts.settings import CongestionSettings
from traffic.alerts.texts import tell_blockage, tell_suspicion
from traffic.incidents.detection import IncidentFinding
from traffic.model import Network
from traffic.readings import LoopBatch

SLOW_SHARE = 0.5  # of free speed, below which vehicles queue where they come in


class Event:
    """The findings of one event, each by what it told last; call `hear` with each batch's."""

    def __init__(self, network: Network, settings: CongestionSettings) -> None:
        self._network = network
        self._settings = settings
        self._latest: dict[str, IncidentFinding] = {}  # finding -> as it last stood
        self._dismissed: set[str] = set()  # findings that an operator has cleared
        self._where: dict[str, tuple[str, ...]] = {}  # finding -> links, of the whole event
        self._quiet_s = np.inf  # without any that is to be told
        self._empty_s = np.inf  # without any
        self.first: IncidentFinding | None = None  # by which the event is named

    def hear(self, findings: Iterable[IncidentFinding], interval_s: float) -> None:
        """Take in the event's findings, those that stand and those just cleared."""
        for finding in findings:
            if finding.cleared_s is not None:
                self._latest.pop(finding.id, None)
                continue
            self._latest[finding.id] = finding
            self._where[finding.id] = finding.links
        standing = self.standing
        if standing and self.is_over:
            self.first = standing[0]
        self._quiet_s = 0.0 if standing else self._quiet_s + interval_s
        self._empty_s = 0.0 if self._latest else self._empty_s + interval_s
        if self.is_gone:
            self._where.clear()
            self._dismissed.clear()

    @property
    def standing(self) -> tuple[IncidentFinding, ...]:
        """Findings that stand and that no operator has dismissed, the oldest first."""
        return tuple(f for f in self._latest.values() if f.id not in self._dismissed)

    @property
    def is_gone(self) -> bool:
        """Whether for a while nothing has stood, be it dismissed or not."""
        return self._empty_s >= self._settings.incident_clear_s

    @property
    def is_over(self) -> bool:
        """Whether nothing has been found for a while."""
        return self._quiet_s >= self._settings.incident_clear_s

    def dismiss(self) -> None:
        """Say nothing more of the findings that stand; one that comes is news."""
        self._dismissed |= self._latest.keys()
        self._quiet_s = np.inf

    def is_near(self, finding: IncidentFinding) -> bool:
        """Whether it lies on, or next to, what belongs to the event."""
        turns, links = self._network.turns, finding.links
        return any(
            bool(set(one) & set(links))
            or (one[-1], links[0]) in turns
            or (links[-1], one[0]) in turns
            for one in self._where.values()
        )

    @property
    def chance(self) -> float | None:
        """Of the surest finding that stands, None without any."""
        return max((one.probability for one in self.standing), default=None)

    def tell(self, finding: IncidentFinding) -> Line:
        """Return the line of evidence of a finding that stands."""
        return tell_blockage(finding, finding.probability)


class Blockage(Attended):
    """One event away from any bottleneck, and its alert, if any."""

    def __init__(self, id_: str, network: Network, settings: CongestionSettings) -> None:
        super().__init__(settings)
        self.event = Event(network, settings)
        self._id = id_
        self._network = network
        self._number = 0

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to tell, and nothing that stands unsaid."""
        return self.alert is None and self.event.is_gone

    def update(self, batch: LoopBatch, findings: Iterable[IncidentFinding]) -> Alert | None:
        """Return the alert when it is open or was cleared just now."""
        self.event.hear(findings, batch.interval_s)
        standing = self.event.standing
        now_s = batch.end_s
        if self.alert is None:
            if not standing:
                return None
            self._calmer_s = 0.0
            self._number += 1
            self.alert = Alert(
                id=f"{self._id}.{self._number}",
                bottleneck=None,
                level=Level.SUSPECTED,
                raised_s=now_s,
                updated_s=now_s,
                cleared_s=None,
                expected_onset_s=None,
                breakdown_chance=float("nan"),
                text={},
                evidence=(),
                cause=Cause.INCIDENT,
                settings=self._settings.version,
                links=standing[0].links,
            )
        alert = replace(self.alert, updated_s=now_s)
        if self._closed_by is not None:
            alert = replace(alert, cleared_s=now_s, cleared_by=self._closed_by)
            self.event.dismiss()
            self._closed_by = None
        elif self.event.is_over:
            alert = replace(alert, cleared_s=now_s)
        alert = self._describe(alert, batch)
        self.alert = alert if alert.cleared_s is None else None
        return alert

    def _describe(self, alert: Alert, batch: LoopBatch) -> Alert:
        first, standing = self.event.first, self.event.standing
        if first is None:
            return alert
        if standing:
            lines = tuple(self.event.tell(one) for one in standing)
            loops = tuple(dict.fromkeys(loop for one in standing for loop in one.loops))
            readings = list_readings(batch, loops)
            alert = replace(alert, evidence=lines, readings=readings)
        text = tell_suspicion(alert, first.place, first.onset_s, self.event.chance)
        alert = replace(alert, text=text)
        return alert if alert.cleared_s is not None else self._judge(alert, batch)

    def _judge(self, alert: Alert, batch: LoopBatch) -> Alert:
        """It is minor while traffic gets by, major once vehicles queue where they come in."""
        severity = Severity.MAJOR if self._is_slow(batch) else Severity.MINOR
        return self._grade(alert, severity, batch.interval_s)

    def _is_slow(self, batch: LoopBatch) -> bool:
        for finding in self.event.standing:
            speed_mps = find_speed_mps(
                batch, finding.entry_loops, self._settings.standing_occupancy
            )
            free_mps = self._network.links[finding.links[0]].free_speed_mps
            if speed_mps is not None and speed_mps < SLOW_SHARE * free_mps:
                return True
        return False
