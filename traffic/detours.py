"""The detours of a response plan: who could take which, and what of it is being advised."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import pairwise

from traffic.diversion import SpareCapacity, build_signalled_turns
from traffic.flows import LoopFlows, find_section
from traffic.model import Bottleneck, Network
from traffic.response import ResponsePlan
from traffic.routing import LinkGraph


@dataclass(frozen=True)
class Detour:
    """A way around; `uses` are its roads and signalled turns that the usual way does not load."""

    id: str
    point: int  # index of its decision point
    via: tuple[str, ...]
    uses: tuple[str, ...]


@dataclass
class DetourCase:
    """A plan with its routes, and what is being advised."""

    plan: ResponsePlan
    bottleneck: Bottleneck
    usual: Sequence[tuple[str, ...]]  # per decision point
    flows: LoopFlows  # of each decision point, by its index
    is_seen: Sequence[bool]  # feeders lie beyond the decision point: they miss the diverted
    detours: Sequence[Detour]
    capacity: SpareCapacity
    through: LoopFlows  # of the bottleneck, by its id

    def __post_init__(self) -> None:
        self.shares = [0.0] * len(self.detours)
        self.flows_vph = [0.0] * len(self.detours)
        self.missed_vph = [0.0] * len(self.usual)
        self.issued_s: dict[str, float] = {}

    @property
    def own_vph(self) -> dict[str, float]:
        """The diverted flow on each road and turn."""
        own: dict[str, float] = {}
        for detour, flow in zip(self.detours, self.flows_vph, strict=True):
            for use in detour.uses:
                own[use] = own.get(use, 0.0) + flow
        return own


def build_case(
    network: Network,
    graph: LinkGraph,
    plan: ResponsePlan,
    spare_use: float,
    unseen_use: float,
    problems: list[str],
) -> DetourCase | None:
    """Find each decision point's usual way and its detours, adding what is wrong.

    `spare_use` and `unseen_use` are those of `SpareCapacity`.
    """
    found = list(plan.check(network))
    problems += [f"{plan.id}: {text}" for text in found]
    bottleneck = network.bottlenecks.get(plan.bottleneck)
    if found or bottleneck is None:
        return None
    signalled = build_signalled_turns(network)
    usual, is_seen, detours = [], [], []
    groups: dict[str, frozenset[str]] = {}
    feeders = {network.detectors[loop].link for loop in bottleneck.feeders}
    for index, point in enumerate(plan.decision_points):
        name = f"{plan.id}: from {point.from_link} to {point.to_link}"
        there = graph.find_path(point.from_link, bottleneck.link, {})
        onward = graph.find_path(bottleneck.link, point.to_link, {})
        if there is None or onward is None or len(there.links) < 2:
            problems.append(f"{name} no way leads through {bottleneck.link}")
            continue
        links = there.links + onward.links[1:]
        around = graph.alternatives(
            point.from_link, point.to_link, {}, frozenset({bottleneck.link})
        )
        if not around:
            problems.append(f"{name} no way leads around {bottleneck.link}")
        usual.append(links)
        groups[f"{index}"] = frozenset(point.loops) or find_section(network, point.from_link)
        is_seen.append(not feeders.isdisjoint(links[1:]))
        for number, path in enumerate(around, 1):
            key = f"{plan.id}:{point.from_link}>{point.to_link}:{number}"
            uses = _find_uses(path.links, links, signalled)
            detours.append(Detour(key, index, path.links, uses))
    capacity = SpareCapacity(
        network,
        {use for detour in detours for use in detour.uses},
        spare_use,
        unseen_use,
    )
    through = LoopFlows({bottleneck.id: find_section(network, bottleneck.link)})
    return DetourCase(
        plan, bottleneck, usual, LoopFlows(groups), is_seen, detours, capacity, through
    )


def _find_uses(
    via: tuple[str, ...], usual: tuple[str, ...], signalled: Container[str]
) -> tuple[str, ...]:
    """Return the roads and signalled turns of a detour that the usual way does not load."""
    known = set(usual)
    turns = [f"{a}>{b}" for a, b in pairwise(via) if (a, b) not in set(pairwise(usual))]
    roads = [link for link in via if link not in known]
    return tuple(roads + [turn for turn in turns if turn in signalled])
