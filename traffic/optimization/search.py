"""Search for plans with a measured cost, such as simulated delay: best so far, never worse.

Many junctions try a change of their own in one trial. Those whose own cost fell keep theirs, and
what they make together is taken only if the cost of all falls.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from traffic.model import Junction, SafePlan
from traffic.optimization.cycle import find_floor_s, find_shortest_cycle_s, stretch_plan
from traffic.plans import check_plan

Plans = Mapping[str, SafePlan]
FINALISTS = 3
SHIFTS_S = (1, 2, 4, 8, 16)
CYCLE_SHIFTS_S = (-10, -5, -2, 2, 5, 10)
# Of a junction's changes: those of its offset, its stages, its own cycle; the rest are of splits.
_OFFSET, _STAGES, _OWN_CYCLE = 0.45, 0.1, 0.1
_MOST_ROUNDS = 3  # of more starts
_PROMISING = 3  # starts that are measured in all runs, of those measured in one


@dataclass(frozen=True, slots=True)
class Cost:
    """What a set of plans costs in each run (R): in all, and at each junction in its own unit.

    Not whole when the other runs were spared, because the plans can't be the best.
    """

    runs: tuple[float, ...]
    by_junction: tuple[Mapping[str, float], ...]
    is_whole: bool = True

    @property
    def total(self) -> float:
        return sum(self.runs) / len(self.runs)

    def at(self, junction: str, runs: int) -> float:
        """Return the cost at one junction over the first runs."""
        return sum(one.get(junction, 0.0) for one in self.by_junction[:runs])


@dataclass(frozen=True, slots=True)
class Found:
    """The best plans, their cost, and how the best cost fell: (trial, cost) whenever it did."""

    plans: Plans
    cost: Cost
    trials: int
    history: tuple[tuple[int, float], ...]
    finalists: tuple[Plans, ...]  # the last ones that were best, the best one first


# Measures plans in so many runs, or in all; may spare runs of those that cannot beat the best cost;
# None when told to end.
Measure = Callable[[Plans, Cost | None, int | None], Cost | None]
More = Callable[[Plans], Iterable[Plans]]


class Search:
    """Coordinate search; the same seed and the same costs give the same plans.

    `today` tells the stages that each junction may have, in order. `is_over` is asked before each
    trial with the number of trials done. Junctions with a common cycle keep having one: only all of
    them change it together.
    """

    def __init__(
        self,
        junctions: Mapping[str, Junction],
        today: Plans,
        measure: Measure,
        is_over: Callable[[int], bool],
        seed: int,
        keep_cycle: bool = False,
    ) -> None:
        self._junctions = junctions
        self._today = today
        self._measure = measure
        self._is_over = is_over
        self._keep_cycle = keep_cycle
        self._random = np.random.default_rng(seed)
        self._trials = 0
        self._best: tuple[Plans, Cost] | None = None
        self._history: list[tuple[int, float]] = []
        self._bests: list[Plans] = []

    def run(self, starts: Iterable[Plans], more: More | None = None) -> Found | None:
        """Try the starts, then change the best one; None when not a single trial was made.

        `more` gives further starts when it is told the best plans so far; it is asked again when
        one of these is better still.
        """
        self._try_all(starts)
        for _ in range(_MOST_ROUNDS if more is not None else 0):
            if self._best is None or more is None or self._is_over(self._trials):
                break
            best = self._best
            self._try_all(more(best[0]))
            if self._best is best:
                break
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

    def _try_all(self, starts: Iterable[Plans]) -> None:
        """Measure each start in one run, then the most promising ones in all.

        Telling a start may take time, so no more are asked for than there is time to try.
        """
        tried: list[tuple[Plans, Cost]] = []
        for plans in starts:
            if self._is_over(self._trials):
                break
            if any(plans == other for other, _ in tried):
                continue
            self._trials += 1
            cost = self._measure(plans, None, 1)
            if cost is not None:
                tried.append((plans, cost))
        tried.sort(key=lambda one: one[1].total)
        # Whatever the time, some are: one run may have passed by the jam that waits in another.
        for plans, _ in tried[:_PROMISING]:
            self._try(plans)
        if self._best is None and tried:  # told to end before one was measured in all runs
            self._best = (dict(tried[0][0]), tried[0][1])
            self._bests.append(dict(tried[0][0]))
            self._history.append((self._trials, tried[0][1].total))

    def _try(self, plans: Plans) -> Cost | None:
        self._trials += 1
        best = self._best[1] if self._best else None
        cost = self._measure(plans, best, None)
        if cost is not None and _is_better(cost, best):
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
        is_common = len({plan.cycle_s for plan in plans.values()}) == 1
        chosen = sorted(self._random.choice(len(ids), size=min(size, len(ids)), replace=False))
        changed = {ids[i]: self._change(ids[i], plans[ids[i]], is_common) for i in chosen}
        changed = {id_: plan for id_, plan in changed.items() if plan != plans[id_]}
        if not changed:
            return False
        tried = self._try({**plans, **changed})
        if tried is not None and _is_better(tried, cost):
            return True
        if tried is None or len(changed) == 1:
            return False
        runs = len(tried.runs)
        kept = {
            id_: plan for id_, plan in changed.items() if tried.at(id_, runs) < cost.at(id_, runs)
        }
        if not 0 < len(kept) < len(changed) or self._is_over(self._trials):
            return False
        again = self._try({**plans, **kept})
        return again is not None and _is_better(again, cost)

    def _change(self, junction_id: str, plan: SafePlan, is_common: bool) -> SafePlan:
        """Change the offset, the stages, the own cycle or the splits; the plan itself when the
        change is not lawful."""
        junction, kind = self._junctions[junction_id], self._random.random()
        shift_s = float(self._random.choice(SHIFTS_S))
        if len(self._junctions) > 1 and kind < _OFFSET:
            sign = self._random.choice((-1, 1))
            return SafePlan(plan.slots, (plan.offset_s + sign * shift_s) % plan.cycle_s)
        if kind < _OFFSET + _STAGES:
            changed = self._change_stages(junction, plan)
        elif kind < _OFFSET + _STAGES + _OWN_CYCLE and not (is_common or self._keep_cycle):
            step_s = float(self._random.choice(CYCLE_SHIFTS_S))
            changed = _stretch(junction, plan, plan.cycle_s + step_s)
        else:
            changed = self._move_green(junction, plan, shift_s)
        return plan if check_plan(junction, changed) else changed

    def _move_green(self, junction: Junction, plan: SafePlan, shift_s: float) -> SafePlan:
        if len(plan.slots) < 2:
            return plan
        giver, taker = self._random.choice(len(plan.slots), size=2, replace=False)
        floor_s = find_floor_s(junction, plan)
        shift_s = min(shift_s, plan.slots[giver][1] - floor_s[giver])
        if shift_s <= 0:
            return plan
        moved = {int(giver): -shift_s, int(taker): shift_s}
        slots = tuple((stage, s + moved.get(i, 0.0)) for i, (stage, s) in enumerate(plan.slots))
        return SafePlan(slots, plan.offset_s)

    def _change_stages(self, junction: Junction, plan: SafePlan) -> SafePlan:
        """Leave out a stage, or take in one of today's that is left out, at its place."""
        order = [stage for stage, _ in self._today[junction.id].slots]
        own = dict(plan.slots)
        if len(own) < len(plan.slots) or len(set(order)) < len(order) or not own.keys() <= {*order}:
            return plan  # a stage that comes twice has no one place
        turn = order[int(self._random.integers(len(order)))]
        shown = own.keys() ^ {turn}
        least = min(own.values())
        slots = tuple((stage, own.get(stage, least)) for stage in order if stage in shown)
        return _stretch(junction, SafePlan(slots, plan.offset_s), plan.cycle_s) if slots else plan

    def _change_cycle(self) -> Plans:
        """Stretch or shrink all cycles by as much; offsets keep their share of the cycle."""
        plans = self._best[0] if self._best else {}
        step_s = float(self._random.choice(CYCLE_SHIFTS_S))
        changed: dict[str, SafePlan] = {}
        for id_, plan in plans.items():
            changed[id_] = _stretch(self._junctions[id_], plan, plan.cycle_s + step_s)
            if changed[id_] == plan or check_plan(self._junctions[id_], changed[id_]):
                return plans
        return changed


def _is_better(cost: Cost, best: Cost | None) -> bool:
    return cost.is_whole and (best is None or cost.total < best.total)


def _stretch(junction: Junction, plan: SafePlan, cycle_s: float) -> SafePlan:
    """Return the plan at another cycle, its offset in proportion; itself when it can't be."""
    if cycle_s < find_shortest_cycle_s(junction, plan):
        return plan
    stretched = stretch_plan(junction, plan, cycle_s)
    return SafePlan(stretched.slots, round(plan.offset_s * cycle_s / plan.cycle_s) % cycle_s)
