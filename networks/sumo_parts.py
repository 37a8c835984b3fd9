"""What SUMO's side of a field is made of: loops, signal heads, the drivers' road, breakdowns.

Each part is handed the simulator's module (libsumo or traci, which are alike) and imports none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from networks.scenario import LaneClosure, Scenario
from networks.sumo_program import spell
from traffic.control import Aspect
from traffic.readings import LoopBatch, Quality

CENTRE_S = 30  # between batches for a centre
BRAKING_MPS2 = 2.5  # of a driver whose vehicle breaks down
LANE_CHANGE_M = 100.0  # that it needs besides when it drives in another lane
BREAKDOWN_REACH_M = 600.0  # how far upstream a vehicle is picked to break down

_ASPECTS = {"G": Aspect.GREEN, "y": Aspect.AMBER, "Y": Aspect.AMBER} | dict.fromkeys(
    "gsoO", Aspect.PERMISSIVE
)
_RANK = tuple(Aspect)  # RED first, GREEN last
_NOTHING, _NO_QUALITY = np.zeros(0), np.zeros(0, np.int8)


class Loops:
    """Sums what passes each loop, step by step.

    SUMO's own getLastInterval functions leave out the vehicle that stands on a loop (1.28), so
    that a queue's tail would read as an empty road: hence entry and exit times.
    """

    def __init__(self, sumo: Any, detectors: Sequence[str], local: Iterable[str]) -> None:
        self.detectors = tuple(detectors)  # D
        self._read = sumo.inductionloop.getVehicleData
        at = {loop: i for i, loop in enumerate(self.detectors)}
        self._local = tuple(sorted(local))
        self._local_at = np.array([at[loop] for loop in self._local], dtype=np.intp)
        # Rows: vehicles entered, seconds covered, sum of speeds, vehicles left; columns D.
        self._second = np.zeros((4, len(self.detectors)))
        self._interval = np.zeros((4, len(self.detectors)))
        self._passings: list[tuple[float, ...]] = []  # that have not been added yet

    def begin_second(self, is_new_interval: bool) -> None:
        if self._local:
            self._second[:] = 0.0
        if is_new_interval:
            self._passings.clear()
            self._interval[:] = 0.0

    def watch(self, from_s: float, to_s: float) -> None:
        """Note the simulation step just made."""
        # Every loop in every step: the call itself is what this costs, so nothing else is done.
        self._passings += [
            (i, from_s, to_s, length_m, entry_s, exit_s)
            for i, passings in enumerate(map(self._read, self.detectors))
            if passings
            for _, length_m, entry_s, exit_s, _ in passings
        ]

    def end_second(self) -> None:
        """Add what the second's steps have seen, if anyone looks at this second."""
        if self._local:
            self._add_up()

    def _add_up(self) -> None:
        if not self._passings:
            return
        at, from_s, to_s, length_m, entry_s, exit_s = np.array(self._passings).T
        self._passings.clear()
        # A lane change puts a vehicle on a loop at the very end of a step, unseen till now.
        entered = (entry_s >= from_s).astype(float)
        covered_s = np.where(exit_s >= 0, exit_s, to_s) - np.maximum(entry_s, from_s)
        # One away from it ends there too, and is told again in the next step; only those that
        # drove over the loop have a speed.
        left = ((from_s < exit_s) & (exit_s < to_s)).astype(float)
        speed_mps = np.zeros_like(left)
        np.divide(length_m, exit_s - entry_s, out=speed_mps, where=left > 0)
        loops = at.astype(np.intp)
        for row, values in enumerate((entered, covered_s, speed_mps, left)):
            if self._local:
                np.add.at(self._second[row], loops, values)
            np.add.at(self._interval[row], loops, values)

    def build_local(self, now_s: float, has_begun: bool) -> LoopBatch:
        if not self._local:
            return LoopBatch(now_s, 1.0, (), _NOTHING, _NOTHING, _NOTHING, _NO_QUALITY)
        sums = self._second[:, self._local_at]
        if not has_begun:  # no second has passed yet
            sums = np.full_like(sums, np.nan)
        return _build_batch(now_s, 1.0, self._local, sums)

    def build_centre(self, now_s: float) -> LoopBatch:
        self._add_up()
        return _build_batch(now_s, float(CENTRE_S), self.detectors, self._interval)


def _build_batch(end_s: float, of_s: float, loops: tuple[str, ...], sums: Any) -> LoopBatch:
    entered, covered_s, speeds, left = sums
    speed = np.full(len(loops), np.nan)
    np.divide(speeds, left, out=speed, where=left > 0)
    quality = np.where(np.isnan(entered), Quality.MISSING, Quality.GOOD).astype(np.int8)
    # Rounding may cover an interval by a hair more than itself.
    occupancy = np.minimum(covered_s / of_s, 1.0)
    return LoopBatch(end_s, of_s, loops, entered.copy(), occupancy, speed, quality)


class Heads:
    """Signal heads of the junctions in our care: phases on our side, link indices on SUMO's."""

    def __init__(
        self,
        sumo: Any,
        scenario: Scenario,
        managed: Iterable[str],
    ) -> None:
        self._lights = sumo.trafficlight
        self._indices = {j: scenario.signal_indices[j] for j in sorted(managed)}
        junctions = scenario.network.junctions
        self._phases = {j: {p.id: p for p in junctions[j].phases} for j in self._indices}
        self._native: dict[str, str] = {}  # junction -> its own program
        self._state: dict[str, str] = {}  # junction -> as it stands
        self._taken: set[str] = set()
        self._shown: dict[str, Mapping[str, Aspect]] = {}  # junction -> as last applied
        self._seen: dict[tuple[str, str], dict[str, Aspect]] = {}
        for junction in self._indices:
            self._native[junction] = self._lights.getProgram(junction)
            self._state[junction] = self._lights.getRedYellowGreenState(junction)

    def check(self) -> Iterator[str]:
        """Problems of the junctions' link indices: beyond the signal, or of no phase of ours."""
        for junction, phases in self._indices.items():
            ours = {i for links in phases.values() for i in links}
            size = len(self._state[junction])
            for i in sorted(ours - set(range(size))):
                yield f"junction {junction}: link index {i} is beyond its {size}"
            for i, letters in enumerate(zip(*self._list_states(junction), strict=True)):
                if i not in ours and len(set(letters)) > 1:
                    yield f"junction {junction}: link index {i} belongs to no phase"

    def _list_states(self, junction: str) -> list[str]:
        """The states of the junction's own program."""
        return [
            phase.state
            for program in self._lights.getAllProgramLogics(junction)
            if program.programID == self._native[junction]
            for phase in program.phases
        ]

    def read(self) -> dict[str, dict[str, Aspect]]:
        return {junction: self._read_one(junction) for junction in self._indices}

    def _read_one(self, junction: str) -> dict[str, Aspect]:
        state = self._state[junction]
        if junction not in self._taken:  # its own program may have moved on
            state = self._lights.getRedYellowGreenState(junction)
        seen = self._seen.get((junction, state))
        if seen is None:
            seen = self._seen[junction, state] = {
                phase: max((_ASPECTS.get(state[i], Aspect.RED) for i in links), key=_RANK.index)
                for phase, links in self._indices[junction].items()
            }
        return seen

    def apply(self, shown: Mapping[str, Mapping[str, Aspect]]) -> None:
        for junction, phases in self._indices.items():
            if junction not in shown:
                if junction in self._taken:
                    self._lights.setProgram(junction, self._native[junction])
                    self._taken.discard(junction)
                    del self._shown[junction]
                continue
            if shown[junction] == self._shown.get(junction):
                continue
            self._shown[junction] = shown[junction]
            letters = list(self._state[junction])
            for phase, links in phases.items():
                letter = spell(shown[junction][phase], self._phases[junction][phase])
                for i in links:
                    letters[i] = letter
            state = "".join(letters)
            if junction not in self._taken or state != self._state[junction]:
                self._lights.setRedYellowGreenState(junction, state)
                self._state[junction] = state
                self._taken.add(junction)


class Street:
    """The road as the drivers' model sees it."""

    def __init__(self, sumo: Any) -> None:
        self._sumo = sumo

    def vehicles_on(self, link: str) -> Sequence[str]:
        vehicles: Sequence[str] = self._sumo.edge.getLastStepVehicleIDs(link)
        return vehicles

    def route_ahead(self, vehicle: str) -> tuple[str, ...]:
        at = max(self._sumo.vehicle.getRouteIndex(vehicle), 0)
        return tuple(self._sumo.vehicle.getRoute(vehicle)[at:])

    def find_route(self, vehicle: str, from_link: str, to_link: str) -> tuple[str, ...] | None:
        kind = self._sumo.vehicle.getTypeID(vehicle)
        return tuple(self._sumo.simulation.findRoute(from_link, to_link, kind).edges) or None

    def take(self, vehicle: str, route: tuple[str, ...]) -> bool:
        try:
            self._sumo.vehicle.setRoute(vehicle, route)
        except self._sumo.TraCIException:  # links that do not join, or closed to the vehicle
            return False
        return True


class Breakdowns:
    """Closes lanes as incidents do: a vehicle of the demand stops there and stays.

    Drivers behind it must merge, none is teleported or removed, and it drives on at the end.
    """

    def __init__(self, sumo: Any, scenario: Scenario) -> None:
        self._sumo = sumo
        self._waiting = list(scenario.closures)
        self._before: dict[str, list[str]] = {}  # link -> links that lead into it
        for link, following in sorted(scenario.network.turns):
            self._before.setdefault(following, []).append(link)
        self.stopped: dict[LaneClosure, str] = {}

    def act(self, now_s: float) -> None:
        for closure in [c for c in self._waiting if c.begin_s <= now_s]:
            vehicle = self._find_vehicle(closure) if now_s < closure.end_s else None
            if vehicle is not None:
                ends = {"duration": 0.0, "until": closure.end_s}
                if closure.lasts_s is not None:
                    ends = {"duration": closure.lasts_s}
                self._sumo.vehicle.setStop(
                    vehicle, closure.link, closure.position_m, closure.lane, **ends
                )
                self.stopped[closure] = vehicle
            if vehicle is not None or now_s >= closure.end_s:
                self._waiting.remove(closure)

    def _find_vehicle(self, closure: LaneClosure) -> str | None:
        """Find the nearest vehicle that comes by and can still stop at the place."""
        get = self._sumo.vehicle
        lane = f"{closure.link}_{closure.lane}"
        ahead_m = {}
        for vehicle in self._sumo.edge.getLastStepVehicleIDs(closure.link):
            ahead_m[vehicle] = closure.position_m - get.getLanePosition(vehicle)
        for link in self._before.get(closure.link, ()):
            length_m = self._sumo.lane.getLength(f"{link}_0")
            for vehicle in self._sumo.edge.getLastStepVehicleIDs(link):
                if closure.link in get.getRoute(vehicle)[get.getRouteIndex(vehicle) :]:
                    left_m = length_m - get.getLanePosition(vehicle)
                    ahead_m[vehicle] = closure.position_m + left_m
        free = ahead_m.keys() - set(self.stopped.values())
        for vehicle in sorted(free, key=lambda v: (ahead_m[v], v)):
            speed = get.getSpeed(vehicle)
            needs_m = speed + speed**2 / (2 * BRAKING_MPS2)
            if get.getLaneID(vehicle) != lane:
                needs_m += LANE_CHANGE_M
            if needs_m < ahead_m[vehicle] < BREAKDOWN_REACH_M:
                return str(vehicle)
        return None
