"""What can be wrong with a whole feed: its clock, its order, its units, its gaps.

A loop that lies is a matter of detector health; here all of them say something that cannot be, at
once, because of how they are read or passed on. Batches of such a feed teach nobody anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from traffic.model import ModelError
from traffic.readings import LoopBatch, Quality

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class FeedFault(Enum):
    """What is wrong with a feed."""

    SPEED_UNITS = "speed_units"
    ODD_SPEEDS = "odd_speeds"
    OCCUPANCY_UNITS = "occupancy_units"
    CLOCK_OFFSET = "clock_offset"
    CLOCK_SKEW = "clock_skew"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    STALE = "stale"
    GAP = "gap"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class FeedProblem:
    """One fault of the feed, with the figure that shows it, in the words that people read."""

    fault: FeedFault
    time_s: float  # of the batch that showed it
    figure: float
    text: Mapping[str, str]  # language -> what an officer reads


@dataclass(frozen=True)
class FeedSettings:
    """Raises ModelError with all problems at once."""

    stale_s: float = 90.0  # age of a batch: three intervals of 30 s
    skew_s: float = 5.0  # a batch may end this far ahead of our clock
    steady_s: float = 10.0  # a clock that is off by the same, to within this, is set wrong
    steady_batches: float = 3.0
    gap_s: float = 600.0  # between batches
    percent_share: float = 0.5  # of occupancies that are not 0, above 1: these are percent
    percent_m: float = 50.0  # of flowing vehicles' median length, above which they are too
    flowing_ratio: float = 0.5  # of speed to free speed, from which a length is that of a vehicle
    fewest_loops: float = 5.0  # that units can be judged by
    free_occupancy: float = 0.12  # below, traffic flows freely
    slow_ratio: float = 0.75  # of median free-flow speed to free speed: mph read as km/h give 0.62
    fast_ratio: float = 1.45  # km/h read as mph give 1.61
    shortest_m: float = 3.2  # median effective length of vehicles, of any mix of traffic
    longest_m: float = 12.0
    unit_batches: float = 4.0  # in a row, until units are said to be wrong

    def __post_init__(self) -> None:
        problems = [
            f"{f.name} {getattr(self, f.name)} must be above 0"
            for f in fields(self)
            if not getattr(self, f.name) > 0
        ]
        problems += [
            f"{name} {getattr(self, name)} must be at most 1"
            for name in ("percent_share", "free_occupancy", "slow_ratio", "flowing_ratio")
            if getattr(self, name) > 1
        ]
        if problems:
            raise ModelError("feed settings", problems)


class FeedWatch:
    """Judges batches as they come; call `check` once for each, in the order of arrival.

    `free_mps` (D) are the free speeds at the network's loops, `is_mainline` (D) those beside no
    signal.
    """

    LEARNED = ("_end_s", "_offset_s", "_steady", "_odd_speeds", "_percent")

    def __init__(
        self, free_mps: Floats, is_mainline: Flags, settings: FeedSettings | None = None
    ) -> None:
        self._settings = settings or FeedSettings()
        self._free_mps = free_mps
        self._is_mainline = is_mainline
        self._end_s = -np.inf
        self._offset_s, self._steady = np.nan, 0
        self._odd_speeds = 0.0
        self._percent: tuple[float, str, str] | None = None  # why occupancies are taken for percent
        self.problems: tuple[FeedProblem, ...] = ()  # of the latest batch
        self.doubts_speeds = False  # of the latest batch, all else of which may be good

    def restart_clock(self) -> None:
        """Forget when batches came: time begins anew."""
        self._end_s, self._offset_s, self._steady = -np.inf, np.nan, 0

    def check(self, batch: LoopBatch, now_s: float, values: Floats) -> Quality:
        """Return GOOD or what all of the batch's readings are; `problems` tells why.

        A batch can be GOOD but for its speeds, `doubts_speeds`: they are odd, and a unit is only
        said to be wrong when that lasts. `values` are count, occupancy and speed (3 x D) in the
        network's order.
        """
        self.problems, self.doubts_speeds = (), False
        whole = self._check_clock(batch, now_s)
        if whole is Quality.GOOD:
            whole = self._check_units(batch, values)
        return whole

    def _tell(self, fault: FeedFault, at_s: float, figure: float, en: str, zh: str) -> None:
        problem = FeedProblem(fault, at_s, figure, {"en": en, "zh": zh})
        self.problems = (*self.problems, problem)

    def _check_clock(self, batch: LoopBatch, now_s: float) -> Quality:
        s = self._settings
        end_s, last_s = batch.end_s, self._end_s
        offset_s = end_s - now_s
        is_off = offset_s > s.skew_s or offset_s < -s.stale_s
        advances = end_s > last_s
        is_steady = is_off and advances and abs(offset_s - self._offset_s) <= s.steady_s
        self._steady = self._steady + 1 if is_steady else 0
        self._offset_s = offset_s
        if is_off:
            # A clock that was set back is believed again from its next batch on.
            self._end_s = min(end_s, now_s) if offset_s > 0 or not advances else end_s
            if self._steady + 1 >= s.steady_batches:
                minutes = offset_s / 60
                self._tell(
                    FeedFault.CLOCK_OFFSET, end_s, offset_s,
                    f"the feed's clock is off by {minutes:+.0f} min",
                    f"数据源时钟偏差 {minutes:+.0f} 分钟",
                )  # fmt: skip
                return Quality.CLOCK_SKEW
            if offset_s > 0:
                self._tell(
                    FeedFault.CLOCK_SKEW, end_s, offset_s,
                    f"a batch ends {offset_s:.0f} s ahead of our clock",
                    f"一批数据的时间超前本机 {offset_s:.0f} 秒",
                )  # fmt: skip
                return Quality.CLOCK_SKEW
        if end_s < last_s:
            self._end_s = end_s
            self._tell(
                FeedFault.OUT_OF_ORDER, end_s, last_s - end_s,
                f"a batch came after one that ends {last_s - end_s:.0f} s later",
                f"一批数据晚于其后 {last_s - end_s:.0f} 秒的数据到达",
            )  # fmt: skip
            return Quality.CLOCK_SKEW
        if end_s == last_s:
            self._tell(FeedFault.DUPLICATE, end_s, end_s, "a batch came twice", "一批数据重复到达")
            return Quality.STALE
        if is_off:
            self._tell(
                FeedFault.STALE, end_s, -offset_s,
                f"a batch is {-offset_s:.0f} s old", f"一批数据已过期 {-offset_s:.0f} 秒",
            )  # fmt: skip
            return Quality.STALE
        if np.isfinite(last_s) and end_s - last_s > s.gap_s:
            hours = (end_s - last_s) / 3600
            self._tell(
                FeedFault.GAP, end_s, end_s - last_s,
                f"nothing came for {hours:.1f} h", f"数据中断 {hours:.1f} 小时",
            )  # fmt: skip
        self._end_s = end_s
        return Quality.GOOD

    def _check_units(self, batch: LoopBatch, values: Floats) -> Quality:
        count, occupancy, speed = values
        with np.errstate(invalid="ignore", divide="ignore"):
            length_m = speed * occupancy * batch.interval_s / count
        self._judge_occupancies(values, length_m)
        if self._percent is not None:
            figure, en, zh = self._percent
            self._tell(
                FeedFault.OCCUPANCY_UNITS, batch.end_s, figure,
                f"occupancies are percent: {en}", f"占有率单位似为百分数：{zh}",
            )  # fmt: skip
            return Quality.WRONG_UNITS
        return self._check_speeds(batch.end_s, values, length_m)

    def _judge_occupancies(self, values: Floats, length_m: Floats) -> None:
        """Settle whether occupancies are percent; where too few loops tell it stays as it was."""
        s = self._settings
        count, occupancy, speed = values
        covered = occupancy > 0
        if covered.sum() < s.fewest_loops:
            return
        self._percent = None
        share = float((occupancy[covered] > 1).mean())
        # In light traffic percent are below 1, too.
        flows = covered & (count >= 1) & (speed > s.flowing_ratio * self._free_mps)
        length = float(np.median(length_m[flows])) if flows.sum() >= s.fewest_loops else 0.0
        if share >= s.percent_share:
            self._percent = share, f"{share:.0%} of them are above 1", f"{share:.0%} 的值大于 1"
        elif length > s.percent_m:
            self._percent = length, f"vehicles of {length:.0f} m", f"平均车长 {length:.0f} 米"

    def _check_speeds(self, end_s: float, values: Floats, length_m: Floats) -> Quality:
        s = self._settings
        count, occupancy, speed = values
        free = (count >= 2) & (occupancy > 0) & (occupancy < s.free_occupancy) & (speed > 0)
        open_road = free & self._is_mainline
        ratio = length = np.nan
        if free.sum() >= s.fewest_loops:
            length = float(np.median(length_m[free]))
        if open_road.sum() >= s.fewest_loops:
            ratio = float(np.median(speed[open_road] / self._free_mps[open_road]))
        is_told = not np.isnan(length)
        if is_told:
            is_odd = not s.shortest_m <= length <= s.longest_m
            is_odd |= ratio < s.slow_ratio or ratio > s.fast_ratio
            self._odd_speeds = min(self._odd_speeds + 1, 2 * s.unit_batches) if is_odd else 0.0
        # Where too few loops tell, speeds are as odd as they were.
        is_wrong = self._odd_speeds >= s.unit_batches
        self.doubts_speeds = self._odd_speeds > 0 and not is_wrong
        if is_told and self._odd_speeds > 0:
            self._tell_speeds(end_s, ratio, length, is_wrong)
        return Quality.WRONG_UNITS if is_wrong else Quality.GOOD

    def _tell_speeds(self, end_s: float, ratio: float, length: float, is_wrong: bool) -> None:
        figure, en, zh = ratio, f"{ratio:.2f} of free speed", f"为自由流速度的 {ratio:.2f} 倍"
        if np.isnan(ratio):
            figure, en, zh = length, f"vehicles of {length:.1f} m", f"平均车长 {length:.1f} 米"
        if is_wrong:
            self._tell(
                FeedFault.SPEED_UNITS, end_s, figure,
                f"speeds on free roads look wrong by their unit: {en}",
                f"空闲道路上的速度单位可疑：{zh}",
            )  # fmt: skip
        else:
            self._tell(
                FeedFault.ODD_SPEEDS, end_s, figure,
                f"speeds on free roads are odd, and not used: {en}",
                f"空闲道路上的速度异常，暂不采用：{zh}",
            )  # fmt: skip
