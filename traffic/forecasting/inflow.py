"""Foresight: the inflow that a bottleneck will get, and the chance that it breaks down.

Upstream loops see traffic some minutes before the bottleneck does. Beyond that a usual day, where
the city has recorded one, is scaled to what today has shown; without one the counts' trend is
carried on, ever more weakly (Gardner and McKenzie 1985, damped Holt). How far the forecasts can be
trusted is learned from the errors of those made before.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from traffic.estimation import State
from traffic.flows import find_known
from traffic.model import Bottleneck, ModelError, Network
from traffic.readings import LoopBatch, Quality
from traffic.units import SECONDS_PER_HOUR, to_vph

if TYPE_CHECKING:
    from traffic.forecasting.outlook import LoopOutlook

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

QUANTILES = (0.1, 0.5, 0.9)
SHORT_REST_S = 120.0  # over which what was heard minutes ago still tells of now
Z90 = 1.2815515655446004  # standard normal quantile at 0.9


@dataclass(frozen=True, eq=False)
class Forecast:
    """Inflow and chance of breakdown per lead time; NaN while too little is known.

    Inflow is the mean over the window (ForecastSettings.window_s) that ends at the lead: a
    bottleneck stands a short peak but not a quarter of an hour above its capacity.
    Arrays are read-only.
    """

    time_s: float
    bottlenecks: tuple[str, ...]  # B
    lead_s: tuple[float, ...]  # H
    inflow_vph: Floats  # B x H x 3, quantiles .1 .5 .9
    breakdown_chance: Floats  # B x H, 0..1
    _: KW_ONLY
    # B x H, share of inflows within the outer quantiles of late; NaN until they have been judged
    coverage: Floats | None = None
    trusted: Flags | None = None  # B x H, that share is near what the quantiles promise
    loops: "LoopOutlook | None" = None  # of every loop, once an interval is over

    def __post_init__(self) -> None:
        self.inflow_vph.flags.writeable = False
        self.breakdown_chance.flags.writeable = False


@dataclass(frozen=True)
class ForecastSettings:
    """Raises ModelError with all problems at once."""

    lead_s: tuple[float, ...] = (300.0, 600.0, 900.0, 1200.0, 1500.0, 1800.0)
    window_s: float = 900.0  # the inflow of this long is held against capacity
    settle_s: float = 300.0  # first readings, left out: roads may only be filling
    warm_up_s: float = 600.0  # after those, to learn a level before a trend is believed
    level_s: float = 420.0  # time constant of the level
    trend_s: float = 900.0  # time constant of the trend
    damping_s: float = 1500.0  # a trend carried on loses 63 % of its strength in this time
    trend_error: float = 0.05  # standard error per window of lead, until errors are known
    usual_error: float = 0.02  # the same where a usual day is known
    ratio_s: float = 1200.0  # time constant of today's inflow over the usual day's
    ratio_prior_veh: float = 44.0  # days differ by 15 %: worth 1 / 0.15^2 vehicles counted
    ratio_least_veh: float = 200.0  # usual vehicles passed before the ratio is believed
    prior_errors: float = 40.0  # how many own errors the first guess of the spread is worth
    errors_s: float = 3600.0  # time constant of own errors
    least_share: float = 0.5  # of the usual inflow that good loops must see
    judged_s: float = 900.0  # that forecasts were held against what came, until they are trusted
    least_coverage: float = 0.6  # by the outer quantiles, which promise 0.8

    def __post_init__(self) -> None:
        problems = [
            f"{f.name} {getattr(self, f.name)} must be above 0"
            for f in fields(self)
            if f.name != "lead_s" and not getattr(self, f.name) > 0
        ]
        if not self.lead_s or any(not lead > 0 for lead in self.lead_s):
            problems.append(f"lead_s {self.lead_s} must be above 0, and at least one")
        if list(self.lead_s) != sorted(set(self.lead_s)):
            problems.append(f"lead_s {self.lead_s} must rise")
        for name in ("least_share", "least_coverage"):
            if getattr(self, name) > 1:
                problems.append(f"{name} {getattr(self, name)} must be at most 1")
        if problems:
            raise ModelError("forecast settings", problems)


@dataclass(frozen=True, eq=False)
class UsualDay:
    """What loops count on a day like others. Raises ModelError with all problems at once."""

    begin_s: float
    step_s: float
    loops: tuple[str, ...]  # D
    flow_vph: Floats  # T x D, mean over each step; NaN where never seen

    def __post_init__(self) -> None:
        problems = []
        if not self.step_s > 0:
            problems.append(f"step_s {self.step_s} must be above 0")
        if self.flow_vph.ndim != 2 or self.flow_vph.shape[1] != len(self.loops):
            problems.append(f"flow_vph has shape {self.flow_vph.shape}, not T x {len(self.loops)}")
        elif len(self.flow_vph) == 0:
            problems.append("flow_vph has no steps")
        if (self.flow_vph < 0).any():
            problems.append("flow_vph must not be negative")
        if problems:
            raise ModelError("usual day", problems)
        self.flow_vph.flags.writeable = False

    def find_flow(self, loop: str, times_s: Floats) -> Floats:
        """Return the flow in veh/h, straight lines between middles of steps; NaN outside."""
        middles_s = self.begin_s + self.step_s * (np.arange(len(self.flow_vph)) + 0.5)
        flow = np.interp(times_s, middles_s, self.flow_vph[:, self.loops.index(loop)])
        end_s = self.begin_s + self.step_s * len(self.flow_vph)
        return np.where((times_s < self.begin_s) | (times_s > end_s), np.nan, flow)


def build_usual_day(
    batches: Iterable[LoopBatch], loops: tuple[str, ...], step_s: float = 900.0
) -> UsualDay:
    """Average screened batches of any number of days, in any order, by time of day.

    Raises ModelError when there is no batch, or one without some of the loops.
    """
    sums: dict[int, Floats] = {}
    for batch in batches:
        index = {loop: i for i, loop in enumerate(batch.detectors)}
        missing = [
            f"batch of {batch.end_s} s has no loop {loop}" for loop in loops if loop not in index
        ]
        if missing:
            raise ModelError("usual day", missing)
        at = [index[loop] for loop in loops]
        flow = to_vph(batch.count_veh[at], batch.interval_s)
        good = (batch.quality[at] == Quality.GOOD) & ~np.isnan(flow)
        middle_s = batch.end_s - batch.interval_s / 2
        held = sums.setdefault(int(middle_s // step_s), np.zeros((2, len(loops))))
        held[0] += np.where(good, flow, 0.0)
        held[1] += good
    if not sums:
        raise ModelError("usual day", ["no batches"])
    first, last = min(sums), max(sums)
    nothing = np.zeros((2, len(loops)))
    table = np.array([sums.get(step, nothing) for step in range(first, last + 1)])
    with np.errstate(invalid="ignore"):
        return UsualDay(first * step_s, step_s, loops, table[:, 0] / table[:, 1])


class Forecaster:
    """Forecasts each bottleneck's inflow; call once for each screened batch, in order.

    Raises ModelError naming every feeder that a given usual day does not have.
    """

    LEARNED = ("_inflows",)

    def __init__(
        self,
        network: Network,
        settings: ForecastSettings | None = None,
        usual: UsualDay | None = None,
    ) -> None:
        self._settings = settings or ForecastSettings()
        self._ids = tuple(network.bottlenecks)
        bottlenecks = network.bottlenecks.values()
        if usual is not None:
            problems = [
                f"has no feeder {loop} of bottleneck {bottleneck.id}"
                for bottleneck in bottlenecks
                for loop in bottleneck.feeders
                if loop not in usual.loops
            ]
            if problems:
                raise ModelError("usual day", problems)
        self._inflows = [_Inflow(b, self._settings, usual) for b in bottlenecks]

    def resume(self, rest_s: float | None) -> None:
        """Go on after a rest, None when time begins anew; but for a short one on a new course."""
        if rest_s is None or rest_s > SHORT_REST_S:
            for each in self._inflows:
                each.restart()

    def update(self, batch: LoopBatch, state: State) -> Forecast:
        """Return the forecast at the batch's end; `state` says nothing yet in this version."""
        heard = find_known(batch, batch.count_veh)
        leads = self._settings.lead_s
        inflow = np.full((len(self._ids), len(leads), 3), np.nan)
        chance = np.full((len(self._ids), len(leads)), np.nan)
        coverage, trusted = np.full_like(chance, np.nan), np.zeros(chance.shape, bool)
        for i, each in enumerate(self._inflows):
            each.hear(heard, batch.end_s, batch.interval_s)
            inflow[i], chance[i] = each.forecast()
            coverage[i], trusted[i] = each.coverage, each.trusted
        return Forecast(
            batch.end_s, self._ids, leads, inflow, chance, coverage=coverage, trusted=trusted
        )


class _Inflow:
    """The inflow of one bottleneck from its feeders (F), which form one cut across all ways in."""

    LEARNED = (
        "_now_s", "_heard_s", "_level", "_trend", "_own_s", "_today_veh", "_usual_veh", "_past",
        "_made", "_error_sum", "_error_weight", "_inside", "_judged_s", "_filled_share",
    )  # fmt: skip

    def __init__(
        self, bottleneck: Bottleneck, settings: ForecastSettings, usual: UsualDay | None
    ) -> None:
        self._settings, self._usual = settings, usual
        self._capacity_vph = bottleneck.capacity_vph
        self._loops = tuple(bottleneck.feeders)
        self._share = np.array([share for share, _ in bottleneck.feeders.values()], float)
        self._travel_s = np.array([travel for _, travel in bottleneck.feeders.values()], float)
        errors = np.zeros((4, len(settings.lead_s)))
        self._error_sum, self._error_weight, self._inside, self._judged_s = errors
        self.restart()

    def restart(self) -> None:
        """Begin a new course; how far off forecasts were is remembered."""
        size = len(self._loops)
        self._now_s = self._interval_s = np.nan  # of the next batch
        self._heard_s = 0.0
        self._level, self._trend = np.zeros(size), np.zeros(size)  # F: veh/h, veh/h per s
        self._own_s = np.zeros(size)  # F, for how long each was heard itself
        self._today_veh = self._usual_veh = self._settings.ratio_prior_veh
        self._past: deque[Floats] = deque()  # F each, veh/h at the feeders, newest last
        self._made: deque[Floats] = deque()  # H x 3 each, own forecasts, newest last
        self._filled_share = 1.0

    @property
    def coverage(self) -> Floats:
        """Share of inflows within the outer quantiles of late, H; NaN until one has come."""
        known = self._error_weight > 0
        share = self._inside / np.where(known, self._error_weight, 1.0)
        return np.where(known, share, np.nan)

    @property
    def trusted(self) -> Flags:
        """Whether the quantiles have been judged for long enough and hold, H."""
        s = self._settings
        return np.asarray((self._judged_s >= s.judged_s) & (self.coverage >= s.least_coverage))

    def hear(self, heard: dict[str, float], now_s: float, interval_s: float) -> None:
        """Take one interval's counts into memory, level, trend and today's ratio."""
        s = self._settings
        if interval_s != self._interval_s:  # at first; a field keeps its interval
            self._interval_s = interval_s
            longest_s = s.window_s + float(self._travel_s.max(initial=0.0))
            self._past = deque(self._past, maxlen=int(longest_s / interval_s) + 2)
            self._made = deque(self._made, maxlen=int(s.lead_s[-1] / interval_s) + 1)
        self._now_s = now_s
        self._heard_s += interval_s
        counts = np.array([heard.get(loop, np.nan) for loop in self._loops], float)
        self._own_s += np.where(np.isnan(counts), 0.0, interval_s)
        flow = self._fill(self._share * to_vph(counts, interval_s))
        self._past.append(flow)
        if self._heard_s > s.settle_s:
            self._follow(flow)

    def _fill(self, flow: Floats) -> Floats:
        """Estimate silent feeders (F) by their usual level and how the heard ones do now."""
        silent = np.isnan(flow)
        level = self._find_level(silent)
        usual = float(level.sum())
        heard = float(level[~silent].sum())
        self._filled_share = 1 - heard / usual if usual > 0 else float(silent.mean())
        if not silent.any() or heard <= 0:
            return flow
        return np.where(silent, level * (np.nansum(flow) / heard), flow)

    def _find_level(self, silent: Flags) -> Floats:
        """Return what feeders (F) bring as a rule; of those silent now the usual day tells best.

        Before they were found out they may have told anything. Without a usual day it is what they
        told, or where that was little, what the lanes beside them do, which take as long.
        """
        level = self._level.copy()
        usual = self._usual_flow(np.array([self._now_s - self._interval_s / 2]))[0]
        if not np.isnan(usual).any():
            like = level[~silent].sum() / max(float(usual[~silent].sum()), 1e-9)
            return np.where(silent, like * usual, level) if like > 0 else usual
        known = self._own_s >= self._settings.warm_up_s
        for i in np.flatnonzero(silent & ~known):
            beside = (self._travel_s == self._travel_s[i]) & (self._share == self._share[i])
            heard = level[beside & known]
            level[i] = heard.mean() if heard.size else level[i]
        return level

    def _follow(self, flow: Floats) -> None:
        """Update level, trend and ratio with one interval's flow (F, veh/h)."""
        s, step_s = self._settings, self._interval_s
        known = ~np.isnan(flow)
        usual = self._usual_flow(np.array([self._now_s - step_s / 2]))[0]
        told = known & ~np.isnan(usual)
        keep = np.exp(-step_s / s.ratio_s)
        hours = step_s / SECONDS_PER_HOUR
        prior_veh = s.ratio_prior_veh
        self._today_veh += (keep - 1) * (self._today_veh - prior_veh) + hours * flow[told].sum()
        self._usual_veh += (keep - 1) * (self._usual_veh - prior_veh) + hours * usual[told].sum()
        since_s = self._heard_s - s.settle_s
        if since_s <= s.warm_up_s:
            # A plain mean first: a level starts without a trend.
            self._level[known] += step_s / since_s * (flow - self._level)[known]
            return
        fade = np.exp(-step_s / s.damping_s)
        gain = 1 - np.exp(-step_s / s.level_s)
        trend_gain = 1 - np.exp(-step_s / s.trend_s)
        faded = fade * self._trend
        expected = self._level + faded * step_s
        level = np.where(known, expected + gain * (flow - expected), expected)
        shown = (level - self._level) / step_s
        self._trend = np.where(known, faded + trend_gain * (shown - faded), faded)
        self._level = level

    def _usual_flow(self, times_s: Floats) -> Floats:
        """Return the usual day's flow bound for the bottleneck, T x F, NaN where not known."""
        if self._usual is None:
            return np.full((len(times_s), len(self._loops)), np.nan)
        columns = [self._usual.find_flow(loop, times_s) for loop in self._loops]
        return self._share * np.array(columns).reshape(len(self._loops), -1).T

    def forecast(self) -> tuple[Floats, Floats]:
        """Return inflow quantiles, H x 3, and the chance of more than capacity, H."""
        s = self._settings
        leads = np.array(s.lead_s)
        nothing = np.full((len(leads), 3), np.nan), np.full(len(leads), np.nan)
        has_usual = self._usual_veh > s.ratio_prior_veh + s.ratio_least_veh
        ready_s = s.settle_s + (0.0 if has_usual else s.warm_up_s)
        if self._heard_s <= ready_s or self._filled_share > 1 - s.least_share:
            self._made.append(nothing[0])
            return nothing
        self._learn_errors()
        mean_vph = self._window_vph(leads)
        # First guess: counts are Poisson, both those to come within the window and those that
        # told the level or the ratio; and a course that may turn.
        to_come_veh = mean_vph * s.window_s / SECONDS_PER_HOUR
        told_veh = mean_vph * 2 * s.level_s / SECONDS_PER_HOUR
        turn = s.trend_error
        if has_usual:
            told_veh, turn = np.full(len(leads), self._usual_veh), s.usual_error
        relative = 1 / np.maximum(to_come_veh, 1) + 1 / np.maximum(told_veh, 1)
        prior = mean_vph * np.sqrt(relative + (turn * leads / s.window_s) ** 2)
        spread = np.sqrt(
            (s.prior_errors * prior**2 + self._error_sum) / (s.prior_errors + self._error_weight)
        )
        spread = np.maximum(spread, 1.0) / np.sqrt(1 - self._filled_share)
        inflow = mean_vph[:, None] + spread[:, None] * np.array([-Z90, 0.0, Z90])
        self._made.append(np.maximum(inflow, 0.0))
        return np.maximum(inflow, 0.0), ndtr((mean_vph - self._capacity_vph) / spread)

    def _window_vph(self, leads: Floats) -> Floats:
        """Return the mean inflow over the windows that end at the leads (H) from now.

        What a feeder saw up to now arrives within its travel time; what comes later is told by
        the usual day times today's ratio, or else by the level with the damped trend.
        """
        s, step_s = self._settings, self._interval_s
        past = np.array(self._past)  # T x F
        window = round(s.window_s / step_s)
        # When an arrival passes its feeder, in steps from the newest interval, H x W x F.
        newest = np.round((leads[:, None] - self._travel_s) / step_s).astype(int)
        ahead = newest[:, None, :] - np.arange(window)[None, :, None]
        rows = np.clip(len(past) - 1 + ahead, 0, len(past) - 1)
        feeders = np.arange(past.shape[1])
        seen = past[rows, feeders]
        lag_s = np.maximum(np.arange(ahead.max(initial=0) + 1), 0) * step_s  # from now on
        carried = s.damping_s * (1 - np.exp(-lag_s / s.damping_s))
        trend = np.maximum(self._level + self._trend * carried[:, None], 0.0)
        usual = self._usual_flow(self._now_s - step_s / 2 + lag_s)
        told = np.where(np.isnan(usual), trend, usual * self._today_veh / self._usual_veh)
        told = told[np.clip(ahead, 0, len(told) - 1), feeders]
        flow = np.where((ahead > 0) | np.isnan(seen), told, seen)
        return np.asarray(flow.sum(axis=2).mean(axis=1))

    def _learn_errors(self) -> None:
        """Hold past forecasts against the window that has now come in full, at lead 0."""
        s = self._settings
        came_vph = self._window_vph(np.zeros(1))[0]
        keep = np.exp(-self._interval_s / s.errors_s)
        for h, lead_s in enumerate(s.lead_s):
            steps = round(lead_s / self._interval_s)
            if len(self._made) >= steps and not np.isnan(self._made[-steps][h, 1]):
                low, mean, high = self._made[-steps][h]
                self._error_sum[h] = keep * self._error_sum[h] + (mean - came_vph) ** 2
                self._error_weight[h] = keep * self._error_weight[h] + 1
                self._inside[h] = keep * self._inside[h] + (low <= came_vph <= high)
                self._judged_s[h] += self._interval_s
