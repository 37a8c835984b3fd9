"""What the strategic half is given: one batch an interval in good order, whatever the feed does.

A batch that came before, out of order or with a time that cannot be would count twice or shift the
past of everything that looks back by intervals. It is labelled, told and set aside. When nothing
else comes for two intervals it, or an empty batch, stands in for what should have come, so that
alerts go on, forecasts widen, and orders are heeded while a feed is silent.
"""

from dataclasses import replace

import numpy as np

from traffic.feed import FeedFault, FeedProblem
from traffic.health import HealthScreen
from traffic.model import Network
from traffic.readings import LoopBatch, Quality
from traffic.trouble import HealthReport, TroubleList
from traffic.units import to_clock

LATE_INTERVALS = 2  # without a batch that can be used, until one is stood in for
LEAP_S = 120.0  # older than any batch that is believed (FeedSettings.stale_s)
UNTIMELY = frozenset(
    {
        FeedFault.CLOCK_OFFSET,
        FeedFault.CLOCK_SKEW,
        FeedFault.DUPLICATE,
        FeedFault.OUT_OF_ORDER,
        FeedFault.STALE,
    }
)


class Intake:
    """Screens batches and keeps their rhythm; call `screen` once each second."""

    LEARNED = ("_health",)

    def __init__(
        self, network: Network, health: HealthScreen | None = None, interval_s: float = 30.0
    ) -> None:
        """`interval_s` is expected until a batch says otherwise."""
        self._health = health or HealthScreen(network)
        self._troubles = TroubleList(network)
        self._detectors = tuple(network.detectors)
        self._interval_s = interval_s
        self._came_s: float | None = None  # our clock, when the last batch was due or came
        self._heard_s: float | None = None  # our clock, when the feed last sent anything
        self._end_s = -np.inf  # of the last batch that was given on
        self._aside: LoopBatch | None = None

    def resume(self, rest_s: float | None) -> None:
        """Go on after a rest; None when time begins anew."""
        self._health.resume(rest_s)

    @property
    def report(self) -> HealthReport:
        """What is not trusted now."""
        return self._troubles.report

    def screen(self, batch: LoopBatch | None, now_s: float) -> LoopBatch | None:
        """Return the labelled batch that the strategic half is to work on now, if it is due.

        Raises ValueError naming every loop that the network does not have.
        """
        if self._came_s is None or self._heard_s is None:
            self._came_s = self._heard_s = now_s
        if batch is not None:
            self._heard_s = now_s
            given = self._take(batch, now_s)
            if given is not None:
                return given
        if now_s - self._came_s < LATE_INTERVALS * self._interval_s:
            return None
        return self._stand_in(now_s, self._came_s, self._heard_s)

    def _take(self, batch: LoopBatch, now_s: float) -> LoopBatch | None:
        """Label a batch; return it unless its time cannot be used."""
        labelled = self._health.screen(batch, now_s)
        problems = self._health.problems
        self._troubles.note_feed(problems, now_s)
        faults = {problem.fault for problem in problems}
        if faults & UNTIMELY or labelled.end_s <= self._end_s:
            is_good = labelled.quality == Quality.GOOD
            doubtful = np.where(is_good, np.int8(Quality.STALE), labelled.quality)
            self._aside = replace(labelled, quality=doubtful)
            return None
        # Units are wrong of all loops alike, and no fault of any of them.
        if (labelled.quality != Quality.WRONG_UNITS).any():
            self._troubles.note_loops(labelled, now_s)
        self._aside = None
        self._came_s, self._end_s, self._interval_s = now_s, labelled.end_s, labelled.interval_s
        return labelled

    def _stand_in(self, now_s: float, came_s: float, heard_s: float) -> LoopBatch:
        """Return what was set aside, or else an empty batch, in the place of one that is due."""
        # After a leap of our clock nothing is made up for: what lies behind is a gap.
        self._came_s = max(came_s + self._interval_s, now_s - self._interval_s)
        self._end_s = max(self._end_s + self._interval_s, now_s - LEAP_S)
        if self._aside is not None:
            given, self._aside = replace(self._aside, end_s=self._end_s), None
            return given
        silent_s = now_s - heard_s
        since = to_clock(heard_s)
        text = {
            "en": f"nothing has come from the feed since {since}",
            "zh": f"数据源自 {since} 起无数据",
        }
        problem = FeedProblem(FeedFault.SILENT, now_s, silent_s, text)
        self._troubles.note_feed((problem,), now_s)
        count, occupancy, speed = np.full((3, len(self._detectors)), np.nan)
        missing = np.full(len(self._detectors), Quality.MISSING, np.int8)
        return LoopBatch(
            self._end_s, self._interval_s, self._detectors, count, occupancy, speed, missing
        )
