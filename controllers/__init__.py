"""Signal controllers and meters, each behind traffic.control.Controller."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from controllers.actuated import Actuated
from controllers.fixed_time import FixedTime
from controllers.longest_wave import LongestWave
from controllers.max_pressure import MaxPressure
from controllers.responsive import Responsive
from controllers.timetable import Timetable
from controllers.webster import Webster
from traffic.control import Controller, Sensing
from traffic.model import Network


class Kind(Protocol):
    """What builds a controller of one kind for a junction, and tells beforehand what it needs."""

    needs: Sensing

    def __call__(self, network: Network, junction: str) -> Controller: ...


CONTROLLERS: Mapping[str, Kind] = MappingProxyType(
    {
        "actuated": Actuated,
        "fixed-time": FixedTime,
        "longest-wave": LongestWave,
        "max-pressure": MaxPressure,
        "responsive": Responsive,
        "timetable": Timetable,
        "webster": Webster,
    }
)
