"""An engine of real parts on a small road, whose feed the test makes lie."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from test_health import build_network

from traffic.advisory import Advisor
from traffic.congestion import Congestion
from traffic.control import Aspect, RawReadings, Sensing
from traffic.engine import Engine
from traffic.estimation import Estimator
from traffic.forecasting import Forecaster, LoopForesight, LoopOutlooks
from traffic.incidents.detection import IncidentDetector
from traffic.incidents.normal import Usual
from traffic.incidents.sections import Layout, build_sections
from traffic.intake import Intake
from traffic.interlock import Interlock
from traffic.memory import Memory
from traffic.model import Bottleneck, Network
from traffic.readings import LoopBatch
from traffic.response import Responses
from traffic.routing import LinkGraph
from traffic.warning.standins import StandIns

BEGIN_S = 25_200.0
BATCH_S = 30
STEP_S = 5  # seconds from one step of the field to the next
SPEED_MPS = 20.0

Change = Callable[[LoopBatch], Iterable[LoopBatch]]


def build_road() -> Network:
    """The road of the health tests, with a bottleneck at its end."""
    network = build_network()
    watch = ("m2.0", "m2.1", "m2.2")
    feeders = {f"m0.{lane}": (1.0, 50.0) for lane in range(3)}
    bottleneck = Bottleneck("end", "m2", 5000.0, 4400.0, ("m0", "m1", "m2"), watch, feeders)
    return replace(network, bottlenecks={"end": bottleneck})


def build_batch(network: Network, end_s: float) -> LoopBatch:
    """Return free flow, the same for the same moment."""
    size = len(network.detectors)
    rng = np.random.default_rng(round(end_s))
    count = rng.integers(7, 12, size).astype(float)
    speed = rng.normal(SPEED_MPS, 1, size)
    return LoopBatch(
        end_s,
        BATCH_S,
        tuple(network.detectors),
        count,
        count * 5.5 / speed / BATCH_S,
        speed,
        np.zeros(size, np.int8),
    )


@dataclass
class Feed:
    """A field of seconds; `change` says what truly reaches the center of each batch, and when.

    Batches that `change` gives at one moment come one step after another.
    """

    network: Network
    change: Change
    hours: float
    sensing: Sensing = Sensing.LOOPS
    now_s: float = BEGIN_S
    late: list[LoopBatch] = field(default_factory=list)

    def read(self) -> RawReadings:
        passed_s = self.now_s - BEGIN_S
        if passed_s > 0 and passed_s % BATCH_S == 0:
            self.late += self.change(build_batch(self.network, self.now_s))
        local = LoopBatch(self.now_s, 1, (), *(np.zeros(0) for _ in range(3)), np.zeros(0, np.int8))
        return RawReadings(self.now_s, local, self.late.pop(0) if self.late else None, {})

    def apply(self, shown: Mapping[str, Mapping[str, Aspect]]) -> None:
        """Nobody looks at these signals."""

    def advance(self) -> bool:
        self.now_s += STEP_S
        return self.now_s <= BEGIN_S + 3600 * self.hours


class Kept:
    """A journal that nobody reads."""

    def record(self, snapshot: Any) -> None:
        """Keep nothing."""


def build_real_memory(network: Network) -> Memory:
    layout = Layout(build_sections(network), tuple(network.detectors))
    forecaster = LoopForesight(Forecaster(network), LoopOutlooks(network))
    return Memory(Intake(network), Estimator(network), forecaster, Usual(layout))


def build_real_engine(
    change: Change,
    hours: float,
    journal: Any = None,
    memory: Memory | None = None,
    begin_s: float = BEGIN_S,
) -> Engine:
    network = build_road()
    memory = memory or build_real_memory(network)
    return Engine(
        Feed(network, change, hours, now_s=begin_s),
        memory.health,
        StandIns(network),
        memory.estimator,
        memory.forecaster,
        IncidentDetector(network, memory.usual),
        Congestion(network),
        Responses(network, ()),
        (),
        Interlock((), {}, BEGIN_S),
        Advisor(network, LinkGraph(network), ()),
        journal or Kept(),
    )
