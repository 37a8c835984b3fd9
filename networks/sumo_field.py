"""SUMO as the city: loops and signals out, signal indications and advice in.

The simulation runs in this process (libsumo), or beside it with a window (traci); both are
imported when a field is opened, so that this module loads where SUMO is not installed.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Literal, Self
from xml.sax.saxutils import quoteattr

from networks.driver_model import NAV_OPTIONS, DriverModel, Tally
from networks.plain_xml import find_program
from networks.route_files import copy_plain, list_vehicles
from networks.scenario import LaneClosure, Scenario
from networks.sumo_lanes import LaneSensors
from networks.sumo_parts import CENTRE_S, Breakdowns, Heads, Loops, Street
from traffic.advisory import Advisory
from traffic.control import Aspect, RawReadings, Sensing


class FieldError(RuntimeError):
    """The field cannot open or has failed; says which scenario, when, and what."""


@dataclass(frozen=True, slots=True)
class CommandTrip:
    """A vehicle of the emergency services and how it fared; None where not there yet."""

    vehicle: str
    emergency_lane: bool
    depart_s: float  # as ordered
    arrived_s: float | None = None

    @property
    def travel_time_s(self) -> float | None:
        """From the order to depart until arrival, the wait to depart counted."""
        return None if self.arrived_s is None else self.arrived_s - self.depart_s


class SumoField:
    """A scenario under way in SUMO; implements traffic.control.Field.

    `loops` are read each second, all loops each 30 s; `managed` junctions show what `apply` says,
    the others run their own program. `sensing` beyond loops adds the
    vehicles on lanes before stop lines. `native="nav"` gives the complying drivers a navigation app
    that follows present travel times. With `out`, SUMO's own evidence is written there: trips,
    statistics, signal states, and copies of network and routes. Only one field can be open in a
    process, unless it has a window (`gui`). Raises FieldError, with all problems at once, when it
    cannot open, and from any call when the simulator fails; it is closed then.
    """

    def __init__(
        self,
        scenario: Scenario,
        out: Path | None = None,
        loops: frozenset[str] = frozenset(),
        managed: frozenset[str] = frozenset(),
        gui: bool = False,
        native: Literal["none", "nav"] = "none",
        sensing: Sensing = Sensing.LOOPS,
    ) -> None:
        self.scenario = scenario
        self.network = scenario.network
        self.now_s = scenario.begin_s
        self.sensing = sensing
        self._native = native
        self._is_open = False
        self._window: subprocess.Popen[bytes] | None = None
        self._steps = round(1 / scenario.step_s) if scenario.step_s > 0 else 0
        self._commands: dict[str, CommandTrip] = {}
        self._check(loops, managed, out)
        self._sumo = _import_sumo(gui)
        self._drivers = DriverModel(scenario.drivers, scenario.seed, Street(self._sumo))
        self._scratch = TemporaryDirectory(prefix="sumo-field-")
        try:
            with self._name_failure():
                self._start(self._build_options(out, gui), gui)
                self._is_open = True
                self._check_against_sumo()
                self._loops = Loops(self._sumo, tuple(self.network.detectors), loops)
                self._heads = Heads(self._sumo, scenario, managed)
                self._raise(list(self._heads.check()))
                self._breakdowns = Breakdowns(self._sumo, scenario)
                self._sensors = self._build_sensors()
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abandon()

    @property
    def simulator(self) -> Any:
        """The door to the truth, for those who score a run; no part of the engine may use it."""
        return self._sumo

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """How drivers took each advisory, by its id."""
        return self._drivers.tallies

    @property
    def breakdowns(self) -> Mapping[LaneClosure, str]:
        """The vehicle that stands, or stood, for each closure so far."""
        return dict(self._breakdowns.stopped)

    @property
    def command_trips(self) -> tuple[CommandTrip, ...]:
        return tuple(self._commands.values())

    def read(self) -> RawReadings:
        with self._name_failure():
            has_begun = self.now_s > self.scenario.begin_s
            is_due = has_begun and self._into_interval_s() == 0
            return RawReadings(
                self.now_s,
                self._loops.build_local(self.now_s, has_begun),
                self._loops.build_centre(self.now_s) if is_due else None,
                self._heads.read(),
                self._sensors.read() if self._sensors is not None else None,
            )

    def apply(self, shown: Mapping[str, Mapping[str, Aspect]]) -> None:
        with self._name_failure():
            self._heads.apply(shown)

    def hear(self, advisories: Iterable[Advisory]) -> None:
        """Put these advisories, and no others, on the drivers' screens."""
        with self._name_failure():
            self._drivers.hear(advisories)

    def advance(self) -> bool:
        with self._name_failure():
            self._loops.begin_second(self._into_interval_s() == 0)
            for _ in range(self._steps):
                self._sumo.simulationStep()
                before_s, self.now_s = self.now_s, self._sumo.simulation.getTime()
                self._loops.watch(before_s, self.now_s)
                if self._commands:
                    self._note_arrivals()
            self._loops.end_second()
            self._drivers.act(self.now_s)
            self._breakdowns.act(self.now_s)
        return self.now_s < self.scenario.end_s

    def send_command_vehicle(
        self, depart_s: float, from_link: str, to_link: str, emergency_lane: bool
    ) -> str:
        """Send a vehicle of the emergency services by the way that is fastest at free flow.

        It may use lanes closed to ordinary traffic only with `emergency_lane`. Returns its id,
        see `command_trips`. Raises FieldError when there is no way.
        """
        with self._name_failure():
            types = self._sumo.vehicletype
            own = [t for t in types.getIDList() if not t.startswith("DEFAULT_")]
            usual = [t for t in sorted(own) if types.getVehicleClass(t) == "passenger"]
            vehicle = f"command.sent{len(self._commands)}"
            types.copy(usual[0] if usual else "DEFAULT_VEHTYPE", vehicle)
            types.setVehicleClass(vehicle, "emergency" if emergency_lane else "passenger")
            way = self._sumo.simulation.findRoute(from_link, to_link, vehicle).edges
            if not way:
                raise FieldError(f"no way for a command vehicle from {from_link} to {to_link}")
            self._sumo.route.add(vehicle, way)
            self._sumo.vehicle.add(vehicle, vehicle, vehicle, str(depart_s), "free", "base", "avg")
            self._commands[vehicle] = CommandTrip(vehicle, emergency_lane, depart_s)
            return vehicle

    def close(self) -> None:
        """End the simulation, which completes its files; harmless when closed already."""
        if self._is_open:
            self._is_open = False
            with self._name_failure():
                self._sumo.close()
        self._scratch.cleanup()

    def _abandon(self) -> None:
        """Close after a failure, whatever the simulator says to it."""
        self._is_open = False
        if self._window is not None:
            # Not by its leave: a talk with it may have been cut off half-way.
            self._window.terminate()
            self._window.wait()
        elif self._sumo.isLoaded():
            with suppress(self._sumo.TraCIException, self._sumo.FatalTraCIError):
                self._sumo.close()
        self._scratch.cleanup()

    def _start(self, options: Sequence[str], gui: bool) -> None:
        if not gui:
            self._sumo.start(options)
            return
        port = _find_free_port()
        self._window = subprocess.Popen([*options, "--remote-port", str(port)])
        try:
            # A label of its own: a connection that broke off keeps its name in use.
            self._sumo.init(port, label=f"window {port}", proc=self._window)
        except self._sumo.TraCIException as error:
            display = os.environ.get("DISPLAY", "this machine")
            raise FieldError(
                f"scenario {self.scenario.id}: sumo-gui could not start on display {display}; "
                "what it said is above"
            ) from error

    def _build_sensors(self) -> LaneSensors | None:
        lanes = self.network.lanes
        if self.sensing is Sensing.LOOPS or lanes is None:
            return None
        return LaneSensors(self._sumo, lanes, tells_turns=self.sensing is Sensing.INTENTIONS)

    def _into_interval_s(self) -> float:
        return (self.now_s - self.scenario.begin_s) % CENTRE_S

    def _note_arrivals(self) -> None:
        if any(trip.arrived_s is None for trip in self._commands.values()):
            for vehicle in self._sumo.simulation.getArrivedIDList():
                if vehicle in self._commands:
                    trip = self._commands[vehicle]
                    self._commands[vehicle] = replace(trip, arrived_s=self.now_s)

    def _check(self, loops: frozenset[str], managed: frozenset[str], out: Path | None) -> None:
        scenario = self.scenario
        files = (scenario.net_file, scenario.route_file, *scenario.additional_files)
        problems = [f"file {file} is missing" for file in files if not file.is_file()]
        # The simulator takes a comma for the end of a name, and what follows a colon for a port.
        problems += [
            f"file {file}: no comma may be in its path" for file in files if "," in str(file)
        ]
        if out is not None and set(",:") & set(str(out.resolve())):
            problems.append(f"folder {out.resolve()}: no comma or colon may be in its path")
        if self.sensing is not Sensing.LOOPS and self.network.lanes is None:
            problems.append(f"its network tells no lanes, which sensing {self.sensing.name} needs")
        problems += [f"no loop {loop}" for loop in sorted(loops - self.network.detectors.keys())]
        for junction in sorted(managed - self.network.junctions.keys()):
            problems.append(f"no junction {junction}")
        for junction in sorted(managed & self.network.junctions.keys()):
            phases = {phase.id for phase in self.network.junctions[junction].phases}
            for phase in sorted(phases - scenario.signal_indices.get(junction, {}).keys()):
                problems.append(f"junction {junction}: phase {phase} has no signal indices")
        if not self._steps or abs(self._steps * scenario.step_s - 1) > 1e-9:
            problems.append(f"step_s {scenario.step_s} must divide a second")
        if not scenario.begin_s < scenario.end_s:
            problems.append(f"begin_s {scenario.begin_s} must be before end_s {scenario.end_s}")
        self._raise(problems)

    def _check_against_sumo(self) -> None:
        problems = []
        for name, ours, theirs in (
            ("loop", self.network.detectors, self._sumo.inductionloop.getIDList()),
            ("junction", self.scenario.signal_indices, self._sumo.trafficlight.getIDList()),
        ):
            missing = sorted(ours.keys() - set(theirs))
            problems += [f"{name} {id_} is unknown to the simulator" for id_ in missing]
        lanes = set(self._sumo.lane.getIDList())
        for closure in self.scenario.closures:
            lane = f"{closure.link}_{closure.lane}"
            if lane not in lanes:
                problems.append(f"closure of unknown lane {lane}")
            elif not 0 < closure.position_m <= self._sumo.lane.getLength(lane):
                problems.append(f"closure at {closure.position_m} m lies off lane {lane}")
        self._raise(problems)

    def _raise(self, problems: Sequence[str]) -> None:
        if problems:
            raise FieldError("\n".join(f"scenario {self.scenario.id}: {p}" for p in problems))

    def _build_options(self, out: Path | None, gui: bool) -> list[str]:
        scenario = self.scenario
        options = {
            "--net-file": str(scenario.net_file),
            "--route-files": str(scenario.route_file),
            "--begin": str(scenario.begin_s),
            "--step-length": str(scenario.step_s),
            "--seed": str(scenario.seed),
            "--time-to-teleport": "-1",
            "--no-step-log": "true",
            "--no-warnings": "true",
            "--xml-validation": "never",
        }
        additional = [str(file) for file in scenario.additional_files]
        if self._native == "nav":
            guided = [
                vehicle
                for file in (scenario.route_file, *scenario.additional_files)
                for vehicle in list_vehicles(file, scenario.end_s)
                if self._drivers.complies(vehicle)
            ]
            options |= dict(NAV_OPTIONS)
            if guided:
                options["--device.rerouting.explicit"] = ",".join(guided)
        if out is not None:
            out = out.resolve()
            out.mkdir(parents=True, exist_ok=True)
            copy_plain(scenario.net_file, out / "net.xml")
            copy_plain(scenario.route_file, out / "routes.xml")
            for k, file in enumerate(scenario.additional_files, 1):
                copy_plain(file, out / f"additional-{k}.xml")
            signals = Path(self._scratch.name) / "signals.add.xml"
            signals.write_text(
                '<additional><timedEvent type="SaveTLSStates" '
                f"dest={quoteattr(str(out / 'tls_states.xml'))}/></additional>",
                encoding="utf-8",
            )
            additional.append(str(signals))
            options |= {
                "--tripinfo-output": str(out / "tripinfo.xml"),
                "--tripinfo-output.write-unfinished": "true",
                "--tripinfo-output.write-undeparted": "true",
                "--statistic-output": str(out / "statistic.xml"),
            }
        if additional:
            options["--additional-files"] = ",".join(additional)
        given = set(scenario.sumo_options)
        ours = [word for key, value in options.items() if key not in given for word in (key, value)]
        return [
            find_program("sumo-gui") if gui else "sumo",
            *ours,
            *scenario.sumo_options,
            *(["--start", "--quit-on-end"] if gui else []),
        ]

    @contextmanager
    def _name_failure(self) -> Iterator[None]:
        try:
            yield
        except (self._sumo.TraCIException, self._sumo.FatalTraCIError) as error:
            self._abandon()
            minutes, second = divmod(int(self.now_s), 60)
            clock = f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
            raise FieldError(
                f"scenario {self.scenario.id}: the simulator failed at {clock} "
                f"({self.now_s:g} s): {' '.join(str(error).split())}"
            ) from error


def _import_sumo(gui: bool) -> Any:
    if gui:
        if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
            raise FieldError("a window needs a display: DISPLAY is not set")
        import traci

        return traci
    try:
        import libsumo
    except ImportError as error:
        raise FieldError(f"SUMO cannot be loaded: {error}") from error
    if libsumo.isLoaded():
        raise FieldError("another simulation is open in this process: close it, or use a second")
    return libsumo


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
