"""Lanes for towns that are built by hand, and vehicles on them."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from traffic.lanes import UNKNOWN_TURN, Lane, LaneMap, Way
from traffic.model import Network
from traffic.readings import LaneBatch

SPACING_M = 7.5


def add_lanes(network: Network) -> Network:
    """Return the network with one sensed lane on each link that leads to a signal."""
    lanes: dict[str, Lane] = {}
    ways: dict[str, tuple[Way, ...]] = {}
    for junction in network.junctions.values():
        moves = [(phase.id, move) for phase in junction.phases for move in phase.movements]
        for _, move in moves:
            link = network.links[move.from_link]
            lane = Lane(f"{link.id}_0", link.id, 0, link.length_m, link.free_speed_mps)
            lanes[lane.id] = lane
        ways[junction.id] = tuple(
            Way(f"{move.from_link}_0", f"{move.to_link}_0", move.to_link, phase, 20.0)
            for phase, move in moves
        )
    return replace(network, lanes=LaneMap(lanes, ways))


def build_batch(
    network: Network, back_m: dict[str, Iterable[float]], speed_mps: float = 0.0
) -> LaneBatch:
    """Return vehicles so many meters before the stop lines, per lane, the nearest first."""
    lanes = network.lanes
    assert lanes is not None
    on = [list(back_m.get(lane, ())) for lane in lanes.sensed]
    at_m = [
        lanes.lanes[lane].length_m - m
        for lane, own in zip(lanes.sensed, on, strict=True)
        for m in own
    ]
    return LaneBatch(
        np.concatenate(([0], np.cumsum([len(own) for own in on]))).astype(np.int32),
        np.array(at_m, dtype=np.float64),
        np.full(len(at_m), speed_mps),
        np.full(len(at_m), UNKNOWN_TURN, dtype=np.int32),
    )


def build_queue(size: int) -> list[float]:
    return [1.0 + SPACING_M * i for i in range(size)]
