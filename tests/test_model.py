"""A junction is checked when it is built, and all its problems come at once."""

import pytest

from traffic.model import Intergreen, Junction, ModelError, Movement, Phase, Stage

EAST = Phase("east", (Movement("e-w", "e_in", "w_out"),))
NORTH = Phase("north", (Movement("n-s", "n_in", "s_out"),))
CONFLICT = frozenset({frozenset({"east", "north"})})
TIMES = {("east", "north"): Intergreen(3, 2), ("north", "east"): Intergreen(3, 1)}


def stage(name: str, *phases: str) -> Stage:
    return Stage(name, frozenset(phases))


def test_a_crossing_is_built_and_answers() -> None:
    crossing = Junction(
        "x", (EAST, NORTH), (stage("A", "east"), stage("B", "north")), CONFLICT, TIMES
    )
    assert crossing.is_conflict("north", "east")
    assert crossing.get_stage("B").green == {"north"}
    assert crossing.intergreens["east", "north"].total_s == 5
    with pytest.raises(KeyError, match="junction x has no stage 'C'"):
        crossing.get_stage("C")


def test_conflicting_protected_greens_are_refused_but_a_permissive_one_gives_way() -> None:
    with pytest.raises(ModelError, match="conflicting phases east and north both protected"):
        Junction("x", (EAST, NORTH), (stage("A", "east", "north"),), CONFLICT, TIMES)
    gives_way = Stage("A", frozenset({"east"}), frozenset({"north"}))
    assert Junction("x", (EAST, NORTH), (gives_way,), CONFLICT, TIMES).stages == (gives_way,)


def test_all_problems_come_at_once() -> None:
    dull = Phase("dull", (), min_green_s=9, max_green_s=4)
    with pytest.raises(ModelError) as error:
        Junction("x", (EAST, NORTH, dull), (stage("A", "east", "ghost"),), CONFLICT, {})
    text = str(error.value)
    for part in (
        "phase dull has no movements",
        "min_green_s 9",
        "unknown phase ghost",
        "phase north is green in no stage",
        "no intergreen from east to north",
        "no intergreen from north to east",
    ):
        assert part in text


def test_a_stage_order_names_every_stage_and_no_other() -> None:
    with pytest.raises(ModelError) as error:
        Junction(
            "x",
            (EAST, NORTH),
            (stage("A", "east"), stage("B", "north")),
            CONFLICT,
            TIMES,
            {"A": frozenset({"Z"})},
        )
    assert "stage order names unknown stage Z" in str(error.value)
    assert "does not say what follows stage B" in str(error.value)
