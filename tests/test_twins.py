"""Two junctions with room for one bus between them: who waits there is let go, and nobody follows.

Each has a main approach, a street at its side, and two lanes from the other one: one straight on,
one that turns left, against the main approach in stage A, protected in stage B.
"""

from dataclasses import replace

import numpy as np
import pytest
from laned import build_batch
from test_controllers import build_raw

from controllers.horizon import HorizonTeam
from traffic.control import Observation, Sensing
from traffic.lanes import Lane, LaneMap, Way
from traffic.model import Intergreen, Junction, Link, Movement, Network, Phase, SafePlan, Stage
from traffic.optimization.twins import PATIENCE_S, SETTLED_S
from traffic.readings import Quality

TWINS = ("L", "R")
QUEUE = [1.0, 8.5, 16.0, 23.5]


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


def decide(
    team: HorizonTeam, town: Network, stages: str, queues: dict[str, list[float]], halted: int = 0
) -> str:
    """Return the stages that both ask for, when these have been shown for 20 s."""
    raw = build_raw(100, frozenset(), Quality.GOOD)
    batch = replace(build_batch(town, queues), halted=np.array([halted, 0], dtype=np.int32))
    seen = []
    for id_, shown in zip(TWINS, stages, strict=True):
        green = town.junctions[id_].get_stage(shown).green
        phases = [phase.id for phase in town.junctions[id_].phases]
        seen.append(
            Observation(
                100.0,
                raw.local,
                {},
                shown,
                {p: 20.0 if p in green else 0.0 for p in phases},
                {p: 0.0 if p in green else 20.0 for p in phases},
                lanes=batch,
            )
        )
    return "".join(command.stage if command else "-" for command in team.decide(seen))


def watch(
    town: Network, seconds: float, stages: str, queues: dict[str, list[float]], halted: int = 0
) -> list[str]:
    team = HorizonTeam(town, TWINS, Sensing.LANES)
    return [decide(team, town, stages, queues, halted) for _ in range(int(seconds))]


BUSY = {"Lmain_0": QUEUE, "Rmain_0": QUEUE}


def test_without_anybody_between_them_both_main_streets_go_on() -> None:
    assert set(watch(build_twins_town(12.0), 10, "AA", queues=BUSY)) == {"AA"}


@pytest.mark.parametrize(
    ("queues", "halted"), [(BUSY | {"RL_1": [1.0]}, 0), (BUSY, 1)], ids=["between", "within"]
)
def test_who_waits_for_a_gap_between_them_gets_a_protected_green_and_no_follower(
    queues: dict[str, list[float]], halted: int
) -> None:
    """B lets all between them leave, and is the only stage that lets nobody in."""
    stages = watch(build_twins_town(12.0), 10, "AA", queues=queues, halted=halted)
    begun = int(SETTLED_S) - 1
    assert set(stages[:begun]) == {"AA"}
    assert set(stages[begun:]) == {"BB"}


def test_the_way_is_kept_clear_until_he_has_left_or_something_else_holds_him() -> None:
    """The queues would have both main streets follow at once."""
    town = build_twins_town(12.0)
    stages = watch(town, PATIENCE_S + 20, "BB", queues=BUSY, halted=1)
    held = stages[int(SETTLED_S) : int(PATIENCE_S)]
    assert set(held) == {"BB"}
    assert stages[-1] == "AA"
    assert watch(town, 1, "BB", queues=BUSY) == ["AA"]


def test_who_waits_at_red_between_them_is_no_reason() -> None:
    town = build_twins_town(12.0)
    queues = {"Lside_0": QUEUE, "Rside_0": QUEUE, "RL_1": [1.0]}
    assert "B" not in watch(town, 10, "CC", queues=queues)[-1]


def test_junctions_with_room_for_more_between_them_are_no_twins() -> None:
    queues = BUSY | {"RL_1": [1.0]}
    stages = watch(build_twins_town(40.0), 10, "AA", queues=queues)
    assert {one[1] for one in stages} == {"A"}


A, B, C = build_twins_town(12.0).junctions["L"].stages
MERGED = Stage("B", frozenset({"through", "left", "side"}))  # lets more follow meanwhile
PROTECTED = Stage("A", frozenset({"main", "through"}))  # nobody has to give way


@pytest.mark.parametrize(
    "stages", [(A, C), (A, MERGED), (PROTECTED, B, C)], ids=["none", "feeding", "protected"]
)
def test_without_a_stage_that_clears_the_way_or_gives_way_they_are_no_twins(
    stages: tuple[Stage, ...],
) -> None:
    town = build_twins_town(12.0)
    left = town.junctions["L"]
    conflicts = {frozenset(p) for p in (("main", "side"), ("main", "left"))}
    times = {(a, b): Intergreen(3.0, 0.0) for p in conflicts for a in p for b in p if a != b}
    left = replace(left, stages=stages, conflicts=frozenset(conflicts), intergreens=times)
    plans = {**town.plans, "L": SafePlan(tuple((stage.id, 10.0) for stage in stages))}
    town = replace(town, junctions={**town.junctions, "L": left}, plans=plans)
    team = HorizonTeam(town, TWINS, Sensing.LANES)
    assert (team._twins.twin < 0).all()
    assert not team._twins.is_between.any()


def test_where_stages_keep_an_order_a_phase_that_is_due_is_reached_by_the_one_between() -> None:
    """The side street has waited too long, and stage C may only follow stage B."""
    town = build_twins_town(40.0)
    order = {"A": frozenset({"B"}), "B": frozenset({"C"}), "C": frozenset({"A"})}
    junctions = {id_: replace(j, successors=order) for id_, j in town.junctions.items()}
    town = replace(town, junctions=junctions)
    team = HorizonTeam(town, TWINS, Sensing.LANES)
    raw = build_raw(100, frozenset(), Quality.GOOD)
    batch = build_batch(town, {"Lmain_0": QUEUE, "Lside_0": [1.0]})
    on = {"main", "through", "left"}
    seen = Observation(
        100.0,
        raw.local,
        {},
        "A",
        {p: 50.0 if p in on else 0.0 for p in (*on, "side")},
        {p: 0.0 if p in on else 150.0 for p in (*on, "side")},
        lanes=batch,
    )
    command, _ = team.decide([seen, seen])
    assert command is not None
    assert command.stage == "B"
