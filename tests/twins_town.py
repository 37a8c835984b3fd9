"""A town of two junctions, with room for one bus between them or for more.

Each has a main approach, a street at its side, and two lanes from the other one: one straight on,
one that turns left, against the main approach in stage A, protected in stage B.
"""

from traffic.lanes import Lane, LaneMap, Way
from traffic.model import Intergreen, Junction, Link, Movement, Network, Phase, SafePlan, Stage

TWINS = ("L", "R")


def build_twins_town(between_m: float) -> Network:
    links: dict[str, Link] = {}
    lanes: dict[str, Lane] = {}
    ways, junctions, moves = {}, {}, set()

    def add(link: str, length_m: float, count: int) -> None:
        shape = ((0.0, 0.0), (length_m, 0.0))
        links[link] = Link(link, f"{link}<", f"{link}>", length_m, count, 13.9, shape)

    def sense(link: str) -> None:
        for i in range(links[link].lanes):
            lanes[f"{link}_{i}"] = Lane(f"{link}_{i}", link, i, links[link].length_m, 13.9)

    for one, other in (TWINS, TWINS[::-1]):
        add(f"{one}main", 250.0, 1)
        add(f"{one}side", 250.0, 1)
        add(f"{one}out", 250.0, 1)
        add(f"{one}away", 250.0, 1)
        add(f"{one}{other}", between_m, 2)
    for one, other in (TWINS, TWINS[::-1]):
        here, there = f"{other}{one}", f"{one}{other}"
        for link in (f"{one}main", f"{one}side", here):
            sense(link)
        turns = {
            "main": (f"{one}main", there),
            "through": (here, f"{one}out"),
            "left": (here, f"{one}away"),
            "side": (f"{one}side", there),
        }
        moves |= set(turns.values())
        phases = tuple(
            Phase(id_, (Movement(id_, *turn),), 5.0, 300.0, 600.0) for id_, turn in turns.items()
        )
        ways[one] = (
            Way(f"{one}main_0", f"{there}_0", there, "main", 15.0),
            Way(f"{one}main_0", f"{there}_1", there, "main", 15.0),
            Way(f"{here}_0", f"{one}out_0", f"{one}out", "through", 15.0),
            Way(f"{here}_1", f"{one}away_0", f"{one}away", "left", 15.0, (0, 1)),
            Way(f"{one}side_0", f"{there}_1", there, "side", 15.0),
        )
        pairs = [("main", "side"), ("through", "side"), ("left", "side"), ("main", "left")]
        both = [*pairs, *((b, a) for a, b in pairs)]
        junctions[one] = Junction(
            one,
            phases,
            (
                Stage("A", frozenset({"main", "through"}), frozenset({"left"})),
                Stage("B", frozenset({"through", "left"})),
                Stage("C", frozenset({"side"})),
            ),
            frozenset(frozenset(pair) for pair in pairs),
            dict.fromkeys(both, Intergreen(3.0, 0.0)),
        )
    plan = SafePlan((("A", 20.0), ("B", 10.0), ("C", 10.0)))
    plans = dict.fromkeys(TWINS, plan)
    return Network(
        "twins", links, frozenset(moves), junctions, plans, {}, {}, {}, lanes=LaneMap(lanes, ways)
    )
