"""summary.json of a benchmark, and its tables: means over seeds with their 95 % intervals."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from api.benchmark.scores import FIELDS
from api.benchmark.trials import PEERS, Result
from api.evidence import write_whole
from traffic.performance import Interval, mean_interval

FORMAT = 1
SUMMARY = "summary.json"
TROUBLES = ("teleports", "collisions", "vetoes", "faults")  # none of which should be
PROTOCOL = (
    "RESCO maps, one hour from each map's own begin in steps of 1 s, no teleports, default "
    "insertion. Controllers: the green stages of program 0 in any order, amber 3 s (2 s on "
    "arterial4x4), no all-red, green at least 5 s. Peers: program 0 as it is; SUMO's reacting "
    "programs with its states, the same amber and green from 5 to 50 s. Seeds are SUMO's."
)


def write_overview(folder: Path, results: Iterable[Result]) -> dict[str, Any]:
    """Write `folder/summary.json` from the finished runs and return its content."""
    overview = build_overview(results)
    text = json.dumps(overview, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / SUMMARY, text + "\n")
    return overview


def build_overview(results: Iterable[Result]) -> dict[str, Any]:
    """Fold results into {map: {controller: {tier, seeds, mean, crashes}}}, every field told."""
    maps: dict[str, dict[str, list[Result]]] = {}
    for result in sorted(results, key=_rank):
        maps.setdefault(result.map_id, {}).setdefault(result.controller, []).append(result)
    return {
        "format": FORMAT,
        "protocol": PROTOCOL,
        "fields": dict(FIELDS),
        "interval": "Student's t over the seeds, 95 %; none with a single seed",
        "maps": {
            map_id: {controller: _fold(of_seeds) for controller, of_seeds in by_controller.items()}
            for map_id, by_controller in maps.items()
        },
    }


def _rank(result: Result) -> tuple[str, int, str, int]:
    peers = list(PEERS)
    place = peers.index(result.controller) if result.controller in peers else len(peers)
    return result.map_id, place, result.controller, result.seed


def _fold(results: list[Result]) -> dict[str, Any]:
    means = {name: mean_interval(_find_values(results, name)) for name in FIELDS}
    return {
        "tier": None if results[0].controller in PEERS else results[0].tier,
        "seeds": {str(r.seed): dict(r.figures) for r in results if r.crash is None},
        "mean": {name: asdict(mean) for name, mean in means.items() if mean is not None},
        "crashes": {str(r.seed): r.crash for r in results if r.crash is not None},
    }


def _find_values(results: Iterable[Result], name: str) -> list[float]:
    return [float(v) for r in results if (v := r.figures.get(name)) is not None]


def print_overview(overview: Mapping[str, Any], console: Console) -> None:
    """Print one table per map."""
    for map_id, controllers in overview["maps"].items():
        table = Table("controller", "seeds", title=map_id)
        for column in ("delay s", "95 %", "never departed", "largest wait s"):
            table.add_column(column, justify="right")
        table.add_column("troubles")
        for controller, found in controllers.items():
            name = f"{controller} ({found['tier']})" if found["tier"] else controller
            crashes = [f"crashed: {crash}" for crash in dict.fromkeys(found["crashes"].values())]
            if not found["seeds"]:
                table.add_row(name, "0", "", "", "", "", "; ".join(crashes))
                continue
            mean = {key: Interval(**value) for key, value in found["mean"].items()}
            counts = ((mean[count].mean, count) for count in TROUBLES if count in mean)
            troubles = [f"{number:.3g} {count}" for number, count in counts if number]
            table.add_row(
                name,
                str(len(found["seeds"])),
                f"{mean['delay_s'].mean:.1f}",
                _tell_ends(mean["delay_s"]),
                f"{mean['never_departed'].mean:.1f}",
                f"{mean['largest_wait_s'].mean:.0f}",
                "; ".join((*troubles, *crashes)),
            )
        console.print(table)


def _tell_ends(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f"{interval.low:.1f} to {interval.high:.1f}"
