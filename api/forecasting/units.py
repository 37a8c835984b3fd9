"""The units in which loop data come, and what can be true of each quantity."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from api.errors import UserError
from traffic.units import METERS_PER_KILOMETER, METERS_PER_MILE, PERCENT, SECONDS_PER_HOUR

MINUTES_PER_HOUR = 60
KNOWN = "mph, km/h, m/s, veh/h, veh/5min, percent, ratio"


@dataclass(frozen=True)
class Unit:
    """What values are multiplied by to be in m/s, veh/h or 0..1."""

    name: str
    quantity: str
    factor: float


@dataclass(frozen=True)
class Limits:
    """What can be measured of a quantity, in m/s, veh/h or 0..1."""

    most: float
    least_scale: float  # a detector whose mean is less is taken to have this mean
    fixed_zero: bool  # a 0 is no measurement: nothing passed, or the detector was silent


LIMITS: Mapping[str, Limits] = {
    "speed": Limits(most=60.0, least_scale=1.0, fixed_zero=True),  # 216 km/h
    "flow": Limits(most=30_000.0, least_scale=20.0, fixed_zero=False),  # twelve full lanes
    "occupancy": Limits(most=1.0, least_scale=0.01, fixed_zero=False),
}

_FIXED = {
    "mph": ("speed", METERS_PER_MILE / SECONDS_PER_HOUR),
    "km/h": ("speed", METERS_PER_KILOMETER / SECONDS_PER_HOUR),
    "m/s": ("speed", 1.0),
    "veh/h": ("flow", 1.0),
    "percent": ("occupancy", PERCENT),
    "ratio": ("occupancy", 1.0),
}

# How values of a feed change when its unit is mistaken: read as the second, though the first.
MISTAKES: Mapping[str, Mapping[float, tuple[str, str]]] = {
    "speed": {
        METERS_PER_KILOMETER / METERS_PER_MILE: ("mph", "km/h"),
        METERS_PER_MILE / METERS_PER_KILOMETER: ("km/h", "mph"),
        SECONDS_PER_HOUR / METERS_PER_KILOMETER: ("km/h", "m/s"),
        METERS_PER_KILOMETER / SECONDS_PER_HOUR: ("m/s", "km/h"),
        SECONDS_PER_HOUR / METERS_PER_MILE: ("mph", "m/s"),
        METERS_PER_MILE / SECONDS_PER_HOUR: ("m/s", "mph"),
    },
    "flow": {
        12.0: ("veh/h", "veh/5min"),
        1 / 12.0: ("veh/5min", "veh/h"),
        60.0: ("veh/h", "veh/min"),
        1 / 60.0: ("veh/min", "veh/h"),
    },
    "occupancy": {100.0: ("0..100", "0..1"), 0.01: ("0..1", "0..100")},
}


def parse_unit(text: str) -> Unit:
    """Read "mph" or "veh/15min". Raises UserError when there is no such unit."""
    if text in _FIXED:
        return Unit(text, *_FIXED[text])
    counted = re.fullmatch(r"veh/(\d*)min", text)
    if counted and int(counted[1] or 1) > 0:
        return Unit(text, "flow", MINUTES_PER_HOUR / int(counted[1] or 1))
    raise UserError([f"--unit {text!r}: expected one of {KNOWN}"])
