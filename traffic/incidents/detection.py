"""Lane blockages from loops alone: where, since when, with what odds, on what evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from traffic.incidents.chance import LARGEST
from traffic.incidents.evidence import Evidence
from traffic.incidents.figures import FIGURES
from traffic.incidents.fitted import BACKGROUND, CHANCE, THRESHOLD, WEIGHTS
from traffic.incidents.normal import Usual
from traffic.incidents.raising import SAME_EVENT_S, Raiser
from traffic.incidents.sections import (
    ENTRY,
    Layout,
    Section,
    SectionKind,
    build_sections,
    find_neighbors,
)
from traffic.incidents.texts import tell_finding, tell_place
from traffic.incidents.weights import Weights
from traffic.model import ModelError, Network
from traffic.readings import LoopBatch, arrange_loops
from traffic.units import to_clock

Floats = NDArray[np.float64]

DRIFT = 3.0  # log odds at which suspicion neither grows nor falls: a chance of 0.05
CEILING = 40.0  # of the sum: an alarm ends soon after the blockage
WARM_UP = 10  # intervals that a day needs to fill


@dataclass(frozen=True)
class IncidentFinding:
    """A blockage that the loops speak for; `cleared_s` is set once, when they no longer do."""

    id: str
    section: str
    links: tuple[str, ...]  # between whose loops it lies, upstream to downstream
    lane: int | None  # where the loops tell
    onset_s: float  # since when the evidence has grown
    found_s: float
    probability: float  # 0..1, that it is still blocked, see traffic.incidents.chance
    evidence: Mapping[str, float]  # figure -> its share of the log odds, the largest first
    loops: tuple[str, ...]
    entry_loops: tuple[str, ...]  # of these, those where vehicles come in
    place: Mapping[str, str]  # language -> where it is
    text: Mapping[str, str]  # language -> what an officer reads
    cleared_s: float | None = None


class Suspicion:
    """Sums the sections' log odds over time; call `update` once for each batch, in order.

    S' = min(max(S + clip(l, -LARGEST, LARGEST) + DRIFT, 0), CEILING) with l the log odds of one
    interval: Page's cumulative sum (1954), which rises while a blockage is likely and forgets it
    when traffic flows. What a section's figures reach in usual traffic speaks for nothing; only
    what goes beyond counts.
    """

    def __init__(
        self,
        sections: Sequence[Section],
        layout: Layout,
        weights: Mapping[SectionKind, Weights] = WEIGHTS,
    ) -> None:
        self._evidence = Evidence(sections, layout)
        self._base = np.array([weights[s.kind].base for s in sections])
        self._slopes = np.array([weights[s.kind].as_array() for s in sections])  # S x F
        self._of_kind = list_backgrounds(sections)
        self._seen = 0
        self.figures = np.zeros((len(sections), len(FIGURES)))  # S x F
        self.shares = np.zeros((len(sections), len(FIGURES)))  # S x F, of the log odds
        self.log_odds = np.full(len(sections), -np.inf)
        self.levels = np.zeros(len(sections))

    def update(self, batch: LoopBatch, usual: Usual) -> Floats:
        """Return the level of suspicion of each section, S."""
        self.figures = self._evidence.update(batch, usual)
        beyond = np.maximum(self.figures - usual.background.tell(self._of_kind), 0.0)
        self.shares = beyond * self._slopes
        self.log_odds = self._base + self.shares.sum(axis=1)
        self._seen += 1
        if self.is_warm:
            self.levels = accumulate(self.levels, self.log_odds)
        return self.levels

    @property
    def is_warm(self) -> bool:
        """Whether the figures have had their first minutes."""
        return self._seen > WARM_UP

    def find_starved(self, section: int) -> tuple[int, int] | None:
        """Return station and position in it of the lane that starves most; None if none does."""
        return self._evidence.find_starved(section)


def accumulate(levels: Floats, log_odds: Floats) -> Floats:
    """Return the cumulative sums (S) after one more interval, see Suspicion."""
    return np.clip(levels + np.clip(log_odds, -LARGEST, LARGEST) + DRIFT, 0.0, CEILING)


def list_backgrounds(sections: Sequence[Section]) -> Floats:
    """Return what figures reach in usual traffic on sections of these kinds, S x F."""
    return np.array([[BACKGROUND[s.kind][name] for name in FIGURES] for s in sections]).reshape(
        len(sections), len(FIGURES)
    )


class IncidentDetector:
    """Finds blockages in screened batches; call `update` once for each batch, in order.

    `usual` is what the city's loops read on other days; it goes on learning here, but from no
    section under suspicion. Of streets nothing is said at a time of day that was never heard
    before: turns and signals divide their traffic in ways that only the usual tells. `threshold`
    comes from find_threshold for an operator's budget. Raises ModelError with all problems at once.
    """

    def __init__(
        self,
        network: Network,
        usual: Usual | None = None,
        threshold: float = THRESHOLD,
        weights: Mapping[SectionKind, Weights] = WEIGHTS,
    ) -> None:
        loops = tuple(network.detectors)
        self.sections = build_sections(network)
        self._usual = usual or Usual(Layout(self.sections, loops))
        problems = []
        if self._usual.layout.detectors != loops:
            problems.append("the usual readings are of other loops than the network's")
        if not threshold > 0:
            problems.append(f"threshold {threshold} must be above 0")
        problems += [f"no weights for {k.value} sections" for k in SectionKind if k not in weights]
        if problems:
            raise ModelError(f"incident detection of {network.id}", problems)
        self._network = network
        self._near = find_neighbors(network, self.sections)
        self._suspicion = Suspicion(self.sections, self._usual.layout, weights)
        self._raiser = Raiser(self._near, threshold)
        self._threshold = threshold
        self._loops = loops
        self._of_loop = [
            np.array([loops.index(d) for station in s.stations for d in station], int)
            for s in self.sections
        ]
        self._is_mainline = np.array([s.kind is SectionKind.MAINLINE for s in self.sections], bool)
        self._since_s = np.full(len(self.sections), np.nan)
        self._standing: dict[int, IncidentFinding] = {}
        self._cleared: dict[int, IncidentFinding] = {}  # the latest of each section
        self._number = 0

    def update(self, batch: LoopBatch) -> tuple[IncidentFinding, ...]:
        """Return the findings that stand, and those cleared in this interval.

        A loop that the batch lacks is missing. Raises ValueError when the batch has other loops
        than the network.
        """
        batch = arrange_loops(batch, self._loops)
        levels = self._suspicion.update(batch, self._usual)
        can_judge = self._can_judge(batch)
        levels = np.where(can_judge, levels, 0.0)
        new = np.isnan(self._since_s) & (levels > 0)
        self._since_s[new] = batch.end_s - batch.interval_s
        self._since_s[levels <= 0] = np.nan
        for alarm in self._raiser.update(levels, batch.end_s):
            self._standing[alarm.section] = self._find(alarm.section, alarm.time_s)
        for section in np.flatnonzero(self._raiser.is_on).tolist():
            before = self._cleared.get(section)
            # Raised again so soon that it is the same event, and no new alarm.
            if before is not None and section not in self._standing and _is_recent(before, batch):
                self._standing[section] = replace(before, cleared_s=None)
        told = []
        for section, finding in list(self._standing.items()):
            chance = self._find_chance(section, batch.end_s - finding.found_s)
            latest = replace(finding, probability=chance, evidence=self._tell_evidence(section))
            if not self._raiser.is_on[section]:
                latest = replace(latest, cleared_s=batch.end_s)
                self._cleared[section] = latest
                del self._standing[section]
            else:
                self._standing[section] = latest
            told.append(latest)
        self._learn(batch, levels, can_judge)
        return tuple(told)

    def _find_chance(self, section: int, age_s: float) -> float:
        return CHANCE.tell(float(self._suspicion.log_odds[section]), age_s)

    def _can_judge(self, batch: LoopBatch) -> NDArray[np.bool_]:
        """Return of which sections (S) enough is known at this time of day."""
        heard = self._usual.normal.knows(batch.end_s - batch.interval_s / 2, batch.interval_s)
        silent = self._usual.layout.gather(heard.astype(float)) == 0.0  # S x 3 x K
        return np.asarray(self._is_mainline | ~silent.any(axis=(1, 2)))

    def _learn(self, batch: LoopBatch, levels: Floats, can_judge: NDArray[np.bool_]) -> None:
        is_suspect = levels >= self._threshold / 2
        believed = np.ones(len(self._loops), bool)
        for section in np.flatnonzero(is_suspect):
            believed[self._of_loop[section]] = False
        self._usual.learn(batch, believed)
        if self._suspicion.is_warm:
            beside = self._near[self._raiser.is_on].any(axis=0)
            is_usual = can_judge & ~is_suspect & ~beside
            self._usual.background.learn(self._suspicion.figures, is_usual)

    def _find(self, index: int, now_s: float) -> IncidentFinding:
        section = self.sections[index]
        self._number += 1
        lane = self._name_lane(index)
        chance = self._find_chance(index, 0.0)
        onset_s = float(self._since_s[index])
        place = tell_place(self._network, section, lane)
        loops = tuple(dict.fromkeys(loop for station in section.stations for loop in station))
        return IncidentFinding(
            f"incident@{self._number}",
            section.id,
            section.links,
            lane,
            onset_s,
            now_s,
            chance,
            self._tell_evidence(index),
            loops,
            section.stations[ENTRY],
            place,
            tell_finding(place, to_clock(onset_s)),
        )

    def _name_lane(self, index: int) -> int | None:
        """Return the number of the lane that gets least of its share, at the loops that say so."""
        place = self._suspicion.find_starved(index)
        if place is None:
            return None
        station, position = place
        return self._network.detectors[self.sections[index].stations[station][position]].lane

    def _tell_evidence(self, index: int) -> dict[str, float]:
        shares = self._suspicion.shares[index]
        order = np.argsort(-shares, kind="stable")
        return {FIGURES[k]: round(float(shares[k]), 2) for k in order if shares[k] > 0.1}


def _is_recent(cleared: IncidentFinding, batch: LoopBatch) -> bool:
    return cleared.cleared_s is not None and batch.end_s - cleared.cleared_s < SAME_EVENT_S
