"""A motorway with a bottleneck and a street away from it, and findings as a test scripts them."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from traffic.alerts.alert import Alert, AlertOrder
from traffic.alerts.settings import CongestionSettings
from traffic.congestion import Congestion
from traffic.estimation import Estimator, State
from traffic.forecasting import Forecast
from traffic.incidents.detection import IncidentFinding
from traffic.model import Bottleneck, Detector, DetectorKind, Link, Network
from traffic.readings import LoopBatch, Quality

FREE_MPS = 22.0
LEADS = (300.0, 900.0, 1800.0)
LENGTH_M = 1000.0
# m0 .. m3 lead to the neck and on into m5; each has a station of two lanes in its middle.
MAINLINE = ("m0", "m1", "m2", "m3", "neck", "m5", "m6", "m7", "m8")
LANES = 2


def build_network() -> Network:
    names = (*MAINLINE, "street", "side")
    links = {
        name: Link(name, f"{name}-", f"{name}+", LENGTH_M, LANES, FREE_MPS, ((0, 0), (1, 0)), name)
        for name in names
    }
    loops = {
        f"{name}.{lane}": Detector(f"{name}.{lane}", DetectorKind.MAINLINE, name, lane, 500)
        for name in names
        for lane in range(LANES)
    }
    turns = {*itertools.pairwise(MAINLINE), ("street", "side")}
    neck = Bottleneck(
        "neck",
        "neck",
        3400,
        2900,
        MAINLINE[:5],
        ("m2.0", "m2.1", "m3.0", "m3.1"),
        {"m0.0": (1, 200), "m0.1": (1, 200)},
    )
    return Network("town", links, frozenset(turns), {}, {}, {}, loops, {"neck": neck})


NETWORK = build_network()
LOOPS = tuple(NETWORK.detectors)


def find(
    id_: str, *links: str, probability: float = 0.8, onset_s: float = 25200.0
) -> IncidentFinding:
    """Return a finding between the middles of the first and the last of these links."""
    loops = tuple(f"{link}.{lane}" for link in (links[0], links[-1]) for lane in range(LANES))
    place = {"en": f"between {links[0]} and {links[-1]}", "zh": f"{links[0]} 与 {links[-1]} 之间"}
    text = {"en": f"{place['en']}: blocked", "zh": f"{place['zh']}：受阻"}
    return IncidentFinding(
        id_, f"{links[0]}@500", links, 0, onset_s, onset_s + 60, probability, {"missing": 1.0},
        loops, loops[:LANES], place, text,
    )  # fmt: skip


def build_batch(
    now_s: float,
    kmph: float = 75.0,
    slow: Sequence[str] = (),
    bad: dict[str, Quality] | None = None,
) -> LoopBatch:
    """Return 8 vehicles a lane; loops whose name begins with one of `slow` creep at 10 km/h."""
    size = len(LOOPS)
    speed = np.array([10.0 if loop.startswith(tuple(slow)) else kmph for loop in LOOPS]) / 3.6
    quality = np.array([(bad or {}).get(loop, Quality.GOOD) for loop in LOOPS], np.int8)
    return LoopBatch(now_s, 30.0, LOOPS, np.full(size, 8.0), np.full(size, 0.15), speed, quality)


class Desk:
    """An officer's desk: each half minute brings a batch, a chance and what is found."""

    def __init__(self, settings: CongestionSettings | None = None) -> None:
        self.congestion = Congestion(NETWORK, settings)
        self.state: State = Estimator(NETWORK).update(build_batch(0.0))
        self.now_s = 7 * 3600.0
        self.seen: list[Alert] = []  # all that was ever told
        self._standing: dict[str, IncidentFinding] = {}

    def run(
        self,
        minutes: float,
        *found: IncidentFinding,
        chance: float = 0.0,
        slow: Sequence[str] = (),
        bad: dict[str, Quality] | None = None,
        orders: tuple[AlertOrder, ...] = (),
    ) -> tuple[Alert, ...]:
        alerts: tuple[Alert, ...] = ()
        for _ in range(round(minutes * 2)):
            self.now_s += 30
            now = {one.id: one for one in found}
            ended = [
                replace(one, cleared_s=self.now_s)
                for id_, one in self._standing.items()
                if id_ not in now
            ]
            self._standing = now
            inflow = np.full((1, len(LEADS), 3), 3400.0)
            forecast = Forecast(
                self.now_s, ("neck",), LEADS, inflow, np.full((1, len(LEADS)), chance)
            )
            batch = build_batch(self.now_s, slow=slow, bad=bad)
            alerts = self.congestion.update(batch, self.state, forecast, orders, (*found, *ended))
            self.seen += alerts
            orders = ()
        return alerts

    def order(self, kind: str, alert: str, until_s: float | None = None) -> AlertOrder:
        return AlertOrder(kind, alert, "Li Wei", self.now_s, until_s)
