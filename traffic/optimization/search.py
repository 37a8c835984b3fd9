"""Search for plans with a measured cost, such as simulated delay: best so far, never worse.

Many junctions try a change of their own in one trial. Those whose own cost fell keep theirs, and
what they make together is taken only if the cost of all falls.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from traffic.model import Junction, SafePlan
from traffic.optimization.cycle import find_floor_s, find_shortest_cycle_s, stretch_plan
from traffic.plans import check_plan

Plans = Mapping[str, SafePlan]
FINALISTS = 3
SHIFTS_S = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a set of plans costs: in all, and at each junction, in units of one's own."""

    total: float
    by_junction: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Found:
    """The best plans, their cost, and how the best cost fell: (trial, cost) whenever it did."""

    plans: Plans
    cost: Cost
    trials: int
    history: tuple[tuple[int, float], ...]
    finalists: tuple[Plans, ...]  # the last ones that were best, the best one first


# Measures plans; may give up (None) on those that cannot beat the best cost, and when told to end.
Measure = Callable[[Plans, Cost | None], Cost | None]


class Search:
    """Coordinate search; the same seed and the same costs give the same plans.

    `is_over` is asked before each trial with the number of trials done. Junctions with a common
    cycle keep having one: only all of them change it together.
    """

    def __init__(
        self,
        junctions: Mapping[str, Junction],
        measure: Measure,
        is_over: Callable[[int], bool],
        seed: int,
        keep_cycle: bool = False,
    ) -> None:
        self._junctions = junctions
        self._measure = measure
        self._is_over = is_over
        self._keep_cycle = keep_cycle
        self._random = np.random.default_rng(seed)
        self._trials = 0
        self._best: tuple[Plans, Cost] | None = None
        self._history: list[tuple[int, float]] = []
        self._bests: list[Plans] = []

    def run(self, starts: Iterable[Plans]) -> Found | None:
        """Try the starts, then change the best one; None when not a single trial was made."""
        for plans in starts:
            if self._is_over(self._trials):
                break
            self._try(plans)
        if self._best is None:
            return None
        size = len(self._junctions)
        failures = 0
        while not self._is_over(self._trials):
            if not self._keep_cycle and self._random.random() < 1 / (3 + size):
                self._try(self._change_cycle())
                continue
            if self._step(max(1, round(size / 2))):
                failures = 0
                size = min(len(self._junctions), 2 * size)
            else:
                failures += 1
                if failures % 3 == 0:
                    size = max(1, size // 2)
        finalists = tuple(self._bests[: -FINALISTS - 1 : -1])
        return Found(*self._best, self._trials, tuple(self._history), finalists)

    def _try(self, plans: Plans) -> Cost | None:
        self._trials += 1
        best = self._best[1] if self._best else None
        cost = self._measure(plans, best)
        if cost is not None and (best is None or cost.total < best.total):
            self._best = (dict(plans), cost)
            self._history.append((self._trials, cost.total))
            self._bests.append(dict(plans))
        return cost

    def _step(self, size: int) -> bool:
        """Change `size` junctions at once, then keep what helped; tell whether anything did."""
        if self._best is None:
            return False
        plans, cost = self._best
        ids = sorted(self._junctions)
        chosen = sorted(self._random.choice(len(ids), size=min(size, len(ids)), replace=False))
        changed = {ids[i]: self._change(ids[i], plans[ids[i]]) for i in chosen}
        changed = {id_: plan for id_, plan in changed.items() if plan != plans[id_]}
        if not changed:
            return False
        tried = self._try({**plans, **changed})
        if tried is not None and tried.total < cost.total:
            return True
        if tried is None or len(changed) == 1:
            return False
        kept = {
            id_: plan
            for id_, plan in changed.items()
            if tried.by_junction.get(id_, 0.0) < cost.by_junction.get(id_, 0.0)
        }
        if not 0 < len(kept) < len(changed) or self._is_over(self._trials):
            return False
        again = self._try({**plans, **kept})
        return again is not None and again.total < cost.total

    def _change(self, junction_id: str, plan: SafePlan) -> SafePlan:
        """Move the offset, or green from one slot to another; the plan itself when not lawful."""
        shift_s = float(self._random.choice(SHIFTS_S))
        count = len(plan.slots)
        if count == 1 or (len(self._junctions) > 1 and self._random.random() < 0.5):
            sign = self._random.choice((-1, 1))
            return SafePlan(plan.slots, (plan.offset_s + sign * shift_s) % plan.cycle_s)
        giver, taker = self._random.choice(count, size=2, replace=False)
        floor_s = find_floor_s(self._junctions[junction_id], plan)
        shift_s = min(shift_s, plan.slots[giver][1] - floor_s[giver])
        if shift_s <= 0:
            return plan
        moved = {int(giver): -shift_s, int(taker): shift_s}
        slots = tuple((stage, s + moved.get(i, 0.0)) for i, (stage, s) in enumerate(plan.slots))
        changed = SafePlan(slots, plan.offset_s)
        return plan if check_plan(self._junctions[junction_id], changed) else changed

    def _change_cycle(self) -> Plans:
        """Stretch or shrink all cycles by as much; offsets keep their share of the cycle."""
        plans = self._best[0] if self._best else {}
        step_s = float(self._random.choice((-10, -5, -2, 2, 5, 10)))
        changed: dict[str, SafePlan] = {}
        for id_, plan in plans.items():
            junction = self._junctions[id_]
            cycle_s = plan.cycle_s + step_s
            if cycle_s < find_shortest_cycle_s(junction, plan):
                return plans
            stretched = stretch_plan(junction, plan, cycle_s)
            offset_s = round(plan.offset_s * cycle_s / plan.cycle_s) % cycle_s
            changed[id_] = SafePlan(stretched.slots, offset_s)
            if check_plan(junction, changed[id_]):
                return plans
        return changed


def list_starts(candidates: Sequence[Plans]) -> list[Plans]:
    """Return the candidates, each once."""
    return [plans for i, plans in enumerate(candidates) if plans not in candidates[:i]]
