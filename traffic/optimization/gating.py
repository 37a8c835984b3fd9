"""Gating: how much may pass the gates, how it is shared among them, and the greens that follow.

PI-ALINEA holds the occupancy just upstream of a bottleneck at a set point:
q(k) = q(k-1) + K_R (o_set - o(k)) - K_P (o(k) - o(k-1)). Source: Y. Wang, E. B. Kosmatopoulos,
M. Papageorgiou, I. Papamichail, Local Ramp Metering in the Presence of a Distant Downstream
Bottleneck, IEEE Transactions on Intelligent Transportation Systems 15(5), 2014.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traffic.estimation import State
from traffic.flows import find_known, find_phase_flow_vph
from traffic.model import Approach, Bottleneck, DetectorKind, ModelError, Network
from traffic.optimization.greens import build_green_runs, get_green_s
from traffic.optimization.splits import RED_SLACK_S
from traffic.readings import LoopBatch

STANDING_OCCUPANCY = 0.5  # of a loop on which traffic stands


@dataclass(frozen=True, slots=True)
class Gate:
    """An approach where traffic may be held back; without `phases`, all of its phases."""

    approach: str
    phases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GatingSettings:
    """How the gates are driven. Raises ModelError listing all impossible settings."""

    set_occupancy: float = 0.15  # at the bottleneck's loops, 0..1
    gain_r_vph: float = 5000.0  # K_R, for an occupancy error of 1
    gain_p_vph: float = 8000.0  # K_P, for an occupancy change of 1
    interval_s: float = 60.0
    free_ratio: float = 1.25  # of a gate's permitted flow to its demand, from which it is not cut
    full_share: float = 0.9  # of an approach's storage, from which its gate opens
    clear_share: float = 0.7  # under which it closes again
    tail_occupancy: float = 0.5  # of a tail loop, above which the queue stands on it
    release_cycles: int = 4  # from the last cap to the full green after the end

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.set_occupancy < 1:
            problems.append(f"set_occupancy {self.set_occupancy} must be between 0 and 1")
        if not self.gain_r_vph > 0:
            problems.append(f"gain_r_vph {self.gain_r_vph} must be above 0")
        if not self.gain_p_vph >= 0:
            problems.append(f"gain_p_vph {self.gain_p_vph} must not be negative")
        if not self.interval_s > 0:
            problems.append(f"interval_s {self.interval_s} must be above 0")
        if not self.free_ratio >= 1:
            problems.append(f"free_ratio {self.free_ratio} must be at least 1")
        if not 0 < self.clear_share <= self.full_share <= 1:
            problems.append(
                f"clear_share {self.clear_share} and full_share {self.full_share} must be above 0, "
                "at most 1 and in this order"
            )
        if not 0 < self.tail_occupancy <= 1:
            problems.append(f"tail_occupancy {self.tail_occupancy} must be above 0 and at most 1")
        if self.release_cycles < 3:
            problems.append(f"release_cycles {self.release_cycles} must be at least 3")
        if problems:
            raise ModelError("gating settings", problems)


class Alinea:
    """The PI regulator of the total permitted flow, veh/h, kept within its bounds.

    The bounded flow is what the next step starts from, so that nothing winds up outside them.
    """

    def __init__(
        self, settings: GatingSettings, start_vph: float, min_vph: float, max_vph: float
    ) -> None:
        self.settings = settings
        self.min_vph = min_vph
        self.max_vph = max_vph
        self.flow_vph = min(max(start_vph, min_vph), max_vph)
        self._last: float | None = None

    def update(self, occupancy: float, passed_vph: float = math.nan) -> float:
        """Return the permitted flow after an interval; an occupancy of NaN leaves it as it is.

        `passed_vph` is the flow that used the gates. When they let through far more than came,
        the permitted flow follows what came, so that it is near when demand returns.
        """
        if math.isnan(occupancy):
            return self.flow_vph
        change = 0.0 if self._last is None else occupancy - self._last
        self._last = occupancy
        start_vph = self.flow_vph
        if not math.isnan(passed_vph):
            start_vph = min(start_vph, 1.25 * passed_vph + 100)
        wanted_vph = (
            start_vph
            + self.settings.gain_r_vph * (self.settings.set_occupancy - occupancy)
            - self.settings.gain_p_vph * change
        )
        self.flow_vph = min(max(wanted_vph, self.min_vph), self.max_vph)
        return self.flow_vph


def distribute(
    total_vph: float,
    demand_vph: NDArray[np.float64],
    min_vph: NDArray[np.float64],
    max_vph: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Share a flow over gates (G) in proportion to their demand, each within its bounds.

    The shares sum to the total wherever the bounds allow, else all stand at the nearer bound.
    """
    if total_vph <= min_vph.sum():
        return min_vph.copy()
    if total_vph >= max_vph.sum():
        return max_vph.copy()
    demand = np.maximum(demand_vph, 1e-3)  # a gate without demand takes what is left over
    low, high = 0.0, float((max_vph / demand).max())
    for _ in range(100):  # the sum grows with the factor: halve the interval
        factor = (low + high) / 2
        if np.clip(factor * demand, min_vph, max_vph).sum() < total_vph:
            low = factor
        else:
            high = factor
    return np.clip(high * demand, min_vph, max_vph)


@dataclass(frozen=True, slots=True)
class _Post:
    """A gate with what its plan gives it."""

    approach: Approach
    junction: str
    cycle_s: float
    full_s: Mapping[str, float]  # phase -> green a cycle in the safe plan
    least_s: Mapping[str, float]  # phase -> least green a cycle
    saturation_vph: Mapping[str, float]  # phase -> of its lanes
    tails: frozenset[str]  # loops

    def flow_vph(self, green_s: Mapping[str, float]) -> float:
        return sum(self.saturation_vph[p] * g for p, g in green_s.items()) / self.cycle_s

    def green_s(self, flow_vph: float) -> dict[str, float]:
        """Return the greens that let the flow through, in the plan's proportion."""
        share = flow_vph / self.flow_vph(self.full_s)
        return {
            phase: min(max(share * full_s, self.least_s[phase]), full_s)
            for phase, full_s in self.full_s.items()
        }


class GateKeeper:
    """Drives the gates of one bottleneck: call `update` with each batch while gating is on.

    Raises ModelError listing every gate that is no approach or names a phase that it lacks.
    """

    def __init__(
        self,
        network: Network,
        bottleneck: Bottleneck,
        gates: Iterable[Gate],
        settings: GatingSettings,
    ) -> None:
        self.settings = settings
        self._watch = frozenset(bottleneck.watch)
        self._posts = _build_posts(network, tuple(gates))
        self._alinea: Alinea | None = None
        self._seen: list[float] = []  # occupancies since the last step
        self._due_s = -math.inf
        self._open: set[str] = set()  # approaches released by their queue
        self.green_cap_s: dict[str, dict[str, float]] = {}  # junction -> phase -> seconds

    def update(
        self, batch: LoopBatch, state: State, flow_vph: Mapping[str, float]
    ) -> dict[str, dict[str, float]]:
        """Return junction -> phase -> longest green a cycle; phases left out are free.

        `flow_vph` is measured as by `build_approach_flows`, NaN where unknown.
        """
        if not self._posts:
            return {}
        occupancy = find_known(batch, batch.occupancy)
        seen = [occupancy[loop] for loop in sorted(self._watch) if loop in occupancy]
        if seen:
            self._seen.append(sum(seen) / len(seen))
        self._see_queues(occupancy, state)
        gated_vph = {
            post.approach.id: find_phase_flow_vph(post.approach, post.full_s, flow_vph)
            for post in self._posts
        }
        passed_vph = sum(gated_vph.values())
        if self._alinea is None:
            floor_vph = sum(post.flow_vph(post.least_s) for post in self._posts)
            full_vph = sum(post.flow_vph(post.full_s) for post in self._posts)
            start_vph = full_vph if math.isnan(passed_vph) else passed_vph
            self._alinea = Alinea(self.settings, start_vph, floor_vph, full_vph)
            self._due_s = batch.end_s
        if batch.end_s >= self._due_s:
            mean = sum(self._seen) / len(self._seen) if self._seen else math.nan
            self._alinea.update(mean, passed_vph)
            self._seen.clear()
            self._due_s = batch.end_s + self.settings.interval_s
        self.green_cap_s = self._share(self._alinea.flow_vph, state, gated_vph)
        return self.green_cap_s

    def release(self, elapsed_s: float) -> dict[str, dict[str, float]]:
        """Return the caps `elapsed_s` after the end: step by step up to the full green."""
        caps: dict[str, dict[str, float]] = {}
        for post in self._posts:
            steps = math.floor(elapsed_s / post.cycle_s) / self.settings.release_cycles
            for phase, last_s in self.green_cap_s.get(post.junction, {}).items():
                if phase in post.full_s and steps < 1:
                    cap_s = last_s + steps * (post.full_s[phase] - last_s)
                    caps.setdefault(post.junction, {})[phase] = cap_s
        return caps

    @property
    def release_s(self) -> float:
        """Seconds from the end until the last gate is free."""
        return self.settings.release_cycles * max((p.cycle_s for p in self._posts), default=0.0)

    def _see_queues(self, occupancy: Mapping[str, float], state: State) -> None:
        """Open a gate whose queue fills its storage, until the queue has well receded."""
        rows = {approach: i for i, approach in enumerate(state.approaches)}
        for post in self._posts:
            row = rows.get(post.approach.id)
            share = math.nan if row is None else float(state.storage_share[row])
            spills = row is not None and bool(state.spillback[row])
            on_tail = any(
                occupancy.get(loop, 0.0) >= self.settings.tail_occupancy for loop in post.tails
            )
            if spills or on_tail or share >= self.settings.full_share:
                self._open.add(post.approach.id)
            elif math.isnan(share) or share < self.settings.clear_share:
                self._open.discard(post.approach.id)

    def _share(
        self, total_vph: float, state: State, flow_vph: Mapping[str, float]
    ) -> dict[str, dict[str, float]]:
        queue = dict(zip(state.approaches, state.queue_veh, strict=True))
        full = np.array([post.flow_vph(post.full_s) for post in self._posts])
        least = np.array([post.flow_vph(post.least_s) for post in self._posts])
        is_open = np.array([post.approach.id in self._open for post in self._posts])
        demand = np.array(
            [
                # What stands is to leave within five minutes, besides what arrives.
                np.nan_to_num(flow_vph.get(post.approach.id, math.nan), nan=full[i])
                + 12 * np.nan_to_num(queue.get(post.approach.id, math.nan), nan=0.0)
                for i, post in enumerate(self._posts)
            ]
        )
        shares = distribute(total_vph, demand, np.where(is_open, full, least), full)
        caps: dict[str, dict[str, float]] = {}
        for post, share, wanted in zip(self._posts, shares, demand, strict=True):
            # A green that just fits the mean would hold back whatever arrives by chance.
            if share >= self.settings.free_ratio * wanted:
                continue
            for phase, cap_s in post.green_s(float(share)).items():
                if cap_s < post.full_s[phase] - 0.5:
                    caps.setdefault(post.junction, {})[phase] = cap_s
        return caps


def is_broken(
    network: Network, bottleneck: Bottleneck, batch: LoopBatch, broken_speed: float
) -> bool:
    """Whether the bottleneck's loops show less than a share of free speed; unknown counts as no.

    A loop that is covered for most of the time and passed by nobody shows a standstill.
    """
    occupancies = find_known(batch, batch.occupancy)
    standing = {loop: 0.0 for loop, share in occupancies.items() if share >= STANDING_OCCUPANCY}
    speeds = standing | find_known(batch, batch.speed_mps)
    ratios = [
        speeds[loop] / network.links[network.detectors[loop].link].free_speed_mps
        for loop in bottleneck.watch
        if loop in speeds
    ]
    return bool(ratios) and sum(ratios) / len(ratios) < broken_speed


def _build_posts(network: Network, gates: tuple[Gate, ...]) -> tuple[_Post, ...]:
    problems, posts = [], []
    for gate in gates:
        approach = network.approaches.get(gate.approach)
        if approach is None:
            problems.append(f"{gate.approach} is no approach")
            continue
        phases = gate.phases or approach.phases
        unknown = sorted(set(phases) - set(approach.phases))
        if unknown or not phases:
            problems += [f"approach {approach.id} has no phase {p}" for p in unknown or ("at all",)]
            continue
        junction = network.junctions[approach.junction]
        plan = network.plans[approach.junction]
        green_s = get_green_s(build_green_runs(junction, plan))
        limits = {phase.id: phase for phase in junction.phases}
        least_s = {
            p: min(
                max(limits[p].min_green_s, plan.cycle_s - limits[p].max_red_s + RED_SLACK_S),
                green_s[p],
            )
            for p in phases
        }
        tails = frozenset(
            d.id
            for d in network.detectors.values()
            if d.approach == approach.id and d.kind is DetectorKind.TAIL
        )
        saturation_vph = {p: network.saturation_vph * approach.count_lanes(p) for p in phases}
        full_s = {p: green_s[p] for p in phases}
        posts.append(
            _Post(approach, junction.id, plan.cycle_s, full_s, least_s, saturation_vph, tails)
        )
    if problems:
        raise ModelError("gates", problems)
    return tuple(posts)
