"""Ours, California #7 and the standard normal deviate on the same days: calibrated, then scored."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from api.benchmark.incident_chances import Told, list_told
from api.benchmark.incident_days import READINGS, Day, load_place
from api.benchmark.incident_scores import DayScore, Event, find_events, find_excused, score_day
from networks.recordings import Recording, load_recording
from traffic.health import HealthScreen
from traffic.incidents.detection import (
    WARM_UP,
    IncidentDetector,
    Suspicion,
    accumulate,
    list_backgrounds,
)
from traffic.incidents.evidence import Evidence
from traffic.incidents.figures import FIGURES
from traffic.incidents.fitted import WEIGHTS
from traffic.incidents.normal import Usual
from traffic.incidents.peers import CaliforniaLimits, Occupancies, run_california, run_snd
from traffic.incidents.raising import (
    SAFETY,
    Alarm,
    CalibrationDay,
    find_threshold,
    raise_all,
)
from traffic.incidents.sections import Layout, Section, SectionKind, build_sections, find_neighbors
from traffic.incidents.weights import LEAST_BLOCKED, Weights, fit_weights
from traffic.model import ModelError, Network
from traffic.readings import LoopBatch

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

OURS = "ours"
ALGORITHMS = {
    OURS: "sums of evidence from counts, occupancies and usual readings",
    "california7": "California algorithm #7 (Payne and Tignor 1978)",
    "snd": "standard normal deviate of occupancy (Dudek, Messer and Nuckles 1974)",
}
_DIFFERENCES = (2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0)
_RELATIVES = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)
_BELOWS = (2.0, 5.0, 10.0, 20.0, 40.0)
_BASES = (6, 10, 20)  # intervals: 3, 5 and 10 min
_DEVIATES = np.geomspace(1.5, 60.0, 40)
FOLDS = 5  # of the training days; what is learned from four is tried on the fifth
Of = TypeVar("Of")
LEAD_S = 60.0  # of a blockage until its section can look blocked, for fitting


@dataclass(frozen=True, eq=False)
class Seen:
    """One recorded day with what it truly held."""

    day: Day
    recording: Recording
    batches: tuple[LoopBatch, ...]  # as the engine would get them, bad readings labelled
    events: tuple[Event, ...]
    excused: Flags  # T x S


@dataclass(frozen=True, eq=False)
class Place:
    """A network with its sections, and its days of training and of scoring."""

    name: str
    network: Network
    sections: tuple[Section, ...]
    near: Flags  # S x S
    training: tuple[Seen, ...]
    scoring: tuple[Seen, ...]
    threshold: float  # in the scene's alert settings
    usual: Usual  # of all training days
    beyond: tuple[Floats, ...]  # T x S x F of each training day: figures beyond the background

    def find_odds(self, index: int, weights: Mapping[SectionKind, Weights]) -> Floats:
        """Return the log odds of a training day, T x S."""
        base = np.array([weights[section.kind].base for section in self.sections])
        slopes = np.array([weights[section.kind].as_array() for section in self.sections])
        return np.asarray(base + (self.beyond[index] * slopes).sum(axis=2))


def load_trial(name: str, folder: Path, training: Iterable[int], scoring: Iterable[int]) -> Place:
    """Load the recorded days of a place and learn what is usual from those of training.

    What a training day shows is judged by what is usual on the days of the other folds, as a day
    to come would be. Raises ModelError or EvidenceError naming a file that is broken or of another
    network.
    """
    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        scenario = load_place(name, Path(scratch))
    network = scenario.network
    sections = build_sections(network)
    near = find_neighbors(network, sections)

    def see(seed: int) -> Seen:
        day = Day(name, seed, folder)
        recording = load_recording(day.target / READINGS)
        if recording.detectors != tuple(network.detectors):
            path = day.target / READINGS
            raise ModelError(f"recording {path}", [f"has other loops than {name}"])
        health = HealthScreen(network)
        batches = tuple(health.screen(batch, batch.end_s) for batch in recording.batches())
        events = find_events(day, sections)
        return Seen(day, recording, batches, events, find_excused(events, recording, near))

    known = tuple(see(seed) for seed in training)
    layout = Layout(sections, tuple(network.detectors))
    by_fold = [_learn_usual(sections, layout, list_others(known, fold)) for fold in range(FOLDS)]
    figures = [
        _find_figures(sections, layout, seen, by_fold[i % FOLDS]) for i, seen in enumerate(known)
    ]
    shown = list(zip(known, figures, strict=True))
    for fold, usual in enumerate(by_fold):
        _learn_background(usual, list_others(shown, fold))
    usual = _learn_usual(sections, layout, known)
    _learn_background(usual, shown)
    of_kind = list_backgrounds(sections)
    beyond = tuple(
        np.maximum(of_day - by_fold[i % FOLDS].background.tell(of_kind), 0.0)
        for i, of_day in enumerate(figures)
    )
    return Place(
        name, network, sections, near, known, tuple(see(seed) for seed in scoring),
        scenario.alerts.incident_threshold, usual, beyond,
    )  # fmt: skip


def list_others(days: Sequence[Of], fold: int | None) -> list[Of]:
    """Return the days of all folds but one, or all."""
    return [day for i, day in enumerate(days) if i % FOLDS != fold]


def _learn_usual(sections: Sequence[Section], layout: Layout, days: Iterable[Seen]) -> Usual:
    """Learn from all loops but those near a blockage."""
    usual = Usual(layout)
    index = {loop: i for i, loop in enumerate(layout.detectors)}
    loops = [[index[loop] for st in section.stations for loop in st] for section in sections]
    for seen in days:
        for batch, excused in zip(seen.batches, seen.excused, strict=True):
            believed = np.ones(len(layout.detectors), bool)
            for section in np.flatnonzero(excused):
                believed[loops[section]] = False
            usual.learn(batch, believed)
    return usual


def _find_figures(sections: Sequence[Section], layout: Layout, seen: Seen, usual: Usual) -> Floats:
    evidence = Evidence(sections, layout)
    return np.array([evidence.update(batch, usual) for batch in seen.batches])


def _learn_background(usual: Usual, days: Iterable[tuple[Seen, Floats]]) -> None:
    for seen, figures in days:
        for of_interval, excused in zip(figures[WARM_UP:], seen.excused[WARM_UP:], strict=True):
            usual.background.learn(of_interval, ~excused)


def gather_examples(
    places: Iterable[Place], fold: int | None = None
) -> dict[SectionKind, tuple[Floats, Flags]]:
    """Return by kind what training days show, N x F, and whether blocked, N; without one fold.

    Intervals in the shadow of a blockage, just begun or clearing or next door, are left out.
    """
    found: dict[SectionKind, list[tuple[Floats, Flags]]] = {kind: [] for kind in SectionKind}
    for place in places:
        kinds = np.array([section.kind.value for section in place.sections])
        for seen, beyond in list_others(list(zip(place.training, place.beyond, strict=True)), fold):
            end_s = seen.recording.end_s
            blocked = np.zeros(beyond.shape[:2], bool)
            for event in seen.events:
                if event.section is not None:
                    when = (end_s > event.begin_s + LEAD_S) & (end_s <= event.end_s)
                    blocked[when, event.section] = True
            used = blocked | ~seen.excused
            used[:WARM_UP] = False
            for kind in SectionKind:
                rows = used & (kinds == kind.value)
                found[kind].append((beyond[rows], blocked[rows]))
    return {
        kind: (np.concatenate([f for f, _ in parts]), np.concatenate([b for _, b in parts]))
        for kind, parts in found.items()
        if parts
    }


def fit_places(places: Iterable[Place], fold: int | None = None) -> dict[SectionKind, Weights]:
    """Fit the weights of each kind of section, without the days of one fold.

    Where too few blockages are known those that came with us serve.
    """
    fitted = dict(WEIGHTS)
    for kind, (beyond, blocked) in gather_examples(places, fold).items():
        if min(int(blocked.sum()), int((~blocked).sum())) >= LEAST_BLOCKED:
            fitted[kind] = fit_weights(beyond, blocked)
    return fitted


def list_usual_backgrounds(places: Iterable[Place]) -> dict[str, dict[str, float]]:
    """Return what figures reach in usual traffic on three in four sections, by kind and figure."""
    rows: dict[SectionKind, list[Floats]] = {kind: [] for kind in SectionKind}
    for place in places:
        own = place.usual.background.tell(list_backgrounds(place.sections))
        for section, figures in zip(place.sections, own, strict=True):
            rows[section.kind].append(figures)
    return {
        kind.value: dict(
            zip(FIGURES, np.quantile(found, 0.75, axis=0).round(2).tolist(), strict=True)
        )
        for kind, found in rows.items()
        if found
    }


def calibrate(
    place: Place, by_fold: Sequence[Mapping[SectionKind, Weights]], budget: float
) -> tuple[float, list[Told]]:
    """Return the threshold of a place, and what is told at it on the training days.

    Each is judged by weights of the other folds' days.
    """
    odds = [place.find_odds(i, by_fold[i % FOLDS]) for i in range(len(place.training))]
    trained = [
        CalibrationDay(_sum_up(of_day), seen.recording.end_s, seen.excused)
        for of_day, seen in zip(odds, place.training, strict=True)
    ]
    threshold = find_threshold(trained, place.near, budget)
    told = [
        list_told(day.levels, of_day, day.end_s, place.near, threshold, seen.events)
        for day, of_day, seen in zip(trained, odds, place.training, strict=True)
    ]
    return threshold, told


def score_ours(
    place: Place, weights: Mapping[SectionKind, Weights], threshold: float
) -> tuple[list[DayScore], list[Told]]:
    """Score the days of scoring at a threshold; return also what is told on them."""
    scores, told = [], []
    for seen in place.scoring:
        odds, levels = _run_ours(place, seen, weights)
        scores.append(_score(place, seen, levels, threshold))
        end_s = seen.recording.end_s
        told.append(list_told(levels, odds, end_s, place.near, threshold, seen.events))
    return scores, told


def _run_ours(
    place: Place, seen: Seen, weights: Mapping[SectionKind, Weights]
) -> tuple[Floats, Floats]:
    """Return log odds and levels of a day, T x S each."""
    suspicion = Suspicion(place.sections, place.usual.layout, weights)
    odds, levels = [], []
    for batch in seen.batches:
        levels.append(suspicion.update(batch, place.usual))
        odds.append(suspicion.log_odds)
    return np.array(odds), np.array(levels)


def _sum_up(odds: Floats) -> Floats:
    """Return the levels that log odds of a day (T x S) add up to."""
    levels = np.zeros_like(odds)
    for t in range(WARM_UP, len(odds)):
        levels[t] = accumulate(levels[t - 1], odds[t])
    return levels


def _score(place: Place, seen: Seen, levels: Floats, threshold: float | Floats) -> DayScore:
    alarms = raise_all(levels, seen.recording.end_s, place.near, threshold)
    return score_day(seen.day, seen.recording, seen.events, alarms, place.near)


def score_fresh(place: Place, days: Iterable[Seen]) -> list[DayScore]:
    """Score ours as an engine runs it that has just been started: at the scene's threshold, and
    with all that is usual yet to be learned, day by day.
    """
    index = {section.id: i for i, section in enumerate(place.sections)}
    scores = []
    for seen in days:
        detector = IncidentDetector(place.network, threshold=place.threshold)
        found = {f.id: f for batch in seen.batches for f in detector.update(batch)}
        alarms = tuple(Alarm(f.found_s, index[f.section]) for f in found.values())
        scores.append(score_day(seen.day, seen.recording, seen.events, alarms, place.near))
    return scores


@dataclass(frozen=True)
class _Setting:
    """One setting of a peer: levels from occupancies, and the threshold that they must reach."""

    told: Mapping[str, float]
    run: Callable[[Floats], Floats]  # occupancies T x 2 x S -> levels T x S
    threshold: float


def _list_california() -> Iterator[_Setting]:
    for difference, relative, below in product(_DIFFERENCES, _RELATIVES, _BELOWS):
        limits = CaliforniaLimits(difference, relative, below)
        told = {"T1": difference, "T2": relative, "T3": below}
        yield _Setting(told, partial(run_california, limits=limits), 1.0)


def _list_snd() -> Iterator[_Setting]:
    for base, is_confirmed in product(_BASES, (False, True)):
        run = partial(run_snd, base=base, is_confirmed=is_confirmed)
        for deviate in _DEVIATES:
            told = {"base_min": base / 2, "confirmed": float(is_confirmed)}
            yield _Setting(told | {"deviate": round(float(deviate), 3)}, run, float(deviate))


PEERS: Mapping[str, Callable[[], Iterator[_Setting]]] = {
    "california7": _list_california,
    "snd": _list_snd,
}


def score_peer(
    place: Place, peer: str, budget: float
) -> tuple[list[DayScore], dict[str, Mapping[str, float]]]:
    """Calibrate a peer for each kind of section, score the others; return also the settings.

    Of the settings that keep within the budget on the training days, shared among the kinds, the
    one that finds most there, and finds it soonest, is taken.
    """
    trained = [_read_occupancies(place, seen) for seen in place.training]
    kinds = [k for k in SectionKind if any(s.kind is k for s in place.sections)]
    chosen: dict[SectionKind, _Setting] = {}
    for kind in kinds:
        ours = np.array([section.kind is kind for section in place.sections])
        allowed = SAFETY * budget / len(kinds)
        best: tuple[float, float] | None = None
        run: Callable[[Floats], Floats] | None = None
        by_day: list[Floats] = []
        for setting in PEERS[peer]():
            if setting.run is not run:  # the same levels serve all thresholds
                run = setting.run
                by_day = [np.where(ours, run(occupancies), 0.0) for occupancies in trained]
            scores = [
                _score(place, seen, of_day, setting.threshold)
                for seen, of_day in zip(place.training, by_day, strict=True)
            ]
            if sum(s.false_alarms for s in scores) > allowed * sum(s.hours for s in scores):
                continue
            delays_s = [d for s in scores for d in s.delays_s]
            rank = (len(delays_s), -float(np.mean(delays_s)) if delays_s else 0.0)
            if best is None or rank > best:
                best, chosen[kind] = rank, setting
    scores = []
    for seen in place.scoring:
        occupancies = _read_occupancies(place, seen)
        levels = np.zeros((len(occupancies), len(place.sections)))
        for kind, setting in chosen.items():
            ours = np.array([section.kind is kind for section in place.sections])
            part = setting.run(occupancies) / setting.threshold
            levels = np.where(ours, part, levels)
        scores.append(_score(place, seen, levels, 1.0))
    return scores, {kind.value: setting.told for kind, setting in chosen.items()}


def _read_occupancies(place: Place, seen: Seen) -> Floats:
    ends = Occupancies(place.sections, seen.recording.detectors)
    return np.array([ends.update(batch) for batch in seen.batches])
