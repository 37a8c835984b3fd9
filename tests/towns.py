"""A town of one signal as somebody else's SUMO configuration, for the command and the service."""

from pathlib import Path

from networks.plain_xml import Connection, Edge, Node, Program, Roads, compile_roads


def compile_town(folder: Path) -> Path:
    """Compile its roads, a signal where two streets meet; return the net file."""
    nodes = (
        Node("w", -400, 0),
        Node("j", 0, 0, "traffic_light"),
        Node("e", 400, 0),
        Node("n", 0, 300),
    )
    edges = (
        Edge("west", "w", "j", 1, 13.9),
        Edge("north", "n", "j", 1, 13.9),
        Edge("east", "j", "e", 1, 13.9),
    )
    links = (Connection("west", "east", 0, 0), Connection("north", "east", 0, 0))
    states = ((20.0, "Gr"), (3.0, "yr"), (2.0, "rr"), (20.0, "rG"), (3.0, "ry"), (2.0, "rr"))
    return compile_roads(Roads(nodes, edges, links, (Program("j", links, states),)), folder, "town")


def write_town(folder: Path, end_s: float = 600.0) -> Path:
    """Write its configuration, with more demand than fits in, and some that is due too early."""
    compile_town(folder)
    (folder / "flows.xml").write_text(
        '<routes><flow id="west" begin="100" end="400" number="300" from="west" to="east"/>'
        "</routes>"
    )
    (folder / "routes.xml").write_text(
        '<routes><trip id="early" depart="50" from="west" to="east"/>'
        '<trip id="north.0" depart="110" from="north" to="east"/>'
        '<trip id="north.1" depart="5000" from="north" to="east"/></routes>'
    )
    path = folder / "town.sumocfg"
    path.write_text(
        '<configuration><net-file value="town.net.xml"/><route-files value="flows.xml,routes.xml"/>'
        f'<begin value="100"/><end value="{end_s:g}"/></configuration>'
    )
    return path


ARMS = {"w": (-300, 0), "n": (0, 300), "e": (300, 0), "s": (0, -300)}


def write_permissive_town(folder: Path) -> Path:
    """Write a crossing of one lane an arm, its left turns giving way in both stages."""
    nodes = (Node("j", 0, 0, "traffic_light"), *(Node(arm, *at) for arm, at in ARMS.items()))
    ins = [Edge(f"in_{arm}", arm, "j", 1, 13.9) for arm in ARMS]
    outs = [Edge(f"out_{arm}", "j", arm, 1, 13.9) for arm in ARMS]
    turns = (("w", "e", "n"), ("e", "w", "s"), ("n", "s", "e"), ("s", "n", "w"))  # through, left
    links = tuple(
        Connection(f"in_{arm}", f"out_{to}", 0, 0) for arm, *there in turns for to in there
    )
    states = ((30.0, "GgGgrrrr"), (3.0, "yyyyrrrr"), (30.0, "rrrrGgGg"), (3.0, "rrrryyyy"))
    roads = Roads(nodes, (*ins, *outs), links, (Program("j", links, states),))
    compile_roads(roads, folder, "permissive")
    (folder / "routes.xml").write_text(
        '<routes><trip id="a" depart="0" from="in_w" to="out_e"/></routes>'
    )
    path = folder / "permissive.sumocfg"
    path.write_text(
        '<configuration><net-file value="permissive.net.xml"/><route-files value="routes.xml"/>'
        '<begin value="0"/><end value="600"/></configuration>'
    )
    return path
