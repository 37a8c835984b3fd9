"""`traffic optimize` as an engineer meets it: what it leaves, run safely by plain SUMO."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_command import (
    Command,
    command,  # noqa: F401  a fixture
)

from networks import load
from networks.bare_runs import BareRun, BareRunError
from networks.plan_files import load_plans
from networks.sumo_plans import list_unsafe
from traffic.control import Aspect
from traffic.model import Junction

GOLDEN = Path(__file__).parent / "golden" / "plan"
ASPECTS = {"r": Aspect.RED, "y": Aspect.AMBER, "g": Aspect.PERMISSIVE, "G": Aspect.GREEN}


def run_plain(scenario_name: str, plan: Path, out: Path) -> dict[str, list[str]]:
    """Run plain SUMO with a plan; return junction -> state letters of each second."""
    scenario = load(scenario_name, 1, out / "scenario")
    seen = out / "seen.add.xml"
    seen.write_text(
        f'<additional><timedEvent type="SaveTLSStates" dest="{out / "states.xml"}"/></additional>'
    )
    assert BareRun(scenario, 1, programs=(plan, seen)).run(out / "run", lambda: False)
    states: dict[str, list[str]] = {}
    for element in ElementTree.parse(out / "states.xml").iter("tlsState"):
        if float(element.get("time", "nan")) % 1:
            continue  # some scenarios run in half seconds
        assert element.get("programID") == "optimized"
        states.setdefault(element.get("id", ""), []).append(element.get("state", ""))
    return states


def read_aspects(
    junction: Junction, indices: dict[str, tuple[int, ...]], states: list[str]
) -> list[dict[str, Aspect]]:
    return [
        {phase.id: ASPECTS[state[indices[phase.id][0]]] for phase in junction.phases}
        for state in states
    ]


@pytest.mark.parametrize("method", ["webster", "splits", "offsets"])
def test_plain_sumo_shows_the_plan_and_nothing_unsafe(
    command: Command,  # noqa: F811
    tmp_path: Path,
    method: str,
) -> None:
    out = tmp_path / "plan"
    flows = GOLDEN / "flows.csv"
    code, said = command("optimize", "crossing", "--flows", flows, "--method", method, "--out", out)
    assert code == 0, said
    scenario = load("crossing", 1, tmp_path / "crossing")
    junction = scenario.network.junctions["C"]
    plan = load_plans(out / "plan.json", scenario.network).periods[0].plans["C"]
    states = run_plain("crossing", out / "plan.add.xml", tmp_path)["C"]
    shown = read_aspects(junction, dict(scenario.signal_indices["C"]), states)
    assert list_unsafe(junction, shown) == []
    # Each phase of a slot is green at the slot's end.
    for second, aspects in enumerate(shown[:600]):
        now_s = scenario.begin_s + second
        if plan.stage_at(now_s) != plan.stage_at(now_s + 1):
            green = {p for p, aspect in aspects.items() if aspect is Aspect.GREEN}
            assert green == junction.get_stage(plan.stage_at(now_s)).protected


def test_a_small_plan_stays_as_it_was_reviewed(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    out = tmp_path / "plan"
    code, said = command("optimize", "crossing", "--flows", GOLDEN / "flows.csv", "--out", out)
    assert code == 0, said
    for name in ("plan.add.xml", "changes.csv"):
        assert (out / name).read_text() == (GOLDEN / name).read_text()
    document = json.loads((out / "plan.json").read_text())
    trial = document.pop("simulated")
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    assert text == (GOLDEN / "plan.json").read_text()
    # What SUMO makes of it may change with its version; what is said of it may not.
    assert trial["seed"] == 11
    assert ("do not hand it over" in said) == (trial["delay_s"] >= trial["delay_before_s"])


def test_plans_by_time_of_day_change_safely(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    out = tmp_path / "plan"
    code, said = command(
        "optimize", "corridor", "--seeds", 11, "--periods", "07:00,07:15", "--out", out
    )
    assert code == 0, said
    document = json.loads((out / "plan.json").read_text())
    assert [period["from_s"] for period in document["periods"]] == [25200, 26100]
    scenario = load("corridor", 1, tmp_path / "corridor")
    for id_, states in run_plain("corridor", out / "plan.add.xml", tmp_path).items():
        junction = scenario.network.junctions[id_]
        shown = read_aspects(junction, dict(scenario.signal_indices[id_]), states)
        assert list_unsafe(junction, shown) == []
        assert len({state for state in states if "G" in state}) > 1
    for ending in ("svg", "png"):
        assert (out / f"time_space_2.{ending}").stat().st_size > 5000


def test_refining_repeats_by_evaluations(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    words = ("optimize", "crossing", "--method", "refine", "--seeds", 11, "--evaluations", 24)
    kept = []
    for name in ("a", "b"):
        code, said = command(*words, "--out", tmp_path / name)
        assert code == 0, said
        kept.append((tmp_path / name / "plan.json").read_bytes())
    assert kept[0] == kept[1]
    search = json.loads(kept[0])["search"]
    costs = [cost for _, cost in search["history"]]
    assert search["trials"] == 24
    assert search["final_delay_s"] <= search["final_delay_before_s"]
    assert costs == sorted(costs, reverse=True)


def test_plans_of_today_stay_when_nothing_else_was_tried(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    words = ("--method", "refine", "--seeds", 11, "--evaluations", 1)
    code, said = command("optimize", "crossing", *words, "--out", tmp_path / "plan")
    assert code == 0, said
    assert "nothing better than the plans of today was found" in said
    network = load("crossing", 1, tmp_path / "crossing").network
    (period,) = load_plans(tmp_path / "plan" / "plan.json", network).periods
    today = network.plans["C"]
    assert period.plans["C"].slots == today.slots
    assert period.plans["C"].offset_s == today.offset_s % today.cycle_s
    search = json.loads((tmp_path / "plan" / "plan.json").read_text())["search"]
    assert search["final_delay_s"] == search["final_delay_before_s"]


def test_all_that_cannot_be_is_named_and_nothing_is_written(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    flows = tmp_path / "flows.csv"
    flows.write_text("approach,to_link,flow_vph\nN_C_bay,,9000\nelsewhere,,5\nE_C_bay,,many\n")
    out = tmp_path / "out"
    code, said = command(
        "optimize", "crossing", "--flows", flows, "--cycle", 20, "--periods", "09:00", "--out", out
    )
    assert code == 2
    for part in (
        "--cycle 20: junction C needs 40 s",
        "--periods 09:00: must be within",
        "9000 veh/h is above its saturation flow",
        "approach elsewhere: unknown",
        "line 4: flow_vph 'many' must be a number",
    ):
        assert part in said
    assert not out.exists()


def test_a_folder_with_other_files_is_left_alone(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "letter.txt").write_text("keep me")
    code, said = command("optimize", "crossing", "--out", tmp_path)
    assert code == 2
    assert "holds other files, such as letter.txt" in said
    assert (tmp_path / "letter.txt").read_text() == "keep me"


def test_a_run_that_sumo_refuses_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.add.xml"
    broken.write_text('<additional><tlLogic id="C" type="static" programID="x"/></additional>')
    scenario = load("crossing", 1, tmp_path / "crossing")
    with pytest.raises(BareRunError, match="sumo ended with"):
        BareRun(scenario, 1, programs=(broken,)).run(tmp_path / "run", lambda: False)


def test_ctrl_c_keeps_the_best_so_far(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ("optimize", "crossing", "--method", "refine", "--seeds", "11", "--budget", "600")
    process = subprocess.Popen(
        [sys.executable, "-m", "api.entry", *words, "--out", str(tmp_path / "out")],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(scratch)},
    )
    assert process.stdout is not None
    # Others may speak first, as SUMO does of a library that it does not like.
    assert any("trying plans" in line for line in iter(process.stdout.readline, ""))
    # A second trial has ended when the statistic of the first one is written anew; it is empty
    # while a trial runs.
    until = time.monotonic() + 60
    written: set[int] = set()
    while len(written) < 2 and time.monotonic() < until:
        stats = [f.stat() for f in scratch.glob("**/seed-*/statistic.xml")]
        written |= {stat.st_mtime_ns for stat in stats if stat.st_size > 0}
        time.sleep(0.02)
    assert len(written) >= 2, "no set of plans was tried"
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "the best plans so far are kept" in said
    assert "not compared, as the search was ended before" in " ".join(said.split())
    assert "nan" not in said
    assert (tmp_path / "out" / "plan.json").is_file()
