"""A city's signals read from its own program: the interlock must run the course that it showed."""

import logging
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import load
from networks.plain_xml import Connection, Edge, Node, Roads, compile_roads
from networks.plain_xml import Program as PlainProgram
from networks.resco import find_resco_maps
from networks.sumo_program import LETTERS, Program, SignalLink, spell
from networks.sumo_signals import Signals, build_signals
from networks.sumo_xml import read_network, read_programs, require_signals
from traffic.control import Aspect
from traffic.interlock import Interlock
from traffic.model import DetectorKind, Intergreen, ModelError


def expand(signals: Signals, program: Program, begin_s: int) -> list[tuple[int, str, str]]:
    """Return (second, SUMO's letters, ours) where they differ in the second and third cycle."""
    junction = signals.junction
    interlock = Interlock([junction], {junction.id: signals.plan}, begin_s)
    owner = {i: phase for phase, indices in signals.indices.items() for i in indices}
    differing = []
    for now_s in range(begin_s, begin_s + int(3 * program.cycle_s)):
        shown, _ = interlock.admit([], now_s)
        ours = "".join(LETTERS[shown[junction.id][owner[i]]] for i in sorted(owner))
        theirs = "".join(program.state_at(now_s)[i] for i in sorted(owner))
        if now_s >= begin_s + program.cycle_s and ours != theirs:
            differing.append((now_s, theirs, ours))
    return differing


# West, east, then north, south: a through lane each with a left lane of its own.
FOUR_ARMS = tuple(
    SignalLink(i, road, f"{road}_{lane}", f"{road}{turn}")
    for i, (road, lane, turn) in enumerate(
        [(road, lane, turn) for road in "WENS" for lane, turn in ((0, "through"), (1, "left"))]
    )
)
THROUGHS = {0: (4, 6, 3), 2: (4, 6, 1), 4: (0, 2, 7), 6: (0, 2, 5)}  # each with its foes
FOES = frozenset(frozenset((one, foe)) for one, foes in THROUGHS.items() for foe in foes)
LEFTS = frozenset(frozenset((a, b)) for a in (1, 3) for b in (4, 5, 6, 7))
LEFTS |= frozenset(frozenset((a, b)) for a in (5, 7) for b in (0, 1, 2, 3))
LEADING = Program(
    "static",
    0.0,
    (
        ("GgGgrrrr", 30.0),
        ("ygygrrrr", 3.0),
        ("rGrGrrrr", 8.0),
        ("ryryrrrr", 4.0),
        ("rrrrrrrr", 1.0),
        ("rrrrGgGg", 20.0),
        ("rrrryyyy", 3.0),
        ("rrrrrrrr", 2.0),
    ),
)
APART = FOES | LEFTS


def test_a_program_is_read_as_phases_stages_and_the_times_between() -> None:
    read = build_signals("J", LEADING, FOUR_ARMS, APART)
    junction = read.junction
    # Eight letters of one road and one course each.
    assert read.indices == {f"p{i}": (i,) for i in range(8)}
    assert [(s.id, s.protected, s.permissive) for s in junction.stages] == [
        ("s1", {"p0", "p2"}, {"p1", "p3"}),
        ("s2", {"p1", "p3"}, frozenset()),
        ("s3", {"p4", "p6"}, {"p5", "p7"}),
    ]
    assert junction.intergreens["p1", "p4"] == Intergreen(4.0, 1.0)
    assert junction.intergreens["p4", "p0"] == Intergreen(3.0, 2.0)
    # Left and opposing through run together, the left giving way, and still conflict.
    assert junction.is_conflict("p0", "p3")
    assert junction.intergreens["p0", "p3"] == Intergreen(3.0, 0.0)
    # Never directly after each other: the through's own amber, the longest all-red there.
    assert junction.intergreens["p0", "p4"] == Intergreen(3.0, 2.0)
    assert read.plan.slots == (("s1", 35.0), ("s2", 11.0), ("s3", 25.0))
    assert read.plan.offset_s == -5.0
    phase = next(p for p in junction.phases if p.id == "p1")
    assert (phase.min_green_s, phase.max_red_s) == (5.0, 150.0)


def test_links_share_a_phase_only_within_one_road_and_lane_group() -> None:
    links = (
        SignalLink(0, "W", "W_0", "south"),
        SignalLink(1, "W", "W_0", "east"),  # shares lane 0
        SignalLink(2, "W", "W_1", "east"),  # shares the way ahead with lane 0
        SignalLink(3, "W", "W_2", "north"),  # a lane and a way of its own
        SignalLink(4, "E", "E_0", "west"),  # the same course on another road
    )
    program = Program("static", 0.0, (("GGGGG", 30.0), ("yyyyy", 3.0), ("rrrrr", 2.0)))
    read = build_signals("J", program, links, frozenset())
    assert read.indices == {"p0": (0, 1, 2), "p3": (3,), "p4": (4,)}


def test_an_arrow_on_red_is_told_from_a_green_that_gives_way() -> None:
    links = tuple(SignalLink(i, road, f"{road}_0", "out") for i, road in enumerate("abcd"))
    states = (("Gsgr", 30.0), ("ysgr", 3.0), ("rGsG", 20.0), ("rssy", 3.0))
    phases = build_signals("J", Program("static", 0.0, states), links, frozenset()).junction.phases
    assert {phase.id: phase.turns_on_red for phase in phases} == {
        "p0": False,
        "p1": True,
        "p2": False,  # one letter for both: its permissive green is not always an arrow
        "p3": False,
    }
    (arrow,) = (phase for phase in phases if phase.turns_on_red)
    assert [spell(aspect, arrow) for aspect in (Aspect.PERMISSIVE, Aspect.GREEN)] == ["s", "G"]
    assert spell(Aspect.PERMISSIVE, phases[0]) == "g"


@pytest.mark.parametrize("offset_s", [0.0, 17.0, -7.0, 250.0])
def test_the_safe_plan_runs_the_program_second_by_second(offset_s: float) -> None:
    program = replace(LEADING, offset_s=offset_s)
    read = build_signals("J", program, FOUR_ARMS, APART)
    assert expand(read, program, 25_213) == []


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Programs of disjoint stages over six links of six roads, with amber 3 s and any all-red."""
    order = draw(st.permutations(range(6)))
    cuts = sorted(draw(st.sets(st.integers(1, 5), min_size=1)))
    groups = [order[a:b] for a, b in zip([0, *cuts], [*cuts, 6], strict=True)]
    states: list[tuple[str, float]] = []
    for group in groups:
        for letter, length_s in (("G", st.integers(5, 40)), ("y", st.just(3))):
            state = "".join(letter if i in group else "r" for i in range(6))
            states.append((state, float(draw(length_s))))
        if all_red_s := draw(st.integers(0, 3)):
            states.append(("rrrrrr", float(all_red_s)))
    turn = draw(st.integers(0, len(states) - 1))  # a program may start anywhere
    return Program("static", float(draw(st.integers(-50, 200))), (*states[turn:], *states[:turn]))


@settings(max_examples=40, deadline=None)
@given(programs(), st.integers(1, 900))
def test_any_plain_program_is_reproduced(program: Program, cycles: int) -> None:
    links = [SignalLink(i, f"road{i}", f"road{i}_0", "away") for i in range(6)]
    foes = frozenset(
        frozenset((a, b))
        for a in range(6)
        for b in range(a)
        if not any(state[a] == state[b] == "G" for state, _ in program.states)
    )
    # What is not known to cross keeps the program's course as well.
    for known in (foes, frozenset[frozenset[int]]()):
        read = build_signals("J", program, links, known)
        begin_s = int(read.plan.offset_s + cycles * read.plan.cycle_s)
        assert expand(read, program, begin_s) == []


def test_a_phase_that_stays_green_has_no_greatest_green() -> None:
    links = [SignalLink(i, f"road{i}", f"road{i}_0", "away") for i in range(3)]
    program = Program(
        "static",
        0.0,
        (("GGr", 30.0), ("Gyr", 3.0), ("Grr", 2.0), ("GrG", 20.0), ("Gry", 3.0), ("Grr", 2.0)),
    )
    read = build_signals("J", program, links, frozenset({frozenset((1, 2))}))
    assert [p.max_green_s for p in read.junction.phases] == [inf, 90.0, 90.0]
    # Two seconds in which only it is green belong to the change between the others' stages.
    assert [s.id for s in read.junction.stages] == ["s1", "s2"]
    assert expand(read, program, 0) == []


def test_a_turn_on_red_is_permissive() -> None:
    links = [SignalLink(i, f"road{i}", f"road{i}_0", "away") for i in range(2)]
    program = Program("static", 0.0, (("Gs", 30.0), ("ys", 3.0), ("rG", 20.0), ("ry", 3.0)))
    read = build_signals("J", program, links, frozenset({frozenset((0, 1))}))
    assert read.junction.get_stage("s1").permissive == {"p1"}


def test_all_that_cannot_be_read_is_named_at_once() -> None:
    links = [SignalLink(i, f"road{i}", f"road{i}_0", "away") for i in range(4)]
    program = Program("static", 0.0, (("GGroG", 30.0), ("yyroy", 3.0), ("rrror", 2.0)))
    foes = frozenset({frozenset((0, 1))})
    with pytest.raises(ModelError) as caught:
        build_signals("J7", program, links, foes, untold=frozenset({4}))
    text = str(caught.value)
    assert "junction J7: link 2 (road2 to away) is never green" in text
    assert "link 3 (road3 to away) shows 'o'" in text
    assert "links 0 (road0 to away) and 1 (road1 to away) cross or merge" in text
    # Link 4, a crossing on foot, goes with the phases of the same course: no problem.
    assert "link 4" not in text
    lone = Program("static", 0.0, (("Gr", 30.0), ("yr", 3.0), ("rG", 9.0)))
    with pytest.raises(ModelError, match="link 1 is a crossing or a track"):
        build_signals("J7", lone, links[:1], frozenset(), untold=frozenset({1}))


def test_a_letter_that_controls_nothing_still_has_a_phase() -> None:
    links = [SignalLink(1, "W", "W_0", "away"), SignalLink(2, "N", "N_0", "away")]
    program = Program("static", 0.0, (("rGr", 30.0), ("ryr", 3.0), ("GrG", 20.0), ("yry", 3.0)))
    assert build_signals("J", program, links, frozenset()).indices == {"p1": (1,), "p2": (2, 0)}
    free = Program("static", 0.0, (("GGr", 30.0), ("Gyr", 3.0), ("rrG", 20.0), ("rry", 3.0)))
    assert build_signals("J", free, links, frozenset()).indices == {"p1": (1, 0), "p2": (2,)}


def test_an_actuated_program_is_read_as_fixed_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        read = build_signals("J", replace(LEADING, kind="actuated"), FOUR_ARMS, frozenset())
    assert "junction J: its actuated program is read as fixed-time" in caplog.text
    assert read.plan.cycle_s == LEADING.cycle_s


# A signal 3 m behind the end of a road: nothing but the road upstream has room for loops.
def _build_short(folder: Path) -> Path:
    nodes = (
        Node("a", -400, 0),
        Node("joint", -3, 0),
        Node("j", 0, 0, "traffic_light"),
        Node("b", 300, 0),
        Node("n", 0, 300),
    )
    edges = (
        Edge("far", "a", "joint", 1, 13.9),
        Edge("near", "joint", "j", 1, 13.9),
        Edge("side", "n", "j", 1, 13.9),
        Edge("out", "j", "b", 1, 13.9),
    )
    links = (Connection("near", "out", 0, 0), Connection("side", "out", 0, 0))
    program = PlainProgram(
        "j", links, ((20, "Gr"), (3, "yr"), (2, "rr"), (20, "rG"), (3, "ry"), (2, "rr")), 7.0
    )
    ways = (Connection("far", "near", 0, 0), *links)
    return compile_roads(Roads(nodes, edges, ways, (program,)), folder, "short")


def test_an_approach_is_walked_upstream_of_a_lane_shorter_than_a_car(tmp_path: Path) -> None:
    net_file = _build_short(tmp_path)
    compiled = read_network(net_file, "short", origin=(106.6, 29.6))
    network = compiled.network
    approach = network.approaches["near"]
    assert approach.links == ("far", "near")
    assert approach.storage_m == pytest.approx(
        network.links["far"].length_m + network.links["near"].length_m, abs=0.01
    )
    by_kind = {d.kind: d for d in network.detectors.values() if d.approach == "near"}
    assert by_kind.keys() == {DetectorKind.STOP_LINE, DetectorKind.ADVANCE, DetectorKind.TAIL}
    near_m = network.links["near"].length_m
    for kind, back_m in ((DetectorKind.STOP_LINE, 4.0), (DetectorKind.ADVANCE, 50.0)):
        loop = by_kind[kind]
        beyond_m = near_m if loop.link == "far" else 0.0
        found_m = network.links[loop.link].length_m - loop.position_m + beyond_m
        assert found_m == pytest.approx(back_m, abs=0.01)
    assert (by_kind[DetectorKind.TAIL].link, by_kind[DetectorKind.TAIL].position_m) == ("far", 10.0)
    assert network.origin == (106.6, 29.6)
    assert compiled.signal_indices["j"] == {"p0": (0,), "p1": (1,)}


@pytest.mark.parametrize("is_wide_first", [True, False])
def test_a_short_approach_is_walked_up_the_wider_of_two_roads(
    tmp_path: Path, is_wide_first: bool
) -> None:
    """One lane of each leads on."""
    wide, narrow = ("a_road", "z_road") if is_wide_first else ("z_road", "a_road")
    nodes = (
        Node("w", -400, 0),
        Node("s", -40, -300),
        Node("joint", -40, 0),
        Node("j", 0, 0, "traffic_light"),
        Node("b", 300, 0),
        Node("n", 0, 300),
    )
    edges = (
        Edge(wide, "w", "joint", 2, 13.9),
        Edge(narrow, "s", "joint", 1, 13.9),
        Edge("near", "joint", "j", 2, 13.9),
        Edge("side", "n", "j", 1, 13.9),
        Edge("out", "j", "b", 2, 13.9),
    )
    links = (Connection("near", "out", 0, 0), Connection("side", "out", 0, 0))
    program = PlainProgram(
        "j", links, ((20, "Gr"), (3, "yr"), (2, "rr"), (20, "rG"), (3, "ry"), (2, "rr")), 7.0
    )
    ways = (Connection(wide, "near", 1, 1), Connection(narrow, "near", 0, 0), *links)
    net_file = compile_roads(Roads(nodes, edges, ways, (program,)), tmp_path, "wide")
    assert read_network(net_file, "wide").network.approaches["near"].links == (wide, "near")


def test_our_clock_is_the_simulators(tmp_path: Path) -> None:
    """SUMO shows at second t, in the step from t to t + 1, what `state_at(t)` says."""
    libsumo = pytest.importorskip("libsumo")
    net_file = _build_short(tmp_path)
    program = read_programs([net_file])["j"]
    libsumo.start(["sumo", "-n", str(net_file), "-b", "25213", "--no-step-log", "true"])
    try:
        for now_s in range(25_213, 25_213 + 110):
            libsumo.simulationStep()
            assert libsumo.trafficlight.getRedYellowGreenState("j") == program.state_at(now_s)
    finally:
        libsumo.close()


@pytest.mark.skipif("cologne1" not in find_resco_maps(), reason="needs the package sumo-rl")
def test_a_real_junction_keeps_its_course() -> None:
    net_file = find_resco_maps()["cologne1"].with_name("cologne1.net.xml")
    compiled = read_network(net_file, "cologne1")
    (id_,) = compiled.network.junctions
    program = read_programs([net_file])[id_]
    read = Signals(
        compiled.network.junctions[id_], compiled.network.plans[id_], compiled.signal_indices[id_]
    )
    assert expand(read, program, 25_200) == []
    assert {i for indices in read.indices.values() for i in indices} == set(range(20))
    assert compiled.network.origin == pytest.approx((6.923, 50.930), abs=0.01)
    assert all(min(x, y) > -50 for x, y in compiled.network.links["23429231#1"].shape)


def test_every_junction_of_heishizi_keeps_its_course(tmp_path: Path) -> None:
    scenario = load("heishizi", folder=tmp_path)
    programs = read_programs([scenario.net_file])
    network = scenario.network
    assert len(network.junctions) >= 15
    for id_, junction in network.junctions.items():
        read = Signals(junction, network.plans[id_], scenario.signal_indices[id_])
        assert expand(read, programs[id_], int(scenario.begin_s)) == []


def test_a_network_without_signals_fails_only_those_who_need_them(tmp_path: Path) -> None:
    nodes = (Node("a", 0, 0), Node("b", 500, 0))
    net_file = compile_roads(
        Roads(nodes, (Edge("ab", "a", "b", 1, 13.9),), (), ()), tmp_path, "plain"
    )
    network = read_network(net_file, "plain").network
    assert network.junctions == {}
    with pytest.raises(ModelError, match="network plain: has no signals"):
        require_signals(network)


@pytest.mark.parametrize("text", ["", "<net", "<net version='1.16'></net>", "not xml"])
def test_a_broken_network_file_is_named(tmp_path: Path, text: str) -> None:
    broken = tmp_path / "broken.net.xml"
    broken.write_text(text)
    with pytest.raises(ModelError, match=r"broken\.net\.xml"):
        read_network(broken, "broken")
    with pytest.raises(ModelError, match="does not exist"):
        read_network(tmp_path / "absent.net.xml", "absent")
