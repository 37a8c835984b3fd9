"""Signal controllers and meters, each behind traffic.control.Controller."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from controllers.fixed_time import FixedTime
from controllers.responsive import Responsive
from traffic.control import Controller
from traffic.model import Network

CONTROLLERS: Mapping[str, Callable[[Network, str], Controller]] = MappingProxyType(
    {"fixed-time": FixedTime, "responsive": Responsive}
)
