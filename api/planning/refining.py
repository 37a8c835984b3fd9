"""Refining plans in simulation, within a budget: what is found is never worse than today's."""

import math
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from api.errors import UserError
from api.planning.command import Wish
from api.planning.measuring import follow_plans, measure_flows
from api.planning.methods import (
    Plans,
    build_measured_sites,
    find_today,
    list_candidates,
    normalize_plan,
)
from api.planning.trying import (
    SimulatedCost,
    choose_final,
    list_final_demands,
    list_trial_demands,
)
from networks.scenario import Scenario
from traffic.optimization.cycle import Site
from traffic.optimization.pairs import pair_network
from traffic.optimization.search import Found, Search


@dataclass(frozen=True, slots=True)
class Refined:
    """The plans chosen among the finalists, and the mean delays that decided it, seconds."""

    plans: Plans
    found: Found
    delay_before_s: float  # of today's plans; NaN when told to end before they were measured
    delay_s: float
    is_today: bool


def refine(
    wish: Wish, scenarios: Mapping[int, Scenario], sites: Sequence[Site], console: Console
) -> Refined:
    """Search until the budget is used up, then choose on demand that no trial has seen.

    Today's plans are among the finalists, where they are lawful, and the first that are tried,
    unless signals are timed in pairs, which today's may not be. Raises UserError when told to end
    before anything was tried.
    """
    first = scenarios[wish.seeds[0]]
    pairing = pair_network(first.network)
    joined = pairing.join(sites)
    today = find_today(sites, wish.cycle_s)
    before = {id_: normalize_plan(plan) for id_, plan in first.network.plans.items()}
    begun = time.monotonic()

    def is_over(trials: int) -> bool:
        if wish.evaluations is not None:
            return is_stopped() or trials >= wish.evaluations
        # One trial at least: without any there is no plan to hand over.
        return is_stopped() or (trials > 0 and time.monotonic() - begun >= wish.budget_s)

    def list_more(plans: Plans) -> Iterator[Plans]:
        """What passes under better plans is closer to what wants to pass: time for that, too."""
        if wish.flows is not None:
            return
        with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
            followed = follow_plans(first, pairing.split(plans), Path(scratch))
            (flow_vph,) = measure_flows([followed], [(first.begin_s, first.end_s)])
            anew = build_measured_sites(followed.network, flow_vph, first.network.plans)
        yield from list_candidates(
            pairing.network, pairing.join(anew), wish.cycle_s, wish.max_cycle_s
        )

    with (
        _heed_stop() as is_stopped,
        SimulatedCost(scenarios, list_trial_demands(wish.seeds), wish.jobs, is_stopped) as cost,
        SimulatedCost(scenarios, list_final_demands(wish.seeds), wish.jobs, is_stopped) as final,
    ):
        console.print("trying plans; Ctrl-C keeps the best")
        search = Search(
            pairing.network.junctions,
            {site.junction.id: site.plan for site in joined},
            cost.measure,
            is_over,
            wish.seed,
            keep_cycle=wish.cycle_s is not None,
        )
        theory = list_candidates(pairing.network, joined, wish.cycle_s, wish.max_cycle_s)
        starts = theory if pairing.pairs or today is None else _begin_with(today, theory)
        found = search.run(starts, list_more)
        if found is None:
            words = "told to end before a single set of plans was tried: nothing is written"
            raise UserError([words])
        finalists = [plans for plans in found.finalists if plans != before]
        lawful = [*finalists, before] if today is not None else finalists
        place, costs = choose_final(lawful, final)
        measured = None if today is not None else final.measure(before)
        before_s = costs[-1] if today is not None else math.nan
        before_s = before_s if measured is None else measured.total
        if is_stopped():
            console.print("told to end: the best plans so far are kept")
    is_today = today is not None and place == len(finalists)
    return Refined(pairing.split(lawful[place]), found, before_s, costs[place], is_today)


def _begin_with(today: Plans, others: Iterable[Plans]) -> Iterator[Plans]:
    yield today
    yield from (plans for plans in others if plans != today)


@contextmanager
def _heed_stop() -> Iterator["_Stop"]:
    """Within the block Ctrl-C ends the search, not the command."""
    stop = _Stop()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


class _Stop:
    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def __call__(self) -> bool:
        return self._is_set
