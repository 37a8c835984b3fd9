"""Two junctions with room for one bus between them are planned as one.

Stage A lets the main approach go, and who turns left between gives way to it; B lets all between
leave and nobody in; C lets the side street turn into the road between.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from laned import build_batch
from test_controllers import build_raw
from twins_town import TWINS, build_twins_town

from controllers.horizon import SEEING, HorizonTeam
from traffic.control import Observation, Sensing
from traffic.model import Intergreen, Network, SafePlan, Stage
from traffic.optimization.decision import STAYS_S, URGENT_AFTER_S
from traffic.optimization.joined import Joined
from traffic.optimization.joining import join_junctions
from traffic.optimization.layout import list_stop_lanes
from traffic.optimization.loop_view import LoopView
from traffic.optimization.service import Weights
from traffic.readings import Quality

QUEUE = [1.0, 8.5, 16.0, 23.5]
BUSY = {"Lmain_0": QUEUE, "Rmain_0": QUEUE}


def join(town: Network) -> list[Joined]:
    assert town.lanes is not None
    return join_junctions(town, town.lanes, TWINS)


def observe(
    town: Network, stages: str, queues: dict[str, list[float]], shown_s: float = 20.0
) -> list[Observation]:
    """Return what both see when these stages have been shown for so long."""
    raw = build_raw(100, frozenset(), Quality.GOOD)
    batch = build_batch(town, queues)
    seen = []
    for id_, shown in zip(TWINS, stages, strict=True):
        green = town.junctions[id_].get_stage(shown).green
        phases = [phase.id for phase in town.junctions[id_].phases]
        green_s = {p: shown_s if p in green else 0.0 for p in phases}
        red_s = {p: 0.0 if p in green else shown_s for p in phases}
        seen.append(Observation(100.0, raw.local, {}, shown, green_s, red_s, lanes=batch))
    return seen


def decide(team: HorizonTeam, seen: Sequence[Observation]) -> str:
    return "".join(command.stage if command else "-" for command in team.decide(seen))


def test_each_way_over_the_road_between_needs_both_greens() -> None:
    (one,) = join(build_twins_town(12.0))
    assert one.junction.id == "L|R"
    ways = dict(zip(one.ways, one.over, strict=True))
    over = {(w.from_lane, lane): w for w, lane in ways.items() if lane is not None}
    assert {k: w.phase for k, w in over.items()} == {
        ("Lmain_0", "LR_0"): "main+through",
        ("Lmain_0", "LR_1"): "main+left",
        ("Lside_0", "LR_1"): "side+left",
        ("Lside_0", "LR_0"): "side+through",  # by a change of lanes between
        ("Rmain_0", "RL_0"): "through+main",
        ("Rmain_0", "RL_1"): "left+main",
        ("Rside_0", "RL_1"): "left+side",
        ("Rside_0", "RL_0"): "through+side",
    }
    straight = over["Lmain_0", "LR_0"]
    assert (straight.to_link, straight.length_m) == ("Rout", 15.0 + 12.0 + 15.0)
    assert one.turns[one.ways.index(straight)] == "LR"
    assert one.lines[one.ways.index(straight)] == "0:main"


def test_loops_see_a_stop_line_open_while_its_own_signal_is_green() -> None:
    """Whatever the second one shows: vehicles leave then."""
    town = build_twins_town(12.0)
    joined = join(town)
    assert town.lanes is not None
    ground = LoopView(town, town.lanes, joined)._ground
    lane = list_stop_lanes(joined).index("Lmain_0")
    phases = ground.open_phase[ground.open0[lane] : ground.open0[lane + 1]]
    assert {joined[0].junction.phases[p].id for p in phases} == {"0:main"}


def test_who_gives_way_to_a_main_street_gives_way_to_all_who_come_from_it() -> None:
    (one,) = join(build_twins_town(12.0))
    left = next(w for w in one.ways if w.from_lane == "LR_1")
    foes = [one.ways[f] for f in left.yields_to]
    assert {w.from_lane for w in foes} == {"Rmain_0"}
    assert {w.phase for w in foes} == {"through+main", "left+main"}


def test_no_stage_is_entered_that_lets_anybody_wait_between_for_a_gap() -> None:
    """In A at both sides, who turns left over both stop lines would give way at the second one."""
    (one,) = join(build_twins_town(12.0))
    stages = {"".join(s.id for s in own): one.stages.index(own) for own in one.stages}
    entered = set.union(*(set(own) for own in (one.junction.successors or {}).values()))
    names = {name for name, i in stages.items() if one.junction.stages[i].id in entered}
    assert names == set(stages) - {"AA", "AC", "CA"}


def test_nobody_let_in_is_left_to_wait_between_for_a_gap_in_the_next_stage() -> None:
    """Who entered in AB's last second would give way at R in BA, before R's main street."""
    town = build_twins_town(12.0)
    assert town.lanes is not None
    (one,) = join_junctions(town, town.lanes, TWINS)
    pairs = zip(one.junction.stages, one.stages, strict=True)
    names = {stage.id: "".join(part.id for part in own) for stage, own in pairs}
    after = one.junction.successors or {}
    followers = {names[k]: {names[x] for x in own} for k, own in after.items()}
    assert "BA" not in followers["AB"]
    assert "AB" not in followers["BA"]
    for before in ("AB", "BA"):  # by a stage between, in which they leave
        assert {"AB", "BA"} <= followers["BB"]
        assert "BB" in followers[before]


def test_with_queues_on_both_main_streets_one_side_clears_while_the_other_lets_in() -> None:
    """Both stages A at once, as a safe plan may show them, are left; first all between leave."""
    town = build_twins_town(12.0)
    team = HorizonTeam(town, TWINS, Sensing.LANES)
    assert decide(team, observe(town, "AA", BUSY)) == "BB"
    assert decide(team, observe(town, "BB", BUSY)) in {"AB", "BA"}
    apart = build_twins_town(40.0)
    assert decide(HorizonTeam(apart, TWINS), observe(apart, "AA", BUSY)) == "AA"


@pytest.mark.parametrize("shown", ["AB", "BA"])
def test_a_pair_of_stages_that_serves_a_queue_goes_on(shown: str) -> None:
    town = build_twins_town(12.0)
    queues = {"Lmain_0" if shown == "AB" else "Rmain_0": QUEUE}
    team = HorizonTeam(town, TWINS, Sensing.LANES)
    assert decide(team, observe(town, shown, queues)) == shown


def test_who_stands_between_at_red_is_let_go_by_a_protected_green() -> None:
    town = build_twins_town(12.0)
    team = HorizonTeam(town, TWINS, Sensing.LANES)
    assert decide(team, observe(town, "CC", {"LR_1": [1.0]}))[1] == "B"


CAREFUL = SEEING._replace(caught_s=3.0)


@pytest.mark.parametrize("weights", [SEEING, CAREFUL])
def test_unseen_who_stands_between_leaves_before_a_stage_in_which_he_gives_way(
    weights: Weights,
) -> None:
    """A queue at R's main approach asks for A there, where who stands on LR_1 would give way."""
    town = build_twins_town(12.0)
    team = HorizonTeam(town, TWINS, Sensing.LANES, weights)
    long = [1.0 + 7.5 * k for k in range(20)]
    queues = {"LR_1": [1.0], "Rmain_0": long, "Rmain_1": long}
    shown = decide(team, observe(town, "BC", queues))[1]
    assert shown == ("A" if weights is SEEING else "B")


def test_a_red_that_would_become_too_long_does_not_wait_for_who_stands_between() -> None:
    town = build_twins_town(12.0)
    phases = tuple(
        replace(phase, max_red_s=90.0) if phase.id == "main" else phase
        for phase in town.junctions["R"].phases
    )
    junctions = {**town.junctions, "R": replace(town.junctions["R"], phases=phases)}
    town = replace(town, junctions=junctions)
    queues = {"LR_1": [1.0], "Rmain_0": QUEUE}
    for red_s, stage in ((60.0, "B"), (88.0, "A")):
        team = HorizonTeam(town, TWINS, Sensing.LANES, CAREFUL)
        assert decide(team, observe(town, "BC", queues, red_s))[1] == stage


def test_nobody_follows_one_who_stays_between() -> None:
    town = build_twins_town(12.0)
    team = HorizonTeam(town, TWINS, Sensing.LANES, CAREFUL)
    (one,) = join(town)
    over = [lane == "LR_1" for lane in one.over]
    for second in range(8):
        team.decide(observe(town, "CC", {"LR_1": [1.0]}))
        assert list(team._queues.blocked) == [x and second >= STAYS_S - 1 for x in over]


def test_phases_of_both_are_green_since_the_later_start_and_red_since_the_last_end() -> None:
    town = build_twins_town(12.0)
    (one,) = join(town)
    read = one.build_reader()
    left, right = observe(town, "AB", {})
    left = replace(left, green_s={**left.green_s, "main": 7.0})
    stage, green_s, red_s = read([left, right])
    at = {phase.id: i for i, phase in enumerate(one.junction.phases)}
    assert one.junction.stages[stage].id == "A|B"
    assert (green_s[at["main+left"]], red_s[at["main+left"]]) == (7.0, 0.0)
    left, right = observe(town, "CC", {})
    assert left.red_s["main"] == 20.0
    right = replace(right, red_s={**right.red_s, "left": 3.0})
    _, green_s, red_s = read([left, right])
    assert (green_s[at["main+left"]], red_s[at["main+left"]]) == (0.0, 3.0)
    assert read([left, replace(right, stage=None)])[0] == -1


def test_junctions_with_room_for_more_between_them_stay_apart() -> None:
    joined = join(build_twins_town(40.0))
    assert [[m.id for m in one.members] for one in joined] == [["L"], ["R"]]


A, B, C = build_twins_town(12.0).junctions["L"].stages


def change_left(stages: tuple[Stage, ...]) -> Network:
    town = build_twins_town(12.0)
    left = town.junctions["L"]
    conflicts = {frozenset(p) for p in (("main", "side"), ("main", "left"))}
    times = {(a, b): Intergreen(3.0, 0.0) for p in conflicts for a in p for b in p if a != b}
    left = replace(left, stages=stages, conflicts=frozenset(conflicts), intergreens=times)
    plans = {**town.plans, "L": SafePlan(tuple((stage.id, 10.0) for stage in stages))}
    return replace(town, junctions={**town.junctions, "L": left}, plans=plans)


def test_a_pair_stays_apart_if_one_of_its_phases_could_never_be_shown() -> None:
    """Without B nobody who comes over the road between ever turns left protected."""
    assert len(join(change_left((A, B, C)))) == 1
    assert len(join(change_left((A, C)))) == 2


def test_shares_over_the_road_between_are_learned_from_who_comes_there() -> None:
    """Nine of ten on the main street turn left behind it; before, half of them are taken to."""
    town = build_twins_town(12.0)
    team = HorizonTeam(town, TWINS, Sensing.LANES)
    (one,) = join(town)
    routes = {
        (w.from_lane, lane): i for i, (w, lane) in enumerate(zip(one.ways, one.over, strict=True))
    }
    through, left = routes["Lmain_0", "LR_0"], routes["Lmain_0", "LR_1"]
    assert team._heads.share[[through, left]].tolist() == [0.5, 0.5]
    for second in range(400):
        queues = {"Lmain_0": [[16.0], [1.0], [], []][second % 4]}
        if second % 4 == 3:
            queues["LR_0" if second % 40 == 3 else "LR_1"] = [6.0]
        decide(team, observe(town, "AB", queues))
    assert team._heads.share[left] == pytest.approx(0.9, abs=0.05)
    assert team._heads.share[through] == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize(("between_m", "urgency"), [(12.0, 2.0), (40.0, 1.0)])
def test_who_has_stood_for_long_weighs_more_where_junctions_are_joined(
    between_m: float, urgency: float
) -> None:
    """Twice as much `urgent_s` after the moment from which on it counts."""
    town = build_twins_town(between_m)
    team = HorizonTeam(town, TWINS, Sensing.LANES)
    lane = list_stop_lanes(join(town)).index("Lside_0")
    found = []
    for _ in range(int(URGENT_AFTER_S + team._weights.urgent_s)):
        decide(team, observe(town, "AB", {"Lside_0": [1.0]}))
        found.append(float(team._queues.urgency[lane]))
    assert found[: int(URGENT_AFTER_S)] == [1.0] * int(URGENT_AFTER_S)
    assert found[-1] == pytest.approx(urgency)


def test_where_stages_keep_an_order_a_phase_that_is_due_is_reached_by_the_one_between() -> None:
    """The side street has waited too long, and stage C may only follow stage B."""
    town = build_twins_town(40.0)
    order = {"A": frozenset({"B"}), "B": frozenset({"C"}), "C": frozenset({"A"})}
    junctions = {id_: replace(j, successors=order) for id_, j in town.junctions.items()}
    town = replace(town, junctions=junctions)
    team = HorizonTeam(town, TWINS, Sensing.LANES)
    seen = observe(town, "AA", {"Lmain_0": QUEUE, "Lside_0": [1.0]}, 50.0)
    seen = [replace(one, red_s={**one.red_s, "side": 150.0}) for one in seen]
    assert decide(team, seen)[0] == "B"
    assert np.isfinite(team._layout.round_s).all()


def test_joined_junctions_keep_an_order_of_stages() -> None:
    town = build_twins_town(12.0)
    order = {"A": frozenset({"B"}), "B": frozenset({"C"}), "C": frozenset({"A"})}
    junctions = {"L": replace(town.junctions["L"], successors=order), "R": town.junctions["R"]}
    (one,) = join(replace(town, junctions=junctions))
    after = one.junction.successors
    assert after is not None
    assert {id_.split("|")[0] for id_ in after["A|B"]} == {"A", "B"}
    assert {id_.split("|")[0] for id_ in after["B|B"]} == {"B", "C"}
