"""Roads as SUMO's plain XML, compiled by netconvert.

Every connection is written out and every signalised one carries its index, so that nothing is
left to netconvert's guesses; the compiled file holds no dates, so the same roads give the same
bytes.
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

Point = tuple[float, float]  # x, y in metres
EMERGENCY = "emergency authority"  # SUMO's vehicle classes of the rescue services


class CompileError(RuntimeError):
    """netconvert is missing or refused the roads; holds what it said."""


@dataclass(frozen=True, slots=True)
class Node:
    """A place where links meet; `kind` is SUMO's node type."""

    id: str
    x: float
    y: float
    kind: str = "priority"


@dataclass(frozen=True, slots=True)
class Edge:
    """One direction of a road; lanes count from the right, as in SUMO.

    `shape` is the whole line, ends included (they may lie beside the nodes), or empty for a
    straight one; `emergency_lanes` are closed to ordinary traffic.
    """

    id: str
    from_node: str
    to_node: str
    lanes: int
    speed_mps: float
    shape: tuple[Point, ...] = ()
    emergency_lanes: frozenset[int] = frozenset()
    name: str = ""
    spread: str = "right"  # "center" for a carriageway drawn on its own


@dataclass(frozen=True, slots=True)
class Connection:
    """A path from lane to lane."""

    from_edge: str
    to_edge: str
    from_lane: int
    to_lane: int


@dataclass(frozen=True, slots=True)
class Program:
    """A fixed-time signal program: (seconds, state) with one letter per connection in `links`."""

    junction: str
    links: tuple[Connection, ...]
    states: tuple[tuple[float, str], ...]
    offset_s: float = 0.0


@dataclass(frozen=True)
class Roads:
    """A whole network, ready to compile."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    connections: tuple[Connection, ...]
    programs: tuple[Program, ...]


def compile_roads(roads: Roads, folder: Path, name: str) -> Path:
    """Write the plain files and the compiled `<name>.net.xml` into the folder; return its path.

    Raises CompileError with netconvert's own words when it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "node-files": _write(folder / f"{name}.nod.xml", _node_tree(roads)),
        "edge-files": _write(folder / f"{name}.edg.xml", _edge_tree(roads)),
        "connection-files": _write(folder / f"{name}.con.xml", _connection_tree(roads)),
        "tllogic-files": _write(folder / f"{name}.tll.xml", _program_tree(roads)),
    }
    net_file = folder / f"{name}.net.xml"
    options = [f"--{option}={path}" for option, path in files.items()]
    options += ["--no-turnarounds=true", "--output.street-names=true"]
    options += ["--offset.disable-normalization=true", f"--output-file={net_file}"]
    done = subprocess.run(
        [find_program("netconvert"), *options], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CompileError(f"netconvert refused {name}: {done.stderr.strip()}")
    text = net_file.read_text(encoding="utf-8")
    net_file.write_text(re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL), encoding="utf-8")
    return net_file


def find_home(wanted: str) -> Path:
    """Return SUMO's folder, where `wanted` is sought; raises CompileError when not installed."""
    try:
        import sumo
    except ImportError as error:
        raise CompileError(f"{wanted} is missing: install the package eclipse-sumo") from error
    return Path(sumo.SUMO_HOME)


def find_program(name: str) -> str:
    """Return the path of one of SUMO's programs; raises CompileError when not installed."""
    return str(find_home(name) / "bin" / name)


def _element(tag: str, attributes: Mapping[str, object]) -> ElementTree.Element:
    return ElementTree.Element(tag, {key: str(value) for key, value in attributes.items()})


def _write(path: Path, root: ElementTree.Element) -> Path:
    ElementTree.indent(root)
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    return path


def _node_tree(roads: Roads) -> ElementTree.Element:
    root = ElementTree.Element("nodes")
    for node in roads.nodes:
        what = {"id": node.id, "x": node.x, "y": node.y, "type": node.kind}
        root.append(_element("node", what))
    return root


def _edge_tree(roads: Roads) -> ElementTree.Element:
    root = ElementTree.Element("edges")
    for edge in roads.edges:
        element = _element(
            "edge",
            {
                "id": edge.id,
                "from": edge.from_node,
                "to": edge.to_node,
                "numLanes": edge.lanes,
                "speed": f"{edge.speed_mps:.2f}",
                "spreadType": edge.spread,
            },
        )
        if edge.shape:
            element.set("shape", " ".join(f"{x:.2f},{y:.2f}" for x, y in edge.shape))
        if edge.name:
            element.set("name", edge.name)
        for lane in sorted(edge.emergency_lanes):
            element.append(_element("lane", {"index": lane, "allow": EMERGENCY}))
        root.append(element)
    return root


def _connection_attributes(connection: Connection) -> dict[str, object]:
    return {
        "from": connection.from_edge,
        "to": connection.to_edge,
        "fromLane": connection.from_lane,
        "toLane": connection.to_lane,
    }


def _connection_tree(roads: Roads) -> ElementTree.Element:
    root = ElementTree.Element("connections")
    for connection in roads.connections:
        root.append(_element("connection", _connection_attributes(connection)))
    return root


def _program_tree(roads: Roads) -> ElementTree.Element:
    root = ElementTree.Element("tlLogics")
    for program in roads.programs:
        logic = _element(
            "tlLogic",
            {
                "id": program.junction,
                "type": "static",
                "programID": "0",
                "offset": f"{program.offset_s:g}",
            },
        )
        for duration_s, state in program.states:
            logic.append(_element("phase", {"duration": f"{duration_s:g}", "state": state}))
        root.append(logic)
    for program in roads.programs:
        for index, link in enumerate(program.links):
            attributes = _connection_attributes(link) | {"tl": program.junction, "linkIndex": index}
            root.append(_element("connection", attributes))
    return root
