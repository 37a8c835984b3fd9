"""When plans are switched on and off without a person, as in a simulation."""

from dataclasses import dataclass

from traffic.congestion import Alert, Level


@dataclass(frozen=True)
class Policy:
    """Activates plans by itself, as in a simulation; in service a person gives the orders.

    A plan of `plans` starts when its bottleneck has an open alert of `level` or worse, and stops
    when it has had none for `quiet_s` and has run for `least_s`. A jam that no forecast bears out
    (its chance below `likely`) may dissolve by itself and has to stand for `patience_s` first. A
    lane that is merely suspected to be blocked starts nothing (docs/decisions/0006).
    """

    plans: frozenset[str] = frozenset()
    level: Level = Level.WARNING
    quiet_s: float = 300.0
    least_s: float = 600.0
    likely: float = 0.5
    patience_s: float = 1200.0

    def heeds(self, alert: Alert, now_s: float) -> bool:
        """Whether an alert calls for the plans of its bottleneck."""
        if alert.cleared_s is not None or alert.level.rank < self.level.rank:
            return False
        since_s = alert.raised_s if alert.warned_s is None else alert.warned_s
        return (
            alert.level is Level.WARNING
            or alert.breakdown_chance >= self.likely
            or now_s - since_s >= self.patience_s
        )
