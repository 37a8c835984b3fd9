"""`traffic optimize`: flows, plans, and the files that they are handed over in."""

import csv
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

from rich.console import Console
from rich.table import Table

from api.errors import UserError
from api.evidence import finished_folder
from api.planning.command import Wish
from api.planning.diagram import draw_time_space
from api.planning.measuring import measure_flows
from api.planning.methods import (
    Plans,
    build_measured_sites,
    build_plans,
    build_sites,
)
from api.planning.refining import Refined, refine
from api.planning.trying import try_once
from networks import load
from networks.plan_files import load_flows, read_flows
from networks.resco import RESCO, load_protocol
from networks.scenario import Scenario
from networks.sumo_plans import ProgramWriter
from traffic.model import ModelError, Network
from traffic.optimization.arterial import find_arterial
from traffic.optimization.cycle import (
    Site,
    find_saturation,
    find_shortest_cycle_s,
    predict_delay_s,
)
from traffic.optimization.demand import build_given_streams
from traffic.optimization.greens import build_green_runs, get_green_s
from traffic.optimization.offsets import find_feeds
from traffic.optimization.pairs import pair_network
from traffic.plans import Period, PlanSet, check_conflicts, check_plan_set, describe_plans
from traffic.units import to_clock

FILES = ("plan.json", "plan.add.xml", "changes.csv", "time_space*.svg", "time_space*.png")


@dataclass(frozen=True, slots=True)
class Change:
    """What changed at one junction; delays without coordination, greens by phase."""

    from_s: float
    junction: str
    cycle_before_s: float
    cycle_s: float
    offset_before_s: float
    offset_s: float
    greens_before_s: str
    greens_s: str
    saturation_before: float
    saturation: float
    delay_before_s: float
    delay_s: float


def load_to_time(name: str, folder: Path, seed: int) -> Scenario:
    """Load a scenario whose signals are to be timed; RESCO maps under the benchmark's protocol."""
    if name.startswith(RESCO):
        return load_protocol(name.removeprefix(RESCO), folder, seed)
    return load(name, seed, folder)


def optimize(wish: Wish, console: Console) -> None:
    """Do it all; the files appear together or not at all. Raises one of USER_ERRORS."""
    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        scenarios = {
            seed: load_to_time(wish.scenario, Path(scratch) / str(seed), seed)
            for seed in wish.seeds
        }
        scenario = scenarios[wish.seeds[0]]
        check_wish(wish, scenario)
        sites_by_period = _find_sites(wish, scenarios)
        pairing = pair_network(scenario.network)
        found: Refined | None = None
        periods = []
        for from_s, sites in sites_by_period.items():
            if wish.method == "refine":
                found = refine(wish, scenarios, sites, console)
                plans: Plans = found.plans
            else:
                joined = pairing.join(sites)
                plans = pairing.split(
                    build_plans(
                        wish.method, pairing.network, joined, wish.cycle_s, wish.max_cycle_s
                    )
                )
            periods.append(Period(from_s, plans))
        plan_set = PlanSet(tuple(periods))
        problems = check_plan_set(scenario.network, plan_set)
        if problems:
            raise UserError([f"no lawful plan was found: {problem}" for problem in problems])
        changes = [
            change
            for period in plan_set.periods
            for change in list_changes(period, sites_by_period[period.from_s])
        ]
        simulated = None
        if found is None and len(plan_set.periods) == 1:
            today = dict(scenario.network.plans)
            simulated = try_once(scenario, [today, plan_set.periods[0].plans])
        with finished_folder(wish.out) as out:
            _write_all(out, wish, scenario, plan_set, changes, sites_by_period, found, simulated)
    print_changes(changes, console)
    if simulated is not None:
        print_trial(wish.seeds[0], *simulated, console)
    if found is not None:
        print_refined(found, console)
    for name in ("plan.json", "plan.add.xml"):
        console.print(str(wish.out / name), soft_wrap=True, markup=False, highlight=False)


def check_wish(wish: Wish, scenario: Scenario) -> None:
    """Raise UserError with every reason why the wish can't be met."""
    network = scenario.network
    problems = check_conflicts(network.junctions.values())
    name, most_s = "--max-cycle", wish.max_cycle_s
    if wish.cycle_s is not None:
        name, most_s = "--cycle", wish.cycle_s
    planned = pair_network(network)
    for site in planned.join(build_sites(network, dict.fromkeys(network.junctions, ()))):
        shortest_s = site.find_shortest_s()
        if wish.method == "webster":
            shortest_s = find_shortest_cycle_s(site.junction, site.plan)
        if shortest_s > most_s:
            problems.append(
                f"{name} {most_s:g}: junction {site.junction.id} needs {shortest_s:g} s for its "
                "minimum greens and intergreens"
            )
    for id_, junction in sorted(network.junctions.items()):
        greens = {run.phase for run in build_green_runs(junction, network.plans[id_])}
        problems += [
            f"junction {id_}: phase {phase.id} is green in no stage of its plan"
            for phase in junction.phases
            if phase.id not in greens
        ]
    if most_s != round(most_s):
        problems.append(f"{name} {most_s:g}: must be whole seconds")
    for from_s in wish.periods_s:
        if not scenario.begin_s <= from_s < scenario.end_s:
            problems.append(
                f"--periods {to_clock(from_s)}: must be within the scenario, "
                f"{to_clock(scenario.begin_s)} to {to_clock(scenario.end_s)}"
            )
    if len(wish.periods_s) > 1 and wish.flows is not None:
        problems.append("--periods: given flows are of one period; leave out --flows to measure")
    if len(wish.periods_s) > 1 and wish.method == "refine":
        problems.append("--periods: method refine works on one period; use offsets")
    if not network.detectors and wish.flows is None:
        problems.append(f"scenario {scenario.id} has no loops to measure flows with: give --flows")
    if wish.flows is not None:
        problems += _check_flows(network, wish.flows)
    problems += _check_out(wish.out)
    if problems:
        raise UserError(problems)


def _check_flows(network: Network, path: Path) -> list[str]:
    """Return what is wrong with a file of flows, line by line, and with what it asks."""
    try:
        flows, problems = read_flows(path)
    except ModelError as error:
        return str(error).splitlines()
    found = [f"file {path}: {problem}" for problem in problems]
    try:
        build_given_streams(network, flows)
    except ModelError as error:
        found += str(error).splitlines()
    return found


def _check_out(out: Path) -> list[str]:
    """Return why the plan can't be put there; only an earlier plan's folder is replaced."""
    if out.exists() and not out.is_dir():
        return [f"--out {out}: is a file"]
    others = [
        path.name
        for path in (out.iterdir() if out.exists() else ())
        if not any(fnmatch(path.name, pattern) for pattern in FILES)
    ]
    if others:
        return [f"--out {out}: holds other files, such as {min(others)}; nothing is replaced"]
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return [f"--out {out}: {there} is not writable"]
    return []


def _find_sites(wish: Wish, scenarios: Mapping[int, Scenario]) -> dict[float, tuple[Site, ...]]:
    """Return the sites by when their period begins."""
    scenario = scenarios[wish.seeds[0]]
    network = scenario.network
    if wish.flows is not None:
        return {0.0: build_sites(network, build_given_streams(network, load_flows(wish.flows)))}
    begins = wish.periods_s or (scenario.begin_s,)
    windows = list(zip(begins, (*begins[1:], scenario.end_s), strict=True))
    runs = [scenarios[wish.seeds[0]]] if wish.method == "refine" else list(scenarios.values())
    measured = measure_flows(runs, windows)
    keys = begins if len(begins) > 1 else (0.0,)
    return {
        from_s: build_measured_sites(network, flow_vph)
        for from_s, flow_vph in zip(keys, measured, strict=True)
    }


def list_changes(period: Period, sites: Sequence[Site]) -> list[Change]:
    """Return what a period's plans change at each junction."""
    changes = []
    for site in sites:
        old, new = site.plan, period.plans[site.junction.id]
        before, after = (
            (
                find_saturation(site, plan),
                predict_delay_s([site], {site.junction.id: plan}),
                " ".join(
                    f"{phase}:{green_s:g}"
                    for phase, green_s in get_green_s(build_green_runs(site.junction, plan)).items()
                ),
            )
            for plan in (old, new)
        )
        changes.append(
            Change(
                period.from_s,
                site.junction.id,
                old.cycle_s,
                new.cycle_s,
                old.offset_s,
                new.offset_s,
                before[2],
                after[2],
                round(before[0], 3),
                round(after[0], 3),
                round(before[1], 2),
                round(after[1], 2),
            )
        )
    return changes


def print_changes(changes: Sequence[Change], console: Console) -> None:
    """Print the table; before -> after."""
    columns = ("from", "junction", "cycle s", "offset s", "slots' saturation", "predicted delay s")
    table = Table(*columns, title="fixed-time plans, before -> after")
    for one in changes:
        table.add_row(
            to_clock(one.from_s),
            one.junction,
            f"{one.cycle_before_s:g} -> {one.cycle_s:g}",
            f"{one.offset_before_s:g} -> {one.offset_s:g}",
            f"{one.saturation_before:.2f} -> {one.saturation:.2f}",
            f"{one.delay_before_s:.1f} -> {one.delay_s:.1f}",
        )
    console.print(table)


def print_trial(seed: int, before_s: float, after_s: float, console: Console) -> None:
    """Say how the plans did in one simulated run, and whether they should be handed over."""
    console.print(f"simulated with seed {seed}: mean delay {before_s:.1f} s -> {after_s:.1f} s")
    if not after_s < before_s:
        console.print(
            "not better than the plans of today: do not hand it over; try --method refine",
            style="bold red",
        )


def print_refined(found: Refined, console: Console) -> None:
    """Say what the search came to, and what it gained on demand that no trial had seen."""
    compared = f"mean delay {found.delay_before_s:.1f} s -> {found.delay_s:.1f} s"
    if math.isnan(found.delay_before_s + found.delay_s):
        compared = "not compared, as the search was ended before"
    console.print(
        f"{found.found.trials} sets of plans tried; on other demand than theirs: {compared}"
    )
    if found.is_today:
        console.print("nothing better than the plans of today was found", style="bold red")
    elif found.delay_s >= found.delay_before_s:
        console.print("not better than the plans of today: do not hand it over", style="bold red")


def _write_all(
    out: Path,
    wish: Wish,
    scenario: Scenario,
    plan_set: PlanSet,
    changes: Sequence[Change],
    sites_by_period: Mapping[float, Sequence[Site]],
    found: Refined | None,
    simulated: Sequence[float] | None,
) -> None:
    network = scenario.network
    document = describe_plans(network, plan_set) | {"method": wish.method}
    if found is not None:
        document["search"] = {
            "trials": found.found.trials,
            "delay_s": found.found.cost.total,
            "history": [list(pair) for pair in found.found.history],
        }
        if not math.isnan(found.delay_before_s + found.delay_s):
            document["search"] |= {
                "final_delay_before_s": found.delay_before_s,
                "final_delay_s": found.delay_s,
            }
    if simulated is not None:
        document["simulated"] = {
            "seed": wish.seeds[0],
            "delay_before_s": simulated[0],
            "delay_s": simulated[1],
        }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    (out / "plan.json").write_text(text + "\n", encoding="utf-8")
    writer = ProgramWriter(scenario)
    if len(plan_set.periods) == 1:
        writer.write(plan_set.periods[0].plans, out / "plan.add.xml")
    else:
        stages = pair_network(network).follow(network, plan_set)
        writer.write_day(stages, scenario.begin_s, scenario.end_s, out / "plan.add.xml")
    with (out / "changes.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = [asdict(change) for change in changes]
        sheet = csv.DictWriter(stream, list(rows[0]))
        sheet.writeheader()
        sheet.writerows(rows)
    for place, period in enumerate(plan_set.periods):
        streams = {s.junction.id: s.streams for s in sites_by_period[period.from_s]}
        arterial = find_arterial(streams, find_feeds(network, streams))
        if arterial is not None:
            name = "time_space" if len(plan_set.periods) == 1 else f"time_space_{place + 1}"
            for ending in ("svg", "png"):
                draw_time_space(network, period.plans, arterial, out / f"{name}.{ending}")
