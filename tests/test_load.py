"""Scenarios by name, by path and from RESCO: what loads, and what is said when it can't."""

import gzip
from pathlib import Path
from xml.etree import ElementTree

import pytest
from towns import compile_town

from networks import SCENARIOS, load
from networks.plain_xml import Connection, Edge, Node, Roads, compile_roads
from networks.resco import find_resco_maps
from networks.route_files import find_departures, list_vehicles
from networks.scenario import Scenario
from traffic.model import DetectorKind, ModelError

RESCO_MAPS = sorted(find_resco_maps())
NET = "town.net.xml"
ROUTES = '<routes><trip id="a.0" depart="{depart}" from="west" to="east"/></routes>'


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a compiled network of one signal."""
    folder = tmp_path_factory.mktemp("town")
    compile_town(folder)
    return folder


def write_configuration(town: Path, folder: Path, inside: str, **files: str) -> Path:
    """Write town.sumocfg beside its network; `files` by stem, each as <stem>.xml."""
    (folder / NET).write_bytes((town / NET).read_bytes())
    for stem, text in files.items():
        (folder / f"{stem}.xml").write_text(text)
    path = folder / "town.sumocfg"
    path.write_text(f'<configuration><net-file value="{NET}"/>{inside}</configuration>')
    return path


def load_town(town: Path, folder: Path, inside: str, **files: str) -> Scenario:
    path = write_configuration(town, folder, inside, **files)
    return load(str(path), 3, folder / "out")


def test_a_configuration_by_path_with_loops_by_rule(town: Path, tmp_path: Path) -> None:
    scenario = load_town(
        town,
        tmp_path,
        '<input><route-files value="types.xml,routes.xml"/></input><time><begin value="7:00:00"/>'
        '<end value="28800"/><step-length value="0.5"/></time><processing>'
        '<time-to-teleport value="120"/></processing>'
        '<output><fcd-output value="fcd.xml"/></output>',
        types='<routes><vType id="car"/></routes>',
        routes=ROUTES.format(depart="25200"),
    )
    assert (scenario.id, scenario.seed) == ("town", 3)
    assert (scenario.begin_s, scenario.end_s, scenario.step_s) == (25_200.0, 28_800.0, 0.5)
    # What shapes traffic is passed on, the author's own output is not.
    assert scenario.sumo_options == ("--time-to-teleport", "120")
    assert scenario.route_file == tmp_path / "routes.xml"
    loops_file = tmp_path / "out" / "loops.add.xml"
    assert scenario.additional_files == (tmp_path / "types.xml", loops_file)
    assert scenario.signal_indices == {"j": {"p0": (0,), "p1": (1,)}}
    kinds = [d.kind for d in scenario.network.detectors.values()]
    assert (
        sorted(kind.value for kind in kinds) == ["advance"] * 2 + ["stop_line"] * 2 + ["tail"] * 2
    )
    assert all(f'id="{id_}"' in loops_file.read_text() for id_ in scenario.network.detectors)


def test_own_loops_are_taken(town: Path, tmp_path: Path) -> None:
    scenario = load_town(
        town,
        tmp_path,
        '<route-files value="routes.xml"/><additional-files value="loops.xml"/><end value="900"/>',
        routes=ROUTES.format(depart="10"),
        loops='<additional><e1Detector id="stop" lane="west_0" pos="-3" period="60" file="o.xml"/>'
        '<inductionLoop id="up" lane="west_0" pos="60" period="60" file="o.xml"/>'
        '<inductionLoop id="out" lane="east_0" pos="100" period="60" file="o.xml"/></additional>',
    )
    found = {d.id: (d.kind, d.approach) for d in scenario.network.detectors.values()}
    assert found == {
        "e1_stop": (DetectorKind.STOP_LINE, "west"),
        "e1_up": (DetectorKind.TAIL, "west"),
        "e1_out": (DetectorKind.MAINLINE, None),
    }
    length_m = scenario.network.links["west"].length_m
    assert scenario.network.detectors["e1_stop"].position_m == pytest.approx(length_m - 3)


def test_a_program_in_an_additional_file_replaces_the_networks(town: Path, tmp_path: Path) -> None:
    scenario = load_town(
        town,
        tmp_path,
        '<route-files value="routes.xml"/><additional-files value="plan.xml"/><end value="900"/>',
        routes=ROUTES.format(depart="10"),
        plan='<additional><tlLogic id="j" type="static" programID="am" offset="4">'
        '<phase duration="50" state="Gr"/><phase duration="4" state="yr"/>'
        '<phase duration="30" state="rG"/><phase duration="3" state="ry"/></tlLogic></additional>',
    )
    assert scenario.network.plans["j"].slots == (("s1", 53.0), ("s2", 34.0))
    assert scenario.network.plans["j"].offset_s == 1.0


def test_without_an_end_the_run_goes_on_after_the_last_departure(
    town: Path, tmp_path: Path
) -> None:
    scenario = load_town(
        town, tmp_path, '<route-files value="routes.xml"/>', routes=ROUTES.format(depart="3600")
    )
    assert scenario.end_s == 5400.0


def test_all_missing_files_are_named_at_once(town: Path, tmp_path: Path) -> None:
    inside = '<route-files value="none.rou.xml"/><additional-files value="a.xml,b.xml"/>'
    with pytest.raises(ModelError) as caught:
        load_town(town, tmp_path, inside)
    assert len(caught.value.problems) == 3
    for name in ("none.rou.xml", "a.xml", "b.xml"):
        assert f"{tmp_path / name} does not exist" in str(caught.value)


@pytest.mark.parametrize(
    ("inside", "files", "message"),
    [
        ("", {}, "names no route-files"),
        ('<route-files value="r.xml"/>', {"r": "<routes><trip"}, r"r\.xml: can't be read"),
        ('<route-files value="r.xml"/>', {"r": "<routes/>"}, "hold no traffic"),
        ('<route-files value="."/>', {}, "is no file"),
        (
            '<route-files value="r.xml"/><end value="900"/>',
            {"r": ROUTES.format(depart="900")},
            "nobody departs: its demand lasts from 900 s to 900 s, the simulation from 0 s to 900",
        ),
        (
            '<route-files value="r.xml"/><begin value="10"/><end value="900"/>',
            {"r": ROUTES.format(depart="9")},
            "nobody departs",
        ),
        (
            '<route-files value="r.xml"/><end value="inf"/><step-length value="0.3"/>',
            {"r": ROUTES.format(depart="1")},
            "end 'inf' is no time(.|\n)*step-length 0.3 s must divide a second",
        ),
        (
            '<route-files value="r.xml"/><begin value="60"/><end value="60"/>',
            {"r": ROUTES.format(depart="60")},
            "begin 60 s must be before end 60 s",
        ),
        (
            '<route-files value="r.xml"/><additional-files value="p.xml"/>',
            {
                "r": ROUTES.format(depart="1"),
                "p": '<additional><tlLogic id="j" programID="am"><phase duration="9" state="GG"/>'
                "</tlLogic></additional>",
            },
            r"junction j: links 0 \(west to east\) and 1 \(north to east\) cross or merge",
        ),
        (
            '<route-files value="r.xml"/><begin value="soon"/>',
            {"r": ROUTES.format(depart="1")},
            "begin 'soon' is no time",
        ),
        (
            '<route-files value="r.xml"/><additional-files value="l.xml"/>',
            {
                "r": ROUTES.format(depart="1"),
                "l": '<a><inductionLoop id="x" lane="nowhere_0" pos="1"/></a>',
            },
            "loop x lies on unknown lane nowhere_0",
        ),
    ],
)
def test_a_broken_configuration_says_where(
    town: Path, tmp_path: Path, inside: str, files: dict[str, str], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load_town(town, tmp_path, inside, **files)


def test_a_packed_file_that_is_cut_off_says_so(town: Path, tmp_path: Path) -> None:
    whole = gzip.compress(ROUTES.format(depart="1").encode() * 500)
    (tmp_path / "r.xml.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"r\.xml\.gz: can't be read: Compressed file ended"):
        load_town(town, tmp_path, '<route-files value="r.xml.gz"/>')


def test_a_map_without_signals_is_refused(tmp_path: Path) -> None:
    nodes = (Node("w", 0, 0), Node("m", 200, 0), Node("e", 400, 0))
    edges = (Edge("west", "w", "m", 1, 13.9), Edge("east", "m", "e", 1, 13.9))
    compile_roads(Roads(nodes, edges, (Connection("west", "east", 0, 0),), ()), tmp_path, "town")
    inside = '<route-files value="r.xml"/>'
    (tmp_path / "r.xml").write_text(ROUTES.format(depart="1"))
    path = tmp_path / "town.sumocfg"
    path.write_text(f'<configuration><net-file value="{NET}"/>{inside}</configuration>')
    with pytest.raises(ModelError, match="network town: has no signals"):
        load(str(path), 3, tmp_path / "out")


@pytest.mark.parametrize(
    ("flow", "count"),
    [
        ('number="3"', 3),
        ('begin="0:01:00" end="0:02:00" vehsPerHour="120"', 2),
        ('begin="60" vehsPerHour="120"', 18),  # without an end, to that of the run
        ('begin="0" end="20" period="5"', 4),
        ('begin="0" end="20" probability="0.1"', 20),
        ('begin="700" period="1"', 0),
    ],
)
def test_vehicles_of_a_flow_are_named_as_the_simulator_does(
    tmp_path: Path, flow: str, count: int
) -> None:
    file = tmp_path / "r.xml"
    file.write_text(f'<routes><flow id="f" {flow}/><trip id="a" depart="0"/></routes>')
    assert list(list_vehicles(file, 600.0)) == [*(f"f.{k}" for k in range(count)), "a"]


def test_departures_are_read_in_every_form_that_the_simulator_takes() -> None:
    texts = ('depart="5.5"', 'depart="01:01:01"', 'depart="1:0:0:2"', 'begin="7" end="9"')
    elements = [ElementTree.fromstring(f"<trip {text}/>") for text in texts]
    assert find_departures(elements) == (5.5, 86402.0)
    assert find_departures([ElementTree.fromstring('<trip depart="triggered"/>')]) == (0.0, 0.0)
    assert find_departures([]) is None


def test_what_is_unknown_comes_with_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"scenario heishzi: unknown; known are heishizi, "):
        load("heishzi")
    with pytest.raises(ModelError, match=r"absent\.sumocfg: does not exist"):
        load(str(tmp_path / "absent.sumocfg"))
    broken = tmp_path / "broken.sumocfg"
    broken.write_text("<configuration>")
    with pytest.raises(ModelError, match=r"broken\.sumocfg: can't be read"):
        load(str(broken))
    with pytest.raises(ModelError, match="seed -1 must not be negative"):
        load("heishizi", -1)


def test_without_the_package_a_resco_map_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("networks.resco.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"resco:cologne1: needs the package sumo-rl"):
        load("resco:cologne1", folder=tmp_path)


@pytest.mark.skipif(not RESCO_MAPS, reason="needs the package sumo-rl")
def test_an_unknown_resco_map_comes_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"unknown map; known are arterial4x4, cologne1"):
        load("resco:paris", folder=tmp_path)


@pytest.mark.parametrize("name", RESCO_MAPS)
def test_every_resco_map_loads(name: str, tmp_path: Path) -> None:
    scenario = load(f"resco:{name}", folder=tmp_path)
    network = scenario.network
    assert scenario.id == f"resco:{name}"
    assert scenario.end_s - scenario.begin_s == 3600.0
    assert network.junctions.keys() == scenario.signal_indices.keys()
    # Each approach is seen at its stop line.
    seen = {d.approach for d in network.detectors.values() if d.kind is DetectorKind.STOP_LINE}
    assert seen == network.approaches.keys()


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_built_in_scenario_is_whole(name: str, tmp_path: Path) -> None:
    scenario = load(name, 2, tmp_path)
    network = scenario.network
    assert set(scenario.title) == {"en", "zh"}
    assert (scenario.id, scenario.seed) == (name, 2)
    assert all(f.is_relative_to(tmp_path) for f in (scenario.net_file, scenario.route_file))
    assert set(scenario.mainline) <= network.links.keys()
    assert {gate.approach for gate in scenario.gates} <= network.approaches.keys()
    for gate in scenario.gates:
        assert gate.phases
        assert set(gate.phases) <= set(network.approaches[gate.approach].phases)
    assert set(scenario.diversion_junctions) <= network.junctions.keys()
    for point in scenario.decision_points:
        assert {point.from_link, point.to_link} <= network.links.keys()
        assert 0 < point.share < 1
    for bottleneck in network.bottlenecks.values():
        # Feeders form one cut: seen once each, the farthest first to be seen.
        assert all(0 < share <= 1 < travel_s for share, travel_s in bottleneck.feeders.values())
        assert bottleneck.corridor[-1] == bottleneck.link
