"""Max pressure: the stage whose queues most exceed those that they would join.

P. Varaiya, Max pressure control of a network of signalized intersections, Transportation Research
Part C 36, 2013.
"""

from collections.abc import Mapping

from controllers.choosing import PeriodicChoice, find_lanes, score_stages
from controllers.queues import Count
from traffic.control import Command, Observation, Sensing
from traffic.model import Network


class MaxPressure:
    """Chooses the stage of most pressure every period.

    The pressure of a lane is its queue less the mean queue of the lanes that its phases lead to.
    Queues are seen where the field senses lanes, and estimated from loops elsewhere. It heeds no
    order of the strategic half.
    """

    needs = Sensing.LOOPS

    def __init__(self, network: Network, junction: str, period_s: float = 10.0) -> None:
        self.junction = junction
        self._network = network
        self._lanes = find_lanes(network, junction)
        phases = network.junctions[junction].phases
        exits = {phase.id: {move.to_link for move in phase.movements} for phase in phases}
        beyond = {
            link: {
                f"{approach.links[-1]}_{lane}"
                for approach in network.approaches.values()
                if link in approach.links
                for lanes in approach.phase_lanes.values()
                for lane in lanes
            }
            for links in exits.values()
            for link in links
        }
        # Lane -> lanes at the next stop lines.
        self._after = {
            lane: sorted({one for phase in own for link in exits[phase] for one in beyond[link]})
            for lane, own in self._lanes.items()
        }
        near = {lane.rpartition("_")[0] for after in self._after.values() for lane in after}
        approaches = [
            approach.id
            for approach in network.approaches.values()
            if approach.junction == junction or approach.links[-1] in near
        ]
        self._choice = PeriodicChoice(network, junction, period_s, "max-pressure", approaches)
        self.loops = self._choice.loops

    def decide(self, seen: Observation) -> Command | None:
        return self._choice.decide(seen, self._score)

    def _score(self, counts: Mapping[str, Count]) -> Mapping[str, float]:
        pressures = {}
        for lane, after in self._after.items():
            if lane in counts:
                queues = [counts[one].queued_veh for one in after if one in counts]
                beyond_veh = sum(queues) / len(queues) if queues else 0.0
                pressures[lane] = counts[lane].queued_veh - beyond_veh
        return score_stages(self._network, self.junction, self._lanes, pressures)
