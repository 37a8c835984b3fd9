"""Plans are switched on by people or the policy, act, and end step by step."""

import json
import math
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest

from traffic.congestion import Alert, Level
from traffic.estimation import State
from traffic.forecasting import Forecast
from traffic.model import (
    Approach,
    Bottleneck,
    Detector,
    DetectorKind,
    Intergreen,
    Junction,
    Link,
    ModelError,
    Movement,
    Network,
    Phase,
    SafePlan,
    Stage,
)
from traffic.optimization.gating import Gate
from traffic.policy import Policy
from traffic.readings import LoopBatch
from traffic.response import (
    DecisionPoint,
    Diversion,
    Life,
    Order,
    Response,
    ResponsePlan,
    Responses,
    build_plan,
)

LANES = range(3)


def build_crossing(name: str, ways: dict[str, tuple[str, str]], crossing: str) -> Junction:
    """All ways but `crossing` are green together in stage A, `crossing` in stage B."""
    others = [way for way in ways if way != crossing]
    pairs = [p for o in others for p in ((o, crossing), (crossing, o))]
    return Junction(
        name,
        tuple(Phase(p, (Movement(f"{a}-{b}", a, b),), 5, 90, 120) for p, (a, b) in ways.items()),
        (Stage("A", frozenset(others)), Stage("B", frozenset({crossing}))),
        frozenset(frozenset(pair) for pair in pairs),
        {pair: Intergreen(3, 2) for pair in pairs},
    )


def build_town() -> Network:
    """A mainline with a tunnel, a hill road with a signal, a long way round, a gated ramp."""
    roads = {
        "m0": ("n0", "n1", 2000, 3, 22, "Expressway"),
        "m1": ("n1", "n2", 1000, 3, 22, "Expressway"),
        "tunnel": ("n2", "n3", 1000, 2, 20, "Tunnel"),
        "m2": ("n3", "n4", 500, 3, 22, "Expressway"),
        "h1": ("n1", "j1", 500, 1, 14, "Hill Road"),
        "h2": ("j1", "n3", 1500, 1, 14, "Hill Road"),
        "k1": ("n1", "n3", 4000, 1, 17, "Valley Road"),
        "s1": ("s", "j1", 300, 1, 14, "South Street"),
        "s2": ("j1", "t", 300, 1, 14, "South Street"),
        "g1": ("g", "j2", 400, 1, 14, "Gate Street"),
        "ramp": ("j2", "n1", 300, 1, 14, ""),
        "along": ("g", "j2", 400, 1, 14, ""),
        "onward": ("j2", "u", 400, 1, 14, ""),
        "side": ("v", "j2", 400, 1, 14, ""),
    }
    links = {
        name: Link(name, a, b, length, lanes, speed, ((0, 0), (length, 0)), title)
        for name, (a, b, length, lanes, speed, title) in roads.items()
    }
    hill = build_crossing("J1", {"hill": ("h1", "h2"), "cross": ("s1", "s2")}, "cross")
    ways = {"ramp": ("g1", "ramp"), "along": ("along", "onward"), "side": ("side", "onward")}
    turns = [("m0", "m1"), ("m1", "tunnel"), ("tunnel", "m2"), ("ramp", "m1"), ("m0", "h1")]
    turns += [("h1", "h2"), ("h2", "m2"), ("m0", "k1"), ("k1", "m2"), ("s1", "s2")]
    turns += list(ways.values())
    loops = [Detector(f"m0_{i}", DetectorKind.MAINLINE, "m0", i, 1000) for i in LANES]
    loops += [Detector(f"m1_{i}", DetectorKind.MAINLINE, "m1", i, 900) for i in LANES]
    for link, length in (("h1", 500), ("s1", 300), ("g1", 400)):
        loops.append(
            Detector(f"{link}_stop", DetectorKind.STOP_LINE, link, 0, length - 4, f"{link}_in")
        )
    loops.append(Detector("g1_tail", DetectorKind.TAIL, "g1", 0, 20, "g1_in"))
    return Network(
        "town",
        links,
        frozenset(turns),
        {"J1": hill, "J2": build_crossing("J2", ways, "side")},
        {"J1": SafePlan((("A", 30), ("B", 60)), 10), "J2": SafePlan((("A", 50), ("B", 40)))},
        {
            "h1_in": Approach("h1_in", "J1", ("h1",), ("hill",), 1, 480),
            "s1_in": Approach("s1_in", "J1", ("s1",), ("cross",), 1, 280),
            "g1_in": Approach("g1_in", "J2", ("g1",), ("ramp",), 1, 380),
        },
        {loop.id: loop for loop in loops},
        {
            "tunnel": Bottleneck(
                "tunnel",
                "tunnel",
                3500,
                3100,
                ("m0", "m1", "tunnel"),
                tuple(f"m1_{i}" for i in LANES),
                {f"m0_{i}": (0.9, 80) for i in LANES} | {"g1_stop": (1.0, 70)},
            )
        },
    )


TOWN = build_town()
POINT = DecisionPoint("m0", "m2", 0.8)


def build_batch(end_s: float, occupancy: float = 0.1, **flow_vph: float) -> LoopBatch:
    """Thirty seconds; loops not named carry 1,200 veh/h on the mainline and 300 elsewhere."""
    ids = tuple(TOWN.detectors)
    flows = [flow_vph.get(i, 1200 if i.startswith("m") else 300) for i in ids]
    return LoopBatch(
        end_s,
        30,
        ids,
        np.array(flows) / 120,
        np.array([occupancy if i.startswith("m1") else 0.05 for i in ids]),
        np.array([20.0 if i.startswith("m") else 12.0 for i in ids]),
        np.zeros(len(ids), dtype=np.int8),
    )


def build_state(
    time_s: float,
    share: float = 0.1,
    flow_vph: dict[str, float] | None = None,
    time_on_s: dict[str, float] | None = None,
) -> State:
    """Free flow; `share` of the storage is taken; flows where given, unseen elsewhere."""
    links = tuple(TOWN.links.values())
    speed = np.array([link.free_speed_mps for link in links])
    flow = np.array([(flow_vph or {}).get(link.id, np.nan) / max(link.lanes, 1) for link in links])
    count = len(TOWN.approaches)
    free_s = {link.id: link.length_m / link.free_speed_mps for link in links} | (time_on_s or {})
    return State(
        time_s,
        tuple(TOWN.links),
        flow / (speed * 3.6),
        speed,
        np.array([free_s[link.id] for link in links]),
        np.ones(len(links)),
        tuple(TOWN.approaches),
        np.zeros(count),
        np.full(count, share),
        np.zeros(count, dtype=bool),
        np.ones(count),
    )


def build_forecast(time_s: float, inflow_vph: float) -> Forecast:
    inflow = np.full((1, 3, 3), inflow_vph)
    return Forecast(time_s, ("tunnel",), (300.0, 600.0, 900.0), inflow, np.full((1, 3), 0.5))


def build_alert(level: Level = Level.WARNING, cleared_s: float | None = None) -> Alert:
    text = {"en": "x", "zh": "x"}
    return Alert("a", "tunnel", level, 0, 0, cleared_s, None, 0.8, text, ())


def build_full(kind: str = "full") -> ResponsePlan:
    return build_plan("tunnel", kind, [Gate("g1_in")], [POINT], ["J1"])


class Foretold:
    """Says that a given flow will take the hill road."""

    def predict(self, *_: object) -> tuple[Diversion, ...]:
        return (Diversion(("m0", "h1", "h2", "m2"), 400.0),)


def run(
    responses: Responses,
    time_s: float,
    *orders: Order,
    alerts: tuple[Alert, ...] = (),
    occupancy: float = 0.1,
    share: float = 0.1,
) -> Response:
    batch = build_batch(time_s, occupancy)
    state, forecast = build_state(time_s, share), build_forecast(time_s, 3900)
    return responses.update(batch, state, forecast, alerts, orders)


def test_nothing_happens_without_an_order_and_an_operator_switches_a_plan_on_and_off() -> None:
    responses = Responses(TOWN, [build_full()], diverter=Foretold())
    quiet = run(responses, 30, alerts=(build_alert(),))
    assert (quiet.active, quiet.junctions, quiet.advise) == ((), {}, frozenset())
    on = run(responses, 60, Order("activate", "tunnel:full", "officer", 60))
    (entry,) = on.active
    assert (entry.life, entry.since_s, entry.by) == (Life.ACTIVE, 60, "officer")
    assert on.advise == {"tunnel"}
    off = run(responses, 90, Order("stop", "tunnel:full", "officer", 90))
    assert off.active[0].life is Life.RECOVERING
    assert off.advise == frozenset()
    assert run(responses, 90 + 4 * 90).active == ()


def test_signals_on_the_way_around_are_retimed_at_activation_with_cycle_and_offset_kept() -> None:
    responses = Responses(TOWN, [build_full("timing")], diverter=Foretold())
    run(responses, 30)
    on = run(responses, 60, Order("activate", "tunnel:timing", "officer", 60))
    plan = on.junctions["J1"].plan
    assert plan is not None
    safe = TOWN.plans["J1"]
    assert (plan.cycle_s, plan.offset_s) == (safe.cycle_s, safe.offset_s)
    assert [stage for stage, _ in plan.slots] == ["A", "B"]
    # 300 + 400 veh/h on the hill against 300 across: its slot grows well beyond 30 of 90 s.
    assert plan.slots[0][1] >= 45


def test_gates_close_on_dense_traffic_and_open_step_by_step_after_the_end() -> None:
    responses = Responses(TOWN, [build_full("gating")])
    run(responses, 0, Order("activate", "tunnel:gating", "officer", 0))
    caps = []
    for step in range(1, 21):
        response = run(responses, 30 * step, occupancy=0.35)
        order = response.junctions.get("J2")
        caps.append(order.green_cap_s["ramp"] if order else 45)
    assert caps[0] == 45  # what it permits at first is well above what comes
    assert caps[-1] == 5  # the minimum green
    assert all(a >= b for a, b in pairwise(caps))
    stop = run(responses, 630, Order("stop", "tunnel:gating", "officer", 630))
    released = [stop.junctions["J2"].green_cap_s["ramp"]]
    for step in range(1, 13):
        order = run(responses, 630 + 30 * step).junctions.get("J2")
        released.append(order.green_cap_s["ramp"] if order else 45)
    # The green of 45 s (50 less intergreen) comes back in four equal steps, a cycle each.
    assert released[::3] == [5, 15, 25, 35, 45]


def test_a_full_approach_opens_its_gate() -> None:
    responses = Responses(TOWN, [build_full("gating")])
    run(responses, 0, Order("activate", "tunnel:gating", "officer", 0))
    for step in range(1, 11):
        run(responses, 30 * step, occupancy=0.35)
    assert run(responses, 315, occupancy=0.35).junctions
    assert not run(responses, 330, occupancy=0.35, share=0.95).junctions
    assert not run(responses, 360, occupancy=0.35, share=0.8).junctions  # not yet receded
    assert run(responses, 390, occupancy=0.35, share=0.6).junctions


def test_the_policy_lets_a_jam_that_no_forecast_bears_out_dissolve_or_stand() -> None:
    policy = Policy(frozenset({"tunnel:advice"}))
    jam = replace(build_alert(Level.CONFIRMED), raised_s=60.0)
    assert policy.heeds(jam, 60)  # its chance is 0.8
    for chance in (0.1, math.nan):
        unforeseen = replace(jam, breakdown_chance=chance)
        assert not policy.heeds(unforeseen, 1230)
        assert policy.heeds(unforeseen, 1260)
        assert not policy.heeds(replace(unforeseen, cleared_s=1260.0), 1260)


def test_the_policy_starts_a_plan_on_an_alert_and_stops_it_after_quiet() -> None:
    policy = Policy(frozenset({"tunnel:advice"}), quiet_s=120, least_s=60)
    responses = Responses(TOWN, [build_full("advice")], policy=policy)
    assert run(responses, 30).active == ()
    (entry,) = run(responses, 60, alerts=(build_alert(),)).active
    assert (entry.by, entry.life) == ("policy", Life.ACTIVE)
    cleared = (build_alert(cleared_s=90),)
    assert run(responses, 90, alerts=cleared).advise == {"tunnel"}
    assert run(responses, 150).advise == {"tunnel"}
    assert run(responses, 180).advise == frozenset()


def test_the_policy_does_not_undo_what_a_person_decided() -> None:
    policy = Policy(frozenset({"tunnel:advice"}), quiet_s=60, least_s=0)
    responses = Responses(TOWN, [build_full("advice")], policy=policy)
    alerts = (build_alert(),)
    run(responses, 30, alerts=alerts)
    run(responses, 60, Order("stop", "tunnel:advice", "officer", 60), alerts=alerts)
    assert run(responses, 90, alerts=alerts).advise == frozenset()
    run(responses, 120)  # the alert is over: the next one counts again
    assert run(responses, 150, alerts=alerts).advise == {"tunnel"}
    ordered = Responses(TOWN, [build_full("advice")], policy=policy)
    run(ordered, 0, Order("activate", "tunnel:advice", "officer", 0))
    assert run(ordered, 6000).advise == {"tunnel"}  # who was asked to start is not stopped


def test_a_policy_that_waits_for_confirmation_lets_a_warning_pass() -> None:
    policy = Policy(frozenset({"tunnel:advice"}), Level.CONFIRMED)
    responses = Responses(TOWN, [build_full("advice")], policy=policy)
    assert run(responses, 30, alerts=(build_alert(),)).active == ()
    assert run(responses, 60, alerts=(build_alert(Level.CONFIRMED),)).active != ()


def test_an_order_that_cannot_be_followed_is_refused_with_its_reason() -> None:
    orders = [
        Order("activate", "ghost", "officer", 0),
        Order("stop", "tunnel:full", "officer", 0),
        Order("shout", "tunnel:full", "officer", 0),
    ]
    response = run(Responses(TOWN, [build_full()]), 30, *orders)
    assert [r.order for r in response.refused] == orders
    assert [r.reason for r in response.refused] == [
        "unknown plan ghost",
        "plan tunnel:full is not active",
        "unknown kind of order 'shout', known: activate, stop",
    ]


def test_plans_name_only_what_exists_and_all_problems_come_at_once() -> None:
    bad = build_plan(
        "tunnel", "full", [Gate("nowhere")], [DecisionPoint("m0", "lost", 1.5)], ["J9"]
    )
    with pytest.raises(ModelError) as error:
        Responses(TOWN, [bad], policy=Policy(frozenset({"tunnel:none"})))
    for part in ("nowhere", "unknown link lost", "share 1.5", "junction J9", "plan tunnel:none"):
        assert part in str(error.value)
    with pytest.raises(ModelError, match="unknown kind 'magic'"):
        build_plan("tunnel", "magic")


def test_an_order_reads_back_from_its_record() -> None:
    order = Order("activate", "tunnel:full", "officer", 25200.0)
    assert Order(**json.loads(json.dumps(asdict(order)))) == order
    assert not math.isnan(order.at_s)


def test_retimed_signals_follow_a_demand_that_grows_meanwhile() -> None:
    responses = Responses(TOWN, [build_full("timing")], diverter=Foretold())
    run(responses, 30)
    on = run(responses, 60, Order("activate", "tunnel:timing", "officer", 60))
    before = on.junctions["J1"].plan
    for time_s in range(90, 691, 30):
        batch = build_batch(time_s, s1_stop=900)
        args = (build_state(time_s), build_forecast(time_s, 3900))
        later = responses.update(batch, *args, (), ()).junctions["J1"].plan
    assert before is not None
    assert later is not None
    assert later.slots[1][1] > before.slots[1][1] + 5
