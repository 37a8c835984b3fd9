"""Thresholds of alerts: a scene has its own, and each set of them has a version."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from traffic.incidents.fitted import THRESHOLD
from traffic.model import ModelError

_RATIOS = ("severe_chance", "near_share", "good_share", "held_share")
_LANGUAGES = {"en", "zh"}


@dataclass(frozen=True)
class CongestionSettings:
    """Raises ModelError with all problems at once."""

    version: str = "built-in"
    warn_chance: float = 0.7
    clear_chance: float = 0.4
    warn_updates: int = 4  # forecasts in a row
    clear_s: float = 600.0  # the chance must stay below clear_chance this long
    blind_s: float = 1800.0  # without a forecast this long, the old warning no longer counts
    jam_mps: float = 40 / 3.6  # as a breakdown is defined; a merge may be slower for a moment
    free_mps: float = 60 / 3.6
    jam_s: float = 240.0  # below jam_mps, within the last jam_window_s
    jam_window_s: float = 300.0
    free_s: float = 300.0  # above free_mps without a break
    standing_occupancy: float = 0.5  # a loop so covered that nothing passes has a speed of 0
    severe_chance: float = 0.5  # of spillback: above, a warning is major, a jam critical
    near_share: float = 0.8  # of a storage filled, above which a jam is critical
    calmer_s: float = 600.0  # a lower severity must last this long
    longest_snooze_s: float = 3600.0
    good_share: float = 0.6  # of the loops that must be trusted, else they are the cause
    held_share: float = 0.2  # flow lost after the bottleneck over capacity: an incident's sign
    slow_beyond: float = 0.45  # 1 less speed over free speed after the bottleneck: another
    surge_rise: float = 0.1  # of the inflow's ratio to the usual day, within 20 minutes
    # Of suspicion, above which a lane is taken for blocked. It stands for the budget of false
    # alarms, see find_threshold; a scene's own days tell which.
    incident_threshold: float = THRESHOLD
    incident_clear_s: float = 300.0  # without suspicion this long, a blocked lane is free again
    # Names of places, by the bottleneck or the ramp there, language -> name.
    places: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = [f.name for f in fields(self) if f.name not in ("version", "places")]
        problems = [
            f"{name} {getattr(self, name)!r} must be a number above 0"
            for name in numbers
            if not _is_number(getattr(self, name)) or not getattr(self, name) > 0
        ]
        if not isinstance(self.version, str) or not self.version.strip():
            problems.append(f"version {self.version!r} must be a text")
        if all(_is_number(getattr(self, name)) for name in numbers):
            problems += self._check_order()
        for ramp, names in self.places.items():
            if not isinstance(names, Mapping) or not names.keys() >= _LANGUAGES:
                problems.append(f"places.{ramp} {names!r} must name it in en and zh")
        if problems:
            raise ModelError("congestion settings", problems)

    def _check_order(self) -> list[str]:
        problems = [
            f"{name} {getattr(self, name)} must be below 1"
            for name in _RATIOS
            if not getattr(self, name) < 1
        ]
        if not self.clear_chance < self.warn_chance < 1:
            problems.append(
                f"clear_chance {self.clear_chance} must be below warn_chance "
                f"{self.warn_chance}, which must be below 1"
            )
        if not self.jam_mps < self.free_mps:
            problems.append(f"jam_mps {self.jam_mps} must be below free_mps {self.free_mps}")
        if not self.jam_s <= self.jam_window_s:
            problems.append(f"jam_s {self.jam_s} must be at most jam_window_s {self.jam_window_s}")
        return problems


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
