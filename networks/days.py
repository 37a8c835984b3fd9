"""Simulated days of a town: its morning with a demand that differs day by day, and what befalls it.

Each day is drawn from its own seed: how much traffic there is, when its peak comes and how long it
lasts; a surge or an incident where the kind says so; loops that fail. The demand's level is drawn
apart for calm and for busy days, so that a calm one stays below the bottleneck's capacity.
"""

import random
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import numpy as np

from networks import heishizi, load
from networks.demand import QUARTER_S, Flow, write_flows
from networks.loops import write_loops
from networks.scenario import LaneClosure, Scenario
from traffic.model import DetectorKind, ModelError
from traffic.readings import LoopBatch, Quality

TOWN = "heishizi"
BEGIN_S = heishizi.BEGIN_S
END_S = 8.25 * 3600.0
STEP_S = 1.0  # twice that of the scenario: see docs/warnings.md for what it changes
PIECE_S = 300.0  # over which a day's demand is held constant
PEAK_S = 7.375 * 3600.0  # middle of the usual peak
KINDS = (DetectorKind.MAINLINE, DetectorKind.RAMP)  # of loops that are recorded
_TUNNEL = "tunnel"  # what purposes of tunnel-bound traffic begin with


class Kind(Enum):
    """What sort of day it is."""

    CALM = "calm"
    NORMAL = "normal"
    SURGE = "surge"  # a moderate morning, and an event that sends traffic through the tunnel
    INCIDENT = "incident"  # a moderate morning, and a lane of the tunnel closed for a while
    FAILED = "failed"  # a normal morning, some loops fail
    CALM_FAILED = "calm-failed"


# Of ten days: half of them calm, and of those one with failed loops.
CYCLE = (
    Kind.CALM, Kind.NORMAL, Kind.CALM, Kind.INCIDENT, Kind.CALM_FAILED,
    Kind.NORMAL, Kind.CALM, Kind.SURGE, Kind.CALM, Kind.FAILED,
)  # fmt: skip
# Mean and standard deviation of the level, and its least and greatest, 1 on the usual day.
_LEVELS = {
    Kind.CALM: (0.76, 0.05, 0.66, 0.82),
    Kind.NORMAL: (1.02, 0.04, 0.96, 1.10),
    Kind.SURGE: (0.86, 0.03, 0.80, 0.90),
    Kind.INCIDENT: (0.86, 0.04, 0.78, 0.92),
}
_LIKE = {Kind.FAILED: Kind.NORMAL, Kind.CALM_FAILED: Kind.CALM}


@dataclass(frozen=True, slots=True)
class Surge:
    """Tunnel-bound traffic times a factor for a while."""

    begin_s: float
    end_s: float
    factor: float


class Fault(Enum):
    """How a loop fails."""

    DEAD = "dead"  # counts nothing
    STUCK = "stuck"  # reports a vehicle that is not there
    CHATTER = "chatter"  # counts each vehicle several times
    SILENT = "silent"  # nothing reaches the center


@dataclass(frozen=True, slots=True)
class LoopFault:
    loop: str
    fault: Fault
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Day:
    """A drawn day. `level`, `shift_s` and `spread` bend the usual demand over time."""

    kind: Kind
    seed: int
    level: float
    shift_s: float
    spread: float
    surge: Surge | None = None
    closure: LaneClosure | None = None

    @property
    def name(self) -> str:
        return f"{self.seed:04d}-{self.kind.value}"

    def bend(self, flow: Flow) -> Flow:
        """Return the day's course of a usual flow, in pieces of PIECE_S."""
        pieces = int((END_S - BEGIN_S) / PIECE_S)
        middles_s = BEGIN_S + PIECE_S * (np.arange(pieces) + 0.5)
        usual_s = PEAK_S + (middles_s - PEAK_S - self.shift_s) / self.spread
        quarters_s = BEGIN_S + QUARTER_S * (np.arange(len(flow.factors)) + 0.5)
        factors = self.level * np.interp(usual_s, quarters_s, flow.factors)
        if self.surge is not None and flow.purpose.startswith(_TUNNEL):
            inside = (middles_s >= self.surge.begin_s) & (middles_s < self.surge.end_s)
            factors = np.where(inside, factors * self.surge.factor, factors)
        return replace(flow, factors=tuple(factors.tolist()))


def draw_day(kind: Kind, seed: int) -> Day:
    """Draw a day; the same for one kind and seed. Raises ModelError for a negative seed."""
    if seed < 0:
        raise ModelError("day", [f"seed {seed} must not be negative"])
    rng = random.Random(f"day/{seed}")
    mean, deviation, least, greatest = _LEVELS[_LIKE.get(kind, kind)]
    level = min(max(rng.gauss(mean, deviation), least), greatest)
    shift_s = min(max(rng.gauss(0.0, 400.0), -720.0), 720.0)
    spread = rng.uniform(0.9, 1.15)
    day = Day(kind, seed, round(level, 4), round(shift_s), round(spread, 3))
    if kind is Kind.SURGE:
        begin_s = rng.uniform(6.9, 7.2) * 3600.0
        lasts_s = rng.uniform(1500.0, 2400.0)
        surge = Surge(round(begin_s), round(begin_s + lasts_s), round(rng.uniform(1.25, 1.4), 3))
        return replace(day, surge=surge)
    if kind is Kind.INCIDENT:
        begin_s = round(rng.uniform(6.95, 7.5) * 3600.0)
        lasts_s = round(rng.uniform(1200.0, 2400.0))
        place_m = round(rng.uniform(300.0, 1800.0))
        lane = rng.randrange(2)
        closure = LaneClosure(heishizi.TUNNEL, lane, place_m, begin_s, begin_s + lasts_s)
        return replace(day, closure=closure)
    return day


def draw_days(seeds: Iterable[int]) -> tuple[Day, ...]:
    """Draw days of all kinds in their turn: the kind is that of the seed's place in CYCLE."""
    return tuple(draw_day(CYCLE[seed % len(CYCLE)], seed) for seed in seeds)


class DayBuilder:
    """Builds days' scenarios in a folder; the roads are compiled once.

    Only the loops that warnings rest on are laid, those of the expressway and its ramps: the
    reading of all others would cost a fifth of the time, and they change nothing on the road.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        whole = load(TOWN, 0, folder)
        kept = {id_: d for id_, d in whole.network.detectors.items() if d.kind in KINDS}
        loops = write_loops(kept.values(), folder / "loops.add.xml")
        network = replace(whole.network, detectors=kept)
        self.base = replace(whole, network=network, additional_files=(loops,))

    def build(self, day: Day) -> Scenario:
        """Return the day's scenario, bare: nothing responds, nobody is advised."""
        flows = [day.bend(flow) for flow in heishizi.build_flows()]
        path = self._folder / f"day-{day.name}.rou.xml"
        net_file = self.base.net_file
        write_flows(path, net_file, flows, BEGIN_S, f"day/{day.seed}", piece_s=PIECE_S)
        return replace(
            self.base,
            route_file=path,
            end_s=END_S,
            step_s=STEP_S,
            seed=day.seed,
            closures=() if day.closure is None else (day.closure,),
        )


def draw_faults(day: Day, loops: Sequence[str]) -> tuple[LoopFault, ...]:
    """Draw which of the loops fail on a day of that kind, from when to when; none on others.

    A sixth of them, at least two.
    """
    if day.kind not in (Kind.FAILED, Kind.CALM_FAILED):
        return ()
    rng = random.Random(f"faults/{day.seed}")
    failed = rng.sample(sorted(loops), max(2, len(loops) // 6))
    return tuple(
        LoopFault(
            loop,
            rng.choice(list(Fault)),
            begin_s := round(rng.uniform(BEGIN_S, BEGIN_S + 3600.0)),
            begin_s + round(rng.uniform(900.0, 5400.0)),
        )
        for loop in sorted(failed)
    )


def keep_loops(batch: LoopBatch, kept: Container[str]) -> LoopBatch:
    """Return the part of a batch that these loops told."""
    at = [i for i, loop in enumerate(batch.detectors) if loop in kept]
    return LoopBatch(
        batch.end_s,
        batch.interval_s,
        tuple(batch.detectors[i] for i in at),
        batch.count_veh[at],
        batch.occupancy[at],
        batch.speed_mps[at],
        batch.quality[at],
    )


def spoil(batch: LoopBatch, faults: Iterable[LoopFault]) -> LoopBatch:
    """Return what the failed loops say instead of what they saw."""
    count, occupancy = batch.count_veh.copy(), batch.occupancy.copy()
    speed, quality = batch.speed_mps.copy(), batch.quality.copy()
    for fault in faults:
        if not fault.begin_s <= batch.end_s < fault.end_s or fault.loop not in batch.detectors:
            continue
        i = batch.detectors.index(fault.loop)
        if fault.fault is Fault.DEAD:
            count[i], occupancy[i], speed[i] = 0.0, 0.0, np.nan
        elif fault.fault is Fault.STUCK:
            count[i], occupancy[i], speed[i] = 0.0, 1.0, np.nan
        elif fault.fault is Fault.CHATTER:
            count[i] = 4 * count[i] + 20
        else:
            count[i] = occupancy[i] = speed[i] = np.nan
            quality[i] = Quality.MISSING
    return replace(batch, count_veh=count, occupancy=occupancy, speed_mps=speed, quality=quality)
