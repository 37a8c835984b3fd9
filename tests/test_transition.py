"""Transitions between plans: in step within two cycles, every minimum green kept."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_interlock import build_junction
from test_response import TOWN, build_crossing

from controllers.timetable import Timetable
from networks.sumo_plans import list_unsafe, run_interlock
from traffic.control import Aspect
from traffic.model import ModelError, SafePlan
from traffic.optimization.transition import Course, build_transition

CROSSING = build_crossing("x", {"east": ("a", "b"), "north": ("c", "d")}, "north")
GREENS = (Aspect.GREEN, Aspect.PERMISSIVE)
plans = st.builds(
    lambda a, b, offset: SafePlan((("A", a), ("B", b)), offset % (a + b)),
    st.integers(12, 50),
    st.integers(12, 50),
    st.integers(0, 200),
)


def list_greens(shown: list[dict[str, Aspect]], phase: str) -> list[tuple[int, int]]:
    """Return (start, length) of each whole green."""
    found, begun = [], None
    for second, aspects in enumerate(shown):
        if aspects[phase] in GREENS:
            begun = second if begun is None else begun
        elif begun is not None:
            found.append((begun, second - begun))
            begun = None
    return found


@settings(max_examples=60, deadline=None)
@given(plans, plans, st.integers(0, 300))
def test_a_transition_is_in_step_within_two_cycles_and_keeps_minimum_greens(
    old: SafePlan, new: SafePlan, now_s: int
) -> None:
    found = build_transition(CROSSING, old, new, now_s)
    # It begins with the end of a cycle of the old plan, less than a cycle from now.
    assert 0 <= found.begin_s - now_s < old.cycle_s
    assert (found.begin_s - old.offset_s) % old.cycle_s == 0
    assert len(found.cycles) <= 2
    # In step: the new plan's own cycle begins where the transition ends.
    assert (found.end_s - new.offset_s) % new.cycle_s == 0
    assert abs(found.end_s - found.begin_s - len(found.cycles) * new.cycle_s) < new.cycle_s
    shown = run_interlock(CROSSING, found.stage_at, 0.0, found.end_s + 2 * new.cycle_s)
    assert list_unsafe(CROSSING, shown) == []
    least = {phase.id: phase.min_green_s for phase in CROSSING.phases}
    for phase in least:
        assert all(length >= least[phase] for _, length in list_greens(list(shown), phase)[1:])


def test_the_shorter_way_is_taken() -> None:
    old = SafePlan((("A", 45), ("B", 45)), 0)
    for late_s, total_s in ((10, 100), (80, 80)):
        new = SafePlan((("A", 45), ("B", 45)), late_s)
        found = build_transition(CROSSING, old, new, 0)
        assert found.end_s - found.begin_s == total_s  # 10 s longer, or 10 s shorter


def test_plans_in_step_change_at_once() -> None:
    old, new = SafePlan((("A", 45), ("B", 45)), 0), SafePlan((("A", 30), ("B", 60)), 0)
    assert build_transition(CROSSING, old, new, 31).cycles == ()


def test_a_course_follows_the_time_of_day() -> None:
    morning, noon = SafePlan((("A", 45), ("B", 45)), 20), SafePlan((("A", 30), ("B", 30)), 7)
    course = Course(CROSSING, ((0.0, morning), (1000.0, noon)))
    asked = [course.stage_at(float(t)) for t in range(2000)]
    assert asked[:1000] == [morning.stage_at(t) for t in range(1000)]
    # One cycle to end, two to get into step.
    assert asked[1000 + 90 + 2 * 90 :] == [noon.stage_at(t) for t in range(1270, 2000)]


def test_a_course_names_all_that_is_wrong() -> None:
    with pytest.raises(ModelError) as caught:
        Course(CROSSING, ((5.0, SafePlan((("A", 30),))), (1.0, SafePlan((("Z", 30),)))))
    text = str(caught.value)
    assert "phase north is green in no slot" in text
    assert "unknown stage Z" in text
    assert "must be in order" in text


@pytest.mark.parametrize("start_s", [0, 47, 25200])
def test_a_timetable_is_lawful_and_starves_nobody(start_s: int) -> None:
    from test_controllers import drive

    junction = TOWN.junctions["J2"]
    day = (
        (0.0, TOWN.plans["J2"]),
        (400.0, SafePlan((("A", 30), ("B", 40)), 11)),
        (25500.0, SafePlan((("A", 60), ("B", 50)), 33)),
    )
    controller = Timetable(TOWN, "J2", day)
    since = {p.id: float(start_s) for p in junction.phases}
    for now_s, shown, vetoes in drive(controller, start_s=start_s, seconds=1500):
        assert vetoes == ()
        for phase, aspect in shown.items():
            since[phase] = now_s if aspect in GREENS else since[phase]
        assert all(now_s - since[p.id] <= p.max_red_s for p in junction.phases)


def test_three_stages_keep_their_order() -> None:
    junction = build_junction()
    slots = tuple((stage.id, 20.0) for stage in junction.stages)
    course = Course(junction, ((0.0, SafePlan(slots, 0)), (100.0, SafePlan(slots, 31))))
    asked = [course.stage_at(float(t)) for t in range(400)]
    order = [b for a, b in itertools.pairwise(asked) if a != b]
    names = [stage.id for stage in junction.stages]
    assert order == [names[(i + 1) % len(names)] for i in range(len(order))]
