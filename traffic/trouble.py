"""What is not to be trusted just now, since when and why: loops that lie, a feed that lies.

`health` and `feed` judge one batch at a time; here their verdicts become a list that stands from
one batch to the next, so that a person who looks now sees what began before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from traffic.feed import FeedFault, FeedProblem
from traffic.model import Network
from traffic.readings import LoopBatch, Quality

KEPT_S = 900.0  # a fault of the feed is told this long after it was last seen

SILENCE = (FeedFault.GAP, FeedFault.SILENT)  # told when they have lasted, or are over

# What a loop does that cannot be, as people read it.
LOOP_TEXTS: Mapping[Quality, Mapping[str, str]] = {
    Quality.MISSING: {"en": "sends nothing", "zh": "无数据"},
    Quality.NO_HITS: {"en": "counts nothing where traffic passes", "zh": "有车通过却无计数"},
    Quality.CHATTER: {"en": "counts more vehicles than can pass", "zh": "抖动：计数超过可能车数"},
    Quality.LOCKED_ON: {"en": "reports a vehicle that is not there", "zh": "常占：所报车辆不存在"},
    Quality.NO_CHANGE: {"en": "repeats one value", "zh": "数值长时间不变"},
    Quality.OCCUPANCY_SPIKE: {
        "en": "reports an occupancy that its count cannot explain", "zh": "占有率突跳，与计数不符"
    },
    Quality.STALE: {"en": "sends old readings", "zh": "数据过期"},
    Quality.CLOCK_SKEW: {"en": "sends readings of a time that cannot be", "zh": "数据时刻不可能"},
    Quality.DRIFTING: {
        "en": "is covered for longer or shorter than vehicles are long", "zh": "漂移：与车长不符"
    },
    Quality.SWAPPED: {"en": "reports what another loop sees", "zh": "互换：报告另一线圈的数据"},
    Quality.LATE: {"en": "reports what it saw minutes ago", "zh": "滞后：报告数分钟前的数据"},
    Quality.WRONG_UNITS: {"en": "is read in the wrong unit", "zh": "单位错误"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoopTrouble:
    """A loop that is not trusted: why by the newest batch, and since when without a break."""

    loop: str
    link: str
    lane: int
    fault: Quality
    since_s: float

    @property
    def text(self) -> Mapping[str, str]:
        """What it does, by language."""
        return LOOP_TEXTS[self.fault]


@dataclass(frozen=True, slots=True)
class FeedTrouble:
    """A fault of the feed as a whole; times are of our own clock, as the feed's may be wrong."""

    fault: FeedFault
    since_s: float
    last_s: float
    batches: int  # that showed it
    figure: float  # of the newest, as in FeedProblem
    text: Mapping[str, str]  # language -> what an officer reads
    is_now: bool  # the newest batch showed it


@dataclass(frozen=True)
class HealthReport:
    """What is not trusted now, of how many loops."""

    watched: int = 0
    loops: tuple[LoopTrouble, ...] = ()  # in the network's order
    feed: tuple[FeedTrouble, ...] = ()


NOTHING_WATCHED = HealthReport()


class TroubleList:
    """Keeps the report up to date; call `note` once for each batch, whether it is believed or not.

    What is wrong with a feed as a whole is told once, and not of each of its loops.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._labels: Mapping[str, int] = {}
        self._since_s: dict[str, float] = {}  # loop -> not trusted since, our clock
        self.report = HealthReport(len(network.detectors))

    def note_feed(self, problems: tuple[FeedProblem, ...], now_s: float) -> None:
        """Take in what was wrong with the newest batch as a whole, if anything."""
        known = {one.fault: one for one in self.report.feed}
        for problem in problems:
            before = known.get(problem.fault)
            # Silence began when the last batch before it came.
            began_s = now_s - problem.figure if problem.fault in SILENCE else now_s
            known[problem.fault] = FeedTrouble(
                problem.fault,
                before.since_s if before else began_s,
                now_s,
                before.batches + 1 if before else 1,
                problem.figure,
                problem.text,
                is_now=True,
            )
        shown = {problem.fault for problem in problems}
        feed = tuple(
            one if one.fault in shown or not one.is_now else replace(one, is_now=False)
            for one in known.values()
            if now_s - one.last_s <= KEPT_S
        )
        if feed != self.report.feed:
            self.report = replace(self.report, feed=feed)

    def note_loops(self, labelled: LoopBatch, now_s: float) -> None:
        """Take in the labels of a batch that is believed as a whole."""
        at = np.flatnonzero(~np.isin(labelled.quality, (Quality.GOOD, Quality.ESTIMATED)))
        labels = {labelled.detectors[i]: int(labelled.quality[i]) for i in at.tolist()}
        if len(labelled.detectors) < len(self._network.detectors):
            unheard = self._network.detectors.keys() - set(labelled.detectors)
            labels |= dict.fromkeys(unheard, int(Quality.MISSING))
        if labels == self._labels:
            return
        self._labels = labels
        self._since_s = {loop: self._since_s.get(loop, now_s) for loop in labels}
        loops = tuple(
            LoopTrouble(d.id, d.link, d.lane, Quality(labels[d.id]), self._since_s[d.id])
            for d in self._network.detectors.values()
            if d.id in labels
        )
        self.report = replace(self.report, loops=loops)
