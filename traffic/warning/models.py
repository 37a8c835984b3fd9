"""What is fitted for a bottleneck, as a table that a person can review."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from traffic.model import ModelError
from traffic.warning import breakdown, spillback
from traffic.warning.hazard import HazardModel

BREAKDOWN, QUEUE = "breakdown", "queue"
_PARTS = {BREAKDOWN: breakdown.FEATURES, QUEUE: spillback.FEATURES}


@dataclass(frozen=True, eq=False)
class WarningModels:
    """Hazards of breakdown and of the queue's reach. Raises ModelError when leads differ."""

    breakdown: HazardModel
    queue: HazardModel

    def __post_init__(self) -> None:
        if self.breakdown.lead_s != self.queue.lead_s:
            problem = f"leads {self.breakdown.lead_s} and {self.queue.lead_s} s must be the same"
            raise ModelError("warning models", [problem])

    def to_table(self) -> dict[str, Any]:
        """Return what `from_table` reads."""
        return {BREAKDOWN: self.breakdown.to_table(), QUEUE: self.queue.to_table()}

    @classmethod
    def from_table(cls, table: Any) -> "WarningModels":
        """Read a table. Raises ModelError with all problems of both parts at once."""
        if not isinstance(table, Mapping):
            raise ModelError("warning models", [f"is {type(table).__name__}, expected a table"])
        problems = [f"has an unknown {key}" for key in sorted(table.keys() - _PARTS.keys())]
        found = []
        for key, features in _PARTS.items():
            if key not in table:
                problems.append(f"has no {key}")
                continue
            try:
                found.append(HazardModel.from_table(key, table[key], features))
            except ModelError as error:
                problems += [f"{key}: {problem}" for problem in error.problems]
        if problems:
            raise ModelError("warning models", problems)
        return cls(*found)
