"""How a rolling horizon is built: for one junction, or for a whole city in one batch."""

from collections.abc import Sequence

from controllers.horizon import HorizonTeam
from traffic.control import Command, Observation, Sensing
from traffic.model import Network


class Horizon:
    """The rolling horizon of one junction, a team of one; implements traffic.control.Controller."""

    needs = Sensing.LANES  # the least that it can work with

    def __init__(self, network: Network, junction: str) -> None:
        self.junction = junction
        self._team = HorizonTeam(network, (junction,))
        self.loops = self._team.loops

    def decide(self, seen: Observation) -> Command | None:
        (command,) = self._team.decide((seen,))
        return command


def build_horizon_team(network: Network, junctions: Sequence[str], sensing: Sensing) -> HorizonTeam:
    """Return a team that uses all that the field senses. Raises ModelError."""
    return HorizonTeam(network, junctions, needs=sensing)
