"""What can be set about forecasts for loops."""

from dataclasses import dataclass, fields
from math import isfinite

from traffic.forecasting.calendar import DAY_S
from traffic.model import ModelError

_MAY_BE_ZERO = ("least", "seed", "bent", "neighbor_gain")
_SHARES = (
    "forgetting", "mixture_forgetting", "spread_forgetting", "least_coverage", "least_own_coverage",
    "trial_margin",
)  # fmt: skip
_MAY_BE_NONE = ("onset_below", "onset_from")


@dataclass(frozen=True)
class LoopForecastSettings:
    """Chosen on the first four fifths of the Los-loop data. Raises ModelError with all problems."""

    interval_s: float = 300.0
    leads: int = 12  # lead times, one interval apart
    least: float = 0.0  # that can be measured
    most: float = 1e9
    least_scale: float = 1e-3  # of a detector: its mean, but not less than this
    forgetting: float = 0.9995  # per interval, of sums for regression
    penalty: float = 0.003  # of the plain features, in units of a detector's scale
    bent: int = 300  # random features
    bent_penalty: float = 0.1
    bent_density: float = 0.3
    bent_gain: float = 3.0
    own_strength: float = 1000.0  # rows that the common coefficients are worth to a detector
    mixture_forgetting: float = 0.98  # per interval, of losses
    widths: tuple[float, float] = (10.0, 2.7)  # of the profile, wide and narrow, in intervals
    spread_forgetting: float = 0.999  # per interval, of errors in bins
    coverage_gain: float = 0.02  # how fast outer quantiles move when they cover too little
    watch: float = 144.0  # intervals that the live check of coverage remembers
    watch_begin: float = 12.0  # intervals judged before anything can be trusted
    least_coverage: float = 0.8  # of a lead time, to be trusted
    least_own_coverage: float = 0.6  # of a detector, to be trusted
    trial_memory: float = 288.0  # intervals by which a challenger is judged
    trial_margin: float = 0.01  # of the mixture's squared error, to be promoted
    trial_least: float = 72.0  # intervals judged before any promotion
    onset_below: float | None = None  # slow, in the unit of readings; none for no chance of onset
    onset_from: float | None = None  # not slow yet
    onset_leads: int = 6  # intervals within which an onset is foreseen
    neighbor_gain: float = 0.5  # of the neighbors' surprise, in filling what is missing
    settle: int = 288  # intervals learned from before random features and own coefficients begin
    solve_every: int = 6  # intervals from one solution of the pooled regression to the next
    rows: int = 4096  # detectors that teach the pooled regression in each interval, by turns
    seed: int = 1

    def __post_init__(self) -> None:
        problems = []
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "widths":
                if len(value) != 2 or any(not width > 0 for width in value):
                    problems.append(f"widths {value} must be two, each above 0")
            elif f.name in _MAY_BE_NONE and value is None:
                continue
            elif f.name in _MAY_BE_ZERO:
                if not value >= 0:
                    problems.append(f"{f.name} {value} must be 0 or more")
            elif not (value > 0 and isfinite(value)):
                problems.append(f"{f.name} {value} must be above 0")
            if f.name in _SHARES and value > 1:
                problems.append(f"{f.name} {value} must be at most 1")
        if self.interval_s > 0 and DAY_S % self.interval_s:
            problems.append(f"interval_s {self.interval_s} must divide a day")
        below, begin = self.onset_below, self.onset_from
        if (below is None) != (begin is None):
            problems.append("onset_below and onset_from must be given together")
        elif below is not None and begin is not None and not below <= begin:
            problems.append(f"onset_below {below} must not be above onset_from {begin}")
        if below is not None and self.onset_leads > self.leads:
            problems.append(f"onset_leads {self.onset_leads} must be at most leads {self.leads}")
        if not self.least < self.most:
            problems.append(f"least {self.least} must be below most {self.most}")
        if problems:
            raise ModelError("loop forecast settings", problems)
