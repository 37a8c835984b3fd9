"""The protocols of the engine's parts: what a field gives, what a controller is asked and says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from traffic.model import Network, SafePlan
from traffic.readings import LaneBatch, LoopBatch


class Aspect(Enum):
    """What one phase's signal shows."""

    RED = "red"
    AMBER = "amber"
    PERMISSIVE = "permissive"  # green, gives way
    GREEN = "green"


@dataclass(frozen=True, slots=True)
class Command:
    """Show this stage, with the phases in `held` kept at red; void from expires_s on."""

    junction: str
    stage: str
    issued_s: float
    expires_s: float
    source: str
    held: frozenset[str] = frozenset()


class Sensing(Enum):
    """What a field can sense; each tier includes those before it."""

    LOOPS = 1
    LANES = 2
    INTENTIONS = 3


@dataclass(frozen=True)
class RawReadings:
    """One second of the street: local loops, signals, and each 30 s the batch for a centre."""

    now_s: float
    local: LoopBatch  # the second just passed, loops that controllers asked for
    centre: LoopBatch | None  # the interval just ended, every loop
    signals: Mapping[str, Mapping[str, Aspect]]  # junction -> phase -> aspect
    lanes: LaneBatch | None = None  # this moment's vehicles, where lanes are sensed


@dataclass(frozen=True)
class JunctionOrder:
    """What the strategic half asks of one junction's controller."""

    plan: SafePlan | None = None  # run this instead of the safe plan
    green_cap_s: Mapping[str, float] = field(default_factory=dict)  # gated phase -> green a cycle


@dataclass(frozen=True)
class Observation:
    """What a controller may know of its junction."""

    now_s: float
    local: LoopBatch
    aspects: Mapping[str, Aspect]  # phase -> aspect
    stage: str | None  # that the interlock is showing or changing to
    green_s: Mapping[str, float]  # phase -> seconds of its present green, 0 when not green
    red_s: Mapping[str, float]  # phase -> seconds since it last was green, 0 while green
    order: JunctionOrder = JunctionOrder()
    lanes: LaneBatch | None = None  # of the whole field


class Controller(Protocol):
    """Decides for one junction, once a second; None leaves it to its safe plan."""

    junction: str
    needs: Sensing
    loops: frozenset[str]  # local loops it wants read each second

    def decide(self, seen: Observation) -> Command | None: ...


class Team(Protocol):
    """Decides for several junctions at once; None leaves a junction to its safe plan."""

    junctions: tuple[str, ...]
    needs: Sensing
    loops: frozenset[str]  # local loops it wants read each second

    def decide(self, seen: Sequence[Observation]) -> Sequence[Command | None]:
        """Return a command or None for each of `junctions`, in their order, as `seen` is."""
        ...


class Field(Protocol):
    """A city, a simulation of one, or a recording."""

    network: Network
    sensing: Sensing

    def read(self) -> RawReadings: ...

    def apply(self, shown: Mapping[str, Mapping[str, Aspect]]) -> None:
        """Show junction -> phase -> aspect; junctions left out run their own program."""
        ...

    def advance(self) -> bool:
        """Let one second pass; False when the field has ended."""
        ...
