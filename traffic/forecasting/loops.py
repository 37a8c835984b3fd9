"""Foresight for loops: what each will measure, learned from every new reading."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from traffic.forecasting.calendar import Calendar
from traffic.forecasting.challenge import Challenger, Referee
from traffic.forecasting.course import Course, Moment
from traffic.forecasting.design import WINDOW, count_features
from traffic.forecasting.experts import Experts, Outlook
from traffic.forecasting.neighbors import Neighbors
from traffic.forecasting.onset import Chance, Onset
from traffic.forecasting.settings import LoopForecastSettings
from traffic.forecasting.spread import QUANTILES, TURNS, Band, Spread, Watch
from traffic.learned import Learned, put_back, take_out

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

MIXTURE = "mixture"  # of the experts, as the one who speaks
_ARRAYS = ("value", "quantiles", "trusted", "onset_chance", "estimated", "judged", "coverage")


class Learning(Enum):
    """What a batch of readings may change."""

    ALL = "all"
    LEVELS = "levels"  # only at which levels quantiles are read, and whether they are trusted
    NOTHING = "nothing"


@dataclass(frozen=True, eq=False)
class LoopForecast:
    """What D detectors will measure at H lead times; arrays are set read-only.

    Values are in the unit of the readings; NaN for a detector that was never heard. Quantiles are
    NaN too until the lead time has been judged a few times, chances until a window has been seen.
    """

    time_s: float
    lead_s: tuple[float, ...]  # H
    value: Floats  # H x D, expected
    quantiles: Floats  # 3 x H x D, at QUANTILES
    trusted: Flags  # H x D, judged, and the outer quantiles cover of late what they promise
    onset_chance: Floats  # D, 0..1; NaN where it is slow already or was not measured
    estimated: Flags  # D, the newest reading was missing and has been filled in
    model: tuple[str, ...]  # H, which model speaks
    judged: NDArray[np.int32]  # H, intervals whose outcome was held against what had been said
    coverage: NDArray[np.float64]  # H, share of outcomes within the outer quantiles of late

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            getattr(self, name).flags.writeable = False


@dataclass(frozen=True, eq=False)
class _Issue:
    """What was said at one moment, kept until its last lead time has come."""

    outlook: Outlook
    value: Floats  # H x D, of who speaks, in scales
    band: Band
    chance: Chance | None
    model: tuple[str, ...]  # H, who speaks
    rival: Floats | None  # H x R, what the challenger said
    seen: Floats | None  # R x G, what the challenger saw

    RECORDS: ClassVar[Mapping[str, type]] = {"outlook": Outlook, "band": Band, "chance": Chance}


class LoopForecaster:
    """Forecasts one quantity at D detectors; call `update` once for each interval, in order.

    The mixture of experts speaks, and at lead times where a challenger wins of late, that one.
    """

    LEARNED = (
        "_course", "_experts", "_spread", "_watch", "_onset", "referee", "_count", "_time_s",
        "_expected", "_issues", "_came",
    )  # fmt: skip
    RECORDS: ClassVar[Mapping[str, type]] = {"_issues": _Issue}

    def __init__(
        self,
        detectors: int,
        calendar: Calendar,
        settings: LoopForecastSettings | None = None,
        neighbors: Neighbors | None = None,
        challenger: Challenger | None = None,
    ) -> None:
        self.settings = s = settings or LoopForecastSettings()
        self.calendar, self.neighbors, self.challenger = calendar, neighbors, challenger
        self.referee = Referee(s.leads, s.trial_memory, s.trial_margin, s.trial_least)
        self._size = detectors
        self._course = Course(
            detectors, calendar, s.interval_s, s.leads, s.widths, s.least_scale, neighbors,
            s.neighbor_gain,
        )  # fmt: skip
        self._experts = Experts(detectors, s, neighbors, extra=s.leads + 1)
        self._spread = Spread(s.leads, s.spread_forgetting, s.coverage_gain)
        self._watch = Watch(
            detectors, s.leads, s.watch, s.least_coverage, s.least_own_coverage, s.watch_begin
        )
        self._plain = count_features(s.leads)
        self._onset: Onset | None = None
        self._limits = (
            None
            if s.onset_below is None or s.onset_from is None
            else (np.float32(s.onset_below), np.float32(s.onset_from))
        )
        if self._limits is not None:
            self._onset = Onset(self._plain, s.onset_leads, s.forgetting)
        self._lead_s = tuple(s.interval_s * (1 + h) for h in range(s.leads))
        self._count = 0  # intervals learned from
        self._time_s: float | None = None
        self._expected: Floats | None = None  # D, what was forecast for the next interval
        self._issues: deque[_Issue | None] = deque(maxlen=s.leads)  # newest last
        self._came: deque[Floats] = deque(maxlen=s.leads)  # D each, newest last

    @property
    def time_s(self) -> float | None:
        """When the last interval ended."""
        return self._time_s

    @property
    def scale(self) -> Floats:
        """Each detector's mean of its first day, D, in the unit of readings; NaN if never heard."""
        return self._course.scale

    def take_out(self) -> Learned:
        """Return all that has been learned, but not the challenger's part."""
        return take_out(self)

    def put_back(self, learned: Learned) -> None:
        """Go on from what another took out that was built alike, as if it were that one.

        Raises ModelError with all that does not fit; then this forecaster is of no use.
        """
        put_back(self, learned)

    def resume(self) -> None:
        """Go on at a time that has nothing to do with the last one: what was learned stays."""
        self._restart()
        self._time_s = None

    def update(
        self,
        time_s: float,
        values: Floats,
        learn: Learning = Learning.ALL,
        disowned: Flags | None = None,
    ) -> LoopForecast:
        """Take in what was measured in the interval that ends at a time (D, NaN where nothing was).

        `disowned` (D) are detectors that have been found to fail: what they said before was wrong
        too, and is not carried on. Raises ValueError when the time does not follow the last one by
        whole intervals, or the values do not fit.
        """
        interval_s = self.settings.interval_s
        if values.shape != (self._size,):
            raise ValueError(f"values have shape {values.shape}, expected ({self._size},)")
        steps = 1.0 if self._time_s is None else (time_s - self._time_s) / interval_s
        if steps < 1 or steps != round(steps):
            raise ValueError(
                f"time {time_s:g} s must follow {self._time_s:g} s by intervals of {interval_s:g} s"
            )
        if steps > WINDOW:
            self._restart()
        else:
            nothing = np.full(self._size, np.nan, np.float32)
            for missed in range(round(steps) - 1, 0, -1):
                self._step(time_s - missed * interval_s, nothing, learn)
        return self._step(time_s, values.astype(np.float32), learn, disowned)

    def prime(self, times_s: NDArray[np.float64], values: Floats) -> None:
        """Begin from a day that is known already: its profile, and nothing else, is taken over.

        `values` (T x D, NaN where nothing is known) are those of the intervals that end at the
        times. Raises ValueError when the values do not fit.
        """
        if values.shape != (len(times_s), self._size):
            shape = (len(times_s), self._size)
            raise ValueError(f"values have shape {values.shape}, expected {shape}")
        self._course.prime(times_s, values.astype(np.float32))

    def _restart(self) -> None:
        """Begin a new window after a gap; what was learned stays."""
        self._course.restart()
        self._experts.restart()
        self._expected = None
        self._issues.clear()
        self._came.clear()

    def _step(
        self, time_s: float, values: Floats, learn: Learning, disowned: Flags | None = None
    ) -> LoopForecast:
        self._time_s = time_s
        moment = self._course.update(
            time_s, values, self._expected, learn is Learning.ALL, disowned
        )
        self._came.append(moment.measured)
        if learn is not Learning.NOTHING:
            self._hold(learn)
        if learn is Learning.ALL:
            self._learn(moment)
        made = self._experts.forecast(moment)
        issue = None if made is None else self._say(*made, moment)
        self._issues.append(issue)
        return self._tell(time_s, moment, issue)

    def _say(self, outlook: Outlook, features: Floats, further: Floats, moment: Moment) -> _Issue:
        """Settle who speaks, and how sure it is; `further` is D x (H + 1)."""
        s, rows = self.settings, outlook.rows
        plain = features[:, : self._plain]
        value, model = outlook.value, (MIXTURE,) * s.leads
        rival = seen = None
        if self.challenger is not None:
            now = np.full((self._size, 1), moment.day_share, np.float32)
            seen = np.concatenate([plain, outlook.own, further, now], axis=1)
            made = self.challenger.forecast(seen, value)
            if made is not None:
                speaks = self.referee.promoted
                value = np.where(speaks[:, None], made, value)
                model = tuple(self.challenger.name if yes else MIXTURE for yes in speaks)
                rival = made[:, rows]
            seen = seen[rows]
        size = self._spread.expect(further[:, : s.leads].T)
        chance, risk = None, np.zeros(self._size, np.float32)
        if self._onset is not None and self._limits is not None:
            below, begin = (limit / moment.scale for limit in self._limits)
            is_open = ~moment.estimated & (moment.value >= begin)
            chance = self._onset.build(plain, value, size, further[:, -1], below, is_open, rows)
            risk = np.nan_to_num(chance.chance)
        band = self._spread.build(value, size, risk, rows)
        return _Issue(outlook, value, band, chance, model, rival, seen)

    def _tell(self, time_s: float, moment: Moment, issue: _Issue | None) -> LoopForecast:
        s = self.settings
        value = np.repeat(moment.value[None], s.leads, axis=0)
        quantiles = np.full((len(QUANTILES), *value.shape), np.nan, np.float32)
        chance, model = np.full(self._size, np.nan, np.float32), ("persistence",) * s.leads
        if issue is not None:
            value, model = issue.value, issue.model
            # Before errors are known at a lead time its quantiles mean nothing.
            is_known = self._watch.judged >= TURNS
            quantiles[:, is_known] = issue.band.quantiles[:, is_known]
            if issue.chance is not None:
                chance = issue.chance.chance
        self._expected = value[0]

        def scale(values: Floats) -> Floats:
            scaled = np.clip(values * moment.scale, s.least, s.most)
            return np.where(moment.heard, scaled, np.nan).astype(np.float32)

        trusted = self._watch.trusted_leads[:, None] & self._watch.trusted_detectors
        return LoopForecast(
            time_s, self._lead_s, scale(value), scale(quantiles), trusted,
            np.where(moment.heard, chance, np.float32(np.nan)), moment.estimated.copy(), model,
            self._watch.judged.copy(), self._watch.coverage,
        )  # fmt: skip

    def _hold(self, learn: Learning) -> None:
        """Hold what was said against what has just come."""
        s, now = self.settings, self._came[-1]
        inside = np.zeros((s.leads, self._size), bool)
        known = np.zeros((s.leads, self._size), bool)
        for lead, issue in enumerate(reversed(self._issues)):
            if issue is None:
                continue
            rows = issue.outlook.rows
            low, _, high = issue.band.quantiles[:, lead]
            below, above = now < low, now > high
            if learn is Learning.ALL:
                self._experts.judge(lead, issue.outlook, now)
                if issue.rival is not None:
                    mixture = issue.outlook.value[lead, rows]
                    self.referee.judge(lead, mixture, issue.rival[lead], now[rows])
                self._spread.learn(lead, now[rows] - issue.value[lead, rows], issue.band)
            heard = ~np.isnan(now)
            self._spread.adapt(lead, issue.band, heard[rows], below[rows], above[rows])
            inside[lead], known[lead] = ~below & ~above, heard & issue.outlook.known
        self._watch.learn(inside, known)
        self._spread.solve(self._count)
        self._count += 1

    def _learn(self, moment: Moment) -> None:
        """Learn from what has come in whole."""
        s = self.settings
        oldest = self._issues[0] if len(self._issues) == s.leads else None
        if oldest is None:
            return
        came = np.stack(self._came)
        if self.challenger is not None and oldest.seen is not None:
            rows = oldest.outlook.rows
            self.challenger.learn(oldest.seen, oldest.outlook.value[:, rows], came[:, rows])
        further = np.zeros((self._size, s.leads + 1), np.float32)
        further[:, : s.leads] = np.abs(came - oldest.value).T
        if oldest.chance is not None and self._onset is not None and self._limits is not None:
            rows, below = oldest.outlook.rows, self._limits[0] / moment.scale
            happened = (came[: s.onset_leads] < below).any(axis=0)
            further[:, -1] = happened & ~np.isnan(oldest.chance.chance)
            self._onset.learn(oldest.chance, came[:, rows], below[rows])
        self._experts.learn(oldest.outlook, came, further)
