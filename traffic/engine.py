"""The main loop: readings in, signal commands and advice out, each step recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from traffic.alerts.alert import AlertOrder
from traffic.control import Command, Controller, Field, Observation, RawReadings, Team
from traffic.interlock import Interlock
from traffic.parts import (
    Advisor,
    Congestion,
    Estimator,
    Forecaster,
    Health,
    Incidents,
    Journal,
    Responses,
    StandIns,
)
from traffic.readings import LoopBatch
from traffic.response import Order
from traffic.snapshot import Snapshot, Strategy

# What a faulty controller may raise; anything else is a fault of the engine and stops it.
CONTROLLER_FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class _Alone:
    """A controller as a team of one."""

    def __init__(self, controller: Controller) -> None:
        self.junctions = (controller.junction,)
        self._controller = controller

    def decide(self, seen: Sequence[Observation]) -> tuple[Command | None]:
        return (self._controller.decide(seen[0]),)


@dataclass
class Engine:
    """Runs a field. Each step is one second; the strategic half runs when a batch is due.

    `budget_s` bounds one decision of one controller or one team on a live street; None where time
    is simulated, so that a run repeats exactly.
    """

    field: Field
    health: Health
    stand_ins: StandIns
    estimator: Estimator
    forecaster: Forecaster
    incidents: Incidents
    congestion: Congestion
    responses: Responses
    controllers: Sequence[Controller]
    interlock: Interlock
    advisor: Advisor
    journal: Journal
    budget_s: float | None = None
    teams: Sequence[Team] = ()

    def __post_init__(self) -> None:
        self._strategy: Strategy | None = None
        self._waiting: tuple[Order | AlertOrder, ...] = ()
        self._teams: list[Team | _Alone] = [*map(_Alone, self.controllers), *self.teams]

    def step(self, orders: Sequence[Order | AlertOrder] = ()) -> Snapshot | None:
        """Run one second; None when the field has ended. Orders wait for the next batch."""
        raw = self.field.read()
        self._waiting += tuple(orders)
        readings = self.health.screen(raw.centre, raw.now_s)
        if readings is not None:
            self._strategy = self._plan(readings)
        wanted, faults = self._decide_all(raw)
        shown, vetoes = self.interlock.admit(wanted, raw.now_s)
        self.field.apply(shown)
        snapshot = Snapshot(
            raw.now_s,
            raw,
            tuple(orders),
            self._strategy,
            readings is not None,
            tuple(wanted),
            shown,
            vetoes,
            faults,
            self.health.report,
        )
        self.journal.record(snapshot)
        return snapshot if self.field.advance() else None

    def _plan(self, readings: LoopBatch) -> Strategy:
        filled = self.stand_ins.fill(readings)
        state = self.estimator.update(readings)
        forecast = self.forecaster.update(filled, state)
        findings = self.incidents.update(readings)
        of_alerts = tuple(order for order in self._waiting if isinstance(order, AlertOrder))
        of_plans = tuple(order for order in self._waiting if isinstance(order, Order))
        self._waiting = ()
        alerts = self.congestion.update(readings, state, forecast, of_alerts, findings)
        response = self.responses.update(filled, state, forecast, alerts, of_plans)
        advisories = self.advisor.update(filled, state, forecast, response)
        refused = self.congestion.refused
        return Strategy(readings, state, forecast, alerts, response, advisories, refused, findings)

    def _decide_all(self, raw: RawReadings) -> tuple[list[Command], dict[str, str]]:
        asked = self._strategy.response.junctions if self._strategy else {}
        wanted: list[Command] = []
        faults: dict[str, str] = {}
        for team in self._teams:
            seen = [self.interlock.observe(junction, raw, asked) for junction in team.junctions]
            commands, fault = self._decide(team, seen)
            wanted += commands
            if fault is not None:
                faults |= dict.fromkeys(team.junctions, fault)
        return wanted, faults

    def _decide(
        self, team: Team | _Alone, seen: Sequence[Observation]
    ) -> tuple[list[Command], str | None]:
        """Ask a team; return its commands, or none and what went wrong."""
        begun = perf_counter()
        try:
            answer = team.decide(seen)
            if len(answer) != len(seen):
                raise ValueError(f"{len(answer)} commands for {len(seen)} junctions")
        except CONTROLLER_FAULTS as fault:
            return [], f"{type(fault).__name__}: {fault}"
        took_s = perf_counter() - begun
        if self.budget_s is not None and took_s > self.budget_s:
            return [], f"took {took_s:.3f} s, allowed {self.budget_s} s"
        return [command for command in answer if command is not None], None
