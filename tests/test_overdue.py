"""Who has waited too long gets his green though others gain more by theirs, and nobody else."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from laned import build_batch, build_queue
from test_controllers import build_raw
from twins_town import build_twins_town

from controllers.horizon import HorizonTeam
from traffic.control import Observation
from traffic.interlock import Interlock
from traffic.model import Network, Stage
from traffic.optimization.decision import LONGEST_RED_S, LONGEST_STAND_S
from traffic.readings import Quality

MAIN, LEFT, SIDE, THROUGH = "Lmain_0", "RL_1", "Lside_0", "RL_0"
FREE_MPS = 14.0
APART_S = 2.0  # vehicles on the main road: so close that nobody turns between them


def build_town(stages: Sequence[Stage], max_green_s: float = inf) -> Network:
    """L with these stages; the street sets no longest red."""
    town = build_twins_town(250.0)
    junction = town.junctions["L"]
    phases = tuple(replace(p, max_green_s=max_green_s, max_red_s=inf) for p in junction.phases)
    junction = replace(junction, phases=phases, stages=tuple(stages))
    return replace(town, junctions=town.junctions | {"L": junction})


def find_first(stage: str, lane: str | None = None) -> float:
    """Return when a stage is first asked for, inf for not within 200 s.

    Traffic without an end drives over the main road, both ways; one stands on `lane` from 60 s on.
    """
    both, left, side = frozenset({"main", "through"}), frozenset({"left"}), frozenset({"side"})
    town = build_town((Stage("A", both, left), Stage("B", left), Stage("C", side)))
    team = HorizonTeam(town, ("L",))
    interlock = Interlock([town.junctions["L"]], {"L": town.plans["L"]}, 0)
    for now_s in range(200):
        stream_m = [FREE_MPS * (APART_S * k + now_s % APART_S) for k in range(6, -1, -1)]
        back_m = {MAIN: sorted(200.0 - m for m in stream_m)}
        back_m[THROUGH] = back_m[MAIN]
        if lane is not None and now_s >= 60:
            back_m[lane] = [1.0]
        batch = build_batch(town, back_m, FREE_MPS)
        stands = batch.position_m == 249.0
        batch = replace(batch, speed_mps=np.where(stands, 0.0, FREE_MPS))
        raw = replace(build_raw(now_s, frozenset(), Quality.GOOD), lanes=batch)
        (command,) = team.decide([interlock.observe("L", raw, {})])
        _, vetoes = interlock.admit([command] if command else [], now_s)
        assert vetoes == ()
        if command is not None and command.stage == stage:
            return now_s
    return inf


def test_who_comes_to_a_long_red_is_let_go_when_it_gets_too_long() -> None:
    """He has stood for 40 s then; until he comes nobody is let go for."""
    assert find_first("C", SIDE) == pytest.approx(LONGEST_RED_S, abs=3.0)
    assert find_first("C") == inf


def test_who_has_stood_for_long_though_it_was_green_gets_a_protected_green() -> None:
    """The left turn gives way to traffic without a gap, so its green helps nobody."""
    assert find_first("B", LEFT) == pytest.approx(60.0 + LONGEST_STAND_S, abs=3.0)
    assert find_first("B") == inf


@pytest.mark.parametrize(("green_s", "chosen"), [(50.0, "B"), (52.0, "C"), (55.0, "C")])
def test_no_stage_is_chosen_in_which_a_green_grows_too_long_before_the_others_may_end(
    green_s: float, chosen: str
) -> None:
    """Through traffic may be green for 60 s; for left turns to start and stay takes 9 of them."""
    greens = {"A": ("main", "through"), "B": ("through", "left"), "C": ("side",)}
    town = build_town([Stage(id_, frozenset(green)) for id_, green in greens.items()], 60.0)
    on = ("main", "through")
    seen = Observation(
        100.0,
        build_raw(100, frozenset(), Quality.GOOD).local,
        {},
        "A",
        {phase: green_s if phase in on else 0.0 for phase in ("main", "through", "left", "side")},
        {phase: 0.0 if phase in on else 30.0 for phase in ("main", "through", "left", "side")},
        lanes=build_batch(town, {LEFT: build_queue(8), SIDE: build_queue(2)}),
    )
    (command,) = HorizonTeam(town, ("L",)).decide([seen])
    assert command is not None
    assert command.stage == chosen
