"""The arterial of a network: its chain of signals with the most traffic, and their waves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from traffic.model import Network, SafePlan
from traffic.optimization.bandwidth import Bands, BandSignal, optimize_bandwidth
from traffic.optimization.greens import build_green_runs
from traffic.optimization.offsets import Feed, build_green_mask
from traffic.optimization.streams import Stream


@dataclass(frozen=True, slots=True)
class Arterial:
    """Junctions in order outbound, the phases that run along it, and travel times, seconds.

    `outbound_travel_s` counts from the first junction, `inbound_travel_s` to it. `is_all` when the
    network is this chain and nothing else.
    """

    junctions: tuple[str, ...]
    outbound: tuple[str, ...]  # phase at each junction
    inbound: tuple[str, ...]
    outbound_travel_s: tuple[float, ...]
    inbound_travel_s: tuple[float, ...]
    weights_vph: tuple[float, float]  # mean flow outbound, inbound
    is_all: bool


def find_arterial(
    streams: Mapping[str, Sequence[Stream]], feeds: Iterable[Feed]
) -> Arterial | None:
    """Return the chain that grows from the busiest pair that feeds each other; None without any."""
    strongest: dict[tuple[str, str], Feed] = {}
    flow_vph: dict[tuple[str, str], float] = {}
    for feed in feeds:
        pair = (feed.from_junction, feed.to_junction)
        flow_vph[pair] = flow_vph.get(pair, 0.0) + feed.flow_vph
        if pair not in strongest or feed.flow_vph > strongest[pair].flow_vph:
            strongest[pair] = feed
    both = {
        (a, b): flow_vph[a, b] + flow_vph[b, a] for a, b in flow_vph if a < b and (b, a) in flow_vph
    }
    if not both:
        return None
    _, busiest = max((vph, pair) for pair, vph in both.items())
    chain = list(busiest)
    while True:
        ends = [
            (vph, at_end, other)
            for (a, b), vph in both.items()
            for end, other in ((a, b), (b, a))
            for at_end, place in ((True, chain[-1]), (False, chain[0]))
            if end == place and other not in chain
        ]
        if not ends:
            break
        _, at_end, other = max(ends)
        chain.insert(len(chain) if at_end else 0, other)
    ways: list[list[tuple[str, str]]] = [
        list(pairwise(chain)),
        [(b, a) for a, b in pairwise(chain)],
    ]
    onward, back = [[strongest[pair] for pair in way] for way in ways]
    last = _busiest(streams[chain[-1]], onward[-1].approach)
    first = _busiest(streams[chain[0]], back[0].approach)
    return Arterial(
        tuple(chain),
        (*(feed.from_phase for feed in onward), last),
        (first, *(feed.from_phase for feed in back)),
        tuple(np.cumsum([0.0, *(feed.travel_s for feed in onward)]).tolist()),
        tuple(np.cumsum([0.0, *(feed.travel_s for feed in back)]).tolist()),
        (_mean(flow_vph, ways[0]), _mean(flow_vph, ways[1])),
        set(chain) == set(streams) and len(both) == len(chain) - 1,
    )


def _mean(flow_vph: Mapping[tuple[str, str], float], way: Sequence[tuple[str, str]]) -> float:
    return sum(flow_vph[pair] for pair in way) / len(way)


def _busiest(streams: Sequence[Stream], approach: str) -> str:
    own = [s for s in streams if s.approach == approach]
    return max(own, key=lambda s: (s.flow_vph, s.phase)).phase


def coordinate_arterial(
    network: Network, plans: Mapping[str, SafePlan], arterial: Arterial
) -> dict[str, SafePlan]:
    """Return the plans of one common cycle with the offsets of the widest bands."""
    cycle = round(plans[arterial.junctions[0]].cycle_s)
    signals = [
        BandSignal(
            id_,
            _find_green(network, plans[id_], id_, out),
            _find_green(network, plans[id_], id_, back),
        )
        for id_, out, back in zip(
            arterial.junctions, arterial.outbound, arterial.inbound, strict=True
        )
    ]
    total = max(sum(arterial.weights_vph), 1e-9)
    weights = [max(1, round(10 * vph / total)) for vph in arterial.weights_vph]
    found: Bands = optimize_bandwidth(
        signals, cycle, arterial.outbound_travel_s, arterial.inbound_travel_s, *weights
    )
    offsets = dict(zip(arterial.junctions, found.offset_s, strict=True))
    return {
        id_: SafePlan(plan.slots, float(offsets.get(id_, round(plan.offset_s))))
        for id_, plan in plans.items()
    }


def _find_green(network: Network, plan: SafePlan, junction: str, phase: str) -> tuple[int, int]:
    runs = [r for r in build_green_runs(network.junctions[junction], plan) if r.phase == phase]
    run = max(runs, key=lambda r: r.green_s)
    return round(run.start_s + run.lost_s) % round(plan.cycle_s), max(1, round(run.green_s))


def find_bands(
    network: Network, plans: Mapping[str, SafePlan], arterial: Arterial
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (begin, width) of the widest band outbound and inbound, seconds at the first junction;
    width 0 where there is none, or the cycles differ."""
    cycles = {plans[id_].cycle_s for id_ in arterial.junctions}
    if len(cycles) > 1:
        return (0, 0), (0, 0)
    cycle = round(cycles.pop())
    bands = []
    for phases, times, sign in (
        (arterial.outbound, arterial.outbound_travel_s, 1),
        (arterial.inbound, arterial.inbound_travel_s, -1),
    ):
        through = np.ones(cycle, dtype=bool)
        for id_, phase, travel_s in zip(arterial.junctions, phases, times, strict=True):
            mask = build_green_mask(network.junctions[id_], plans[id_], phase)
            through &= np.roll(mask, round(plans[id_].offset_s) - sign * round(travel_s))
        bands.append(_longest(through))
    return bands[0], bands[1]


def _longest(through: NDArray[np.bool_]) -> tuple[int, int]:
    cycle = len(through)
    if through.all():
        return 0, cycle
    best = (0, 0)
    for begin in range(cycle):
        if through[begin] and not through[begin - 1]:
            width = next(k for k in range(cycle) if not through[(begin + k) % cycle])
            best = max(best, (begin, width), key=lambda band: band[1])
    return best
