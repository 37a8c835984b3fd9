"""Response plans: what may be done about a bottleneck, who switched it on, how it ends.

A plan stands by until an operator or the policy activates it. When it is stopped it recovers:
gates open step by step, then it stands by again.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from traffic.congestion import Alert
from traffic.control import JunctionOrder
from traffic.estimation import State
from traffic.flows import build_approach_flows
from traffic.forecasting import Forecast
from traffic.model import ModelError, Network, SafePlan
from traffic.optimization.gating import Gate, GateKeeper, GatingSettings
from traffic.optimization.splits import optimize_splits
from traffic.optimization.streams import add_diversion, build_streams
from traffic.policy import Policy
from traffic.readings import LoopBatch


class Step(Enum):
    """One thing that a plan does; the emergency lane is opened by people, the plan asks it."""

    GATING = "gating"
    TIMING = "timing"
    ADVICE = "advice"
    EMERGENCY_LANE = "emergency_lane"


STEPS: Mapping[str, frozenset[Step]] = {
    "none": frozenset(),
    "gating": frozenset({Step.GATING}),
    "timing": frozenset({Step.TIMING}),
    "advice": frozenset({Step.ADVICE}),
    "full": frozenset(Step),
}


@dataclass(frozen=True, slots=True)
class DecisionPoint:
    """Where drivers can still choose, and where the ways join again beyond the bottleneck.

    `share` is the part of the traffic at `from_link` that goes through the bottleneck to
    `to_link`, 0..1: the city's knowledge, as loops see no routes. `loops` count the traffic at
    `from_link`; without any, those that lie on it do.
    """

    from_link: str
    to_link: str
    share: float
    loops: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResponsePlan:
    """What is done about one bottleneck, and where."""

    id: str
    title: Mapping[str, str]  # language -> title
    bottleneck: str
    steps: frozenset[Step]
    gates: tuple[Gate, ...] = ()
    decision_points: tuple[DecisionPoint, ...] = ()
    diversion_junctions: tuple[str, ...] = ()

    def check(self, network: Network) -> Iterable[str]:
        """Yield what the plan names and the network lacks."""
        if self.bottleneck not in network.bottlenecks:
            yield f"unknown bottleneck {self.bottleneck}"
        for junction in self.diversion_junctions:
            if junction not in network.junctions:
                yield f"unknown diversion junction {junction}"
        for gate in self.gates:
            if gate.approach not in network.approaches:
                yield f"gate at unknown approach {gate.approach}"
        for point in self.decision_points:
            for link in (point.from_link, point.to_link):
                if link not in network.links:
                    yield f"decision point on unknown link {link}"
            for loop in point.loops:
                if loop not in network.detectors:
                    yield f"decision point at {point.from_link} names unknown detector {loop}"
            if not 0 <= point.share <= 1:
                yield f"decision point at {point.from_link}: share {point.share} is not 0..1"
        if Step.GATING in self.steps and not self.gates:
            yield "gating without gates"
        if Step.ADVICE in self.steps and not self.decision_points:
            yield "advice without decision points"
        if Step.TIMING in self.steps and not self.diversion_junctions:
            yield "timing without diversion junctions"


_TITLES = {
    "gating": {"en": "Hold back at the gates", "zh": "入口截流"},
    "timing": {"en": "Retime the diversion routes", "zh": "分流路线配时调整"},
    "advice": {"en": "Advise detours", "zh": "绕行诱导"},
    "full": {"en": "Gate, retime, advise, clear the emergency lane", "zh": "截流配时诱导应急联动"},
}


def build_plan(
    bottleneck: str,
    kind: str,
    gates: Iterable[Gate] = (),
    decision_points: Iterable[DecisionPoint] = (),
    diversion_junctions: Iterable[str] = (),
) -> ResponsePlan:
    """Return the plan of one kind, a key of STEPS other than "none"; its id is bottleneck:kind.

    Raises ModelError for an unknown kind.
    """
    if kind not in _TITLES:
        raise ModelError("response", [f"unknown kind {kind!r}, known: {', '.join(_TITLES)}"])
    return ResponsePlan(
        f"{bottleneck}:{kind}",
        _TITLES[kind],
        bottleneck,
        STEPS[kind],
        tuple(gates),
        tuple(decision_points),
        tuple(diversion_junctions),
    )


@dataclass(frozen=True, slots=True)
class Order:
    """What a person or the policy wants of a plan: kind "activate" or "stop"."""

    kind: str
    plan: str
    by: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """An order that could not be followed, and why."""

    order: Order
    reason: str


class Life(Enum):
    """Where a plan stands between two stand-bys."""

    ACTIVE = "active"
    RECOVERING = "recovering"


@dataclass(frozen=True)
class ActivePlan:
    """A plan at work, since when, by whose order."""

    plan: ResponsePlan
    life: Life
    since_s: float
    by: str


@dataclass(frozen=True)
class Response:
    """What is switched on and what follows for each junction."""

    time_s: float
    active: tuple[ActivePlan, ...] = ()
    junctions: Mapping[str, JunctionOrder] = field(default_factory=dict)
    advise: frozenset[str] = frozenset()  # bottlenecks
    refused: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Diversion:
    """A flow that is expected to leave its usual way for the links `via`."""

    via: tuple[str, ...]
    flow_vph: float


class Diverter(Protocol):
    """Foretells the flows that advice would divert."""

    def predict(
        self, plan: ResponsePlan, batch: LoopBatch, state: State, forecast: Forecast
    ) -> tuple[Diversion, ...]: ...


class Responses:
    """Holds the plans and runs those that are switched on: call `update` with each batch.

    Raises ModelError listing everything that the plans or the policy name in vain.
    """

    def __init__(
        self,
        network: Network,
        plans: Iterable[ResponsePlan],
        settings: GatingSettings | None = None,
        diverter: Diverter | None = None,
        policy: Policy | None = None,
        retime_s: float = 300.0,
    ) -> None:
        self.plans = {plan.id: plan for plan in plans}
        self._network = network
        self._settings = settings or GatingSettings()
        self._diverter = diverter
        self._policy = policy or Policy()
        self._retime_s = retime_s
        problems = [f"{p.id}: {text}" for p in self.plans.values() for text in p.check(network)]
        problems += [
            f"policy names unknown plan {p}" for p in sorted(self._policy.plans - self.plans.keys())
        ]
        if problems:
            raise ModelError("response plans", problems)
        for plan in self.plans.values():  # a gate that cannot be is found now, not in the jam
            self._build_keeper(plan)
        self._flows = build_approach_flows(network)
        self._active: dict[str, ActivePlan] = {}
        self._keepers: dict[str, GateKeeper] = {}
        self._timings: dict[str, _Timing] = {}
        self._alerted_s: dict[str, float] = {}  # bottleneck -> last time with a severe alert
        self._barred: set[str] = set()  # plans that a person stopped while the alert stands

    def update(
        self,
        batch: LoopBatch,
        state: State,
        forecast: Forecast,
        alerts: tuple[Alert, ...],
        orders: tuple[Order, ...],
    ) -> Response:
        """Follow the orders, then the policy; return what is on and what junctions are asked."""
        now_s = batch.end_s
        self._flows.update(batch)
        refused = [
            Refusal(order, reason) for order in orders if (reason := self._follow(order, now_s))
        ]
        for order in self._ask_policy(alerts, now_s):
            self._follow(order, now_s)
        caps: dict[str, dict[str, float]] = {}
        retimed: dict[str, SafePlan] = {}
        for entry in tuple(self._active.values()):
            plan = entry.plan
            keeper = self._keepers.get(plan.id)
            if entry.life is Life.RECOVERING:
                since_s = now_s - entry.since_s
                if since_s >= self._recovery_s(plan):
                    del self._active[plan.id]
                    self._keepers.pop(plan.id, None)
                    self._timings.pop(plan.id, None)
                    continue
                asked = keeper.release(since_s) if keeper else {}
            else:
                asked = keeper.update(batch, state, self._flows.flow_vph) if keeper else {}
                if Step.TIMING in plan.steps:
                    self._retime(plan, batch, state, forecast)
            for junction, phases in asked.items():
                merged = caps.setdefault(junction, {})
                for phase, cap_s in phases.items():
                    merged[phase] = min(cap_s, merged.get(phase, cap_s))
            if plan.id in self._timings:
                retimed |= self._timings[plan.id].plans
        junctions = {
            junction: JunctionOrder(retimed.get(junction), caps.get(junction, {}))
            for junction in sorted(caps.keys() | retimed.keys())
        }
        advise = frozenset(
            entry.plan.bottleneck
            for entry in self._active.values()
            if entry.life is Life.ACTIVE and Step.ADVICE in entry.plan.steps
        )
        return Response(now_s, tuple(self._active.values()), junctions, advise, tuple(refused))

    def _follow(self, order: Order, now_s: float) -> str | None:
        """Carry out an order; return why it cannot be, if it cannot."""
        plan = self.plans.get(order.plan)
        if plan is None:
            return f"unknown plan {order.plan}"
        entry = self._active.get(plan.id)
        if order.kind == "activate":
            self._barred.discard(plan.id)
            if entry is None or entry.life is Life.RECOVERING:
                self._active[plan.id] = ActivePlan(plan, Life.ACTIVE, now_s, order.by)
                keeper = self._build_keeper(plan)
                if keeper is not None:
                    self._keepers[plan.id] = keeper
            return None
        if order.kind == "stop":
            if entry is None:
                return f"plan {plan.id} is not active"
            if order.by != _POLICY:
                self._barred.add(plan.id)
            if entry.life is Life.ACTIVE:
                self._active[plan.id] = replace(
                    entry, life=Life.RECOVERING, since_s=now_s, by=order.by
                )
            return None
        return f"unknown kind of order {order.kind!r}, known: activate, stop"

    def _ask_policy(self, alerts: tuple[Alert, ...], now_s: float) -> Iterable[Order]:
        heeded = (a.bottleneck for a in alerts if self._policy.heeds(a, now_s))
        severe = {bottleneck for bottleneck in heeded if bottleneck is not None}
        self._alerted_s |= dict.fromkeys(severe, now_s)
        for plan_id in sorted(self._policy.plans):
            bottleneck = self.plans[plan_id].bottleneck
            entry = self._active.get(plan_id)
            if bottleneck not in severe:
                self._barred.discard(plan_id)
            is_on = entry is not None and entry.life is Life.ACTIVE
            if bottleneck in severe and not is_on and plan_id not in self._barred:
                yield Order("activate", plan_id, _POLICY, now_s)
            elif is_on and entry is not None and entry.by == _POLICY:
                quiet_s = now_s - self._alerted_s.get(bottleneck, entry.since_s)
                if (
                    quiet_s >= self._policy.quiet_s
                    and now_s - entry.since_s >= self._policy.least_s
                ):
                    yield Order("stop", plan_id, _POLICY, now_s)

    def _recovery_s(self, plan: ResponsePlan) -> float:
        """As long as gates take to open; the diverted are still under way on retimed signals."""
        keeper = self._keepers.get(plan.id)
        if keeper is not None:
            return keeper.release_s
        cycles = [self._network.plans[j].cycle_s for j in plan.diversion_junctions]
        return self._settings.release_cycles * max(cycles, default=0.0)

    def _build_keeper(self, plan: ResponsePlan) -> GateKeeper | None:
        if Step.GATING not in plan.steps:
            return None
        bottleneck = self._network.bottlenecks[plan.bottleneck]
        return GateKeeper(self._network, bottleneck, plan.gates, self._settings)

    def _retime(
        self, plan: ResponsePlan, batch: LoopBatch, state: State, forecast: Forecast
    ) -> None:
        """Fit the splits at activation, before the diverted arrive, and then now and again."""
        timing = self._timings.setdefault(plan.id, _Timing(dict(self._flows.flow_vph)))
        if batch.end_s < timing.due_s:
            return
        timing.due_s = batch.end_s + self._retime_s
        before_vph = {
            approach: self._flows.flow_vph[approach] if math.isnan(before) else before
            for approach, before in timing.before_vph.items()
        }
        diversions: tuple[Diversion, ...] = ()
        if self._diverter is not None:
            diversions = self._diverter.predict(plan, batch, state, forecast)
        for junction_id in plan.diversion_junctions:
            # Counts of now may hold some of the diverted: take them or the counts from before
            # the advice with the whole diversion, whichever is more.
            streams = build_streams(self._network, junction_id, before_vph)
            for diversion in diversions:
                streams = add_diversion(
                    self._network, junction_id, streams, diversion.via, diversion.flow_vph
                )
            now = build_streams(self._network, junction_id, self._flows.flow_vph)
            streams = tuple(one.or_more(other) for one, other in zip(streams, now, strict=True))
            junction = self._network.junctions[junction_id]
            found = optimize_splits(junction, self._network.plans[junction_id], streams)
            if found.is_answer or junction_id not in timing.plans:
                timing.plans[junction_id] = found.plan


_POLICY = "policy"


class _Timing:
    """Flows from before the advice and the plans fitted since."""

    def __init__(self, before_vph: Mapping[str, float]) -> None:
        self.before_vph = before_vph
        self.due_s = float("-inf")
        self.plans: dict[str, SafePlan] = {}
