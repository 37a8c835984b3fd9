"""Where a city has loops, by rule, and the file that lays them in SUMO.

Stop line 4 m back, advance 50 m back, queue tail near the upstream end of the approach; where
others join it nearer than 40 m to the stop line, advance loops lie 4 m before that node, on each of
its arms; on the expressway a station every 550 m; one on each ramp.
Each loop covers one open lane.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from xml.etree import ElementTree

from traffic.model import Approach, Detector, DetectorKind, Link

STOP_LINE_M = 4.0  # from the stop line
ADVANCE_M = 50.0
NEAREST_ADVANCE_M = 40.0
LEAST_ARM_M = 5.0  # of an arm that has room for a loop
TAIL_M = 10.0  # from the upstream end
NEAREST_TAIL_M = 60.0  # from the stop line: a tail loop nearer than this tells nothing new
STATION_SPACING_M = 550.0
FIRST_STATION_M = 100.0
CLEAR_OF_STATION_M = 200.0
RAMP_M = 30.0  # from where the ramp meets the expressway
PERIOD_S = 30

MAINLINE_SPEED_MPS = 22.0  # just below 80 km/h


def place_loops(
    links: Mapping[str, Link],
    open_lanes: Mapping[str, Sequence[int]],
    turns: Iterable[tuple[str, str]],
    approaches: Mapping[str, Approach],
    mainline: Sequence[str] | None = None,
    stations: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Detector]:
    """Place loops by the rule; `open_lanes` are the lane numbers open to ordinary traffic.

    `mainline` names the expressway's links; None takes roads of 80 km/h and more that lead to no
    signal. `stations` are further positions by link, metres from its upstream end; the rule's own
    keep away from these.
    """
    turns = sorted(turns)
    if mainline is None:
        signalised = {link for approach in approaches.values() for link in approach.links}
        mainline = [
            link.id
            for link in links.values()
            if link.free_speed_mps >= MAINLINE_SPEED_MPS and link.id not in signalised
        ]
    found: list[Detector] = []
    ends = {approach.links[-1] for approach in approaches.values()}
    before: dict[str, list[str]] = {}
    for a, b in turns:
        before.setdefault(b, []).append(a)
    for approach in approaches.values():
        node_m, arms = _find_near_node(approach, links, before, ends)
        found += _place_at_approach(approach, links, open_lanes, node_m)
        found += _place_at_arms(approach, arms, links, open_lanes)
    for chain in _find_chains(mainline, turns):
        found += _place_stations(chain, links, open_lanes, stations or {})
    found += _place_on_ramps(mainline, turns, links, open_lanes)
    return {detector.id: detector for detector in found}


def _place_at_approach(
    approach: Approach,
    links: Mapping[str, Link],
    open_lanes: Mapping[str, Sequence[int]],
    node_m: float,
) -> Iterable[Detector]:
    length_m = sum(links[link].length_m for link in approach.links)
    places = [(DetectorKind.STOP_LINE, min(STOP_LINE_M, length_m / 2))]
    if length_m >= NEAREST_ADVANCE_M + 1.0:
        # Upstream of a node it would miss all who come from its other arms.
        last_m = links[approach.links[-1]].length_m
        room_m = last_m if last_m >= NEAREST_ADVANCE_M + 1.0 else length_m
        back_m = node_m + STOP_LINE_M if node_m > 0 else min(ADVANCE_M, room_m - 1.0)
        places.append((DetectorKind.ADVANCE, back_m))
    if length_m - TAIL_M >= NEAREST_TAIL_M:
        places.append((DetectorKind.TAIL, length_m - TAIL_M))
    for kind, back_m in places:
        link, position_m = _walk_back(approach.links, links, back_m)
        for lane in open_lanes[link]:
            yield Detector(
                f"{kind.value}_{approach.id}_{lane}", kind, link, lane, position_m, approach.id
            )


def _find_near_node(
    approach: Approach,
    links: Mapping[str, Link],
    before: Mapping[str, Sequence[str]],
    ends: Set[str],
) -> tuple[float, list[str]]:
    """Return how far from the stop line others last join the approach, and on which links.

    That is 0 where nobody does nearer than an advance loop may lie, or at a node with signals of
    its own.
    """
    node_m, below_m = 0.0, 0.0
    arms: list[str] = []
    for link in reversed(approach.links):
        below_m += links[link].length_m
        others = {
            a
            for a in before.get(link, ())
            if a not in approach.links and not is_return(links[a], links[link])
        }
        if below_m >= NEAREST_ADVANCE_M + 1.0 or others & ends:
            break
        if others:
            node_m = below_m
            arms += sorted(others)
    return node_m, arms


def is_return(one: Link, other: Link) -> bool:
    """Whether one link is the way back of the other."""
    return one.from_node == other.to_node and one.to_node == other.from_node


def _place_at_arms(
    approach: Approach,
    arms: Iterable[str],
    links: Mapping[str, Link],
    open_lanes: Mapping[str, Sequence[int]],
) -> Iterable[Detector]:
    """Yield advance loops where arms end: who waits there to join is no queue of the signal's."""
    for arm in arms:
        length_m = links[arm].length_m
        for lane in open_lanes[arm] if length_m >= LEAST_ARM_M else ():
            kind = DetectorKind.ADVANCE
            name = f"{kind.value}_{approach.id}_{arm}_{lane}"
            at_m = round(length_m - STOP_LINE_M, 2)
            yield Detector(name, kind, arm, lane, at_m, approach.id)


def _walk_back(chain: Sequence[str], links: Mapping[str, Link], back_m: float) -> tuple[str, float]:
    """Return the link and the position on it that lie so far before the end of the chain."""
    for link in reversed(chain):
        length_m = links[link].length_m
        if back_m <= length_m or link == chain[0]:
            return link, round(max(0.0, length_m - back_m), 2)
        back_m -= length_m
    raise ValueError("a chain has at least one link")


def _find_chains(
    mainline: Sequence[str], turns: Sequence[tuple[str, str]]
) -> Iterable[tuple[str, ...]]:
    """Yield the expressway's carriageways, links upstream to downstream; a fork begins another."""
    ours = set(mainline)
    follows: dict[str, list[str]] = {link: [] for link in mainline}
    for a, b in turns:
        if a in ours and b in ours:
            follows[a].append(b)
    has_before = {b for after in follows.values() for b in after[:1]}
    used: set[str] = set()
    starts = [link for link in mainline if link not in has_before]
    for start in (*starts, *mainline):
        chain: list[str] = []
        link: str | None = start
        while link is not None and link not in used:
            used.add(link)
            chain.append(link)
            link = follows[link][0] if follows[link] else None
        if chain:
            yield tuple(chain)


def _place_stations(
    chain: Sequence[str],
    links: Mapping[str, Link],
    open_lanes: Mapping[str, Sequence[int]],
    stations: Mapping[str, Sequence[float]],
) -> Iterable[Detector]:
    next_m, start_m = FIRST_STATION_M, 0.0
    for link in chain:
        own = list(stations.get(link, ()))
        ruled = []
        while next_m < start_m + links[link].length_m:
            ruled.append(round(next_m - start_m, 2))
            next_m += STATION_SPACING_M
        own += [at for at in ruled if all(abs(at - m) >= CLEAR_OF_STATION_M for m in own)]
        for position_m in sorted(own):
            for lane in open_lanes[link]:
                yield Detector(
                    f"mainline_{link}_{position_m:.0f}_{lane}",
                    DetectorKind.MAINLINE,
                    link,
                    lane,
                    position_m,
                )
        start_m += links[link].length_m


def _place_on_ramps(
    mainline: Sequence[str],
    turns: Sequence[tuple[str, str]],
    links: Mapping[str, Link],
    open_lanes: Mapping[str, Sequence[int]],
) -> Iterable[Detector]:
    ours = set(mainline)
    entries = {a for a, b in turns if b in ours and a not in ours}
    exits = {b for a, b in turns if a in ours and b not in ours}
    for link in sorted(entries | exits):
        length_m = links[link].length_m
        near_m = min(RAMP_M, length_m / 2)
        position_m = round(length_m - near_m if link in entries else near_m, 2)
        for lane in open_lanes[link]:
            yield Detector(f"ramp_{link}_{lane}", DetectorKind.RAMP, link, lane, position_m)


def write_loops(detectors: Iterable[Detector], path: Path) -> Path:
    """Write the loops as an additional file; SUMO counts them and writes no output of its own."""
    root = ElementTree.Element("additional")
    for detector in detectors:
        ElementTree.SubElement(
            root,
            "inductionLoop",
            {
                "id": detector.id,
                "lane": f"{detector.link}_{detector.lane}",
                "pos": f"{detector.position_m:.2f}",
                "period": str(PERIOD_S),
                "file": "NUL",
            },
        )
    ElementTree.indent(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return path
