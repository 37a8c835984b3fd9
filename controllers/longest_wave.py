"""Longest wave: the stage with most vehicles waiting and coming within 200 m.

The greedy rule called MaxWave in Ault and Sharon, Reinforcement Learning Benchmarks for Traffic
Signal Control, NeurIPS 2021 Datasets and Benchmarks.
"""

from collections.abc import Mapping

from controllers.choosing import PeriodicChoice, find_lanes, score_stages
from controllers.queues import Count
from traffic.control import Command, Observation, Sensing
from traffic.model import Network


class LongestWave:
    """Chooses the stage with most vehicles every period; heeds no order of the strategic half."""

    needs = Sensing.LANES

    def __init__(self, network: Network, junction: str, period_s: float = 5.0) -> None:
        self.junction = junction
        self._network = network
        self._lanes = find_lanes(network, junction)
        approaches = [a.id for a in network.approaches.values() if a.junction == junction]
        self._choice = PeriodicChoice(network, junction, period_s, "longest-wave", approaches)
        self.loops = self._choice.loops

    def decide(self, seen: Observation) -> Command | None:
        return self._choice.decide(seen, self._score)

    def _score(self, counts: Mapping[str, Count]) -> Mapping[str, float]:
        waves = {lane: one.queued_veh + one.coming_veh for lane, one in counts.items()}
        return score_stages(self._network, self.junction, self._lanes, waves)
