"""Signal controllers and meters, each behind traffic.control.Controller."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from controllers.actuated import Actuated
from controllers.fixed_time import FixedTime
from controllers.responsive import Responsive
from controllers.webster import Webster
from traffic.control import Controller
from traffic.model import Network

CONTROLLERS: Mapping[str, Callable[[Network, str], Controller]] = MappingProxyType(
    {
        "actuated": Actuated,
        "fixed-time": FixedTime,
        "responsive": Responsive,
        "webster": Webster,
    }
)
