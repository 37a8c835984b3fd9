"""Splits of one junction for given flows: least total delay at the plan's own cycle and offset.

The delay of a stream is Webster's uniform term, C (1-u)^2 / (2 (1-y)), plus the HCM's incremental
term for random and oversaturated arrivals, 900 T ((x-1) + sqrt((x-1)^2 + 4 x / (c T))), with
x = y / u and c = s u (Webster 1958; HCM 2010, equation 18-45 with k = 0.5, I = 1). With z = 1 / u
the square root is the norm of an affine vector in z and the whole term never falls in z, so both
terms are convex in the green ratio u: a local optimum is the optimum.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, linprog, milp, minimize

from traffic.flows import has_own_lanes, name_lane_flow
from traffic.model import Approach, Junction, Network, SafePlan

PLANNED_SATURATION = 0.85  # degree that a fixed-time plan is taken to be made for
PROTECTED_SATURATION = 0.85  # that other splits leave to every stream
RED_SLACK_S = 2.0  # kept off the longest red
SOLVER_STEPS = 1000  # at most; steps and not seconds, so that a run repeats exactly
_MAX_FLOW_RATIO = 0.95  # keeps the uniform term finite; the incremental term tells the excess


@dataclass(frozen=True, slots=True)
class GreenRun:
    """Slots of a plan, in order, over which one phase stays green; the last may wrap round."""

    phase: str
    slots: tuple[int, ...]
    start_s: float  # into the cycle, of the first slot
    length_s: float  # of its slots
    lost_s: float  # intergreen before the phase gains its green
    endless: bool  # green in every slot

    @property
    def green_s(self) -> float:
        return self.length_s - self.lost_s


def build_green_runs(junction: Junction, plan: SafePlan) -> tuple[GreenRun, ...]:
    """Return the greens that a plan gives in one cycle, by phase and then by time."""
    stages = [junction.get_stage(stage) for stage, _ in plan.slots]
    lengths = [length_s for _, length_s in plan.slots]
    count = len(stages)
    runs = []
    for phase in junction.phases:
        green = [phase.id in stage.green for stage in stages]
        if all(green):
            runs.append(GreenRun(phase.id, tuple(range(count)), 0.0, plan.cycle_s, 0.0, True))
            continue
        for first in range(count):
            if not green[first] or green[first - 1]:
                continue
            slots = [first]
            while green[(slots[-1] + 1) % count]:
                slots.append((slots[-1] + 1) % count)
            ended = stages[first - 1].green - stages[first].green
            lost_s = max(
                (
                    junction.intergreens[other, phase.id].total_s
                    for other in ended
                    if junction.is_conflict(other, phase.id)
                ),
                default=0.0,
            )
            length_s = sum(lengths[i] for i in slots)
            runs.append(
                GreenRun(phase.id, tuple(slots), sum(lengths[:first]), length_s, lost_s, False)
            )
    return tuple(runs)


def get_green_s(runs: Iterable[GreenRun]) -> dict[str, float]:
    """Return phase -> seconds of green a cycle."""
    green: dict[str, float] = {}
    for run in runs:
        green[run.phase] = green.get(run.phase, 0.0) + run.green_s
    return green


@dataclass(frozen=True, slots=True)
class Stream:
    """Traffic of one approach under one phase; `busiest_ratio` is the flow ratio of one lane."""

    approach: str
    phase: str
    flow_vph: float
    saturation_vph: float  # of all its lanes
    busiest_ratio: float = 0.0

    @property
    def flow_ratio(self) -> float:
        """Flow over saturation flow, or that of its busiest lane where turns crowd into one."""
        return max(self.flow_vph / self.saturation_vph, self.busiest_ratio)

    def or_more(self, other: "Stream") -> "Stream":
        """Return this stream with the larger figures of two counts."""
        return replace(
            self,
            flow_vph=max(self.flow_vph, other.flow_vph),
            busiest_ratio=max(self.busiest_ratio, other.busiest_ratio),
        )


def build_streams(
    network: Network, junction_id: str, flow_vph: Mapping[str, float]
) -> tuple[Stream, ...]:
    """Share measured approach flows among their phases, as the safe plan's greens do.

    A phase that has lanes for itself is counted in them (`name_lane_flow`). Others share
    what their approach counts as the greens of its plan do, which was made for their flows. A flow
    that is missing or NaN is taken at the degree of saturation that plans are made for,
    PLANNED_SATURATION.
    """
    plan = network.plans[junction_id]
    green_s = get_green_s(build_green_runs(network.junctions[junction_id], plan))
    streams = []
    for approach in sorted(network.approaches.values(), key=lambda a: a.id):
        if approach.junction != junction_id or not approach.phases:
            continue
        saturation_vph = {
            phase: network.saturation_vph * approach.count_lanes(phase) for phase in approach.phases
        }
        capacity_vph = {p: saturation_vph[p] * green_s[p] / plan.cycle_s for p in approach.phases}
        own_vph = _find_own_lanes_vph(approach, flow_vph)
        total_vph = sum(vph for phase, vph in capacity_vph.items() if phase not in own_vph)
        flow = flow_vph.get(approach.id, math.nan) - sum(sum(v) for v in own_vph.values())
        use = PLANNED_SATURATION if math.isnan(flow) else max(flow, 0.0) / max(total_vph, 1e-9)
        for phase in approach.phases:
            lanes_vph = own_vph.get(phase, [0.0])
            own = sum(lanes_vph) if phase in own_vph else use * capacity_vph[phase]
            busiest = max(lanes_vph) / network.saturation_vph
            streams.append(Stream(approach.id, phase, own, saturation_vph[phase], busiest))
    return tuple(streams)


def _find_own_lanes_vph(
    approach: Approach, flow_vph: Mapping[str, float]
) -> dict[str, list[float]]:
    """Return phase -> flow of each lane, where it has lanes for itself and all are known."""
    found = {
        phase: [flow_vph.get(name_lane_flow(approach.id, lane), math.nan) for lane in lanes]
        for phase, lanes in approach.phase_lanes.items()
        if has_own_lanes(approach, (phase,))
    }
    return {phase: vph for phase, vph in found.items() if not any(map(math.isnan, vph))}


def add_diversion(
    network: Network, junction_id: str, streams: Iterable[Stream], via: tuple[str, ...], vph: float
) -> tuple[Stream, ...]:
    """Add a flow that follows the links `via` to the streams that it joins at the junction."""
    joined = {
        (pair[0], phase.id)
        for phase in network.junctions[junction_id].phases
        for pair in pairwise(via)
        if any((m.from_link, m.to_link) == pair for m in phase.movements)
    }
    return tuple(
        replace(stream, flow_vph=stream.flow_vph + vph)
        if any(
            link in network.approaches[stream.approach].links and phase == stream.phase
            for link, phase in joined
        )
        else stream
        for stream in streams
    )


def stream_delay_s(
    stream: Stream, cycle_s: float, green_ratio: float, period_s: float = 900.0
) -> tuple[float, float]:
    """Return the mean delay of a vehicle, seconds, and its slope in the green ratio (0, 1].

    The formulas are the module's; the analysis period is `period_s`.
    """
    y = stream.flow_ratio
    u = green_ratio
    hours = period_s / 3600
    spread = 4 * y / (stream.saturation_vph * hours)
    scale = cycle_s / (2 * (1 - min(y, _MAX_FLOW_RATIO)))
    excess = y / u - 1
    root = math.sqrt(excess**2 + spread / u**2)
    delay_s = scale * (1 - u) ** 2 + 900 * hours * (excess + root)
    root_slope = (-excess * y / u**2 - spread / u**3) / root if root > 0 else 0.0
    slope = -2 * scale * (1 - u) + 900 * hours * (-y / u**2 + root_slope)
    return delay_s, slope


@dataclass(frozen=True, slots=True)
class Splits:
    """A plan for given flows, with the mean delay before and after, seconds a vehicle."""

    plan: SafePlan
    before_s: float
    after_s: float
    status: str

    @property
    def is_answer(self) -> bool:
        """Whether this is what was asked for; else the given plan stands in for it."""
        return self.status in ("optimal", "already best", "no flow")


def optimize_splits(junction: Junction, plan: SafePlan, streams: tuple[Stream, ...]) -> Splits:
    """Return the slots of least total delay; cycle, offset and stage order stay.

    Every green keeps its phase's minimum and maximum and every red its maximum; no stream gets less
    than it needs at a degree of saturation of PROTECTED_SATURATION, unless the given plan gives it
    less: what many gain must not be taken from few. Slots come in whole seconds. Where no better
    plan is found, the given one comes back and `status` says why.
    """
    runs = build_green_runs(junction, plan)
    cycle_s = plan.cycle_s
    start = np.array([length_s for _, length_s in plan.slots])  # S slots
    loaded = [s for s in streams if s.flow_vph > 0]
    total_vph = sum(s.flow_vph for s in loaded)
    if not total_vph > 0:
        return Splits(plan, 0.0, 0.0, "no flow")
    member, lost_s = _build_members(runs, loaded, len(start))

    def cost(slots_s: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        ratios = np.clip((member @ slots_s - lost_s) / cycle_s, 0.01, 1.0)
        pairs = [stream_delay_s(s, cycle_s, u) for s, u in zip(loaded, ratios, strict=True)]
        weight = np.array([s.flow_vph for s in loaded]) / total_vph
        delay, slope = (np.array(column) for column in zip(*pairs, strict=True))
        # The pull towards the present slots decides where the delay leaves a choice.
        away = slots_s - start
        gradient = (weight * slope) @ member / cycle_s + 2e-5 * away
        return float(weight @ delay + 1e-5 * away @ away), gradient

    rows, floor = _build_limits(junction, runs, cycle_s, len(start))
    needs_s = _find_needs_s(loaded, cycle_s) + lost_s
    rows = np.vstack((rows, member))
    floor = np.concatenate((floor, np.minimum(needs_s, member @ start)))
    before_s = cost(start)[0]
    found = minimize(
        cost,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(1.0, cycle_s)] * len(start),
        constraints=[
            {"type": "eq", "fun": lambda x: x.sum() - cycle_s, "jac": lambda x: np.ones_like(x)},
            {"type": "ineq", "fun": lambda x: rows @ x - floor, "jac": lambda _: rows},
        ],
        options={"maxiter": 200, "ftol": 1e-7},
    )
    if not found.success:
        return Splits(plan, before_s, before_s, f"no optimum: {found.message}")
    slots_s = _find_whole(found.x, cycle_s, rows, floor)
    if slots_s is None:
        return Splits(plan, before_s, before_s, "no whole seconds keep the limits")
    after_s = cost(slots_s)[0]
    if after_s >= before_s:
        return Splits(plan, before_s, before_s, "already best")
    slots = tuple((stage, float(s)) for (stage, _), s in zip(plan.slots, slots_s, strict=True))
    return Splits(SafePlan(slots, plan.offset_s), before_s, after_s, "optimal")


def find_longest_green_s(
    junction: Junction, plan: SafePlan, streams: Iterable[Stream], phase: str
) -> float:
    """Return the green a cycle that splits can give a phase when the other streams keep theirs.

    They keep what `optimize_splits` leaves them; cycle and stage order stay. A linear program.
    """
    runs = build_green_runs(junction, plan)
    start = np.array([length_s for _, length_s in plan.slots])
    others = [s for s in streams if s.flow_vph > 0 and s.phase != phase]
    member, lost_s = _build_members(runs, others, len(start))
    rows, floor = _build_limits(junction, runs, plan.cycle_s, len(start))
    needs_s = np.minimum(_find_needs_s(others, plan.cycle_s) + lost_s, member @ start)
    rows, floor = np.vstack((rows, member)), np.concatenate((floor, needs_s))
    own, own_lost_s = _build_members(runs, [Stream("", phase, 1.0, 1.0)], len(start))
    found = linprog(
        -own[0],
        A_ub=-rows,
        b_ub=-np.minimum(floor, rows @ start),  # the plan itself is always among the choices
        A_eq=np.ones((1, len(start))),
        b_eq=[plan.cycle_s],
        bounds=(1.0, plan.cycle_s),
        options={"maxiter": SOLVER_STEPS},
    )
    slots_s = found.x if found.success else start
    return float(own[0] @ slots_s - own_lost_s[0])


def _find_needs_s(streams: Sequence[Stream], cycle_s: float) -> NDArray[np.float64]:
    """Return the green a cycle at which each stream has the degree PROTECTED_SATURATION."""
    ratios = np.array([s.flow_ratio for s in streams], dtype=np.float64)
    return cycle_s * ratios / PROTECTED_SATURATION


def _build_members(
    runs: tuple[GreenRun, ...], streams: Sequence[Stream], slots: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return which slots are green for each stream, and the seconds that it loses of them."""
    member = np.zeros((len(streams), slots))
    lost_s = np.zeros(len(streams))
    for row, stream in enumerate(streams):
        for run in runs:
            if run.phase == stream.phase:
                member[row, list(run.slots)] = 1
                lost_s[row] += run.lost_s
    return member, lost_s


def _build_limits(
    junction: Junction, runs: tuple[GreenRun, ...], cycle_s: float, slots: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rows A and floors b of A x >= b: least and longest greens, longest reds."""
    phases = {phase.id: phase for phase in junction.phases}
    once = {p: sum(run.phase == p for run in runs) == 1 for p in phases}
    rows, floor = [], []
    for run in runs:
        if run.endless:
            continue
        row = np.zeros(slots)
        row[list(run.slots)] = 1
        phase = phases[run.phase]
        least_s = phase.min_green_s
        if once[run.phase]:
            least_s = max(least_s, cycle_s - phase.max_red_s + RED_SLACK_S)
        rows.append(row)
        floor.append(least_s + run.lost_s)
        if math.isfinite(phase.max_green_s):
            rows.append(-row)
            floor.append(-(phase.max_green_s + run.lost_s))
    return np.array(rows).reshape(-1, slots), np.array(floor)


def _find_whole(
    slots_s: NDArray[np.float64],
    cycle_s: float,
    rows: NDArray[np.float64],
    floor: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """Return the nearest whole seconds of the same sum with rows x >= floor; None without any.

    Nearest in the sum of differences. A fraction of the cycle goes to the longest slot, before.
    """
    size = len(slots_s)
    rest_s = cycle_s - math.floor(cycle_s + 1e-6)
    extra = np.zeros(size)
    extra[int(np.argmax(slots_s))] = rest_s
    one, none = np.eye(size), np.zeros((size, size))
    # Variables: whole seconds of each slot, and how far each is from what was asked.
    found = milp(
        np.concatenate((np.zeros(size), np.ones(size))),
        integrality=np.concatenate((np.ones(size), np.zeros(size))),
        bounds=(0.0, np.inf),
        constraints=[
            LinearConstraint(np.hstack((rows, np.zeros_like(rows))), floor - rows @ extra - 1e-6),
            LinearConstraint(
                np.concatenate((np.ones(size), none[0])), cycle_s - rest_s, cycle_s - rest_s
            ),
            LinearConstraint(np.hstack((one, one)), slots_s - extra),
            LinearConstraint(np.hstack((-one, one)), extra - slots_s),
        ],
        options={"node_limit": SOLVER_STEPS},
    )
    return None if found.x is None else np.round(found.x[:size]) + extra
