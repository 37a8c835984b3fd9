"""Splits of one junction for given flows: least total delay at the plan's own cycle and offset.

The delay of a stream is Webster's uniform term, C (1-u)^2 / (2 (1-y)), plus the HCM's incremental
term for random and oversaturated arrivals, 900 T ((x-1) + sqrt((x-1)^2 + 4 x / (c T))), with
x = y / u and c = s u (Webster 1958; HCM 2010, equation 18-45 with k = 0.5, I = 1). With z = 1 / u
the square root is the norm of an affine vector in z and the whole term never falls in z, so both
terms are convex in the green ratio u: a local optimum is the optimum.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, linprog, milp, minimize

from traffic.model import Junction, SafePlan
from traffic.optimization.greens import GreenRun, build_green_runs
from traffic.optimization.permitted import Service, measure_service
from traffic.optimization.streams import Stream

PROTECTED_SATURATION = 0.85  # that other splits leave to every stream
RED_SLACK_S = 2.0  # kept off the longest red
ROUNDS = 3  # of fitting splits to the service that they themselves change
SOLVER_STEPS = 1000  # at most; steps and not seconds, so that a run repeats exactly
_MAX_FLOW_RATIO = 0.95  # keeps the uniform term finite; the incremental term tells the excess


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


def optimize_splits(
    junction: Junction, plan: SafePlan, streams: tuple[Stream, ...], start_s: float = 0.0
) -> Splits:
    """Return the slots of least total delay; cycle, offset and stage order stay.

    Every green keeps its phase's minimum and maximum and every red its maximum; no stream gets less
    than it needs at a degree of saturation of PROTECTED_SATURATION, unless the given plan gives it
    less: what many gain must not be taken from few. `start_s` is lost at the start of each green.
    What permissive greens let through depends on the slots, so it is fitted in rounds. Slots come
    in whole seconds. Where no better plan is found, the given one comes back and `status` says why.
    """
    loaded = [s for s in streams if s.flow_vph > 0]
    if not loaded:
        return Splits(plan, 0.0, 0.0, "no flow")
    before_s = measure_delay_s(junction, plan, loaded, start_s)
    best = Splits(plan, before_s, before_s, "already best")
    near, service = plan, measure_service(junction, plan, loaded, start_s)
    for _ in range(ROUNDS):
        found, status = _fit_slots(junction, near, loaded, service)
        if found is None:
            return best if best.status == "optimal" else replace(best, status=status)
        after_s = measure_delay_s(junction, found, loaded, start_s)
        if after_s < best.after_s:
            best = Splits(found, before_s, after_s, "optimal")
        fitted = measure_service(junction, found, loaded, start_s)
        if np.allclose(fitted.rate, service.rate) and np.allclose(fitted.lost_s, service.lost_s):
            break
        near, service = found, fitted
    return best


def measure_delay_s(
    junction: Junction, plan: SafePlan, streams: Sequence[Stream], start_s: float = 0.0
) -> float:
    """Return the mean delay of all vehicles of these streams, seconds; 0 without any."""
    ratios = measure_service(junction, plan, streams, start_s).find_green_ratios(plan)
    total_vph = sum(s.flow_vph for s in streams)
    delays_s = [stream_delay_s(s, plan.cycle_s, u)[0] for s, u in zip(streams, ratios, strict=True)]
    weighted = sum(s.flow_vph * delay_s for s, delay_s in zip(streams, delays_s, strict=True))
    return weighted / total_vph if total_vph > 0 else 0.0


def _fit_slots(
    junction: Junction, plan: SafePlan, loaded: Sequence[Stream], service: Service
) -> tuple[SafePlan | None, str]:
    """Return the plan of least delay with the service as it is near the given one; or why not."""
    cycle_s = plan.cycle_s
    start = np.array([length_s for _, length_s in plan.slots])  # S slots
    member, lost_s = service.rate, service.lost_s
    weight = np.array([s.flow_vph for s in loaded]) / sum(s.flow_vph for s in loaded)

    def cost(slots_s: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        ratios = np.clip((member @ slots_s - lost_s) / cycle_s, 0.01, 1.0)
        pairs = [stream_delay_s(s, cycle_s, u) for s, u in zip(loaded, ratios, strict=True)]
        delay, slope = (np.array(column) for column in zip(*pairs, strict=True))
        # The pull towards the present slots decides where the delay leaves a choice.
        away = slots_s - start
        gradient = (weight * slope) @ member / cycle_s + 2e-5 * away
        return float(weight @ delay + 1e-5 * away @ away), gradient

    rows, floor = _build_limits(junction, build_green_runs(junction, plan), cycle_s, len(start))
    needs_s = _find_needs_s(loaded, cycle_s) + lost_s
    rows = np.vstack((rows, member))
    floor = np.concatenate((floor, np.minimum(needs_s, member @ start)))
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
        return None, f"no optimum: {found.message}"
    slots_s = _find_whole(found.x, cycle_s, rows, floor)
    if slots_s is None:
        return None, "no whole seconds keep the limits"
    slots = tuple((stage, float(s)) for (stage, _), s in zip(plan.slots, slots_s, strict=True))
    return SafePlan(slots, plan.offset_s), "optimal"


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
