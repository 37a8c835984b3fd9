"""The rolling horizon on an isolated crossing, where the best plan is known."""

import random
from dataclasses import replace
from math import ceil, inf, sqrt

import numpy as np
import pytest
from laned import add_lanes, build_batch, build_queue
from test_controllers import build_raw
from test_response import TOWN
from towns import write_permissive_town

from controllers import build_deciders
from controllers.horizon import SEEING, WEIGHTS, Horizon, HorizonTeam
from networks import load
from networks.resco import free_scenario
from traffic.control import Observation, Sensing
from traffic.interlock import Interlock
from traffic.model import ModelError, Network
from traffic.optimization.arrivals import build_queues
from traffic.optimization.horizon import AMBER_S, AT_OR_AFTER_S, HORIZON_S, plan_junction
from traffic.optimization.joining import join_junctions
from traffic.optimization.layout import build_layout
from traffic.optimization.nodes import build_work
from traffic.optimization.service import LAUNCH_S, Weights
from traffic.readings import Quality

LANED = add_lanes(TOWN)
HILL, CROSS = "h1_0", "s1_0"  # at J1: stage A shows the hill green, stage B the street across


def watch(queues: dict[str, int], seconds: int, junction: str = "J1") -> list[str]:
    """Return the stage asked for in each second in which these queues stand still."""
    controller = Horizon(LANED, junction)
    interlock = Interlock([LANED.junctions[junction]], {junction: LANED.plans[junction]}, 0)
    raw = replace(
        build_raw(0, frozenset(), Quality.GOOD),
        lanes=build_batch(LANED, {lane: build_queue(size) for lane, size in queues.items()}),
    )
    stages = []
    for now_s in range(seconds):
        command = controller.decide(interlock.observe(junction, replace(raw, now_s=now_s), {}))
        if command is None:  # before the first second nothing is shown
            assert now_s == 0
        else:
            stages.append(command.stage)
        interlock.admit([command] if command else [], now_s)
    return stages


def see(stage: str, queues: dict[str, int], green_s: float = 20.0) -> Observation:
    """Return what J1's controller sees in the middle of a stage."""
    on, off = ("hill", "cross") if stage == "A" else ("cross", "hill")
    raw = build_raw(100, frozenset(), Quality.GOOD)
    batch = build_batch(LANED, {lane: build_queue(size) for lane, size in queues.items()})
    return Observation(
        100.0, raw.local, {}, stage, {on: green_s, off: 0.0}, {on: 0.0, off: 25.0}, lanes=batch
    )


def choose(stage: str, queues: dict[str, int]) -> str:
    command = Horizon(LANED, "J1").decide(see(stage, queues))
    assert command is not None
    return command.stage


def test_with_traffic_on_one_arm_it_turns_to_it_and_stays() -> None:
    """Until the other's longest red or its own longest green, which are the street's law."""
    stages = watch({CROSS: 3}, 60)
    assert stages[-1] == "B"
    first = stages.index("B")
    assert set(stages[first:]) == {"B"}
    assert set(watch({HILL: 3}, 60)) == {"A"}


@pytest.mark.parametrize(("back_m", "chosen"), [(1.0, "B"), (40.0, "A"), (190.0, "B")])
def test_one_on_each_arm_is_served_in_the_order_of_a_hand_computation(
    back_m: float, chosen: str
) -> None:
    """One comes at 14 m/s to the hill's green, one to the red across; a change takes 5 s + 1 s.

    From 1 m the first still drives into the amber: change at once. From 40 m it passes in 2.9 s,
    the other at 9; changed at once, the other passes at 6 but the first, stopped, at 16: stay. From
    190 m it passes in 13.6 s, the other at 20; changed at once they pass at 16 and at 6: change.
    """
    seen = replace(see("A", {}), lanes=build_batch(LANED, {HILL: [back_m], CROSS: [1.0]}, 14.0))
    command = Horizon(LANED, "J1").decide(seen)
    assert command is not None
    assert command.stage == chosen


@pytest.mark.parametrize("size", [3, 6, 10])
def test_a_queue_is_discharged_before_a_smaller_one_is_served(size: int) -> None:
    assert choose("A", {HILL: size, CROSS: size - 2}) == "A"
    assert choose("B", {CROSS: size, HILL: size - 2}) == "B"
    assert choose("A", {CROSS: size}) == "B"


def test_what_it_cannot_see_it_leaves_to_the_safe_plan() -> None:
    blind = replace(see("A", {}), lanes=None)
    assert HorizonTeam(LANED, ("J1",)).decide([blind]) == [None]
    with pytest.raises(ModelError, match="tells no lanes"):
        Horizon(TOWN, "J1")


def test_a_registry_entry_builds_one_team_for_all_and_nothing_for_none() -> None:
    controllers, teams = build_deciders("horizon", LANED, ("J1", "J2"), Sensing.INTENTIONS)
    assert controllers == ()
    assert [(team.junctions, team.needs) for team in teams] == [(("J1", "J2"), Sensing.INTENTIONS)]
    assert build_deciders("horizon", LANED, (), Sensing.LANES) == ((), ())
    alone, none = build_deciders("webster", LANED, ("J1", "J2"), Sensing.LANES)
    assert ([one.junction for one in alone], none) == (["J1", "J2"], ())


def launch(green_s: float, weights: Weights = SEEING) -> float:
    return weights.launch_s * max(0.0, 1.0 - green_s / LAUNCH_S) ** 3


@pytest.mark.parametrize(
    ("tier", "sooner_s"),
    [(Sensing.LOOPS, 0.0), (Sensing.LANES, 0.0), (Sensing.INTENTIONS, 0.35)],  # decision 20
)
def test_a_queue_is_let_go_as_by_kinematics(tier: Sensing, sooner_s: float) -> None:
    """The k-th moves off k s after green, k d m back, at 2.6 m/s2: k + sqrt(2 k d / 2.6) s.

    Until 13.9 m/s are reached; the headway then is 1 s and d m. Short cars stand 5.8 m apart,
    others 7.5 m.
    """
    weights = WEIGHTS[tier]
    go_s, took_s = weights.startup_s, []
    for _ in range(9):
        took_s.append(go_s)
        go_s += weights.headway_s + launch(go_s, weights)
    for k in range(1, 6):
        assert k + sqrt(11.6 * k / 2.6) - sooner_s <= took_s[k] <= k + sqrt(15.0 * k / 2.6)
    assert 1 + 5.8 / 13.9 <= took_s[8] - took_s[7] <= 1 + 7.5 / 13.9


@pytest.mark.parametrize(
    ("back_m", "speed_mps", "come_s"),
    [
        (150.0, 12.0, 150.0 / 12.0),  # at speed: he keeps it
        (150.0, 16.0, 150.0 / 16.0),
        (20.0, 12.0, 2.0 / 2.6 + 10.0 / 14.0),  # slow for the red, perhaps: 10 m until 14 m/s
        (150.0, 0.0, 14.0 / 2.6 + (150.0 - 14.0**2 / 5.2) / 14.0),  # from a stand to 14 m/s
    ],
)
def test_who_drives_at_speed_is_expected_to_keep_it(
    back_m: float, speed_mps: float, come_s: float
) -> None:
    team = HorizonTeam(LANED, ("J1",))
    team.decide([replace(see("A", {}), lanes=build_batch(LANED, {CROSS: [back_m]}, speed_mps))])
    (lane,) = np.flatnonzero(team._queues.length)
    assert team._queues.seen.arrive_s[lane, 0] == pytest.approx(come_s)


class Exhaustive:
    """Tries every sequence of two stages, one lane each, by the model that the search states."""

    def __init__(
        self,
        arrive_s: tuple[list[float], ...],
        weight: tuple[list[float], ...],
        is_past: tuple[list[bool], ...],
    ) -> None:
        self.arrive_s = arrive_s
        self.weight = weight
        self.is_past = is_past  # too near, at its speed, to stop at an amber that starts now

    def serve(
        self, lane: int, state: tuple, until_s: float, is_amber: bool = False
    ) -> tuple[float, tuple]:
        starts, served, ready = state
        worth, place, ready_s = 0.0, served[lane], ready[lane]
        queue = self.arrive_s[lane]
        while place < len(queue) and starts[lane] < inf:
            go_s = max(queue[place], ready_s, starts[lane] + SEEING.startup_s)
            if not self.is_past[lane][place] if is_amber else go_s >= until_s:
                break
            weight = self.weight[lane][place]
            behind = self.weight[lane][place + 1 :].count(1.0)
            saved = HORIZON_S - go_s + SEEING.left_s + SEEING.left_more_s * behind
            saved += SEEING.stop_s if go_s <= queue[place] + 1.0 else 0.0
            worth += weight * saved
            stood = go_s > queue[place] + 1.0
            more_s = launch(go_s - starts[lane]) if stood else 0.0
            ready_s = go_s + weight * (SEEING.headway_s + more_s)
            place += 1
        put = lambda old, new: tuple(new if i == lane else old[i] for i in (0, 1))  # noqa: E731
        return worth, (starts, put(served, place), put(ready, ready_s))

    def find_best(self, moment: int, stage: int, state: tuple) -> float:
        if moment >= HORIZON_S:
            return 0.0
        until = int(AT_OR_AFTER_S[moment + 1])
        worth, after = self.serve(stage, state, until)
        best = worth + self.find_best(until, stage, after)
        other = 1 - stage
        worth, (_, served, ready) = self.serve(stage, state, moment + AMBER_S, moment == 0)
        start_s = moment + 5.0  # intergreen, then a green of 5 s at least
        until = int(AT_OR_AFTER_S[min(ceil(start_s + 5.0), HORIZON_S)])
        starts = (start_s, inf) if other == 0 else (inf, start_s)
        more, after = self.serve(other, (starts, served, ready), until)
        return max(
            best,
            worth + more - SEEING.change_s + self.find_best(until, other, after),
        )


@pytest.mark.parametrize("seed", range(20))
def test_the_search_finds_the_best_of_all_sequences_of_stages(seed: int) -> None:
    """Of each lane the last ones are not in sight yet, and count for part of a vehicle."""
    draw = random.Random(seed)
    arrive_s = tuple(
        sorted(draw.uniform(0, draw.choice([1, 25])) for _ in range(draw.randint(0, 6)))
        for _ in range(2)
    )
    weight = tuple(
        [1.0] * (len(own) - part) + [0.3] * part
        for own, part in ((own, draw.randint(0, len(own))) for own in arrive_s)
    )
    assert LANED.lanes is not None
    layout = build_layout(LANED.lanes, join_junctions(LANED, LANED.lanes, ("J1",)))
    work = build_work(layout)
    queues = build_queues(layout)
    for lane, own in enumerate(arrive_s):
        queues.length[lane] = len(own)
        queues.seen.arrive_s[lane, : len(own)] = own
        queues.seen.weight[lane, : len(own)] = weight[lane]
        queues.seen.behind[lane, : len(own)] = [
            weight[lane][k + 1 :].count(1.0) for k in range(len(own))
        ]
        queues.seen.way[lane] = lane
    # At 9 m/s one stops within 9 * 9 / 9 - 9 / 2 m at 4.5 m/s2, in steps of 1 s.
    is_past = tuple([come_s < 1.0 and draw.random() < 0.7 for come_s in own] for own in arrive_s)
    queues.seen.speed_mps[:] = 9.0
    for lane, own_past in enumerate(is_past):
        queues.seen.back_m[lane, : len(own_past)] = [4.4 if past else 4.6 for past in own_past]
    queues.seen.stop[:] = 1.0
    starts = np.array([-20.0, inf])
    stage = plan_junction(layout, SEEING, work, 0, 0, starts, True, np.zeros(2), queues)
    assert stage in (0, 1)
    end = HORIZON_S * 2
    found = max(
        work.value[work.kept[end + s, k]] for s in (0, 1) for k in range(work.used[end + s])
    )
    exact = Exhaustive(arrive_s, weight, is_past).find_best(
        0, 0, ((-20.0, inf), (0, 0), (-1.0, -1.0))
    )
    assert found == pytest.approx(exact)


def test_beyond_those_who_announce_their_turns_nobody_is_expected() -> None:
    team = HorizonTeam(LANED, ("J1",), Sensing.INTENTIONS)
    drive_by(team, 10, 1800)
    assert team._queues.length.sum() == 1  # the one in sight


def drive_by(team: HorizonTeam, headway_s: int, seconds: int) -> None:
    """Let one vehicle drive over the hill at 14 m/s each `headway_s`, its green shown."""
    for now_s in range(seconds):
        since_s = np.arange(now_s % headway_s, 14, headway_s)
        batch = build_batch(LANED, {HILL: sorted(196.0 - 14.0 * since_s)}, 14.0)
        team.decide((replace(see("A", {}), now_s=float(now_s), lanes=batch),))


def test_as_many_are_expected_beyond_sight_as_came_of_late() -> None:
    """One each 10 s: from 200 m on, 14.3 s away, to the horizon there come 1.57 on average."""
    team = HorizonTeam(LANED, ("J1",))
    drive_by(team, 10, 1800)
    (lane,) = np.flatnonzero(team._queues.length)
    weight = team._queues.seen.weight[lane, : team._queues.length[lane]]
    came_s = team._queues.seen.arrive_s[lane, : team._queues.length[lane]]
    assert weight[weight < 1.0].sum() == pytest.approx((HORIZON_S - 200 / 14) / 10, rel=0.1)
    assert (came_s[weight < 1.0] > 200 / 14).all()
    assert team._queues.seen.behind[lane, 0] == np.count_nonzero(weight == 1.0) - 1


@pytest.mark.parametrize(
    ("back_m", "headway_s", "chosen"),
    [
        (120.0, 400, "A"),  # the one that comes is let through first, then the one across
        (120.0, 6, "B"),  # more will come: the gap before it is the better one
        (190.0, 400, "B"),
        (190.0, 2, "A"),  # so many come that no gap is worth a change
    ],
)
def test_who_is_not_in_sight_yet_counts_by_what_came_of_late(
    back_m: float, headway_s: int, chosen: str
) -> None:
    """One comes over the hill, one waits across; only how many came before differs."""
    team = HorizonTeam(LANED, ("J1",))
    drive_by(team, headway_s, 1200)
    batch = build_batch(LANED, {HILL: [back_m], CROSS: [1.0]})
    batch = replace(batch, speed_mps=np.where(batch.position_m == 500.0 - back_m, 14.0, 0.0))
    (command,) = team.decide((replace(see("A", {}), now_s=1200.0, lanes=batch),))
    assert command is not None
    assert command.stage == chosen


@pytest.fixture(scope="module")
def permissive(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """One lane an arm; through traffic follows left turns that give way."""
    folder = tmp_path_factory.mktemp("permissive")
    path = write_permissive_town(folder)
    return free_scenario(load(str(path), 1, folder / "loaded")).network


def test_a_change_helps_nobody_before_its_intergreen_is_over(permissive: Network) -> None:
    """Unless those who gave way in the stage before are protected in the next one at once."""
    assert LANED.lanes is not None
    layout = build_layout(LANED.lanes, join_junctions(LANED, LANED.lanes, ("J1",)))
    assert layout.wait_s.tolist() == [inf, 5.0, 5.0, inf]
    assert permissive.lanes is not None
    layout = build_layout(permissive.lanes, join_junctions(permissive, permissive.lanes, ("j",)))
    stages = permissive.junctions["j"].stages
    waits_s = layout.wait_s.reshape(len(stages), len(stages))
    for i, one in enumerate(stages):
        for k, other in enumerate(stages):
            assert (waits_s[i, k] == 0.0) == bool(one.permissive & other.green)
