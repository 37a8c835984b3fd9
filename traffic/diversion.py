"""What the ways around can still take, and how the diverted are shared out among them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from traffic.estimation import State
from traffic.model import Network, SafePlan
from traffic.optimization.greens import build_green_runs, get_green_s
from traffic.optimization.splits import find_longest_green_s, stream_delay_s
from traffic.optimization.streams import Stream, build_streams


@dataclass(frozen=True, slots=True)
class Option:
    """One detour that could be advised; `uses` are the roads and turns that it loads."""

    point: int
    penalty_s: float
    uses: tuple[str, ...]


def allocate(
    required_vph: float,
    options: Sequence[Option],
    potential_vph: Sequence[float],
    spare_vph: Mapping[str, float],
    limit_vph: Sequence[float] | None = None,
) -> tuple[float, ...]:
    """Divert what is required, smallest penalty first; returns veh/h per option.

    No decision point gives more than its potential (one per point), no road or turn gets more
    than its spare capacity, all options on it together, and no option more than its limit.
    """
    left_vph = max(required_vph, 0.0)
    potential = list(potential_vph)
    spare = {use: max(value, 0.0) for use, value in spare_vph.items()}
    flows = [0.0] * len(options)
    for i in sorted(range(len(options)), key=lambda i: (options[i].penalty_s, i)):
        option = options[i]
        flow = min(left_vph, potential[option.point], *(spare[use] for use in option.uses))
        if limit_vph is not None:
            flow = min(flow, limit_vph[i])
        flows[i] = flow
        left_vph -= flow
        potential[option.point] -= flow
        for use in option.uses:
            spare[use] -= flow
    return tuple(flows)


def queue_delay_s(
    inflow_vph: Sequence[float],
    lead_s: Sequence[float],
    capacity_vph: float,
    discharge_vph: float,
    arrival_s: float,
) -> float:
    """Return the delay in a vertical queue of a vehicle that arrives `arrival_s` from now.

    The queue starts empty and grows by inflow less capacity, or less discharge while it stands;
    `inflow_vph` holds until each lead, the last one on. An unknown inflow adds nothing.
    """
    queue_veh = begin_s = 0.0
    for i, (inflow, lead) in enumerate(zip(inflow_vph, lead_s, strict=True)):
        end_s = arrival_s if i == len(lead_s) - 1 else min(lead, arrival_s)
        if end_s > begin_s and not math.isnan(inflow):
            served_vph = discharge_vph if queue_veh > 0 else capacity_vph
            queue_veh = max(queue_veh + (inflow - served_vph) * (end_s - begin_s) / 3600, 0.0)
        begin_s = max(begin_s, end_s)
    return queue_veh / discharge_vph * 3600


def build_signalled_turns(network: Network) -> dict[str, tuple[str, str, str]]:
    """Return "link>next" -> (junction, phase, link) of each signalled turn."""
    return {
        f"{m.from_link}>{m.to_link}": (junction.id, phase.id, m.from_link)
        for junction in network.junctions.values()
        for phase in junction.phases
        for m in phase.movements
    }


class SpareCapacity:
    """What roads ("link") and signalled turns ("link>next") can still take, veh/h.

    Measured flows hold the diverted only once they arrive. So the flow from before the diversion
    stays counted: it follows the measured less the diverted, downwards more slowly than upwards.
    """

    _LEARN_S = 300.0  # time constant of a flow that grows
    _FORGET_S = 1800.0  # and of one that seems to shrink
    _UNDER_WAY_S = 600.0  # in which most of the diverted have passed, when no more are sent

    def __init__(
        self, network: Network, uses: Iterable[str], spare_use: float, unseen_use: float
    ) -> None:
        self._network = network
        self._uses = tuple(sorted(set(uses)))
        self._spare_use = spare_use
        self._unseen_use = unseen_use
        self._turns = build_signalled_turns(network)
        self._before_vph: dict[str, float] = {}
        self._passing_vph: dict[str, float] = {}  # of the diverted, those still under way included

    def note(
        self,
        state: State,
        flow_vph: Mapping[str, float],
        own_vph: Mapping[str, float],
        interval_s: float,
    ) -> None:
        """Keep what flows without the diversion; `flow_vph` is per approach, NaN if unknown."""
        kept = math.exp(-interval_s / self._UNDER_WAY_S)
        for use, (flow, _) in self._measure(state, flow_vph).items():
            passing = max(own_vph.get(use, 0.0), kept * self._passing_vph.get(use, 0.0))
            self._passing_vph[use] = passing
            before = self._before_vph.get(use, flow)
            change = max(flow - passing, 0.0) - before
            time_s = self._LEARN_S if change > 0 else self._FORGET_S
            self._before_vph[use] = before + (1 - math.exp(-interval_s / time_s)) * change

    def forget(self) -> None:
        """Begin anew, once nobody is to be diverted."""
        self._before_vph.clear()
        self._passing_vph.clear()

    def find(
        self,
        state: State,
        flow_vph: Mapping[str, float],
        plans: Mapping[str, SafePlan],
        own_vph: Mapping[str, float],
        retimed: frozenset[str] = frozenset(),
    ) -> dict[str, float]:
        """Return the room for all diverted flow together, per road and turn.

        `plans` are those in force instead of safe plans; at junctions in `retimed` a turn may have
        what their splits can give it. A turn that no approach describes limits nothing.
        """
        measured = self._measure(state, flow_vph)
        spare = dict.fromkeys(self._uses, math.inf)
        for use, (flow, saturation) in measured.items():
            turn = self._turns.get(use)
            capacity = saturation
            if turn is not None:
                id_, phase, _ = turn
                junction, plan = self._network.junctions[id_], self._network.plans[id_]
                if id_ in retimed:
                    streams = build_streams(self._network, id_, flow_vph)
                    green_s = find_longest_green_s(junction, plan, streams, phase)
                else:
                    plan = plans.get(id_, plan)
                    green_s = get_green_s(build_green_runs(junction, plan))[phase]
                capacity *= green_s / plan.cycle_s
            background = self._before_vph.get(use, max(flow - own_vph.get(use, 0.0), 0.0))
            spare[use] = max(self._spare_use * capacity - background, 0.0)
        return spare

    def waits_s(
        self,
        flow_vph: Mapping[str, float],
        plans: Mapping[str, SafePlan],
        own_vph: Mapping[str, float],
        besides: frozenset[str] = frozenset(),
    ) -> dict[str, float]:
        """Return the predicted wait at each signalled turn, save at the junctions `besides`.

        It is that of the flow once the diverted have arrived, under the plan in force: a queue that
        stands in other lanes of the approach, or that a plan is about to clear, tells less.
        """
        waits: dict[str, float] = {}
        for use, stream in self._find_streams(flow_vph).items():
            junction, phase, _ = self._turns[use]
            if junction in besides:
                continue
            plan = plans.get(junction, self._network.plans[junction])
            green_s = get_green_s(build_green_runs(self._network.junctions[junction], plan))[phase]
            expected = self._before_vph.get(use, 0.0) + own_vph.get(use, 0.0)
            stream = replace(stream, flow_vph=max(stream.flow_vph, expected))
            waits[use] = stream_delay_s(stream, plan.cycle_s, green_s / plan.cycle_s)[0]
        return waits

    def _find_streams(self, flow_vph: Mapping[str, float]) -> dict[str, Stream]:
        """Return the stream that each signalled turn belongs to."""
        streams: dict[str, Stream] = {}
        for use in self._uses:
            if use not in self._turns:
                continue
            junction, phase, link = self._turns[use]
            for stream in build_streams(self._network, junction, flow_vph):
                approach = self._network.approaches[stream.approach]
                if stream.phase == phase and link in approach.links:
                    streams[use] = stream
        return streams

    def _measure(
        self, state: State, flow_vph: Mapping[str, float]
    ) -> dict[str, tuple[float, float]]:
        """Return use -> (flow, saturation flow); of a turn, those of the stream it belongs to."""
        rows = {link: i for i, link in enumerate(state.links)}
        measured = {
            use: (stream.flow_vph, stream.saturation_vph)
            for use, stream in self._find_streams(flow_vph).items()
        }
        for use in self._uses:
            if use in self._turns:
                continue
            capacity = self._network.saturation_vph * max(self._network.links[use].lanes, 1)
            flow = math.nan
            if use in rows:
                row = rows[use]  # density is per lane
                flow = float(state.density_vpkm[row] * state.speed_mps[row]) * 3.6
                flow *= max(self._network.links[use].lanes, 1)
            measured[use] = (self._unseen_use * capacity if math.isnan(flow) else flow), capacity
        return measured
