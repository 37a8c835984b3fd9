"""Two-way bandwidth on an arterial: offsets for the widest green waves, exact in whole seconds.

The mixed-integer program of J. D. C. Little, M. D. Kelson and N. H. Gartner, MAXBAND: a Program
for Setting Signals on Arteries and Triangular Networks, Transportation Research Record 795, 1981,
at a given cycle and given greens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from traffic.optimization.offsets import SOLVER_EFFORT


@dataclass(frozen=True, slots=True)
class BandSignal:
    """One signal: greens of both directions as (begin into its cycle, length), whole seconds."""

    id: str
    outbound_s: tuple[int, int]
    inbound_s: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Bands:
    """Offsets by signal, both widths, and when each band begins at the first signal, seconds."""

    offset_s: tuple[int, ...]
    outbound_s: int  # width
    inbound_s: int  # width
    outbound_begin_s: int
    inbound_begin_s: int
    status: str


def optimize_bandwidth(
    signals: Sequence[BandSignal],
    cycle_s: int,
    outbound_travel_s: Sequence[float],
    inbound_travel_s: Sequence[float],
    outbound_weight: int = 1,
    inbound_weight: int = 1,
) -> Bands:
    """Return the offsets with the largest weighted sum of both widths; the first signal has 0.

    `outbound_travel_s` holds the seconds from the first signal to each one, `inbound_travel_s` from
    each one to the first. Raises ValueError listing all bad inputs.
    """
    problems = [
        f"{name} has {len(times)} entries for {len(signals)} signals"
        for name, times in (
            ("outbound_travel_s", outbound_travel_s),
            ("inbound_travel_s", inbound_travel_s),
        )
        if len(times) != len(signals)
    ]
    problems += [
        f"signal {signal.id}: green {green} must begin in 0..{cycle_s} and last 1..{cycle_s} s"
        for signal in signals
        for green in (signal.outbound_s, signal.inbound_s)
        if not (0 <= green[0] < cycle_s and 1 <= green[1] <= cycle_s)
    ]
    if not signals:
        problems.append("signals is empty: at least one is needed")
    if problems:
        raise ValueError("; ".join(problems))
    model = cp_model.CpModel()
    widths = [model.new_int_var(0, cycle_s, name) for name in ("outbound", "inbound")]
    begins = [model.new_int_var(0, cycle_s - 1, name) for name in ("begin out", "begin in")]
    offsets = [model.new_int_var(0, cycle_s - 1, signal.id) for signal in signals]
    model.add(offsets[0] == 0)
    # A direction without a band binds nobody, not even to a band without width.
    there = [model.new_bool_var(name) for name in ("has outbound", "has inbound")]
    for width, is_there in zip(widths, there, strict=True):
        model.add(width == 0).only_enforce_if(is_there.negated())
    most = 2 + max(int(time // cycle_s) for time in (*outbound_travel_s, *inbound_travel_s))
    for i, signal in enumerate(signals):
        for is_there, width, begin, (green_s, length_s), shift in (
            (there[0], widths[0], begins[0], signal.outbound_s, round(outbound_travel_s[i])),
            (there[1], widths[1], begins[1], signal.inbound_s, -round(inbound_travel_s[i])),
        ):
            # The band's front comes `inside` seconds after the green of some cycle begins.
            inside = model.new_int_var(0, length_s, f"{signal.id} inside")
            cycles = model.new_int_var(-most - 1, most + 1, f"{signal.id} cycles")
            model.add(
                begin + shift - offsets[i] - green_s == inside + cycle_s * cycles
            ).only_enforce_if(is_there)
            model.add(inside + width <= length_s).only_enforce_if(is_there)
    # Widths first; then both alike, so that the answer does not depend on the solver.
    least = model.new_int_var(0, cycle_s, "narrower")
    model.add_min_equality(least, widths)
    total = outbound_weight * widths[0] + inbound_weight * widths[1]
    model.maximize((2 * cycle_s + 1) * total + least)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.max_deterministic_time = SOLVER_EFFORT
    status = solver.solve(model)
    name = solver.status_name(status).lower()
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Bands((0,) * len(signals), 0, 0, 0, 0, name)
    return Bands(
        tuple(solver.value(offset) for offset in offsets),
        solver.value(widths[0]),
        solver.value(widths[1]),
        solver.value(begins[0]),
        solver.value(begins[1]),
        name,
    )
