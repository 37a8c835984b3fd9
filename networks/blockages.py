"""Days with lane blockages at random places and times, drawn from a seed.

A blockage is what an accident or a breakdown leaves: one or more lanes of one place where vehicles
stand for 5 to 20 min. Places are drawn by vehicle-kilometers, the usual measure of exposure to
accidents, among the links that loops enclose. Demand differs from day to day.
"""

import random
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from networks.bare_runs import BareRun
from networks.scenario import LaneClosure, Scenario
from networks.sumo_xml import read_elements
from traffic.model import DetectorKind, ModelError, Network

SHORTEST_S, LONGEST_S = 300.0, 1200.0
LANE_SHARES = (0.6, 0.3, 0.1)  # of blockages that take one, two, three lanes
QUIET_S = 480.0  # from the begin of a day: an empty network fills
WAIT_S = 240.0  # longest time until a vehicle comes by that can stand there
APART_S = 120.0  # between the end of one blockage and the begin of the next
CLEAR_M = 20.0  # of a link's ends
BESIDE_M = 6.0  # between the vehicles of neighboring lanes
SCALES = (0.85, 1.05)  # least and most of a day's demand, of the scenario's own
SHIFT_S = 60.0  # longest delay of a departure from one day to another

Exposure = Mapping[str, float]  # link -> vehicle-km of a day


@dataclass(frozen=True, slots=True)
class Blockage:
    """Lanes closed side by side for `lasts_s`, from when vehicles stand; meant for begin_s."""

    link: str
    lanes: tuple[int, ...]
    position_m: float
    begin_s: float
    lasts_s: float

    def build_closures(self) -> tuple[LaneClosure, ...]:
        return tuple(
            LaneClosure(
                self.link,
                lane,
                round(self.position_m - BESIDE_M * rank, 1),
                self.begin_s,
                self.begin_s + WAIT_S,
                self.lasts_s,
            )
            for rank, lane in enumerate(self.lanes)
        )


def measure_exposure(scenario: Scenario, is_told_to_end: Callable[[], bool]) -> dict[str, float]:
    """Simulate the demand once, undisturbed, and return the vehicle-km on each link.

    Raises BareRunError when SUMO fails.
    """
    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        out = Path(scratch)
        BareRun(scenario, scenario.seed).run(out, is_told_to_end)
        return {
            edge.get("id", ""): float(edge.get("sampledSeconds", "0"))
            * float(edge.get("speed", "0"))
            / 1000.0
            for edge in read_elements(out / "edges.xml", "edge")
        }


def find_enclosed(network: Network) -> tuple[str, ...]:
    """Return the links between loops: those of approaches, and of mainlines with stations."""
    on_mainline = [d.link for d in network.detectors.values() if d.kind is DetectorKind.MAINLINE]
    at_signals = {loop.approach for loop in network.detectors.values()}
    enclosed = dict.fromkeys(on_mainline)
    for approach in network.approaches.values():
        if approach.id in at_signals:
            enclosed |= dict.fromkeys(approach.links)
    return tuple(sorted(enclosed))


def vary_demand(
    scenario: Scenario, rng: random.Random, scales: tuple[float, float] = SCALES
) -> Scenario:
    """Return the scenario with a day's own demand: more or less of it, and other departures."""
    scale = round(rng.uniform(*scales), 3)
    shift = ("--scale", f"{scale:g}", "--random-depart-offset", f"{SHIFT_S:g}")
    return replace(scenario, sumo_options=(*scenario.sumo_options, *shift))


def build_day(
    scenario: Scenario, exposure: Exposure, number: int, scales: tuple[float, float] = SCALES
) -> Scenario:
    """Return the scenario's day of its seed: varied demand and `number` blockages, 0 for none."""
    rng = random.Random(f"{scenario.id}/{scenario.seed}/day")
    varied = vary_demand(scenario, rng, scales)
    drawn = draw_blockages(scenario, exposure, number, rng)
    closures = [closure for blockage in drawn for closure in blockage.build_closures()]
    return replace(varied, closures=tuple(closures))


def draw_blockages(
    scenario: Scenario, exposure: Exposure, number: int, rng: random.Random
) -> tuple[Blockage, ...]:
    """Draw blockages one after the other, each within its equal part of the day.

    Raises ModelError with all problems when there is no place or no time for them.
    """
    network = scenario.network
    places = [
        link
        for link in find_enclosed(network)
        if exposure.get(link, 0.0) > 0 and network.links[link].length_m > 2 * CLEAR_M
    ]
    part_s = (scenario.end_s - scenario.begin_s - QUIET_S) / max(number, 1)
    problems = []
    if number < 0:
        problems.append(f"number of blockages {number} must not be negative")
    if number > 0 and not places:
        problems.append("no link with traffic between loops")
    if number > 0 and part_s < LONGEST_S + WAIT_S + APART_S:
        problems.append(
            f"{number} blockages of up to {LONGEST_S:g} s do not fit {part_s * number:g} s"
        )
    if problems:
        raise ModelError(f"blockages of {scenario.id}", problems)
    weights = [exposure[link] for link in places]
    return tuple(
        _draw_one(network, places, weights, scenario.begin_s + QUIET_S + k * part_s, part_s, rng)
        for k in range(number)
    )


def _draw_one(
    network: Network,
    places: Sequence[str],
    weights: Sequence[float],
    from_s: float,
    part_s: float,
    rng: random.Random,
) -> Blockage:
    link = network.links[rng.choices(places, weights)[0]]
    lanes = sorted(_list_open_lanes(network, link.id))
    most = max(1, len(lanes) - 1)  # a road of several lanes is never closed whole
    wanted = rng.choices(range(1, len(LANE_SHARES) + 1), LANE_SHARES)[0]
    size = min(wanted, most)
    first = rng.randrange(len(lanes) - size + 1)
    lasts_s = rng.uniform(SHORTEST_S, LONGEST_S)
    begin_s = from_s + rng.uniform(0.0, part_s - APART_S - WAIT_S - lasts_s)
    position_m = rng.uniform(CLEAR_M, link.length_m - CLEAR_M)
    return Blockage(
        link.id,
        tuple(lanes[first : first + size]),
        round(position_m, 1),
        round(begin_s),
        round(lasts_s),
    )


def _list_open_lanes(network: Network, link: str) -> Iterable[int]:
    """Lanes with a loop; on a link without any, those that the model counts, from lane 0."""
    loops = {loop.lane for loop in network.detectors.values() if loop.link == link}
    return loops or range(max(network.links[link].lanes, 1))
