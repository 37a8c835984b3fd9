"""Detour advice: who is asked to take which way, while it helps and no second jam follows.

The flow to divert is the predicted inflow beyond a target use of the bottleneck's capacity. It is
taken from the decision points whose detour costs the least, each detour only up to its spare
capacity. Shares rise and fall in steps, so that advice neither flips nor ends at once.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

from traffic.detours import Detour, DetourCase, build_case
from traffic.diversion import Option, allocate, queue_delay_s
from traffic.estimation import State
from traffic.flows import build_approach_flows
from traffic.forecasting import Forecast
from traffic.model import ModelError, Network, SafePlan
from traffic.optimization.gating import is_broken
from traffic.readings import LoopBatch
from traffic.response import Diversion, Life, Response, ResponsePlan, Step
from traffic.routing import LinkGraph

_QUANTILES = (0.1, 0.5, 0.9)  # of Forecast.inflow_vph


@dataclass(frozen=True)
class AdvisorySettings:
    """How advice is given. Raises ModelError listing all impossible settings."""

    compliance: float = 0.3  # share of the addressed that follow, 0..1, an assumption
    accepted_penalty_s: float = 300.0  # longest extra time asked of a driver
    target_use: float = 0.9  # of the bottleneck's capacity, 0..1
    quantile: float = 0.5  # of the predicted inflow: .1, .5 or .9
    horizon_s: float = 900.0  # the worst predicted inflow up to this lead counts
    spare_use: float = 0.8  # of a detour's capacity that may be used, 0..1
    unseen_use: float = 0.5  # of its capacity, taken as used where nothing measures, 0..1
    rise: float = 0.25  # of a share, per update
    fall: float = 0.1
    least_share: float = 0.02  # below, no advice is given
    valid_s: float = 90.0  # without renewal
    learn_s: float = 600.0  # time constant until diverted drivers are missing in the forecast
    least_discharge: float = 0.2  # of the usual discharge, that an incident is taken to leave
    broken_speed: float = 0.6  # of free speed at the bottleneck, below which it has broken down

    def __post_init__(self) -> None:
        problems = [
            f"{f.name} {getattr(self, f.name)} must be above 0"
            for f in fields(self)
            if not getattr(self, f.name) > 0
        ]
        problems += [
            f"{name} {getattr(self, name)} must be at most 1"
            for name in (f.name for f in fields(self) if not f.name.endswith("_s"))
            if getattr(self, name) > 1
        ]
        if self.quantile not in _QUANTILES:
            problems.append(f"quantile {self.quantile} must be one of {_QUANTILES}")
        if problems:
            raise ModelError("advisory settings", problems)


@dataclass(frozen=True)
class Advisory:
    """A detour advised to a share of the drivers at a decision point."""

    id: str
    bottleneck: str
    from_link: str
    to_link: str
    via: tuple[str, ...]  # links of the detour, from from_link to to_link
    avoid: tuple[str, ...]  # links
    share: float  # of complying drivers at from_link bound through the bottleneck, 0..1
    usual_time_s: float  # predicted for those who stay, its queue included
    detour_time_s: float
    penalty_s: float  # detour time less the usual one; below 0 where the detour is quicker
    issued_s: float
    expires_s: float
    text: Mapping[str, str]  # language -> text


@dataclass(frozen=True)
class _Wish:
    """What one update finds for a case."""

    options: Sequence[Option]
    rows: Sequence[int]  # detour of each option
    limit_vph: Sequence[float]  # of each option, 0 where it costs more than drivers accept
    potential_vph: Sequence[float]  # per decision point
    required_vph: float | None  # None while nothing is forecast
    usual_s: Sequence[float]  # per decision point
    detour_s: Sequence[float]  # per detour
    penalty_s: Sequence[float]  # per detour


class Advisor:
    """Advises detours for the plans in force: call `update` with each batch.

    Raises ModelError listing every decision point without a way through its bottleneck or
    without a way around it.
    """

    def __init__(
        self,
        network: Network,
        graph: LinkGraph,
        plans: Iterable[ResponsePlan],
        settings: AdvisorySettings | None = None,
    ) -> None:
        self._network = network
        self._graph = graph
        self._settings = settings or AdvisorySettings()
        self._flows = build_approach_flows(network)
        problems: list[str] = []
        self._cases: dict[str, DetourCase] = {}
        for plan in plans:
            if Step.ADVICE in plan.steps or Step.TIMING in plan.steps:
                case = build_case(
                    network,
                    graph,
                    plan,
                    self._settings.spare_use,
                    self._settings.unseen_use,
                    problems,
                )
                if case is not None:
                    self._cases[plan.id] = case
        if problems:
            raise ModelError("detours", problems)

    def predict(
        self, plan: ResponsePlan, batch: LoopBatch, state: State, forecast: Forecast
    ) -> tuple[Diversion, ...]:
        """Return what the plan's advice would divert once in full force.

        At junctions that the plan may retime it is limited by what their splits can give, and waits
        as the safe plan lets it: they are to be fitted to it, for the worst that is forecast.
        """
        case = self._cases.get(plan.id)
        if case is None:
            return ()
        free = frozenset(plan.diversion_junctions if Step.TIMING in plan.steps else ())
        waits_s = case.capacity.waits_s(self._flows.flow_vph, {}, case.own_vph, free)
        wish = self._wish(case, batch, state, forecast, math.inf, waits_s)
        spare = case.capacity.find(state, self._flows.flow_vph, {}, case.own_vph, free)
        required = sum(case.flows_vph) if wish.required_vph is None else wish.required_vph
        found = allocate(required, wish.options, wish.potential_vph, spare, wish.limit_vph)
        return tuple(
            Diversion(case.detours[row].via, flow)
            for row, flow in zip(wish.rows, found, strict=True)
            if flow > 0
        )

    def update(
        self, batch: LoopBatch, state: State, forecast: Forecast, response: Response
    ) -> tuple[Advisory, ...]:
        """Return the advisories in force until the next update."""
        self._flows.update(batch)
        for case in self._cases.values():
            case.flows.update(batch)
            case.through.update(batch)
        # The plan activated last speaks for its bottleneck; others that advised there fade out.
        on = {
            entry.plan.bottleneck: entry.plan.id
            for entry in sorted(response.active, key=lambda entry: entry.since_s)
            if entry.life is Life.ACTIVE and Step.ADVICE in entry.plan.steps
        }
        plans = {j: order.plan for j, order in response.junctions.items() if order.plan is not None}
        taken: dict[str, float] = {}  # by the cases before
        advisories: list[Advisory] = []
        for case in self._cases.values():
            is_on = on.get(case.bottleneck.id) == case.plan.id
            if is_on or any(case.shares):
                advisories += self._advise(case, batch, state, forecast, plans, is_on, taken)
            self._learn(case, batch.interval_s)
        return tuple(advisories)

    def _advise(
        self,
        case: DetourCase,
        batch: LoopBatch,
        state: State,
        forecast: Forecast,
        plans: Mapping[str, SafePlan],
        is_on: bool,
        taken: dict[str, float],
    ) -> list[Advisory]:
        own_vph = case.own_vph
        waits_s = case.capacity.waits_s(self._flows.flow_vph, plans, own_vph)
        wish = self._wish(case, batch, state, forecast, self._settings.horizon_s, waits_s)
        case.capacity.note(state, self._flows.flow_vph, own_vph, batch.interval_s)
        spare = case.capacity.find(state, self._flows.flow_vph, plans, own_vph)
        spare = {use: value - taken.get(use, 0.0) for use, value in spare.items()}
        targets = list(case.shares) if is_on else [0.0] * len(case.shares)
        full = {row: wish.potential_vph[case.detours[row].point] for row in wish.rows}
        if is_on and wish.required_vph is not None:
            fading_vph = sum(
                sum(other.flows_vph)
                for other in self._cases.values()
                if other is not case and other.bottleneck.id == case.bottleneck.id
            )
            wanted = allocate(
                wish.required_vph - fading_vph,
                wish.options,
                wish.potential_vph,
                spare,
                wish.limit_vph,
            )
            targets = [0.0] * len(case.shares)
            for row, flow in zip(wish.rows, wanted, strict=True):
                targets[row] = flow / full[row] if full[row] > 0 else 0.0
        steps = [
            share + min(max(target - share, -self._settings.fall), self._settings.rise)
            for share, target in zip(case.shares, targets, strict=True)
        ]
        limits = [steps[row] * full[row] for row in wish.rows]
        given = allocate(math.inf, wish.options, wish.potential_vph, spare, limits)
        case.shares = [0.0] * len(case.shares)
        case.flows_vph = [0.0] * len(case.shares)
        for row, flow in zip(wish.rows, given, strict=True):
            share = flow / full[row] if full[row] > 0 else 0.0
            if share >= self._settings.least_share:
                case.shares[row], case.flows_vph[row] = share, flow
                for use in case.detours[row].uses:
                    taken[use] = taken.get(use, 0.0) + flow
        if not is_on and not any(case.shares):
            case.capacity.forget()
        return self._publish(case, wish, batch.end_s)

    def _learn(self, case: DetourCase, interval_s: float) -> None:
        """Let the diverted flow fade into what forecasts miss, as their smoothing does."""
        gain = 1 - math.exp(-interval_s / self._settings.learn_s)
        for point in range(len(case.usual)):
            flow = sum(
                flow
                for flow, detour in zip(case.flows_vph, case.detours, strict=True)
                if detour.point == point and case.is_seen[point]
            )
            case.missed_vph[point] += gain * (flow - case.missed_vph[point])

    def _wish(
        self,
        case: DetourCase,
        batch: LoopBatch,
        state: State,
        forecast: Forecast,
        horizon_s: float,
        waits_s: Mapping[str, float],
    ) -> _Wish:
        settings, bottleneck = self._settings, case.bottleneck
        link_time_s = dict(zip(state.links, map(float, state.travel_time_s), strict=True))
        broken = is_broken(self._network, bottleneck, batch, settings.broken_speed)
        capacity_vph, discharge_vph = bottleneck.capacity_vph, bottleneck.discharge_vph
        if broken:  # what leaves the queue is known; an incident lets less through than usual
            passing_vph = case.through.flow_vph[bottleneck.id]
            if not math.isnan(passing_vph):
                # What has stopped for the moment will not stand for ever.
                least_vph = settings.least_discharge * discharge_vph
                discharge_vph = min(discharge_vph, max(passing_vph, least_vph))
            capacity_vph = discharge_vph
        inflow = [math.nan] * len(forecast.lead_s)
        if bottleneck.id in forecast.bottlenecks:
            row = forecast.bottlenecks.index(bottleneck.id)
            inflow = [
                float(v) for v in forecast.inflow_vph[row, :, _QUANTILES.index(settings.quantile)]
            ]
        ahead = [
            value
            for value, lead in zip(inflow, forecast.lead_s, strict=True)
            if lead <= horizon_s and not math.isnan(value)
        ]
        required = None
        if ahead:
            required = max(ahead) + sum(case.missed_vph) - settings.target_use * capacity_vph
        # Those who stay meet a queue that lacks the diverted.
        diverted_vph = sum(case.flows_vph) - sum(case.missed_vph)
        left = [max(value - diverted_vph, 0.0) for value in inflow]
        usual_s = []
        for usual in case.usual:
            arrivals = self._graph.arrivals_s(usual, link_time_s)
            at_s = arrivals[usual.index(bottleneck.link) - 1]
            wait_s = queue_delay_s(left, forecast.lead_s, capacity_vph, discharge_vph, at_s)
            usual_s.append(arrivals[-1] + wait_s)
        detour_s = [self._find_time_s(detour, link_time_s, waits_s) for detour in case.detours]
        penalty_s = [t - usual_s[d.point] for t, d in zip(detour_s, case.detours, strict=True)]
        blocked = {
            self._network.approaches[approach].links[-1]
            for approach, spills in zip(state.approaches, state.spillback, strict=True)
            if spills
        }
        # Too long a detour loses its drivers step by step, one that spills back at once.
        rows = [i for i, detour in enumerate(case.detours) if blocked.isdisjoint(detour.via)]
        limits = [math.inf if penalty_s[i] <= settings.accepted_penalty_s else 0.0 for i in rows]
        options = [Option(case.detours[i].point, penalty_s[i], case.detours[i].uses) for i in rows]
        passing = (case.flows.flow_vph[f"{i}"] for i in range(len(case.usual)))
        potential = [
            settings.compliance * point.share * (0.0 if math.isnan(flow) else flow)
            for point, flow in zip(case.plan.decision_points, passing, strict=True)
        ]
        return _Wish(options, rows, limits, potential, required, usual_s, detour_s, penalty_s)

    def _find_time_s(
        self, detour: Detour, link_time_s: Mapping[str, float], waits_s: Mapping[str, float]
    ) -> float:
        """Return a detour's time: signals of its own by their waits, all else as measured.

        The time measured on a link before such a signal holds the wait of its other turns.
        """
        own = {a for a, b in pairwise(detour.via) if f"{a}>{b}" in detour.uses}
        roads_s = {link: time_s for link, time_s in link_time_s.items() if link not in own}
        return self._graph.path_time_s(detour.via, roads_s, waits_s)

    def _publish(self, case: DetourCase, wish: _Wish, now_s: float) -> list[Advisory]:
        advisories = []
        issued_s = {}
        for row, (detour, share) in enumerate(zip(case.detours, case.shares, strict=True)):
            if share <= 0:
                continue
            point = case.plan.decision_points[detour.point]
            issued_s[detour.id] = case.issued_s.get(detour.id, now_s)
            advisories.append(
                Advisory(
                    detour.id,
                    case.bottleneck.id,
                    point.from_link,
                    point.to_link,
                    detour.via,
                    (case.bottleneck.link,),
                    share,
                    wish.usual_s[detour.point],
                    wish.detour_s[row],
                    wish.penalty_s[row],
                    issued_s[detour.id],
                    now_s + self._settings.valid_s,
                    self._write_text(case, detour, wish.detour_s[row], wish.penalty_s[row]),
                )
            )
        case.issued_s = issued_s
        return advisories

    def _write_text(
        self, case: DetourCase, detour: Detour, detour_s: float, penalty_s: float
    ) -> dict[str, str]:
        links = self._network.links
        place = links[case.bottleneck.link].name or case.bottleneck.link
        usual = {links[link].name for link in case.usual[detour.point]}
        names = [links[link].name for link in detour.via[1:]]
        roads = [name for name in dict.fromkeys(names) if name and name not in usual]
        minutes, more = max(round(detour_s / 60), 1), round(penalty_s / 60)
        way_en = f"via {', '.join(roads)}" if roads else "by the signed detour"
        way_zh = f"经{'、'.join(roads)}绕行" if roads else "按指示标志绕行"
        more_en, more_zh = "no longer than staying", "不比原路慢"
        if more > 0:
            more_en, more_zh = f"{more} min more than staying", f"比原路多约{more}分钟"
        elif more < 0:
            more_en, more_zh = f"{-more} min less than staying", f"比原路少约{-more}分钟"
        return {
            "en": f"Congestion at {place}: go {way_en}, about {minutes} min, {more_en}.",
            "zh": f"{place}拥堵，建议{way_zh}，约{minutes}分钟，{more_zh}。",
        }
