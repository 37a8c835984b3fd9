"""What SUMO itself has to offer at signals: programs that react, and its tools for fixed-time ones.

They are what a controller is compared with, and know what no controller here may: SUMO places
detectors for its reacting programs where it likes, and the tools read the whole demand beforehand.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from networks.plain_xml import find_home, find_program
from networks.scenario import Scenario
from networks.sumo_program import AMBER, PERMISSIVE, PROTECTED
from networks.sumo_xml import read_elements

PROGRAM_KINDS = ("actuated", "delay_based")
# netconvert's defaults for a reacting program; without them SUMO keeps each state's duration.
MIN_GREEN_S = 5
MAX_GREEN_S = 50


class ToolError(RuntimeError):
    """A tool of SUMO's crashed; holds its name and what it said last."""


def write_reacting(scenario: Scenario, kind: str, amber_s: float, path: Path) -> Path:
    """Write each junction's program as one that reacts, of a kind of PROGRAM_KINDS.

    States and offsets stay; amber lasts as told, and green from 5 to 50 s as SUMO's own detectors
    say.
    """
    root = ElementTree.Element("additional")
    for program in read_elements(scenario.net_file, "tlLogic"):
        if program.get("id") not in scenario.network.junctions:
            continue
        logic = ElementTree.SubElement(
            root, "tlLogic", {**program.attrib, "type": kind, "programID": kind}
        )
        for phase in program.iter("phase"):
            letters = set(phase.get("state", ""))
            times: dict[str, str] = {}
            if letters & set(AMBER):
                times = {"duration": f"{amber_s:g}"}
            elif letters & set(PROTECTED + PERMISSIVE):
                times = {"minDur": str(MIN_GREEN_S), "maxDur": str(MAX_GREEN_S)}
            ElementTree.SubElement(logic, "phase", {**phase.attrib, **times})
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return path


def write_adapted(scenario: Scenario, amber_s: float, folder: Path) -> tuple[Path, Path]:
    """Have SUMO's tools time the signals for the scenario's demand, then choose their offsets.

    tlsCycleAdaptation.py (Webster's cycle and splits from the routes of the hour), then
    tlsCoordinator.py. Returns their files in the order to be read. Raises ToolError.
    """
    net_file, route_file = str(scenario.net_file), str(folder / "routed.rou.xml")
    timed, offsets = folder / "timed.add.xml", folder / "offsets.add.xml"
    # The tools read whole routes only, and trips have none yet.
    window = ("--begin", f"{scenario.begin_s:g}", "--end", f"{scenario.end_s:g}")
    demand = ("--route-files", str(scenario.route_file), "--output-file", route_file)
    router = (find_program("duarouter"), "--net-file", net_file, *demand, *window)
    _call("duarouter", (*router, "--seed", str(scenario.seed), "--ignore-errors"), folder)
    times = ("--begin", f"{scenario.begin_s:g}", "--yellow-time", f"{amber_s:g}")
    files = ("--net-file", net_file, "--route-files", route_file, "--output-file", str(timed))
    _call_tool("tlsCycleAdaptation.py", (*files, *times), folder)
    files = ("--net-file", net_file, "--route-file", route_file, "--output-file", str(offsets))
    _call_tool("tlsCoordinator.py", (*files, "--additional-file", str(timed)), folder)
    return timed, offsets


def _call_tool(name: str, words: Sequence[str], folder: Path) -> None:
    _call(name, (sys.executable, str(find_home(name) / "tools" / name), *words), folder)


def _call(name: str, command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "SUMO_HOME": str(find_home(name))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ToolError(f"{name} ended with {done.returncode}: {said[-1] if said else 'no word'}")
