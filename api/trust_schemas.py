"""What goes over the wire about trust: loops and feeds that are in doubt, forecasts and their odds.

As in `schemas`: moments are UTC (RFC 3339), ratios 0..1, what is not known is null.
"""

from datetime import datetime

from pydantic import Field

from api.schemas import Wire
from traffic.forecasting.outlook import Quantity

FAULT_TEXT = {"en": "counts nothing where traffic passes", "zh": "有车通过却无计数"}
WHY_TEXT = {"en": "still learning: checked 3 of 12 times", "zh": "尚在学习：已检验 3/12 次"}
STANDING_TEXT = {"en": "No forecast is trusted yet.", "zh": "目前没有可信的预报。"}


class LoopTroubleOut(Wire):
    """A loop that is not trusted."""

    loop: str
    link: str
    road: str = Field(description="The link's name.")
    lane: int = Field(description="From the right, 0 first.")
    position_m: float = Field(description="From the link's upstream end.")
    fault: str = Field(examples=["no_hits"])
    text: dict[str, str] = Field(description="What it does.", examples=[FAULT_TEXT])
    since: datetime = Field(description="Not trusted since then without a break.")


class FeedTroubleOut(Wire):
    """A fault of the feed as a whole; told for a quarter of an hour after it was last seen."""

    fault: str = Field(examples=["clock_offset"])
    text: dict[str, str] = Field(
        examples=[{"en": "the feed's clock is off by +60 min", "zh": "数据源时钟偏差 +60 分钟"}]
    )
    since: datetime
    last: datetime = Field(description="When it was last seen.")
    now: bool = Field(description="The newest batch showed it.")
    batches: int = Field(description="That showed it.")


class DetectorsOut(Wire):
    """What is not trusted now."""

    time: datetime
    watched: int = Field(description="Loops in all.")
    loops: list[LoopTroubleOut]
    feed: list[FeedTroubleOut]


class InflowOut(Wire):
    """What will reach a bottleneck in the 15 min that end then, with its 80 % interval."""

    lead_s: float
    at: datetime
    low_vph: float | None
    median_vph: float | None
    high_vph: float | None
    breakdown_chance: float | None = Field(description="By then.")
    trusted: bool = Field(description="Of the interval.")
    why: dict[str, str] | None = Field(description="Why it is not; null when it is.")


class BottleneckForecastOut(Wire):
    id: str
    road: str
    capacity_vph: float
    leads: list[InflowOut]


class LeadOut(Wire):
    """A forecast of one loop at one lead time, with its 90 % interval."""

    lead_s: float
    at: datetime
    expected: float | None
    low: float | None = Field(description="Null until errors at this lead time are known.")
    median: float | None
    high: float | None
    model: str = Field(description="Which speaks.", examples=["mixture"])
    trusted: bool
    why: dict[str, str] | None = Field(
        description="Why it is not trusted; null when it is.", examples=[WHY_TEXT]
    )


class LoopForecastOut(Wire):
    loop: str
    link: str
    road: str
    lane: int = Field(description="From the right, 0 first.")
    position_m: float = Field(description="From the link's upstream end.")
    quantity: Quantity
    estimated: bool = Field(description="The newest reading was missing and has been filled in.")
    slow_chance: float | None = Field(
        description="That it falls below 40 km/h within 30 min; null where it is slow already."
    )
    leads: list[LeadOut]


class ForecastsOut(Wire):
    """What bottlenecks and loops will see."""

    time: datetime
    made: datetime | None = Field(description="End of the newest interval that loops' rest on.")
    interval_s: float | None
    learning_since: datetime | None
    trusted_share: float = Field(description="Of all loops' forecasts, 0..1.")
    standing: dict[str, str] = Field(
        description="How far they can be relied upon, in a sentence.", examples=[STANDING_TEXT]
    )
    bottlenecks: list[BottleneckForecastOut]
    loops: list[LoopForecastOut]
