"""What the slots of a plan let through: full flow, a permissive green's, or a blocked lane's.

Sources: Highway Capacity Manual 2010, chapters 18, 19 and 31. A permissive green serves nobody
while the opposing queue discharges, then as many as the gaps in the opposing flow v let through,
v exp(-v tc) / (1 - exp(-v tf)) vehicles an hour (equation 31-100), and two more as it ends, the
sneakers. A turn on red halts first, so it needs a longer gap, the next one follows later, and
nobody waits beyond the stop line. A lane whose first vehicle may not go yet is blocked for all
behind it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.model import Junction, SafePlan
from traffic.optimization.greens import GreenRun, build_green_runs
from traffic.optimization.service import ON_RED_HEADWAY_S
from traffic.optimization.streams import LaneUse, Stream
from traffic.units import SECONDS_PER_HOUR

CRITICAL_GAP_S = 4.5  # the least gap in the opposing flow that a driver takes
FOLLOW_UP_S = 2.5  # between two drivers that take the same gap
ON_RED_GAP_S = 6.2  # the least for a right turn from a halt: HCM 2010, chapter 19
SNEAKERS_VEH = 2.0  # that clear the crossing as a permissive green ends
START_S = 2.0  # of each green until traffic moves at saturation flow, less what it uses of amber
_LEAST_RATE = 0.02  # of a permissive green that the opposing flow fills: a little always gets by


def permitted_saturation_vph(
    opposing_vph: float, gap_s: float = CRITICAL_GAP_S, follow_up_s: float = FOLLOW_UP_S
) -> float:
    """Return how many vehicles an hour of one lane find a gap in an opposing flow.

    HCM 2010, equation 31-100; without an opposing flow one each follow-up time.
    """
    if opposing_vph <= 0:
        return SECONDS_PER_HOUR / follow_up_s
    rate = opposing_vph / SECONDS_PER_HOUR
    return opposing_vph * math.exp(-rate * gap_s) / (1 - math.exp(-rate * follow_up_s))


@dataclass(frozen=True, eq=False)
class Service:
    """How the streams (M) discharge in the slots (S) of a plan.

    `rate`: M x S, discharge over saturation flow, 0..1. `lost_s`: M, seconds of full discharge that
    a cycle loses to intergreens and starts, less what sneakers gain.
    """

    rate: NDArray[np.float64]
    lost_s: NDArray[np.float64]

    def find_green_ratios(self, plan: SafePlan) -> NDArray[np.float64]:
        """Return the effective green over the cycle of each stream (M), above 0 to 1."""
        slots_s = np.array([length_s for _, length_s in plan.slots])
        ratios: NDArray[np.float64] = (self.rate @ slots_s - self.lost_s) / plan.cycle_s
        return np.clip(ratios, 0.01, 1.0)


def measure_service(
    junction: Junction, plan: SafePlan, streams: Sequence[Stream], start_s: float = 0.0
) -> Service:
    """Return the service of a plan; `start_s` is lost at the start of each green.

    Permissive greens and blocked lanes depend on the slots: what is told holds near this plan.
    """
    slots = _Slots(junction, plan, streams)
    count = len(plan.slots)
    own = {(s.approach, s.phase): slots.find_rates(s) for s in streams}
    rate = np.zeros((len(streams), count))
    lost_s = np.zeros(len(streams))
    for row, stream in enumerate(streams):
        rate[row] = own[stream.approach, stream.phase]
        if stream.lanes:
            for i in (i for i in range(count) if rate[row, i] > 0):
                rates = {p: float(own[stream.approach, p][i]) for p in stream.together}
                served_veh = slots.count_served(i, stream.phase)
                lanes = [use.part * _find_lane_rate(use, rates, served_veh) for use in stream.lanes]
                rate[row, i] = sum(lanes)
        for run in slots.runs.get(stream.phase, ()):
            if not run.endless:
                lost_s[row] += rate[row, run.slots[0]] * (run.lost_s + start_s)
            sneakers = SNEAKERS_VEH * slots.is_sneaking(stream, run)
            lost_s[row] -= sneakers * SECONDS_PER_HOUR / stream.saturation_vph
    return Service(rate, lost_s)


def _find_lane_rate(use: LaneUse, rates: Mapping[str, float], served_veh: float) -> float:
    """Return the discharge of a lane over saturation flow, whose phases have these rates.

    Where some may not go, as many leave as come before the first of them, on the mean.
    """
    going = sum(share / rates[phase] for phase, share in use.shares if rates[phase] > 0)
    held = sum(share for phase, share in use.shares if rates[phase] <= 0)
    free = sum(share for phase, share in use.shares if rates[phase] > 0)
    rate = free / going if going > 0 else 0.0
    if held <= 0:
        return rate
    return min(rate, (1 - held) / held / max(served_veh, 1.0))


class _Slots:
    """The greens of a plan, slot by slot, and the queues that oppose permissive ones."""

    def __init__(self, junction: Junction, plan: SafePlan, streams: Sequence[Stream]) -> None:
        self._stages = [junction.get_stage(stage) for stage, _ in plan.slots]
        self._on_red = {phase.id for phase in junction.phases if phase.turns_on_red}
        self._lengths = [length_s for _, length_s in plan.slots]
        self._cycle_s = plan.cycle_s
        self._streams = {(s.approach, s.phase): s for s in streams}
        self.runs: dict[str, list[GreenRun]] = {}
        for run in build_green_runs(junction, plan):
            self.runs.setdefault(run.phase, []).append(run)
        self._green_s = {phase: sum(r.green_s for r in runs) for phase, runs in self.runs.items()}

    def find_rates(self, stream: Stream) -> NDArray[np.float64]:
        """Return the discharge over saturation flow in each slot (S), as if alone in its lanes."""
        rates = np.zeros(len(self._stages))
        for i, stage in enumerate(self._stages):
            if stream.phase in stage.protected:
                rates[i] = 1.0
            elif stream.phase in stage.permissive:
                rates[i] = self._find_permissive_rate(stream, i)
        return rates

    def count_served(self, slot: int, phase: str) -> float:
        """Return the vehicles that one lane discharges in a slot's green, one each 2 s."""
        lost_s = sum(run.lost_s for run in self.runs[phase] if run.slots[0] == slot)
        return max(self._lengths[slot] - lost_s, 0.0) / 2.0

    def is_sneaking(self, stream: Stream, run: GreenRun) -> bool:
        """Whether a green ends permissively, with opposing traffic, for those who do not halt."""
        if stream.phase in self._on_red:
            return False
        last = run.slots[-1]
        is_permissive = stream.phase in self._stages[last].permissive and not run.endless
        return is_permissive and bool(self._list_foes(stream, last))

    def _list_foes(self, stream: Stream, slot: int) -> list[tuple[Stream, float]]:
        green = self._stages[slot].green
        return [
            (self._streams[approach, phase], share)
            for approach, phase, share in stream.opposed
            if phase in green and (approach, phase) in self._streams
        ]

    def _find_permissive_rate(self, stream: Stream, slot: int) -> float:
        foes = self._list_foes(stream, slot)
        is_on_red = stream.phase in self._on_red
        if not foes and not is_on_red:
            return 1.0
        green_s = self._lengths[slot]
        queues_s = [self._find_queue_s(foe.phase, foe.flow_ratio, slot) for foe, _ in foes]
        open_s = max(green_s - max((0.0, *queues_s)), 0.0)
        opposing_vph = sum(foe.flow_vph * share for foe, share in foes)
        gap = (ON_RED_GAP_S, ON_RED_HEADWAY_S) if is_on_red else (CRITICAL_GAP_S, FOLLOW_UP_S)
        most_vph = SECONDS_PER_HOUR / 2.0
        rate = min(1.0, permitted_saturation_vph(opposing_vph, *gap) / most_vph)
        return max(rate * open_s / green_s, _LEAST_RATE)

    def _find_queue_s(self, phase: str, flow_ratio: float, slot: int) -> float:
        """Return how long after a slot's begin the queue that waited for a phase still leaves."""
        for run in self.runs.get(phase, ()):
            if slot not in run.slots:
                continue
            if run.endless:
                return 0.0
            before = run.slots[: run.slots.index(slot)]
            passed_s = sum(self._lengths[i] for i in before)
            red_s = self._cycle_s - self._green_s[phase]
            if flow_ratio >= 1:
                return math.inf
            return run.lost_s + flow_ratio * red_s / (1 - flow_ratio) - passed_s
        return 0.0
