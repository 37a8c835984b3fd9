"""Signal controllers and meters, each behind traffic.control.Controller."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from controllers.actuated import Actuated
from controllers.fixed_time import FixedTime
from controllers.horizon import Horizon, build_horizon_team
from controllers.longest_wave import LongestWave
from controllers.max_pressure import MaxPressure
from controllers.responsive import Responsive
from controllers.timetable import Timetable
from controllers.webster import Webster
from traffic.control import Controller, Sensing, Team
from traffic.model import Network


class Kind(Protocol):
    """What builds a controller of one kind for a junction, and tells beforehand what it needs."""

    needs: Sensing

    def __call__(self, network: Network, junction: str) -> Controller: ...


class TeamKind(Protocol):
    """What builds a team of one kind from all that a field of this tier senses."""

    def __call__(self, network: Network, junctions: Sequence[str], sensing: Sensing) -> Team: ...


CONTROLLERS: Mapping[str, Kind] = MappingProxyType(
    {
        "actuated": Actuated,
        "fixed-time": FixedTime,
        "horizon": Horizon,
        "longest-wave": LongestWave,
        "max-pressure": MaxPressure,
        "responsive": Responsive,
        "timetable": Timetable,
        "webster": Webster,
    }
)

# The kinds above that decide for all junctions in one batch where they have more than one.
TEAMS: Mapping[str, TeamKind] = MappingProxyType({"horizon": build_horizon_team})


def build_deciders(
    name: str, network: Network, junctions: Sequence[str], sensing: Sensing
) -> tuple[tuple[Controller, ...], tuple[Team, ...]]:
    """Return who decides for these junctions: controllers of CONTROLLERS[name], or one team.

    `sensing` is the field's tier. Raises KeyError for an unknown name, ModelError when the network
    does not tell what the kind needs.
    """
    if name in TEAMS and junctions:
        return (), (TEAMS[name](network, junctions, sensing),)
    return tuple(CONTROLLERS[name](network, junction) for junction in junctions), ()
