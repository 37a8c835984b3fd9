"""Simulated delay as the cost of plans: one bare run for each seed, some at the same time."""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from api.benchmark.scores import score_run
from api.planning.measuring import SHIFT_S
from networks.bare_runs import BareRun, read_edge_loss_s
from networks.scenario import Scenario
from networks.sumo_plans import ProgramWriter
from traffic.optimization.pairs import pair_network
from traffic.optimization.search import Cost, Plans

HEAVY = 1.05
HOPELESS = 1.01  # of the best cost over the same seeds: worse than that, the other seeds are spared


@dataclass(frozen=True, slots=True)
class Demand:
    """A seed's demand, departures later by up to shift_s, vehicles times `scale`."""

    seed: int
    shift_s: float
    scale: float


def list_trial_demands(seeds: Sequence[int]) -> tuple[Demand, ...]:
    """Return what plans are tried on, one demand for each seed: every second one is heavier.

    A plan on the brink of a jam is worth nothing, however good it is short of it.
    """
    return tuple(Demand(seed, SHIFT_S, (HEAVY, 1.0)[i % 2]) for i, seed in enumerate(seeds))


def list_final_demands(seeds: Sequence[int]) -> tuple[Demand, ...]:
    """Return other demands, one for each seed, to choose among the finalists by."""
    return tuple(Demand(seed, SHIFT_S / 4, (1.0, HEAVY)[i % 2]) for i, seed in enumerate(seeds))


def choose_final(finalists: Sequence[Plans], cost: "SimulatedCost") -> tuple[int, list[float]]:
    """Return which finalist costs least, and what each one costs, seconds; NaN when told to end
    before it was measured. The first one wins when the others are not measured."""
    costs = []
    for plans in finalists:
        measured = cost.measure(plans)
        costs.append(math.nan if measured is None else measured.total)
    if any(map(math.isnan, costs)):
        return 0, costs
    return min(range(len(costs)), key=lambda i: costs[i]), costs


def try_once(scenario: Scenario, plans: Sequence[Plans]) -> list[float]:
    """Return the mean delay of all scheduled trips under each of the plans, seconds.

    All meet one demand, with other departures than any that flows were measured on.
    """
    demand = Demand(scenario.seed, SHIFT_S / 4, 1.0)
    with SimulatedCost({scenario.seed: scenario}, (demand,), 1, lambda: False) as cost:
        measured = [cost.measure(one) for one in plans]
    return [math.nan if one is None else one.total for one in measured]


class SimulatedCost:
    """Measures plans by the mean delay of all scheduled trips, seconds, over all seeds.

    At each junction the cost is the time lost on its approaches and waiting to enter them, vehicle
    seconds. Plans and costs are of the network as `pair_network` gives it; plans of the street do,
    too. A context: no process and no file is left.
    """

    def __init__(
        self,
        scenarios: Mapping[int, Scenario],
        demands: Sequence[Demand],
        jobs: int,
        is_told_to_end: Callable[[], bool],
    ) -> None:
        self._scenarios = dict(scenarios)
        self._demands = tuple(demands)
        self._jobs = jobs
        self._is_told_to_end = is_told_to_end
        self._writer = ProgramWriter(next(iter(self._scenarios.values())))
        self._pairing = pair_network(next(iter(self._scenarios.values())).network)
        network = self._pairing.network
        self._links = {
            id_: {k for a in network.approaches.values() if a.junction == id_ for k in a.links}
            for id_ in network.junctions
        }
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        self._scratch = Path(
            self._closing.enter_context(tempfile.TemporaryDirectory(prefix="traffic-"))
        )
        self._pool = self._closing.enter_context(ThreadPoolExecutor(self._jobs))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._closing.close()

    def measure(
        self, plans: Plans, best: Cost | None = None, most_runs: int | None = None
    ) -> Cost | None:
        """See `traffic.optimization.search.Measure`."""
        programs = self._writer.write(
            self._pairing.split(plans), self._scratch / "programs.add.xml"
        )
        delays_s: list[float] = []
        lost_s: list[Mapping[str, float]] = []
        for delay_s, loss_s in self._run_all(programs, self._demands[:most_runs]):
            if delay_s is None:
                return None
            delays_s.append(delay_s)
            lost_s.append(
                {
                    id_: sum(loss_s.get(link, 0.0) for link in links)
                    for id_, links in self._links.items()
                }
            )
            is_last = len(delays_s) == len(self._demands[:most_runs])
            least_s = math.inf if best is None else sum(best.runs[: len(delays_s)])
            if not is_last and sum(delays_s) > HOPELESS * least_s:
                return Cost(tuple(delays_s), tuple(lost_s), is_whole=False)
        is_whole = len(delays_s) == len(self._demands)
        return Cost(tuple(delays_s), tuple(lost_s), is_whole)

    def _run_all(
        self, programs: Path, demands: Sequence[Demand]
    ) -> Iterator[tuple[float | None, Mapping[str, float]]]:
        for first in range(0, len(demands), self._jobs):
            some = demands[first : first + self._jobs]
            yield from self._pool.map(lambda demand: self._run(demand, programs), some)

    def _run(self, demand: Demand, programs: Path) -> tuple[float | None, Mapping[str, float]]:
        out = self._scratch / f"seed-{demand.seed}-{demand.shift_s:g}"
        scenario = self._scenarios[demand.seed]
        run = BareRun(scenario, demand.seed, demand.shift_s, demand.scale, (programs,))
        if not run.run(out, self._is_told_to_end):
            return None, {}
        return score_run(out).delay_s, read_edge_loss_s(out)
