"""When plans are switched on and off without a person, as in a simulation."""

from dataclasses import dataclass

from traffic.congestion import Alert, Level


@dataclass(frozen=True)
class Policy:
    """Activates plans by itself, as in a simulation; in service a person gives the orders.

    A plan of `plans` starts when its bottleneck has an open alert of `level` or worse, and stops
    when it has had none for `quiet_s` and has run for `least_s`. A jam that no forecast bears out
    (its chance below `likely`) may dissolve by itself and has to stand for `patience_s` first.
    """

    plans: frozenset[str] = frozenset()
    level: Level = Level.WARNING
    quiet_s: float = 300.0
    least_s: float = 600.0
    likely: float = 0.5
    patience_s: float = 1200.0

    def heeds(self, alert: Alert, now_s: float) -> bool:
        """Whether an alert calls for the plans of its bottleneck."""
        levels = list(Level)
        if alert.cleared_s is not None or levels.index(alert.level) < levels.index(self.level):
            return False
        return (
            alert.level is Level.WARNING
            or alert.breakdown_chance >= self.likely
            or now_s - alert.raised_s >= self.patience_s
        )
