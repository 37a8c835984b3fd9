"""Paths over links, what they take and how much traffic they can still take."""

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from traffic.estimation import State
from traffic.model import Link, ModelError, Network, SafePlan
from traffic.optimization.splits import (
    build_green_runs,
    build_streams,
    get_green_s,
)


@dataclass(frozen=True, slots=True)
class TurnCosts:
    """Seconds that a turn costs where no signal rules it; traffic keeps to the right."""

    right_s: float = 3.0
    left_s: float = 8.0
    back_s: float = 60.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} {getattr(self, name)} must not be negative"
            for name in ("right_s", "left_s", "back_s")
            if not getattr(self, name) >= 0
        ]
        if problems:
            raise ModelError("turn costs", problems)

    def of(self, turn_deg: float) -> float:
        """Return the cost of a change of heading, degrees, positive to the left."""
        if abs(turn_deg) > 150:
            return self.back_s
        if abs(turn_deg) < 30:
            return 0.0
        return self.left_s if turn_deg > 0 else self.right_s


@dataclass(frozen=True, slots=True)
class Path:
    """Links in order, and the time from the end of the first to the end of the last."""

    links: tuple[str, ...]
    time_s: float


@dataclass(frozen=True, slots=True)
class _Turn:
    cost_s: float
    is_signalled: bool

    def left_s(self, held_s: float) -> float:
        """Return the cost when a link's time already holds a delay at its end."""
        return max(self.cost_s - held_s, 0.0) if self.is_signalled else self.cost_s


class LinkGraph:
    """The links of a network, joined by its permitted turns.

    A signalled turn costs the mean wait of its phase in the safe plan, the sum of red^2 / (2 C)
    for arrivals at random moments, less the delay that the link's own time already holds; another
    turn costs what its angle says.
    """

    def __init__(self, network: Network, costs: TurnCosts | None = None) -> None:
        self.network = network
        self.free_time_s = {
            link.id: link.length_m / link.free_speed_mps for link in network.links.values()
        }
        waits = _build_waits(network)
        costs = costs or TurnCosts()
        self._next: dict[str, dict[str, _Turn]] = {link: {} for link in network.links}
        for one, other in sorted(network.turns):
            wait_s = waits.get((one, other))
            if wait_s is None:
                cost_s = costs.of(_turn_deg(network.links[one], network.links[other]))
                self._next[one][other] = _Turn(cost_s, False)
            else:
                self._next[one][other] = _Turn(wait_s, True)

    def find_path(
        self,
        from_link: str,
        to_link: str,
        link_time_s: Mapping[str, float],
        avoid: frozenset[str] = frozenset(),
    ) -> Path | None:
        """Return the quickest path, or None when there is none around `avoid`.

        A link whose time is missing or NaN takes its free-flow time; none takes less. The path
        starts at the end of `from_link`. Raises KeyError naming an unknown link.
        """
        for link in (from_link, to_link):
            if link not in self._next:
                raise KeyError(f"network {self.network.id} has no link {link!r}")
        best = {from_link: 0.0}
        before: dict[str, str] = {}
        heap = [(0.0, from_link)]
        while heap:
            time_s, link = heapq.heappop(heap)
            if time_s > best[link]:
                continue
            if link == to_link:
                links = [link]
                while links[-1] != from_link:
                    links.append(before[links[-1]])
                return Path(tuple(reversed(links)), time_s)
            held_s = 0.0 if link == from_link else self._delay_s(link, link_time_s)
            for after, turn in self._next[link].items():
                if after in avoid:
                    continue
                arrival_s = time_s + turn.left_s(held_s) + self._link_s(after, link_time_s)
                if arrival_s < best.get(after, math.inf):
                    best[after] = arrival_s
                    before[after] = link
                    heapq.heappush(heap, (arrival_s, after))
        return None

    def alternatives(
        self,
        from_link: str,
        to_link: str,
        link_time_s: Mapping[str, float],
        avoid: frozenset[str] = frozenset(),
        count: int = 3,
        max_overlap: float = 0.7,
    ) -> tuple[Path, ...]:
        """Return up to `count` paths around `avoid`, quickest first.

        Links of a path found are made 1.4 times slower before the next search; a path is kept
        when no more than `max_overlap` of its time lies on links of one kept before.
        """
        slowed = {link: self._link_s(link, link_time_s) for link in self._next}
        kept: list[Path] = []
        for _ in range(3 * count):
            found = self.find_path(from_link, to_link, slowed, avoid)
            if found is None:
                break
            if all(self._overlap(found, path, link_time_s) <= max_overlap for path in kept):
                kept.append(Path(found.links, self.path_time_s(found.links, link_time_s)))
            if len(kept) == count:
                break
            for link in found.links:
                slowed[link] *= 1.4
        return tuple(sorted(kept, key=lambda path: path.time_s))

    def path_time_s(self, links: tuple[str, ...], link_time_s: Mapping[str, float]) -> float:
        """Return the time from the end of the first link to the end of the last."""
        return self.arrivals_s(links, link_time_s)[-1]

    def arrivals_s(
        self, links: tuple[str, ...], link_time_s: Mapping[str, float]
    ) -> tuple[float, ...]:
        """Return the time at the end of each link. Raises KeyError for a turn not permitted."""
        times = [0.0]
        held_s = 0.0
        for one, other in pairwise(links):
            turn = self._next[one].get(other)
            if turn is None:
                raise KeyError(f"network {self.network.id} has no turn from {one!r} to {other!r}")
            times.append(times[-1] + turn.left_s(held_s) + self._link_s(other, link_time_s))
            held_s = self._delay_s(other, link_time_s)
        return tuple(times)

    def _delay_s(self, link: str, link_time_s: Mapping[str, float]) -> float:
        return self._link_s(link, link_time_s) - self.free_time_s[link]

    def _link_s(self, link: str, link_time_s: Mapping[str, float]) -> float:
        free_s = self.free_time_s[link]
        time_s = link_time_s.get(link, math.nan)
        return free_s if math.isnan(time_s) else max(time_s, free_s)

    def _overlap(self, one: Path, other: Path, link_time_s: Mapping[str, float]) -> float:
        def time_s(links: Iterable[str]) -> float:
            return sum(self._link_s(link, link_time_s) for link in links)

        return time_s(set(one.links[1:]) & set(other.links[1:])) / time_s(one.links[1:])


def _build_waits(network: Network) -> dict[tuple[str, str], float]:
    """Return the mean wait of each signalled turn under its junction's safe plan, seconds."""
    waits: dict[tuple[str, str], float] = {}
    for junction in network.junctions.values():
        plan = network.plans[junction.id]
        runs = build_green_runs(junction, plan)
        for phase in junction.phases:
            mine = [run for run in runs if run.phase == phase.id]
            if any(run.endless for run in mine):
                wait_s = 0.0
            else:
                ends = [run.start_s + run.length_s for run in mine]
                starts = [run.start_s + run.lost_s for run in mine]
                gaps = [
                    (start - end) % plan.cycle_s
                    for end, start in zip(ends, starts[1:] + starts[:1], strict=True)
                ]
                wait_s = sum(gap**2 for gap in gaps) / (2 * plan.cycle_s)
            for movement in phase.movements:
                waits[movement.from_link, movement.to_link] = wait_s
    return waits


def _turn_deg(one: Link, other: Link) -> float:
    if len(one.shape) < 2 or len(other.shape) < 2:
        return 0.0
    (x0, y0), (x1, y1) = one.shape[-2:]
    (x2, y2), (x3, y3) = other.shape[:2]
    turn = math.degrees(math.atan2(y3 - y2, x3 - x2) - math.atan2(y1 - y0, x1 - x0))
    return (turn + 180) % 360 - 180


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

    def __init__(
        self, network: Network, uses: Iterable[str], spare_use: float, unseen_use: float
    ) -> None:
        self._network = network
        self._uses = tuple(sorted(set(uses)))
        self._spare_use = spare_use
        self._unseen_use = unseen_use
        self._turns = build_signalled_turns(network)
        self._before_vph: dict[str, float] = {}

    def note(
        self,
        state: State,
        flow_vph: Mapping[str, float],
        own_vph: Mapping[str, float],
        interval_s: float,
    ) -> None:
        """Keep what flows without the diversion; `flow_vph` is per approach, NaN if unknown."""
        for use, (flow, _) in self._measure(state, flow_vph).items():
            before = self._before_vph.get(use, flow)
            change = max(flow - own_vph.get(use, 0.0), 0.0) - before
            time_s = self._LEARN_S if change > 0 else self._FORGET_S
            self._before_vph[use] = before + (1 - math.exp(-interval_s / time_s)) * change

    def forget(self) -> None:
        """Begin anew, once nobody is diverted."""
        self._before_vph.clear()

    def find(
        self,
        state: State,
        flow_vph: Mapping[str, float],
        plans: Mapping[str, SafePlan],
        own_vph: Mapping[str, float],
        unlimited: frozenset[str] = frozenset(),
    ) -> dict[str, float]:
        """Return the room for all diverted flow together, per road and turn.

        `plans` are those in force instead of safe plans; junctions in `unlimited` limit nothing,
        nor does a turn that no approach describes.
        """
        measured = self._measure(state, flow_vph)
        spare = dict.fromkeys(self._uses, math.inf)
        for use, (flow, saturation) in measured.items():
            turn = self._turns.get(use)
            capacity = saturation
            if turn is not None:
                junction, phase, _ = turn
                if junction in unlimited:
                    continue
                plan = plans.get(junction, self._network.plans[junction])
                runs = build_green_runs(self._network.junctions[junction], plan)
                capacity *= get_green_s(runs)[phase] / plan.cycle_s
            background = self._before_vph.get(use, max(flow - own_vph.get(use, 0.0), 0.0))
            spare[use] = max(self._spare_use * capacity - background, 0.0)
        return spare

    def _measure(
        self, state: State, flow_vph: Mapping[str, float]
    ) -> dict[str, tuple[float, float]]:
        """Return use -> (flow, saturation flow); of a turn, those of the stream it belongs to."""
        rows = {link: i for i, link in enumerate(state.links)}
        measured: dict[str, tuple[float, float]] = {}
        for use in self._uses:
            turn = self._turns.get(use)
            if turn is not None:
                junction, phase, link = turn
                for stream in build_streams(self._network, junction, flow_vph):
                    approach = self._network.approaches[stream.approach]
                    if stream.phase == phase and link in approach.links:
                        measured[use] = stream.flow_vph, stream.saturation_vph
                continue
            capacity = self._network.saturation_vph * max(self._network.links[use].lanes, 1)
            flow = math.nan
            if use in rows:
                row = rows[use]  # density is per lane
                flow = float(state.density_vpkm[row] * state.speed_mps[row]) * 3.6
                flow *= max(self._network.links[use].lanes, 1)
            measured[use] = (self._unseen_use * capacity if math.isnan(flow) else flow), capacity
        return measured
