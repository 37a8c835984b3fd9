"""Puts an engine together: the parts that a scenario and a kind of response call for."""

from collections.abc import Iterable

from controllers import CONTROLLERS, build_deciders
from networks.scenario import Scenario
from traffic.advisory import Advisor
from traffic.congestion import Congestion
from traffic.control import Field, Sensing
from traffic.engine import Engine
from traffic.estimation import Estimator
from traffic.forecasting import Calendar, Forecaster, LoopForesight, LoopOutlooks
from traffic.incidents.detection import IncidentDetector
from traffic.incidents.normal import Usual
from traffic.incidents.sections import Layout, build_sections
from traffic.intake import Intake
from traffic.interlock import Interlock
from traffic.memory import Memory
from traffic.model import ModelError
from traffic.parts import Journal
from traffic.policy import Policy
from traffic.response import STEPS, ResponsePlan, Responses, Step, build_plan
from traffic.routing import LinkGraph
from traffic.warning.foresight import Foreseer
from traffic.warning.standins import StandIns

# What a run may compare; "nav" is drivers' own apps on present travel times, without us.
RESPONSES = ("none", "nav", "gating", "timing", "advice", "full")

USUAL_CONTROLLER = "responsive"  # where a response commands signals


def build_plans(scenario: Scenario) -> tuple[ResponsePlan, ...]:
    """Every kind of response that the scenario has the means for, at each of its bottlenecks."""
    plans = []
    for bottleneck in scenario.network.bottlenecks:
        for kind in STEPS:
            if kind == "none":
                continue
            plan = build_plan(
                bottleneck,
                kind,
                scenario.gates,
                scenario.decision_points,
                scenario.diversion_junctions,
            )
            if not list(plan.check(scenario.network)):
                plans.append(plan)
    return tuple(plans)


def find_managed(
    scenario: Scenario, kinds: Iterable[str], controller: str | None = None
) -> frozenset[str]:
    """The junctions that these kinds of response may command; the others run their own program.

    With a controller named, all whose signals can be read.
    """
    if controller is not None:
        return frozenset(scenario.network.junctions)
    steps = {step for kind in kinds for step in STEPS.get(kind, ())}
    managed: set[str] = set()
    if Step.GATING in steps:
        approaches = scenario.network.approaches
        managed |= {approaches[gate.approach].junction for gate in scenario.gates}
    if Step.TIMING in steps:
        managed |= set(scenario.diversion_junctions)
    return frozenset(managed) if scenario.network.bottlenecks else frozenset()


def find_loops(
    scenario: Scenario, managed: frozenset[str], controller: str, sensing: Sensing
) -> frozenset[str]:
    """The loops that a controller of that name wants read each second, at these junctions."""
    controllers, teams = build_deciders(controller, scenario.network, sorted(managed), sensing)
    return frozenset(loop for one in (*controllers, *teams) for loop in one.loops)


def build_forecaster(scenario: Scenario, calendar: Calendar | None = None) -> LoopForesight:
    """The forecast, with fitted odds where the scenario's bottlenecks have coefficients.

    `calendar` says which kinds of days are to come; without one day 0 is a Monday.
    """
    network, usual = scenario.network, scenario.usual_day
    base: Forecaster | Foreseer = Forecaster(network, usual=usual)
    if scenario.warnings:
        base = Foreseer(network, base, scenario.warnings, usual)
    return LoopForesight(base, LoopOutlooks(network, calendar, usual=usual))


def build_memory(scenario: Scenario, calendar: Calendar | None = None) -> Memory:
    """The parts of an engine that learn, before they have."""
    network = scenario.network
    layout = Layout(build_sections(network), tuple(network.detectors))
    return Memory(
        Intake(network),
        Estimator(network),
        build_forecaster(scenario, calendar),
        Usual(layout),
    )


def build_engine(
    scenario: Scenario,
    field: Field,
    managed: frozenset[str],
    journal: Journal,
    automatic: str | None = None,
    controller: str = USUAL_CONTROLLER,
    memory: Memory | None = None,
) -> Engine:
    """Build the engine of a scenario, with a controller of CONTROLLERS at each managed junction.

    `automatic` is the kind of response that a policy switches on; `memory` is of the same scenario,
    and the engine begins knowing nothing without one. Raises ModelError when the field
    senses less than the controller needs.
    """
    network = scenario.network
    needs = CONTROLLERS[controller].needs
    if needs.value > field.sensing.value:
        senses = field.sensing.name.lower()
        problem = f"needs a field that senses {needs.name.lower()}, this one senses {senses}"
        raise ModelError(f"controller {controller}", [problem])
    plans = build_plans(scenario)
    chosen = frozenset(plan.id for plan in plans if plan.id.endswith(f":{automatic}"))
    advisor = Advisor(network, LinkGraph(network), plans)
    ordered = sorted(managed)
    memory = memory or build_memory(scenario)
    controllers, teams = build_deciders(controller, network, ordered, field.sensing)
    return Engine(
        field,
        memory.health,
        StandIns(network),
        memory.estimator,
        memory.forecaster,
        IncidentDetector(network, memory.usual, scenario.alerts.incident_threshold),
        Congestion(network, scenario.alerts),
        Responses(network, plans, diverter=advisor, policy=Policy(chosen)),
        controllers,
        Interlock(
            (network.junctions[junction] for junction in ordered),
            {junction: network.plans[junction] for junction in ordered},
            scenario.begin_s,
        ),
        advisor,
        journal,
        teams=teams,
    )
