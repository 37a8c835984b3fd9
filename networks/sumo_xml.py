"""SUMO's compiled network read as the engine's model; the only user of sumolib."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax import SAXException

from networks.loops import is_return, place_loops
from networks.route_files import UNREADABLE
from networks.sumo_lanes import build_lanes
from networks.sumo_program import Program, SignalLink
from networks.sumo_signals import Signals, build_signals
from traffic.model import Approach, Detector, Link, ModelError, Network

ROAD_CLASSES = ("passenger", "bus", "truck", "emergency")
SHORT_APPROACH_M = 60.0  # too short for an advance loop: the walk upstream passes side roads too


@dataclass(frozen=True)
class CompiledNetwork:
    """A network, and which letters of SUMO's state strings show each phase."""

    network: Network
    signal_indices: Mapping[str, Mapping[str, tuple[int, ...]]]  # junction -> phase -> indices
    open_lanes: Mapping[str, tuple[int, ...]]  # link -> lanes open to ordinary traffic


def read_network(
    net_file: Path,
    network_id: str,
    *,
    program_files: Sequence[Path] = (),
    mainline: Sequence[str] | None = None,
    stations: Mapping[str, Sequence[float]] | None = None,
    origin: tuple[float, float] | None = None,
    loops: Mapping[str, Detector] | None = None,
) -> CompiledNetwork:
    """Read a compiled network with its signals.

    `program_files` are additional files; of several programs for a junction the one read last
    counts, as in SUMO. Without `loops` they are placed by rule, with `mainline` as the
    expressway and `stations` on it besides. `origin` is the longitude and latitude of x = y = 0
    where the file itself does not know it. Raises ModelError naming the file, or every junction
    and link that can't be read.
    """
    programs = read_programs((net_file, *program_files))  # finds what is no XML at all, too
    net = _read_net(net_file)
    links, open_lanes = _build_links(net)
    turns = frozenset(
        (edge.getID(), to.getID())
        for edge in net.getEdges(withInternal=False)
        for to, ways in edge.getOutgoing().items()
        if edge.getID() in links
        and to.getID() in links
        and any(_is_open(w.getFromLane()) and _is_open(w.getToLane()) for w in ways)
    )
    signals = _read_signals(net, links, programs, net_file)
    approaches = _build_approaches(net, links, open_lanes, turns, signals)
    detectors = loops
    if detectors is None:
        detectors = place_loops(links, open_lanes, turns, approaches, mainline, stations)
    network = Network(
        id=network_id,
        links=links,
        turns=turns,
        junctions={id_: s.junction for id_, s in signals.items()},
        plans={id_: s.plan for id_, s in signals.items()},
        approaches=approaches,
        detectors=detectors,
        origin=_get_origin(net) or origin,
        lanes=build_lanes(net, links, signals),
    )
    return CompiledNetwork(network, {id_: s.indices for id_, s in signals.items()}, open_lanes)


def require_signals(network: Network) -> None:
    """Raise ModelError when the network has nothing to control."""
    if not network.junctions:
        raise ModelError(f"network {network.id}", ["has no signals"])


def _read_net(net_file: Path) -> Any:
    import sumolib.net

    try:
        net = sumolib.net.readNet(str(net_file))
    except (SAXException, SyntaxError, LookupError, ValueError, AttributeError) as error:
        raise ModelError(f"network file {net_file}", [f"can't be read: {error}"]) from error
    if not net.getEdges(withInternal=False):
        raise ModelError(f"network file {net_file}", ["holds no roads"])
    return net


def _is_open(lane: Any) -> bool:
    return bool(lane.allows("passenger"))


def _build_links(net: Any) -> tuple[dict[str, Link], dict[str, tuple[int, ...]]]:
    left_m, bottom_m = _get_corner(net)
    links: dict[str, Link] = {}
    open_lanes: dict[str, tuple[int, ...]] = {}
    for edge in net.getEdges(withInternal=False):
        if not any(lane.allows(c) for lane in edge.getLanes() for c in ROAD_CLASSES):
            continue
        id_ = edge.getID()
        lanes = tuple(lane.getIndex() for lane in edge.getLanes() if _is_open(lane))
        open_lanes[id_] = lanes
        links[id_] = Link(
            id=id_,
            from_node=edge.getFromNode().getID(),
            to_node=edge.getToNode().getID(),
            length_m=edge.getLength(),
            lanes=len(lanes),
            free_speed_mps=edge.getSpeed(),
            shape=tuple((x - left_m, y - bottom_m) for x, y in edge.getShape()),
            name=edge.getName(),
        )
    return links, open_lanes


def _get_corner(net: Any) -> tuple[float, float]:
    """Return the point taken as x = y = 0.

    On Earth it is the lower left corner: a map may lie hundreds of km from the zero of its own
    coordinates, where metres east and north no longer lead to the right longitude and latitude.
    """
    if not net.hasGeoProj():
        return 0.0, 0.0
    left_m, bottom_m, _, _ = net.getBoundary()
    return left_m, bottom_m


def _get_origin(net: Any) -> tuple[float, float] | None:
    if not net.hasGeoProj():
        return None
    longitude, latitude = net.convertXY2LonLat(*_get_corner(net))
    return longitude, latitude


def read_programs(files: Iterable[Path]) -> dict[str, Program]:
    """Return junction -> program, the last one read; raises ModelError naming the junction."""
    programs: dict[str, Program] = {}
    for file in files:
        for element in read_elements(file, "tlLogic"):
            id_ = element.get("id", "")
            try:
                states = tuple(
                    (phase.get("state", ""), float(phase.get("duration", "nan")))
                    for phase in element.iter("phase")
                )
                offset_s = float(element.get("offset", "0"))
            except ValueError as error:
                raise ModelError(
                    f"junction {id_}", [f"its program in {file} can't be read: {error}"]
                ) from error
            if any(not duration_s > 0 for _, duration_s in states):
                problem = f"its program in {file} has a state without a duration above 0"
                raise ModelError(f"junction {id_}", [problem])
            if states:
                programs[id_] = Program(element.get("type", "static"), offset_s, states)
    return programs


def read_elements(file: Path, *tags: str) -> list[ElementTree.Element]:
    """Return a file's elements of those tags; raises ModelError naming the file."""
    import sumolib.xml

    found: list[ElementTree.Element] = []
    try:
        with sumolib.openz(str(file), mode="rb") as stream:
            for _, element in ElementTree.iterparse(stream):
                if element.tag in tags:
                    found.append(element)
    except FileNotFoundError as error:
        raise ModelError(f"file {file}", ["does not exist"]) from error
    except UNREADABLE as error:
        raise ModelError(f"file {file}", [f"can't be read: {error}"]) from error
    return found


def _read_signals(
    net: Any, links: Mapping[str, Link], programs: Mapping[str, Program], net_file: Path
) -> dict[str, Signals]:
    signals: dict[str, Signals] = {}
    problems: list[str] = []
    used = _read_indices(net_file)
    for tls in net.getTrafficLights():
        id_ = tls.getID()
        ways = _get_ways(net, id_)
        if all(way.getJunction().getType().startswith("rail") for way in ways):
            continue  # level crossings follow the trains, not us
        if id_ not in programs:
            problems.append(f"junction {id_}: has no program with states")
            continue
        ours = [w for w in ways if w.getFrom().getID() in links and w.getTo().getID() in links]
        told = [
            SignalLink(
                way.getTLLinkIndex(),
                way.getFrom().getID(),
                way.getFromLane().getID(),
                way.getTo().getID(),
            )
            for way in ours
        ]
        untold = used[id_] - {link.index for link in told}
        if not told:
            problems.append(f"junction {id_}: controls no traffic lane")
            continue
        lacking = [way.getTLLinkIndex() for way in ours if not _has_request(way)]
        if lacking:
            which = ", ".join(map(str, sorted(set(lacking))))
            problems.append(f"junction {id_}: nothing tells what conflicts with links {which}")
            continue
        try:
            signals[id_] = build_signals(id_, programs[id_], told, _get_foes(ours), untold)
        except ModelError as error:
            problems += str(error).splitlines()
    if problems:
        raise ModelError(f"network file {net_file}", problems)
    return signals


def _read_indices(net_file: Path) -> dict[str, frozenset[int]]:
    """Return junction -> every signal link index in use, those of crossings on foot included."""
    found: dict[str, set[int]] = {}
    for element in read_elements(net_file, "connection"):
        if element.get("tl"):
            found.setdefault(element.get("tl", ""), set()).add(int(element.get("linkIndex", "-1")))
    return {id_: frozenset(indices) for id_, indices in found.items()}


def _get_ways(net: Any, tls_id: str) -> list[Any]:
    """Return the signal's connections in order of their index."""
    ways = [
        way
        for from_lane, to_lane, _ in net.getTLS(tls_id).getConnections()
        for way in from_lane.getOutgoing()
        if way.getToLane() is to_lane and way.getTLSID() == tls_id
    ]
    unique = {id(way): way for way in ways}
    return sorted(
        unique.values(), key=lambda way: (way.getTLLinkIndex(), way.getFromLane().getID())
    )


def _has_request(way: Any) -> bool:
    """Whether the right-of-way matrix of its node has a row for a connection."""
    try:
        way.getJunction().areFoes(way.getJunctionIndex(), way.getJunctionIndex())
    except (KeyError, IndexError):
        return False
    return True


def _get_foes(ways: Sequence[Any]) -> frozenset[frozenset[int]]:
    """Return the pairs of signal links whose paths cross or merge, by the right-of-way matrix."""
    foes = set()
    for place, way in enumerate(ways):
        node = way.getJunction()
        for other in ways[place + 1 :]:
            if other.getJunction() is node and node.areFoes(
                way.getJunctionIndex(), other.getJunctionIndex()
            ):
                foes.add(frozenset((way.getTLLinkIndex(), other.getTLLinkIndex())))
    return frozenset(foes)


def _build_approaches(
    net: Any,
    links: Mapping[str, Link],
    open_lanes: Mapping[str, tuple[int, ...]],
    turns: frozenset[tuple[str, str]],
    signals: Mapping[str, Signals],
) -> dict[str, Approach]:
    signalised = {way.getFrom().getID() for id_ in signals for way in _get_ways(net, id_)}
    feeds: dict[str, list[str]] = {}
    for before, after in turns:
        feeds.setdefault(after, []).append(before)
    approaches: dict[str, Approach] = {}
    for junction_id, read in signals.items():
        ways = _get_ways(net, junction_id)
        phases: dict[str, list[str]] = {}
        for phase in read.junction.phases:
            for movement in phase.movements:
                own = phases.setdefault(movement.from_link, [])
                if phase.id not in own:
                    own.append(phase.id)
        for link, of_link in phases.items():
            chain = _walk_upstream(link, net, links, feeds, signalised)
            approaches[link] = Approach(
                id=link,
                junction=junction_id,
                links=chain,
                phases=tuple(of_link),
                lanes=len(open_lanes[link]),
                storage_m=round(sum(links[id_].length_m for id_ in chain), 2),
                phase_lanes={
                    phase: _find_lanes(ways, link, read.indices[phase]) for phase in of_link
                },
            )
    return approaches


def _find_lanes(ways: Iterable[Any], link: str, indices: Sequence[int]) -> tuple[int, ...]:
    """Return the lanes of a link that these indices of its signal control."""
    from_lanes = [way.getFromLane() for way in ways if way.getTLLinkIndex() in indices]
    return tuple(sorted({lane.getIndex() for lane in from_lanes if lane.getEdge().getID() == link}))


def _walk_upstream(
    link: str,
    net: Any,
    links: Mapping[str, Link],
    feeds: Mapping[str, Sequence[str]],
    signalised: set[str],
) -> tuple[str, ...]:
    """Return the links that lead to a stop line, upstream to downstream, with no signal between.

    A joint with one road in and one out is always passed. While the way is too short for loops,
    so is a side road, along the road with most lanes leading on.
    """
    chain = [link]
    while True:
        head = links[chain[0]]
        before = {a for a in feeds.get(head.id, ()) if not is_return(links[a], head)}
        length_m = sum(links[id_].length_m for id_ in chain)
        is_joint = len(before) == 1 and all(
            b == head.id or is_return(links[a], links[b])
            for a in before
            for b in (edge.getID() for edge in net.getEdge(a).getOutgoing())
            if b in links
        )
        if not is_joint and length_m >= SHORT_APPROACH_M:
            break
        before -= {id_ for id_ in before if id_ in signalised or id_ in chain}
        if not before:
            break
        ways = net.getEdge(head.id).getIncoming()
        lanes = {
            edge.getID(): (len(connections), edge.getLaneNumber())
            for edge, connections in ways.items()
        }
        chain.insert(0, max(sorted(before), key=lanes.__getitem__))
    return tuple(chain)
