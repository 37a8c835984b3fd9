"""Paths over links, with the cost of turns and signals on them."""

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from traffic.model import Link, ModelError, Network
from traffic.optimization.greens import build_green_runs


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

    def path_time_s(
        self,
        links: tuple[str, ...],
        link_time_s: Mapping[str, float],
        wait_s: Mapping[str, float] | None = None,
    ) -> float:
        """Return the time from the end of the first link to the end of the last."""
        return self.arrivals_s(links, link_time_s, wait_s)[-1]

    def arrivals_s(
        self,
        links: tuple[str, ...],
        link_time_s: Mapping[str, float],
        wait_s: Mapping[str, float] | None = None,
    ) -> tuple[float, ...]:
        """Return the time at the end of each link.

        `wait_s` maps signalled turns, "link>next", to a wait that is better known than the safe
        plan's mean and whatever the link's own time holds of it. Raises KeyError for a turn not
        permitted.
        """
        times = [0.0]
        held_s = 0.0
        for one, other in pairwise(links):
            turn = self._next[one].get(other)
            if turn is None:
                raise KeyError(f"network {self.network.id} has no turn from {one!r} to {other!r}")
            known_s = (wait_s or {}).get(f"{one}>{other}")
            cost_s = turn.left_s(held_s) if known_s is None else known_s - held_s
            times.append(times[-1] + cost_s + self._link_s(other, link_time_s))
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
