"""Turns that give way deep in a junction, after others of the stage before."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from laned import build_batch, build_queue
from test_controllers import GREENS, build_raw
from towns import write_permissive_town

from controllers.horizon import SEEING, HorizonTeam
from networks import load
from networks.resco import free_scenario
from traffic.control import Command
from traffic.interlock import Interlock
from traffic.model import Intergreen, Network, Stage
from traffic.optimization.decision import PATIENCE_S
from traffic.optimization.layout import DEEP_M
from traffic.readings import Quality

LATE_S = 4.0
CHANGE_S = 3.0  # the town's amber


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("town")
    path = write_permissive_town(folder)
    return free_scenario(load(str(path), 1, folder / "loaded")).network


def stretch(town: Network, left_m: float, max_red_s: float = np.inf) -> Network:
    """Return the town with left turns of another length."""
    assert town.lanes is not None
    junction = town.junctions["j"]
    lefts = frozenset[str]().union(*(stage.permissive for stage in junction.stages))
    ways = [
        replace(way, length_m=left_m) if way.phase in lefts else way for way in town.lanes.ways["j"]
    ]
    phases = tuple(replace(p, max_red_s=max_red_s) for p in junction.phases)
    return replace(
        town,
        lanes=replace(town.lanes, ways={**town.lanes.ways, "j": tuple(ways)}),
        junctions={**town.junctions, "j": replace(junction, phases=phases)},
    )


def find_starts(
    town: Network, turns_s: float, caught_s: float = 0.0, creep_s: float = np.inf
) -> tuple[float, float]:
    """Return after how many seconds of its stage first through, then left traffic across goes.

    A queue waits across. One halts within the junction from the beginning until `caught_s` after
    the begin of that stage, but for one second, `creep_s` after it.
    """
    wait_s = 12
    team = HorizonTeam(town, ("j",), weights=SEEING._replace(turns_s=turns_s))
    junction = town.junctions["j"]
    across = junction.get_stage("s2")
    interlock = Interlock([junction], {"j": town.plans["j"]}, 0)
    began_s, through_s = None, None
    for now_s in range(wait_s + 40):
        queue = {"in_n_0": build_queue(8 if now_s >= wait_s else 0)}
        age_s = -1 if began_s is None else now_s - began_s
        is_caught = age_s < caught_s and age_s != creep_s
        lanes = replace(
            build_batch(town, queue), halted=np.array([caught_s > 0.0 and is_caught], np.int32)
        )
        raw = replace(build_raw(now_s, frozenset(), Quality.GOOD), lanes=lanes)
        (command,) = team.decide([interlock.observe("j", raw, {})])
        shown, vetoes = interlock.admit([command] if command else [], now_s)
        assert vetoes == ()
        if began_s is None and command is not None and command.stage == "s2":
            began_s = now_s
        if began_s is None:
            continue
        if through_s is None and all(shown["j"][p] in GREENS for p in across.protected):
            through_s = now_s - began_s
        if all(shown["j"][p] in GREENS for p in across.permissive):
            assert through_s is not None
            return through_s, now_s - began_s
    raise AssertionError("never green across")


def test_turns_deep_in_a_junction_follow_others_later_than_their_stage(town: Network) -> None:
    deep = stretch(town, DEEP_M)
    assert find_starts(deep, 0.0) == (CHANGE_S, CHANGE_S)
    assert find_starts(deep, LATE_S) == (CHANGE_S, CHANGE_S + LATE_S)


def test_turns_with_no_room_behind_them_start_with_their_stage(town: Network) -> None:
    assert find_starts(stretch(town, DEEP_M - 0.1), LATE_S) == (CHANGE_S, CHANGE_S)


@pytest.mark.parametrize(
    ("caught_s", "creep_s", "start_s"),
    [
        (1.0, np.inf, CHANGE_S),
        (3.0, np.inf, 5.0),
        (8.0, np.inf, 10.0),
        (8.0, 5.0, 10.0),
        (1000.0, np.inf, PATIENCE_S + 1.0),
    ],
)
def test_turns_deep_in_a_junction_wait_for_who_is_seen_to_halt_there(
    town: Network, caught_s: float, creep_s: float, start_s: float
) -> None:
    """Until nobody has for 3 s, as one who creeps has not left. Through traffic does not wait."""
    assert find_starts(stretch(town, DEEP_M), 0.0, caught_s, creep_s) == (CHANGE_S, start_s)


def test_turns_with_no_room_behind_them_wait_for_nobody(town: Network) -> None:
    short = stretch(town, DEEP_M - 0.1)
    assert find_starts(short, 0.0, 1000.0) == (CHANGE_S, CHANGE_S)


def test_after_a_stage_in_which_nobody_gave_way_nobody_is_waited_for(town: Network) -> None:
    """Who is slow within the junction then has only just started."""
    deep = stretch(town, DEEP_M)
    junction = deep.junctions["j"]
    first, *others = junction.stages
    stages = (
        replace(first, permissive=frozenset[str]()),
        *others,
        Stage("lefts", protected=frozenset(), permissive=first.permissive),
    )
    deep = replace(deep, junctions={"j": replace(junction, stages=stages)})
    assert find_starts(deep, 0.0, 1000.0) == (CHANGE_S, CHANGE_S)


def watch(
    team: HorizonTeam, town: Network, own: bool, stages: str, halted: int = 0
) -> Iterator[float]:
    """Show stages, one letter a second, or the team's own; yield the longest red so far."""
    names = {"a": "s1", "b": "s2", "c": "lefts"}
    interlock = Interlock([town.junctions["j"]], {"j": town.plans["j"]}, 0)
    longest_s = 0.0
    for now_s, letter in enumerate(stages):
        lanes = replace(
            build_batch(town, {"in_n_0": build_queue(8)}), halted=np.array([halted], np.int32)
        )
        raw = replace(build_raw(now_s, frozenset(), Quality.GOOD), lanes=lanes)
        seen = interlock.observe("j", raw, {})
        longest_s = max(longest_s, *seen.red_s.values())
        (command,) = team.decide([seen])
        if not own:
            command = Command("j", names[letter], now_s, now_s + 2.0, "test")
        _, vetoes = interlock.admit([command] if command else [], now_s)
        assert vetoes == ()
        yield longest_s


def test_a_second_of_another_stage_does_not_let_the_turns_across_start_sooner(
    town: Network,
) -> None:
    """A left turn goes on, protected, for one second more; those caught are there for longer."""
    deep = stretch(town, DEEP_M)
    junction = deep.junctions["j"]
    left = min(junction.get_stage("s1").permissive)
    lefts = Stage("lefts", protected=frozenset({left}), permissive=frozenset())
    deep = replace(
        deep,
        junctions={**deep.junctions, "j": replace(junction, stages=(*junction.stages, lefts))},
    )
    left_s = []
    for stages in ("a" * 20 + "bb", "a" * 20 + "cb", "a" * 20 + "c" * 10):
        team = HorizonTeam(deep, ("j",), weights=SEEING._replace(turns_s=LATE_S))
        list(watch(team, deep, own=False, stages=stages))
        left_s.append(team._heads.turns_s[0])
    assert left_s == [left_s[0], left_s[0], 0.0]
    assert left_s[0] > 0.0


@pytest.mark.parametrize("halted", [0, 1])
def test_who_is_caught_through_a_stage_without_such_turns_is_still_waited_for(
    town: Network, halted: int
) -> None:
    """As where a short protected stage for left turns comes between."""
    deep = stretch(town, DEEP_M)
    junction = deep.junctions["j"]
    left = min(junction.get_stage("s1").permissive)
    stages = (*junction.stages, Stage("lefts", frozenset({left}), frozenset()))
    deep = replace(deep, junctions={**deep.junctions, "j": replace(junction, stages=stages)})
    team = HorizonTeam(deep, ("j",))
    list(watch(team, deep, own=False, stages="a" * 20 + "c" * 8 + "bb", halted=halted))
    assert (team._heads.turns_s[0] > 0.0) == (halted > 0)


@pytest.mark.parametrize(("turns_s", "halted"), [(LATE_S, 0), (0.0, 1)])
@pytest.mark.parametrize("max_red_s", [18.0, 20.0, 40.0])
def test_no_red_grows_too_long_by_turns_that_wait(
    town: Network, max_red_s: float, turns_s: float, halted: int
) -> None:
    """Vetoes would tell, too; the stage across is shown for 5 s of through traffic at least."""
    deep = stretch(town, DEEP_M, max_red_s)
    team = HorizonTeam(deep, ("j",), weights=SEEING._replace(turns_s=turns_s))
    reds_s = list(watch(team, deep, own=True, stages="a" * 300, halted=halted))
    assert CHANGE_S + 5.0 + CHANGE_S <= reds_s[-1] <= max_red_s


def test_turns_of_one_stage_do_not_wait_for_each_other(town: Network) -> None:
    """One must stay red for longer after through traffic; it starts as soon as it may."""
    deep = stretch(town, DEEP_M)
    junction = deep.junctions["j"]
    late = max(junction.get_stage("s2").permissive)
    slow = Intergreen(amber_s=3.0, all_red_s=9.0)
    times = {
        (lost, gained): slow
        if gained == late and lost in junction.get_stage("s1").protected
        else time
        for (lost, gained), time in junction.intergreens.items()
    }
    deep = replace(deep, junctions={**deep.junctions, "j": replace(junction, intergreens=times)})
    assert find_starts(deep, LATE_S) == (CHANGE_S, CHANGE_S + 9.0)
