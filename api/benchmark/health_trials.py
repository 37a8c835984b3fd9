"""Faults put into recorded days: which are found, by what name, how soon, and who is wronged."""

import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.benchmark.incident_days import READINGS, Day, load_place
from networks.faulty_field import Fault, FaultKind, break_batches
from networks.recordings import Recording, load_recording
from traffic.health import HealthScreen
from traffic.model import Network
from traffic.neighbors import find_neighbors
from traffic.readings import Quality

Flags = NDArray[np.bool_]

# By what names a fault may be called: what the officer is told must help who mends it.
NAMES: Mapping[FaultKind, tuple[Quality, ...]] = {
    FaultKind.STUCK: (Quality.LOCKED_ON, Quality.NO_CHANGE),
    FaultKind.CHATTERING: (Quality.CHATTER,),
    FaultKind.DEAD: (Quality.NO_HITS,),
    FaultKind.DRIFTING: (Quality.DRIFTING,),
    FaultKind.SWAPPED: (Quality.SWAPPED,),
    FaultKind.LATE: (Quality.LATE,),
}
EACH = 6  # faults of a kind in one day
BUSY_VPH = 60.0  # a loop that counts less tells too little to be judged in an hour
ONSET_SHARE = 0.35  # of a day, before which all loops are sound


@dataclass(frozen=True, slots=True)
class KindScore:
    """What became of one kind of fault in one day."""

    kind: str
    injected: int
    found: int  # called by a right name
    misnamed: int  # called bad, but by another name only
    delays_s: tuple[float, ...]
    wrongly_failed: int  # sound loops called bad, that were not with no fault at all
    sound_loops: int


def find_busy(recording: Recording) -> list[str]:
    """Return the loops that count enough, in order."""
    hours = len(recording.end_s) * recording.interval_s / 3600.0
    flow = np.nansum(recording.count_veh, axis=0) / hours
    return [loop for loop, vph in zip(recording.detectors, flow, strict=True) if vph >= BUSY_VPH]


def draw_faults(
    network: Network, recording: Recording, kind: FaultKind, rng: random.Random
) -> tuple[Fault, ...]:
    """Draw loops for one kind of fault; a swapped one speaks for another of its neighbors."""
    lasts_s = float(recording.end_s[-1] - recording.end_s[0])
    begin_s = float(recording.end_s[0]) + round(ONSET_SHARE * lasts_s / 30.0) * 30.0
    busy = find_busy(recording)
    rng.shuffle(busy)
    if kind is not FaultKind.SWAPPED:
        return tuple(Fault(kind, loop, begin_s) for loop in busy[:EACH])
    _, near = find_neighbors(network, tuple(network.detectors.values()), 1200.0)
    order = tuple(network.detectors)
    taken: set[str] = set()
    faults = []
    for loop in busy:
        others = [order[j] for j in np.flatnonzero(near[order.index(loop)])]
        free = [other for other in others if other in busy and other not in taken]
        if loop in taken or not free:
            continue
        other = rng.choice(free)
        taken |= {loop, other}
        faults.append(Fault(kind, loop, begin_s, other=other))
        if len(faults) == EACH // 2:
            break
    return tuple(faults)


def score_recording(network: Network, recording: Recording, seed: int) -> Iterator[KindScore]:
    """Break a recorded day in each way, and score what the health screen says of it."""
    sound = _screen(network, recording, ())
    for kind in FaultKind:
        rng = random.Random(f"{network.id}/{seed}/{kind.value}")
        faults = draw_faults(network, recording, kind, rng)
        yield score_kind(recording, kind, faults, _screen(network, recording, faults, seed), sound)


def _screen(
    network: Network, recording: Recording, faults: Sequence[Fault], seed: int = 1
) -> NDArray[np.int8]:
    """Return the label of each reading, T x D."""
    screen = HealthScreen(network)
    batches = break_batches(recording.batches(), faults, network.detectors, seed)
    return np.array([screen.screen(batch, batch.end_s).quality for batch in batches])


def score_kind(
    recording: Recording,
    kind: FaultKind,
    faults: Sequence[Fault],
    labels: NDArray[np.int8],
    sound: NDArray[np.int8],
) -> KindScore:
    """Score the labels (T x D) of a broken day beside those of the same day unbroken."""
    at = {loop: i for i, loop in enumerate(recording.detectors)}
    bad = (labels != Quality.GOOD) & (labels != Quality.MISSING)
    was_bad = (sound != Quality.GOOD) & (sound != Quality.MISSING)
    struck = [(loop, fault.begin_s) for fault in faults for loop in fault.loops]
    delays_s, misnamed = [], 0
    for loop, begin_s in struck:
        after = recording.end_s > begin_s
        right = np.isin(labels[:, at[loop]], NAMES[kind]) & after
        if right.any():
            delays_s.append(float(recording.end_s[right.argmax()] - begin_s))
        elif (bad[:, at[loop]] & after).any():
            misnamed += 1
    others = [i for loop, i in at.items() if loop not in {name for name, _ in struck}]
    wrongly = (bad & ~was_bad).any(axis=0)[others].sum()
    return KindScore(
        kind.value, len(struck), len(delays_s), misnamed, tuple(delays_s), int(wrongly), len(others)
    )


def count_wrong(network: Network, recording: Recording) -> tuple[dict[str, int], int]:
    """Return label -> sound loops that ever got it on an unbroken day, and how many loops."""
    labels = _screen(network, recording, ())
    counts = {
        quality.name.lower(): int((labels == quality).any(axis=0).sum())
        for quality in Quality
        if quality not in (Quality.GOOD, Quality.MISSING)
    }
    return {name: number for name, number in counts.items() if number}, labels.shape[1]


def score_days(days: Iterable[Day]) -> dict[str, Any]:
    """Fold all days into {place: {kind: figures}} and, unbroken, the loops wrongly failed."""
    by_place: dict[str, list[Day]] = {}
    for day in days:
        by_place.setdefault(day.place, []).append(day)
    told: dict[str, Any] = {}
    for place, own in by_place.items():
        with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
            network = load_place(place, Path(scratch)).network
        scores: dict[str, list[KindScore]] = {kind.value: [] for kind in FaultKind}
        wrong: dict[str, int] = {}
        loop_days = 0
        for day in own:
            recording = load_recording(day.target / READINGS)
            for score in score_recording(network, recording, day.seed):
                scores[score.kind].append(score)
            counts, loops = count_wrong(network, recording)
            loop_days += loops
            wrong = {n: wrong.get(n, 0) + counts.get(n, 0) for n in {*wrong, *counts}}
        told[place] = {
            "seeds": [day.seed for day in own],
            "kinds": {kind: _fold(of_kind) for kind, of_kind in scores.items()},
            "unbroken": {"loop_days": loop_days, "wrongly_failed": dict(sorted(wrong.items()))},
        }
    return told


def _fold(scores: Sequence[KindScore]) -> dict[str, Any]:
    delays_s = [delay for score in scores for delay in score.delays_s]
    injected = sum(score.injected for score in scores)
    found = sum(score.found for score in scores)
    misnamed = sum(score.misnamed for score in scores)
    return {
        "injected": injected,
        "found": found,
        "misnamed": misnamed,
        "missed": injected - found - misnamed,
        "median_time_to_find_min": round(float(np.median(delays_s)) / 60, 1) if delays_s else None,
        "wrongly_failed": sum(score.wrongly_failed for score in scores),
        "sound_loops": sum(score.sound_loops for score in scores),
    }
