"""Detectors that lie: a wrapper over any field, and over any batches, that breaks some loops.

What a fault does to a reading depends on the seed, the loop and the moment alone, so that a run
repeats exactly.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from traffic.control import Aspect, Field, RawReadings
from traffic.model import ModelError
from traffic.readings import LoopBatch

Floats = NDArray[np.float64]


class FaultKind(Enum):
    """What is wrong with a loop."""

    STUCK = "stuck"  # reports a vehicle that never leaves
    CHATTERING = "chattering"  # counts one vehicle many times
    DEAD = "dead"  # reports an empty road
    DRIFTING = "drifting"  # is covered for longer and longer than its vehicles are long
    SWAPPED = "swapped"  # reports what another loop sees, and that one what it sees
    LATE = "late"  # reports what it saw minutes ago


CHATTER_VEH = (30.0, 60.0)  # counted besides, in 30 s
DRIFT_PER_S = 1.0 / 3600.0  # growth of the occupancy reported
LATE_S = 120.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One loop's fault from begin_s on until end_s; `other` is whom a swapped loop speaks for."""

    kind: FaultKind
    loop: str
    begin_s: float
    end_s: float = inf
    other: str | None = None

    @property
    def loops(self) -> tuple[str, ...]:
        return (self.loop,) if self.other is None else (self.loop, self.other)


def check_faults(faults: Sequence[Fault], known: Iterable[str]) -> list[str]:
    """Return every problem of the faults on a field with those loops."""
    known = set(known)
    problems = []
    taken: set[str] = set()
    for number, fault in enumerate(faults):
        name = f"fault {number} ({fault.kind.value})"
        problems += [f"{name}: no loop {loop}" for loop in fault.loops if loop not in known]
        problems += [f"{name}: loop {x} has a fault already" for x in fault.loops if x in taken]
        taken.update(fault.loops)
        if not isfinite(fault.begin_s) or not fault.begin_s < fault.end_s:
            problems.append(f"{name}: begin_s {fault.begin_s} must be before end_s {fault.end_s}")
        if (fault.kind is FaultKind.SWAPPED) != (fault.other is not None):
            problems.append(f"{name}: other {fault.other!r} is for swapped loops, and needed there")
        if fault.other == fault.loop:
            problems.append(f"{name}: loop {fault.loop} is swapped with itself")
    return problems


class Faults:
    """Changes batches as the faults have it; call `apply` once for each batch, in order.

    Raises ModelError with all problems at once.
    """

    def __init__(self, faults: Sequence[Fault], known: Iterable[str], seed: int) -> None:
        problems = check_faults(faults, known)
        if problems:
            raise ModelError("detector faults", problems)
        self._faults = tuple(faults)
        self._seed = seed
        self._past: dict[str, deque[tuple[float, Floats]]] = {
            fault.loop: deque() for fault in faults if fault.kind is FaultKind.LATE
        }

    def apply(self, batch: LoopBatch) -> LoopBatch:
        """Return the batch as its faulty loops report it; labels stay the field's own."""
        at = {loop: i for i, loop in enumerate(batch.detectors)}
        true = np.array([batch.count_veh, batch.occupancy, batch.speed_mps])  # 3 x D
        told = true.copy()
        for number, fault in enumerate(self._faults):
            i = at.get(fault.loop)
            if i is None:
                continue
            if fault.kind is FaultKind.LATE:
                # What comes late was recorded before the fault began, too.
                self._past[fault.loop].append((batch.end_s, true[:, i].copy()))
            if fault.begin_s < batch.end_s <= fault.end_s:
                self._break(fault, number, batch, at, true, told)
        return replace(batch, count_veh=told[0], occupancy=told[1], speed_mps=told[2])

    def _break(
        self,
        fault: Fault,
        number: int,
        batch: LoopBatch,
        at: Mapping[str, int],
        true: Floats,
        told: Floats,
    ) -> None:
        i = at[fault.loop]
        if fault.kind is FaultKind.STUCK:
            told[:, i] = 0.0, 1.0, np.nan
        elif fault.kind is FaultKind.DEAD:
            told[:, i] = 0.0, 0.0, np.nan
        elif fault.kind is FaultKind.CHATTERING:
            rng = np.random.default_rng((self._seed, number, round(batch.end_s)))
            more = rng.uniform(*CHATTER_VEH) * batch.interval_s / 30.0
            told[0, i] = np.round(true[0, i] + more)
        elif fault.kind is FaultKind.DRIFTING:
            grown = 1.0 + DRIFT_PER_S * (batch.end_s - fault.begin_s)
            told[1, i] = min(true[1, i] * grown, 1.0)
        elif fault.kind is FaultKind.SWAPPED:
            j = at.get(fault.other or "")
            if j is not None:
                told[:, i], told[:, j] = true[:, j], true[:, i]
        else:
            told[:, i] = self._recall(fault.loop, batch.end_s - LATE_S)

    def _recall(self, loop: str, moment_s: float) -> Floats:
        """Return what the loop saw then; nothing when that is before the first batch."""
        past = self._past[loop]
        while len(past) > 1 and past[1][0] <= moment_s:
            past.popleft()
        if not past or past[0][0] > moment_s:
            return np.full(3, np.nan)
        return past[0][1]


class FaultyField:
    """A field some of whose loops lie; implements traffic.control.Field.

    Both the batch for a center and the loops read each second are changed. Raises ModelError with
    all problems of the faults at once.
    """

    def __init__(self, field: Field, faults: Sequence[Fault], seed: int = 1) -> None:
        self._field = field
        self.network = field.network
        self.sensing = field.sensing
        self._center = Faults(faults, field.network.detectors, seed)
        self._local = Faults(faults, field.network.detectors, seed)
        self._reading: RawReadings | None = None

    def read(self) -> RawReadings:
        """Return the second's readings; the same again until the field advances."""
        if self._reading is None:
            raw = self._field.read()
            center = None if raw.centre is None else self._center.apply(raw.centre)
            self._reading = replace(raw, local=self._local.apply(raw.local), centre=center)
        return self._reading

    def apply(self, shown: Mapping[str, Mapping[str, Aspect]]) -> None:
        self._field.apply(shown)

    def advance(self) -> bool:
        self._reading = None
        return self._field.advance()


def break_batches(
    batches: Iterable[LoopBatch], faults: Sequence[Fault], known: Iterable[str], seed: int = 1
) -> Iterator[LoopBatch]:
    """Yield recorded batches as faulty loops report them. Raises ModelError as Faults does."""
    broken = Faults(faults, known, seed)
    for batch in batches:
        yield broken.apply(batch)
