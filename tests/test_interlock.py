"""Whatever is commanded, the street stays safe; what is refused is named."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.control import Aspect, Command
from traffic.interlock import Interlock
from traffic.model import Intergreen, Junction, ModelError, Movement, Phase, SafePlan, Stage

PHASES = ("east", "north", "turn")


def build_junction(all_red_s: float = 2) -> Junction:
    pairs = list(combinations(PHASES, 2))
    return Junction(
        "x",
        tuple(Phase(p, (Movement(p, p, "out"),), 5, 40, 90) for p in PHASES),
        (
            Stage("A", frozenset({"east"}), frozenset({"turn"})),
            Stage("B", frozenset({"north"})),
            Stage("C", frozenset({"turn"})),
        ),
        frozenset(frozenset(pair) for pair in pairs),
        {pair: Intergreen(3, all_red_s) for a, b in pairs for pair in ((a, b), (b, a))},
    )


PLAN = SafePlan((("A", 25), ("B", 20), ("C", 15)))


def build_interlock(all_red_s: float = 2) -> Interlock:
    return Interlock([build_junction(all_red_s)], {"x": PLAN}, 0)


def order(now_s: float, stage: str, **more: object) -> Command:
    fields: dict[str, object] = {"expires_s": now_s + 5, "issued_s": now_s} | more
    return Command("x", stage, source="test", **fields)  # type: ignore[arg-type]


def test_the_safe_plan_runs_when_nobody_commands() -> None:
    interlock = build_interlock()
    shown = [interlock.admit([], t)[0]["x"] for t in range(60)]
    assert shown[0]["east"] is Aspect.GREEN
    assert shown[0]["turn"] is Aspect.PERMISSIVE
    # Slot B begins at 25: amber 25..27, all-red 28..29, green from 30.
    assert [shown[t]["east"] for t in (24, 25, 27, 28)] == [
        Aspect.GREEN,
        Aspect.AMBER,
        Aspect.AMBER,
        Aspect.RED,
    ]
    assert [shown[t]["north"] for t in (29, 30)] == [Aspect.RED, Aspect.GREEN]


def test_a_held_phase_is_cut_inside_its_stage() -> None:
    interlock = build_interlock()
    for t in range(10):
        interlock.admit([], t)
    shown, vetoes = interlock.admit([order(10, "A", held=frozenset({"turn"}))], 10)
    assert not vetoes
    assert shown["x"] == {"east": Aspect.GREEN, "north": Aspect.RED, "turn": Aspect.AMBER}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (order(2, "B"), "phase east: green 2 s, minimum 5 s"),
        (order(2, "Z"), "unknown stage Z"),
        (order(2, "A", expires_s=2), "expired at 2 s"),
        (order(2, "A", issued_s=9), "issued at 9 s, after now"),
        (order(2, "A", held=frozenset({"north"})), "holds phase north"),
        (Command("y", "A", 2, 9, "test"), "unknown junction y"),
    ],
)
def test_an_unlawful_command_is_vetoed_and_the_plan_goes_on(command: Command, reason: str) -> None:
    interlock = build_interlock()
    before = [interlock.admit([], t)[0] for t in range(2)][-1]
    shown, (veto,) = interlock.admit([command], 2)
    assert shown == before
    assert reason in "; ".join(veto.reasons)


def test_two_commands_for_one_junction_are_both_vetoed() -> None:
    _, vetoes = build_interlock().admit([order(0, "A"), order(0, "B")], 0)
    assert [v.reasons for v in vetoes] == [("2 commands for one junction",)] * 2


def test_a_stage_out_of_order_is_vetoed() -> None:
    order_of = {"A": frozenset("B"), "B": frozenset("C"), "C": frozenset("A")}
    interlock = Interlock([replace(build_junction(), successors=order_of)], {"x": PLAN}, 0)
    for t in range(10):
        interlock.admit([], t)
    _, vetoes = interlock.admit([order(10, "C")], 10)
    assert [v.reasons for v in vetoes] == [("stage C may not follow stage A",)]
    assert interlock.admit([order(11, "B")], 11)[1] == ()


def test_no_green_lasts_past_its_maximum_and_nobody_waits_past_max_red() -> None:
    interlock = build_interlock()
    reasons = []
    for t in range(200):
        _, vetoes = interlock.admit([order(t, "A")], t)
        reasons += [r for v in vetoes for r in v.reasons]
    assert any("east: green 40 s, maximum 40" in r for r in reasons)
    assert any(r.startswith("phase north: red 90 s, maximum 90") for r in reasons)


def test_a_plan_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(ModelError) as error:
        Interlock([build_junction()], {"x": SafePlan((("Q", 9),)), "y": PLAN}, 0)
    assert "unknown stage Q" in str(error.value)
    assert "unknown junction y" in str(error.value)


@given(
    st.lists(
        st.none()
        | st.tuples(
            st.sampled_from("ABCZ"), st.frozensets(st.sampled_from(PHASES)), st.integers(-3, 9)
        ),
        max_size=150,
    ),
    st.integers(0, 2),
)
def test_no_stream_of_commands_makes_the_street_unsafe(
    wishes: list[tuple[str, frozenset[str], int] | None], all_red_s: int
) -> None:
    interlock = build_interlock(all_red_s)
    last = dict.fromkeys(PHASES, Aspect.RED)
    began = dict.fromkeys(PHASES, -100)
    ended = dict.fromkeys(PHASES, -100)
    greens = (Aspect.GREEN, Aspect.PERMISSIVE)
    for t, wish in enumerate(wishes):
        commands = [order(t, wish[0], held=wish[1], expires_s=t + wish[2])] if wish else []
        now = interlock.admit(commands, t)[0]["x"]
        for one, other in combinations(PHASES, 2):
            assert not (now[one] is Aspect.GREEN and now[other] is Aspect.GREEN)
        for p in PHASES:
            if last[p] in greens and now[p] not in greens:
                assert now[p] is Aspect.AMBER
                assert t - began[p] >= 5
                ended[p] = t
            if last[p] is Aspect.AMBER and now[p] is not Aspect.AMBER:
                assert now[p] is Aspect.RED
                assert t - ended[p] >= 3
            if last[p] is Aspect.RED and now[p] in greens:
                began[p] = t
                assert all(
                    t - ended[q] >= 3 + all_red_s for q in PHASES if q != p and now[q] not in greens
                )
        last = now
