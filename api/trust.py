"""The door for trust: which loops and feeds are in doubt and why, which forecasts hold."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query

from api.problems import describe_problems
from api.service import Published, Service, UnknownPlaceError
from api.settings import Settings
from api.trust_schemas import (
    BottleneckForecastOut,
    DetectorsOut,
    FeedTroubleOut,
    ForecastsOut,
    InflowOut,
    LeadOut,
    LoopForecastOut,
    LoopTroubleOut,
)
from traffic.forecasting import Forecast, LoopOutlook
from traffic.forecasting.doubt import tell_inflow_doubt, tell_loop_doubt
from traffic.forecasting.loops import LoopForecast
from traffic.forecasting.outlook import QUANTITIES, SPEED, Quantity
from traffic.model import Network
from traffic.snapshot import Snapshot
from traffic.trouble import HealthReport
from traffic.units import to_clock

OLD_INTERVALS = 2  # after which a forecast is of yesterday's weather
PLACE = Query(max_length=100)


def build_detectors(
    report: HealthReport, now_s: float, network: Network, settings: Settings
) -> DetectorsOut:
    to_utc = settings.to_utc
    return DetectorsOut(
        time=to_utc(now_s),
        watched=report.watched,
        loops=[
            LoopTroubleOut(
                loop=one.loop,
                link=one.link,
                road=network.links[one.link].name,
                lane=one.lane,
                position_m=network.detectors[one.loop].position_m,
                fault=one.fault.name.lower(),
                text=dict(one.text),
                since=to_utc(one.since_s),
            )
            for one in report.loops
        ],
        feed=[
            FeedTroubleOut(
                fault=one.fault.value,
                text=dict(one.text),
                since=to_utc(one.since_s),
                last=to_utc(one.last_s),
                now=one.is_now,
                batches=one.batches,
            )
            for one in report.feed
        ],
    )


def describe_changes(
    network: Network, settings: Settings, before: Published, after: Published
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield an event when other loops, or the feed in another way, are in doubt than before."""
    if after.snapshot is None:
        return
    report = after.snapshot.health
    old = before.snapshot.health if before.snapshot is not None else HealthReport()
    if _tell_apart(report) != _tell_apart(old):
        told = build_detectors(report, after.snapshot.time_s, network, settings)
        yield "detectors", told.model_dump(mode="json")


def _tell_apart(report: HealthReport) -> tuple[object, ...]:
    """What makes a report news; when a fault was last seen changes with each batch."""
    return (
        tuple((one.loop, one.fault) for one in report.loops),
        tuple((one.fault, one.is_now) for one in report.feed),
    )


def _number(value: Any) -> float | None:
    number = float(value)
    return round(number, 4) if math.isfinite(number) else None


def _build_bottlenecks(
    forecast: Forecast, network: Network, settings: Settings
) -> list[BottleneckForecastOut]:
    told = []
    for row, name in enumerate(forecast.bottlenecks):
        bottleneck = network.bottlenecks[name]
        leads = [
            InflowOut(
                lead_s=lead_s,
                at=settings.to_utc(forecast.time_s + lead_s),
                low_vph=_number(forecast.inflow_vph[row, h, 0]),
                median_vph=_number(forecast.inflow_vph[row, h, 1]),
                high_vph=_number(forecast.inflow_vph[row, h, 2]),
                breakdown_chance=_number(forecast.breakdown_chance[row, h]),
                trusted=(why := tell_inflow_doubt(forecast, row, h)) is None,
                why=why,
            )
            for h, lead_s in enumerate(forecast.lead_s)
        ]
        told.append(
            BottleneckForecastOut(
                id=name,
                road=network.links[bottleneck.link].name,
                capacity_vph=bottleneck.capacity_vph,
                leads=leads,
            )
        )
    return told


class _Teller:
    """Tells one outlook over the wire, as it stands at a moment."""

    def __init__(
        self, outlook: LoopOutlook, snapshot: Snapshot, network: Network, settings: Settings
    ) -> None:
        self._outlook, self._network, self._to_utc = outlook, network, settings.to_utc
        self._doubts = {one.loop: one.text for one in snapshot.health.loops}
        old_s = snapshot.time_s - outlook.time_s
        self._age: Mapping[str, str] | None = None
        if old_s > OLD_INTERVALS * outlook.interval_s:
            self._age = {
                "en": f"made {old_s / 60:.0f} min ago: no readings since",
                "zh": f"{old_s / 60:.0f} 分钟前作出，此后无数据",
            }

    @property
    def trusted_share(self) -> float:
        if self._age is not None:
            return 0.0
        sound = np.array([loop not in self._doubts for loop in self._outlook.loops])
        return float(np.mean([(m.trusted & sound).mean() for m in self._made.values()]))

    @property
    def _made(self) -> Mapping[Quantity, LoopForecast]:
        return self._outlook.by_quantity

    def build(self, at: int, quantity: Quantity) -> LoopForecastOut:
        """Return the forecast of the loop at a position."""
        outlook, made = self._outlook, self._outlook.by_quantity[quantity]
        detector = self._network.detectors[outlook.loops[at]]
        return LoopForecastOut(
            loop=detector.id,
            link=detector.link,
            road=self._network.links[detector.link].name,
            lane=detector.lane,
            position_m=detector.position_m,
            quantity=quantity,
            estimated=bool(made.estimated[at]),
            slow_chance=_number(made.onset_chance[at]) if quantity == SPEED else None,
            leads=[
                LeadOut(
                    lead_s=lead_s,
                    at=self._to_utc(outlook.time_s + lead_s),
                    expected=_number(made.value[h, at]),
                    low=_number(made.quantiles[0, h, at]),
                    median=_number(made.quantiles[1, h, at]),
                    high=_number(made.quantiles[2, h, at]),
                    model=made.model[h],
                    trusted=(why := self._find_doubt(quantity, h, at)) is None,
                    why=why,
                )
                for h, lead_s in enumerate(outlook.lead_s)
            ],
        )

    def _find_doubt(self, quantity: Quantity, h: int, at: int) -> dict[str, str] | None:
        if self._age is not None:
            return dict(self._age)
        fault = self._doubts.get(self._outlook.loops[at])
        if fault is not None:
            return {"en": f"the loop {fault['en']}", "zh": f"线圈{fault['zh']}"}
        return tell_loop_doubt(self._outlook, quantity, h, at)

    def tell_standing(self) -> dict[str, str]:
        """Return in a sentence how far the forecasts can be relied upon."""
        share, since = self.trusted_share, to_clock(self._outlook.since_s)
        if self._age is not None:
            return {
                "en": f"No forecast is trusted: {self._age['en']}.",
                "zh": f"预报均不可信：{self._age['zh']}。",
            }
        if share > 0:
            return {
                "en": f"{share:.0%} of the loops' forecasts are trusted.",
                "zh": f"各线圈预报中 {share:.0%} 可信。",
            }
        known = {
            "en": "the usual day's flow of some loops" if self._outlook.is_primed else "nothing",
            "zh": "部分线圈的常态日流量" if self._outlook.is_primed else "任何历史数据",
        }
        knows = "仅知" if self._outlook.is_primed else "不知"
        return {
            "en": f"No forecast is trusted yet: learning since {since}, and knows "
            f"{known['en']} from before.",
            "zh": f"目前没有可信的预报：自 {since} 开始学习，此前{knows}{known['zh']}。",
        }


NO_INTERVAL = {
    "en": "No interval of readings is over yet: nothing is forecast for loops.",
    "zh": "尚无完整时段的读数，暂无线圈预报。",
}


def build_router(service: Service, settings: Settings) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["operator"])
    network, to_utc = service.network, settings.to_utc

    known: Mapping[str, Any] = {
        "loop": network.detectors,
        "link": network.links,
        "bottleneck": network.bottlenecks,
    }

    def find_loops(outlook: LoopOutlook, asked: Mapping[str, str]) -> list[int]:
        """Return positions of the loops asked for, those at bottlenecks when none is."""
        if not asked:
            return list(outlook.watched)
        at: set[str] = set()
        for kind, name in asked.items():
            if kind == "loop":
                at.add(name)
            elif kind == "link":
                at |= {d.id for d in network.detectors.values() if d.link == name}
            else:
                at |= set(network.bottlenecks[name].watch)
        return [i for i, loop in enumerate(outlook.loops) if loop in at]

    @router.get(
        "/detectors",
        summary="Loops and feeds that are not trusted: which, why, since when",
        responses=describe_problems(503),
    )
    async def get_detectors() -> DetectorsOut:
        snapshot = service.get_snapshot()
        return build_detectors(snapshot.health, snapshot.time_s, network, settings)

    @router.get(
        "/forecasts",
        summary="What bottlenecks and loops will see, how sure that is, whether it is trusted",
        responses=describe_problems(404, 422, 503),
    )
    async def get_forecasts(
        loop: Annotated[str | None, PLACE] = None,
        link: Annotated[str | None, PLACE] = None,
        bottleneck: Annotated[str | None, PLACE] = None,
    ) -> ForecastsOut:
        """Of the loops that confirm a breakdown, unless a loop, link or bottleneck is asked for.

        Those that are asked for must exist.
        """
        snapshot = service.get_snapshot()
        forecast = snapshot.strategy.forecast if snapshot.strategy else None
        outlook = forecast.loops if forecast is not None else None
        given = {"loop": loop, "link": link, "bottleneck": bottleneck}
        asked = {kind: name for kind, name in given.items() if name is not None}
        unknown = [f"no {kind} {name!r}" for kind, name in asked.items() if name not in known[kind]]
        if unknown:
            raise UnknownPlaceError("; ".join(unknown))
        teller = _Teller(outlook, snapshot, network, settings) if outlook is not None else None
        made = (
            [teller.build(i, name) for i in find_loops(outlook, asked) for name in QUANTITIES]
            if outlook is not None and teller is not None
            else []
        )
        return ForecastsOut(
            time=to_utc(snapshot.time_s),
            made=to_utc(outlook.time_s) if outlook else None,
            interval_s=outlook.interval_s if outlook else None,
            learning_since=to_utc(outlook.since_s) if outlook else None,
            trusted_share=teller.trusted_share if teller else 0.0,
            standing=teller.tell_standing() if teller else NO_INTERVAL,
            bottlenecks=_build_bottlenecks(forecast, network, settings) if forecast else [],
            loops=made,
        )

    return router
