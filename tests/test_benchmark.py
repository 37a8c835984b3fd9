"""The benchmark: how trips are scored, what the peers run, what the command leaves and says."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console
from towns import write_town

from api.benchmark import command
from api.benchmark.overview import build_overview, print_overview
from api.benchmark.scores import FIELDS, Score, score_run
from api.benchmark.trials import Result, Trial, check_asked, load_results
from api.errors import UserError
from api.evidence import EvidenceError
from networks.external import load_configuration
from networks.resco import find_resco_maps, free_scenario
from networks.sumo_peers import ToolError, write_adapted, write_reacting

ROOT = Path(__file__).parents[1]

TRIPS = """<tripinfos>
 <tripinfo id="done" depart="10.00" departDelay="2.00" arrival="90.00" timeLoss="30.00"
  waitingTime="12.00"/>
 <tripinfo id="on the road" depart="40.00" departDelay="0.00" arrival="-1.00" timeLoss="50.00"
  waitingTime="41.00"/>
 <tripinfo id="never in" depart="-1.00" departDelay="38.00" arrival="-1.00" timeLoss="0.00"
  waitingTime="0.00"/>
</tripinfos>"""
STATISTIC = """<statistics><performance end="100.00"/><vehicles waiting="{waiting}"/>
<teleports total="1"/><safety collisions="2"/></statistics>"""


def write_evidence(folder: Path, trips: str = TRIPS, waiting: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tripinfo.xml").write_text(trips)
    (folder / "statistic.xml").write_text(STATISTIC.format(waiting=waiting))
    return folder


def write_result(folder: Path, seed: int, delay_s: float, tier: str = "loops") -> None:
    trial = Trial("actuated", "town", tier, seed, folder)
    figures = dict.fromkeys(FIELDS, 0.0) | {"delay_s": delay_s}
    trial.target.mkdir(parents=True)
    result = {"controller": "actuated", "map_id": "town", "tier": tier, "seed": seed}
    result |= {"figures": figures, "crash": None}
    (trial.target / "result.json").write_text(json.dumps(result))


def test_every_trip_counts_whether_it_ended_or_never_began(tmp_path: Path) -> None:
    """Delay is time loss plus the wait to depart: (30 + 2) + 50 + 38, over three trips."""
    assert score_run(write_evidence(tmp_path)) == Score(
        trips=3,
        delay_s=40.0,
        never_departed=1,
        unfinished=1,
        largest_wait_s=41.0,
        teleports=1,
        collisions=2,
    )


@pytest.mark.parametrize(
    ("trips", "waiting", "message"),
    [
        ("<tripinfos/>", 0, "names no trip"),
        (TRIPS, 2, "2 vehicles waited to depart at the end, but only 1 are named"),
        (TRIPS.replace('timeLoss="30.00"', ""), 1, "done: timeLoss is 'missing'"),
        (TRIPS[:200], 1, "broken XML"),
    ],
)
def test_evidence_that_leaves_something_out_is_no_score(
    tmp_path: Path, trips: str, waiting: int, message: str
) -> None:
    with pytest.raises(EvidenceError, match=message):
        score_run(write_evidence(tmp_path, trips, waiting))


def test_a_mean_comes_with_the_interval_of_its_seeds(tmp_path: Path) -> None:
    """Student's t for two seeds: 12.706 s / sqrt(2), and s = 2 / sqrt(2) for 10 and 12."""
    write_result(tmp_path, 1, 10.0)
    write_result(tmp_path, 2, 12.0)
    overview = build_overview(load_results(tmp_path))
    mean = overview["maps"]["town"]["actuated"]["mean"]["delay_s"]
    assert (mean["mean"], mean["low"]) == (11.0, pytest.approx(11 - 12.706, abs=0.001))
    assert set(overview["fields"]) == set(FIELDS)


def test_a_peer_that_crashed_is_told_with_its_words_and_has_no_figure() -> None:
    crashed = Result("sumo-tools", "town", "loops", 1, {}, "tlsCoordinator.py ended with 1: oh")
    overview = build_overview([crashed])
    found = overview["maps"]["town"]["sumo-tools"]
    assert (found["seeds"], found["mean"]) == ({}, {})
    console = Console(width=160, record=True, quiet=True)
    with console.capture() as shown:
        console.quiet = False
        print_overview(overview, console)
    assert "crashed: tlsCoordinator.py ended with 1: oh" in shown.get()


def test_programs_that_react_are_the_citys_own_with_other_times(tmp_path: Path) -> None:
    path = write_town(tmp_path)
    scenario = free_scenario(load_configuration(path, tmp_path, 1, "town", {}))
    file = write_reacting(scenario, "actuated", 2.0, tmp_path / "programs.add.xml")
    (logic,) = ElementTree.parse(file).getroot()
    assert (logic.get("id"), logic.get("type"), logic.get("programID")) == ("j",) + (
        "actuated",
    ) * 2
    green = {"duration": "20", "minDur": "5", "maxDur": "50"}
    assert [phase.attrib for phase in logic] == [
        {**green, "state": "Gr"},
        {"duration": "2", "state": "yr"},
        {"duration": "2", "state": "rr"},
        {**green, "state": "rG"},
        {"duration": "2", "state": "ry"},
        {"duration": "2", "state": "rr"},
    ]


def test_a_tool_that_crashes_says_which_and_why(tmp_path: Path) -> None:
    path = write_town(tmp_path)
    scenario = load_configuration(path, tmp_path, 1, "town", {})
    (tmp_path / "broken.xml").write_text("<routes>")
    with pytest.raises(ToolError, match=r"^duarouter ended with 1: "):
        write_adapted(replace(scenario, route_file=tmp_path / "broken.xml"), 3.0, tmp_path)


def test_all_that_is_asked_wrongly_is_told_at_once(tmp_path: Path) -> None:
    problems = check_asked(["paris", "town"], ["static", "magic"], "x-ray", ["town"])
    assert [problem.partition(":")[0] for problem in problems] == [
        "map 'paris'",
        "controller 'magic'",
        "tier 'x-ray'",
    ]
    (missing,) = check_asked([], ["static"], "loops", [])
    assert "pip install 'traffic-response[bench]'" in missing
    write_result(tmp_path, 1, 10.0, "lanes")
    (other,) = command.check_folder(tmp_path, "loops")
    assert other == f"--out {tmp_path}: actuated on town there was sensed by lanes"


def test_what_was_finished_is_told_when_the_rest_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 33."""
    write_result(tmp_path, 1, 10.0)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "do_runs", stop)
    with pytest.raises(KeyboardInterrupt):
        command.run_benchmark([Trial("actuated", "town", "loops", 2, tmp_path)], 1)
    assert json.loads((tmp_path / "summary.json").read_text())["maps"].keys() == {"town"}


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the real command with a package of maps that holds a town."""
    return traffic(folder, "bench", "resco", *words)


def traffic(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.entry", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    nets = folder / "sumo_rl" / "nets" / "RESCO" / "town"
    nets.mkdir(parents=True)
    (folder / "sumo_rl" / "__init__.py").write_text("raise ImportError('not to be imported')\n")
    write_town(nets)
    return folder


def test_the_command_leaves_evidence_and_tells_delays(package: Path) -> None:
    out = package / "out"
    names = ["static", "sumo-actuated", "actuated", "webster"]
    words = ("--controllers", ",".join(names), "--seeds", "1", "--jobs", "1")
    done = bench(package, *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {*names, "summary.json"}
    run = out / "actuated" / "town" / "seed-1"
    assert {path.name for path in run.iterdir()} == {
        *("tripinfo.xml", "statistic.xml", "tls_states.xml", "result.json"),
    }
    summary = json.loads((out / "summary.json").read_text())
    found = summary["maps"]["town"]
    assert list(found) == names
    for controller, of_seeds in found.items():
        figures = of_seeds["seeds"]["1"]
        assert figures["trips"] == 301, controller  # one is due too early, one too late
        assert figures["teleports"] == figures["collisions"] == 0
        assert (figures["vetoes"], figures["faults"]) == (
            (0, 0) if controller in ("actuated", "webster") else (None, None)
        )
        row = next(line for line in done.stdout.splitlines() if f"│ {controller} " in line)
        assert f"{figures['delay_s']:.1f}" in row
    # The west street has nearly all the traffic: who looks at it serves it better.
    assert found["actuated"]["mean"]["delay_s"]["mean"] < found["static"]["mean"]["delay_s"]["mean"]


def test_optimized_plans_run_beside_the_map_s_own_program(package: Path) -> None:
    words = ("optimize", "resco:town", "--method", "webster", "--seeds", "11", "--cycle", "40")
    done = traffic(package, *words, "--out", "plans/town")
    assert done.returncode == 0, done.stderr
    words = ("--controllers", "static,optimized", "--seeds", "1", "--jobs", "1")
    done = bench(package, *words, "--plans", "plans", "--out", "side")
    assert done.returncode == 0, done.stderr
    alone = bench(package, "--controllers", "static", "--seeds", "1", "--out", "alone")
    assert alone.returncode == 0, alone.stderr
    states = {
        name: (package / folder / name / "town" / "seed-1" / "tls_states.xml").read_text()
        for folder, name in (("side", "static"), ("side", "optimized"))
    }
    own = (package / "alone" / "static" / "town" / "seed-1" / "tls_states.xml").read_text()
    assert re.findall('state="[^"]*"', states["static"]) == re.findall('state="[^"]*"', own)
    assert 'programID="optimized"' in states["optimized"]
    assert 'programID="optimized"' not in states["static"]


def test_plans_that_cannot_be_are_told_before_anything_runs(package: Path) -> None:
    done = bench(package, "--controllers", "optimized", "--seeds", "1", "--out", "none")
    assert done.returncode == 2
    assert "controller 'optimized' needs --plans" in done.stderr
    (package / "bad" / "town").mkdir(parents=True)
    done = bench(package, "--controllers", "optimized", "--plans", "bad", "--out", "none")
    assert "town/plan.json is no file" in done.stderr
    document = {"format": "traffic-plans/1", "network": "elsewhere", "periods": []}
    (package / "bad" / "town" / "plan.json").write_text(json.dumps(document))
    done = bench(package, "--controllers", "optimized", "--plans", "bad", "--out", "none")
    assert done.returncode == 2
    assert "network 'elsewhere'" in done.stderr
    assert "has no periods" in done.stderr
    assert not (package / "none").exists()


def test_the_command_tells_all_problems_with_code_2(package: Path) -> None:
    (package / "file").touch()
    words = ("--maps", "paris", "--controllers", "magic", "--tier", "x-ray", "--seeds", "no")
    done = bench(package, *words, "--out", "file")
    assert done.returncode == 2
    for problem in (
        "'paris'",
        "'magic'",
        "'x-ray'",
        "'no' is no seed",
        "--out file: file is a file",
    ):
        assert problem in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif("cologne1" not in find_resco_maps(), reason="needs the package sumo-rl")
def test_a_map_of_the_benchmark_is_run_by_engine_and_peer(tmp_path: Path) -> None:
    words = ("--maps", "cologne1", "--controllers", "static,actuated", "--seeds", "1")
    done = bench(tmp_path, *words, "--out", "out")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "summary.json").read_text())["maps"]["cologne1"]
    one, other = (found[name]["seeds"]["1"] for name in ("static", "actuated"))
    assert one["trips"] == other["trips"] == 2015
    assert (other["vetoes"], other["faults"]) == (0, 0)
    assert other["delay_s"] < one["delay_s"]


def test_a_failure_of_ours_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("networks.resco.find_resco_maps", dict)
    with pytest.raises(UserError, match=r"town static seed 1: scenario resco:town"):
        command.run_benchmark([Trial("static", "town", "loops", 1, tmp_path)], 1)
    assert list(tmp_path.iterdir()) == []
