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


def write_twins(folder: Path, apart_m: float) -> Path:
    """Write two signals L and R on one street, each with a road at its side.

    Who comes from one of these or from the street's ends may go on over the road between, where
    one lane turns right into the other road and one goes straight on along the street, against that
    road: it gives way in the first of three stages, and goes alone in the second.
    """
    places = {"l": 0.0, "r": apart_m}
    nodes = [Node(id_.upper(), x, 0, "traffic_light") for id_, x in places.items()]
    edges, programs = [], []
    for here, there, sign in (("l", "r", 1), ("r", "l", -1)):
        x, at = places[here], here.upper()
        road, opposite, street = f"{here}_road", f"{here}_opposite", f"{here}_street"
        over, into = f"{here}{there}", f"{there}{here}"
        nodes += [
            Node(road, x, 300 * sign),
            Node(opposite, x, -300 * sign),
            Node(street, x - 300 * sign, 0),
        ]
        edges += [
            Edge(f"{road}_in", road, at, 1, 13.9),
            Edge(f"{road}_out", at, road, 1, 13.9),
            Edge(f"{opposite}_out", at, opposite, 1, 13.9),
            Edge(f"{street}_in", street, at, 1, 13.9),
            Edge(f"{street}_out", at, street, 1, 13.9),
            Edge(over, at, there.upper(), 2, 13.9),
        ]
        links = (
            Connection(f"{road}_in", f"{opposite}_out", 0, 0),
            Connection(f"{road}_in", over, 0, 1),
            Connection(into, f"{road}_out", 0, 0),
            Connection(into, f"{street}_out", 1, 0),
            Connection(f"{street}_in", over, 0, 0),
            Connection(f"{street}_in", over, 0, 1),
        )
        states = (
            *((20.0, "GGGgrr"), (3.0, "yyGgrr"), (12.0, "rrGGrr")),
            *((3.0, "rryyrr"), (20.0, "rrrrGG"), (3.0, "rrrryy")),
        )
        programs.append(Program(at, links, states))
    joints = tuple(link for program in programs for link in program.links)
    compile_roads(Roads(tuple(nodes), tuple(edges), joints, tuple(programs)), folder, "twins")
    flows = "".join(
        f'<flow id="{one}-{other}" begin="0" end="600" probability="{share}" from="{one}" '
        f'to="{other}"/>'
        for here, there in ("lr", "rl")
        for one, other, share in (
            (f"{here}_road_in", f"{here}_opposite_out", 0.1),
            (f"{here}_road_in", f"{there}_street_out", 0.05),
            (f"{here}_street_in", f"{there}_street_out", 0.05),
            (f"{here}_street_in", f"{there}_road_out", 0.05),
        )
    )
    (folder / "flows.xml").write_text(f"<routes>{flows}</routes>")
    path = folder / "twins.sumocfg"
    path.write_text(
        '<configuration><net-file value="twins.net.xml"/><route-files value="flows.xml"/>'
        '<begin value="0"/><end value="600"/></configuration>'
    )
    return path
