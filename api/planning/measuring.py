"""Flows of a scenario, measured by its loops in simulated runs with its signals as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from networks.scenario import Scenario
from networks.sumo_field import SumoField
from networks.sumo_plans import ProgramWriter
from traffic.flows import MeanFlows, group_loops
from traffic.model import SafePlan

SHIFT_S = 120.0  # departures come later by a random time up to this, each seed by other times


def shift_departures(scenario: Scenario) -> Scenario:
    """Return the scenario with other departure times, drawn by its seed."""
    if "--random-depart-offset" in scenario.sumo_options:
        return scenario
    options = (*scenario.sumo_options, "--random-depart-offset", f"{SHIFT_S:g}")
    return replace(scenario, sumo_options=options)


def follow_plans(scenario: Scenario, plans: Mapping[str, SafePlan], folder: Path) -> Scenario:
    """Return the scenario with these plans in force instead of its own."""
    programs = ProgramWriter(scenario).write(plans, folder / "followed.add.xml")
    return replace(
        scenario,
        network=replace(scenario.network, plans=dict(plans)),
        additional_files=(*scenario.additional_files, programs),
    )


def measure_flows(
    scenarios: Sequence[Scenario], windows_s: Sequence[tuple[float, float]]
) -> list[Mapping[str, float]]:
    """Return for each window group of loops -> mean flow, veh/h, over one run of each scenario.

    Groups are those of `traffic.flows.group_loops`. The field gives loops only, no truth.
    """
    meters = [MeanFlows(group_loops(scenarios[0].network)) for _ in windows_s]
    for scenario in scenarios:
        with SumoField(shift_departures(scenario)) as field:
            more = True
            while more:
                batch = field.read().centre
                if batch is not None:
                    middle_s = batch.end_s - batch.interval_s / 2
                    for meter, (begin_s, end_s) in zip(meters, windows_s, strict=True):
                        if begin_s <= middle_s < end_s:
                            meter.add(batch)
                more = field.advance()
    return [meter.build_flow_vph() for meter in meters]
