"""Runs of plain SUMO in processes of their own, for many short trials of fixed-time plans."""

import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from networks.plain_xml import find_program
from networks.scenario import Scenario
from networks.sumo_xml import read_elements

POLL_S = 0.02


class BareRunError(RuntimeError):
    """Plain SUMO refused or failed; in its own words."""


@dataclass(frozen=True, slots=True)
class BareRun:
    """One run of a scenario's demand, each departure later by a random time up to `shift_s`."""

    scenario: Scenario
    seed: int
    shift_s: float = 0.0
    scale: float = 1.0  # of the number of vehicles
    programs: tuple[Path, ...] = ()  # additional files with signal programs

    def build_command(self, out: Path) -> list[str]:
        scenario = self.scenario
        edges = out / "edges.add.xml"
        edges.write_text(
            '<additional><edgeData id="edges" file="edges.xml"/></additional>\n',
            encoding="utf-8",
        )
        # Nobody reads the loops here.
        street = [file for file in scenario.additional_files if file.name != "loops.add.xml"]
        options = {
            "--net-file": str(scenario.net_file),
            "--route-files": str(scenario.route_file),
            "--additional-files": ",".join(map(str, (*street, *self.programs, edges))),
            "--begin": f"{scenario.begin_s:g}",
            "--end": f"{scenario.end_s:g}",
            "--step-length": f"{scenario.step_s:g}",
            "--seed": str(self.seed),
            "--time-to-teleport": "-1",
            "--no-step-log": "true",
            "--no-warnings": "true",
            "--xml-validation": "never",
            "--tripinfo-output": str(out / "tripinfo.xml"),
            "--tripinfo-output.write-unfinished": "true",
            "--tripinfo-output.write-undeparted": "true",
            "--statistic-output": str(out / "statistic.xml"),
        }
        if self.shift_s > 0:
            options["--random-depart-offset"] = f"{self.shift_s:g}"
        if self.scale != 1:
            options["--scale"] = f"{self.scale:g}"
        given = set(scenario.sumo_options)
        ours = [word for key, value in options.items() if key not in given for word in (key, value)]
        return [find_program("sumo"), *ours, *scenario.sumo_options]

    def run(self, out: Path, is_told_to_end: Callable[[], bool]) -> bool:
        """Run it and leave tripinfo.xml, statistic.xml and edges.xml in a folder.

        Returns False when it was told to end before. Raises BareRunError when SUMO fails.
        """
        out.mkdir(parents=True, exist_ok=True)
        with (out / "said.txt").open("w", encoding="utf-8") as said:
            # In a session of its own: Ctrl-C in a terminal is for us to heed.
            process = subprocess.Popen(
                self.build_command(out), stdout=said, stderr=said, cwd=out, start_new_session=True
            )
            try:
                while process.poll() is None:
                    if is_told_to_end():
                        return False
                    _nap(process)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if process.returncode != 0:
            words = (out / "said.txt").read_text(encoding="utf-8", errors="replace").split()
            raise BareRunError(f"sumo ended with {process.returncode}: {' '.join(words)[:500]}")
        return True


def _nap(process: "subprocess.Popen[bytes]") -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=POLL_S)


def read_edge_loss_s(out: Path) -> dict[str, float]:
    """Return link -> time lost there by all vehicles of a finished run, vehicle seconds.

    The wait to depart counts at the link of departure. A vehicle that never departed tells no link;
    it waited where others of its flow did.
    """
    edges = read_elements(out / "edges.xml", "edge")
    lost_s = {edge.get("id", ""): float(edge.get("timeLoss", "0")) for edge in edges}
    origins: dict[str, str] = {}
    left_s: dict[str, float] = {}  # by flow
    for trip in read_elements(out / "tripinfo.xml", "tripinfo"):
        flow = trip.get("id", "").rpartition(".")[0]
        wait_s = float(trip.get("departDelay", "0"))
        link = trip.get("departLane", "").rpartition("_")[0]
        if link:
            origins[flow] = link
            lost_s[link] = lost_s.get(link, 0.0) + wait_s
        else:
            left_s[flow] = left_s.get(flow, 0.0) + wait_s
    for flow, wait_s in left_s.items():
        if flow in origins:
            lost_s[origins[flow]] = lost_s.get(origins[flow], 0.0) + wait_s
    return lost_s
