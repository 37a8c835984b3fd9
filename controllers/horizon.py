"""Signals by a rolling horizon: each second the best plan for who comes, its first step shown."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traffic.control import Command, Observation, Sensing
from traffic.model import ModelError, Network, Stage
from traffic.optimization.arrivals import build_flow, build_queues, gather, note_flow
from traffic.optimization.decision import decide_all
from traffic.optimization.heads import build_heads, watch_heads
from traffic.optimization.joining import join_junctions
from traffic.optimization.layout import build_layout, build_roads, find_deep
from traffic.optimization.loop_view import LoopView
from traffic.optimization.nodes import build_work
from traffic.optimization.service import Weights
from traffic.readings import LaneBatch

VALID_S = 2.0
NOBODY: frozenset[str] = frozenset()
SEEING = Weights(left_s=8.0, left_more_s=1.5, stop_s=5.0, change_s=1.0)
WEIGHTS: Mapping[Sensing, Weights] = {
    # Loops do not show who is caught within a junction, or follows one between two.
    Sensing.LOOPS: SEEING._replace(turns_s=3.0, urgent_s=5.0, caught_s=3.0),
    Sensing.LANES: SEEING,
    # To expect anybody beyond sight saves nothing here (decision 17); that a green costs its first
    # vehicle more, and a queue goes faster then, does (decision 20).
    Sensing.INTENTIONS: SEEING._replace(expected=0.0, startup_s=1.05, launch_s=0.7),
}


class _Signals(NamedTuple):
    """What the junctions to plan show, in the layout's order."""

    stage: NDArray[np.int32]  # J, -1 when unknown
    green_s: NDArray[np.float64]  # P, 0 while red
    red_s: NDArray[np.float64]  # P, 0 while green


class HorizonTeam:
    """Decides for all its junctions in one batch; implements traffic.control.Team.

    `needs` is the tier that it works with: turns that vehicles announce are used where there are
    any; with loops alone it imagines the vehicles between them. Raises ModelError when the
    network does not tell its lanes.
    """

    def __init__(
        self,
        network: Network,
        junctions: Sequence[str],
        needs: Sensing = Sensing.LANES,
        weights: Weights | None = None,
    ) -> None:
        if network.lanes is None:
            raise ModelError(f"network {network.id}", ["tells no lanes"])
        self.junctions = tuple(junctions)
        self.needs = needs
        self._joined = join_junctions(network, network.lanes, self.junctions)
        self._view = None
        if needs is Sensing.LOOPS:
            self._view = LoopView(network, network.lanes, self._joined)
        self.loops = frozenset() if self._view is None else self._view.loops
        self._weights = WEIGHTS[needs] if weights is None else weights
        self._layout = build_layout(network.lanes, self._joined, self._weights.turns_s)
        roads = build_roads(network.lanes, self._joined)
        self._roads = roads if self._view is None else self._view.narrow(roads)
        self._work = build_work(self._layout)
        self._queues = build_queues(self._layout)
        self._flow = build_flow(self._layout)
        deep = {j: find_deep(network.lanes.ways[j]) for j in self.junctions}
        self._stages = [
            [
                (own, [deep[m.id] & s.permissive for m, s in zip(one.members, own, strict=True)])
                for own in one.stages
            ]
            for one in self._joined
        ]
        self._heads = build_heads(self._layout)
        self._answer = np.zeros(len(self._joined), dtype=np.int32)
        place = {j: i for i, j in enumerate(self.junctions)}
        self._members = [[place[m.id] for m in one.members] for one in self._joined]
        at = {j: i for i, j in enumerate(network.lanes.ways)}
        self._readers = [one.build_reader() for one in self._joined]
        self._place = np.array([at[one.members[0].id] for one in self._joined])
        # Elsewhere nobody is waited for: on shorter ways nobody is caught behind who gives way, and
        # two planned as one let nobody in who would.
        is_deep = [
            len(one.members) == 1 and any(any(turns) for _, turns in own)
            for one, own in zip(self._joined, self._stages, strict=True)
        ]
        self._is_deep = np.array(is_deep, dtype=np.int32)
        self._nobody = np.zeros(len(at), dtype=np.int32)

    def decide(self, seen: Sequence[Observation]) -> Sequence[Command | None]:
        signals = self._read_signals(seen)
        now_s = seen[0].now_s
        batch: LaneBatch | LoopView | None = seen[0].lanes
        if self._view is not None:
            self._view.update(seen[0].local, signals.red_s)
            batch = self._view
        if batch is None:
            return [None] * len(seen)
        halted = batch.halted if batch.halted.size else self._nobody
        gather(
            self._layout,
            self._roads,
            self._queues,
            self._flow,
            batch.starts,
            batch.position_m,
            batch.speed_mps,
            batch.turn,
            self._heads.rate * self._weights.expected,
            now_s,
        )
        watch_heads(self._layout, self._queues, self._heads, *signals)
        decide_all(
            self._layout,
            self._weights,
            self._work,
            self._queues,
            self._heads,
            *signals,
            halted[self._place] * self._is_deep,
            self._answer,
        )
        note_flow(self._layout, self._queues, self._flow, now_s)
        return self._build_commands(seen)

    def _read_signals(self, seen: Sequence[Observation]) -> _Signals:
        stages: list[int] = []
        green_s: list[float] = []
        red_s: list[float] = []
        for read, members in zip(self._readers, self._members, strict=True):
            stage, green, red = read([seen[m] for m in members])
            stages.append(stage)
            green_s += green
            red_s += red
        return _Signals(np.array(stages, dtype=np.int32), np.array(green_s), np.array(red_s))

    def _build_commands(self, seen: Sequence[Observation]) -> Sequence[Command | None]:
        until_s = seen[0].now_s + VALID_S
        heads = self._heads
        commands: list[Command | None] = [None] * len(seen)
        plans = zip(
            self._members,
            self._stages,
            self._answer.tolist(),
            (heads.turns_s > 0).tolist(),
            strict=True,
        )
        for members, stages, a, turns in plans:
            if a < 0:
                continue
            for m, stage, late in zip(members, *stages[a], strict=True):
                held = late if turns else NOBODY
                commands[m] = _build_command(self.junctions[m], stage, seen[m], until_s, held)
        return commands


def _build_command(
    junction: str, stage: Stage, seen: Observation, until_s: float, held: frozenset[str]
) -> Command:
    if held:
        held = frozenset(phase for phase in held if seen.red_s[phase] > 0)
    return Command(junction, stage.id, seen.now_s, until_s, "horizon", held)


class Horizon:
    """The rolling horizon of one junction, a team of one; implements traffic.control.Controller."""

    needs = Sensing.LOOPS  # the least that it can work with

    def __init__(self, network: Network, junction: str, sensing: Sensing = Sensing.LANES) -> None:
        self.junction = junction
        self._team = HorizonTeam(network, (junction,), sensing)
        self.loops = self._team.loops

    def decide(self, seen: Observation) -> Command | None:
        (command,) = self._team.decide((seen,))
        return command


def build_horizon_team(network: Network, junctions: Sequence[str], sensing: Sensing) -> HorizonTeam:
    """Return a team that uses all that the field senses. Raises ModelError."""
    return HorizonTeam(network, junctions, needs=sensing)
