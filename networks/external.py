"""Scenarios that are not ours: any SUMO configuration by its path."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path
from xml.etree import ElementTree

from networks.loops import write_loops
from networks.route_files import TRAFFIC, UNREADABLE, find_departures, parse_time
from networks.scenario import Scenario
from networks.sumo_xml import CompiledNetwork, read_elements, read_network, require_signals
from traffic.model import Detector, DetectorKind, ModelError, Network

_log = logging.getLogger(__name__)

NEAR_STOP_LINE_M = 15.0
NEAR_ADVANCE_M = 100.0
UNKNOWN_END_S = 1800.0  # how long a run goes on after the last departure when no end is set

# Options that the scenario itself answers, by each name that SUMO knows them under.
_NAMES = {
    "net-file": ("net-file", "net", "n"),
    "route-files": ("route-files", "routes", "r"),
    "additional-files": ("additional-files", "additional", "a"),
    "begin": ("begin", "b"),
    "end": ("end", "e"),
    "step-length": ("step-length",),
}
# Options about the seed, the window, what is printed and counted: whoever runs the scenario
# decides those.
_NOT_OURS = frozenset(
    (
        *("seed", "random", "precision", "configuration-file", "save-configuration"),
        *("gui-settings-file", "start", "quit-on-end", "delay", "window-size", "window-pos"),
        *("remote-port", "num-clients", "tracker-interval", "demo"),
        "max-depart-delay",  # a vehicle that waits counts with its wait, and is not given up
        *("verbose", "v", "log", "message-log", "error-log", "no-warnings", "no-step-log"),
        *("step-log.period", "duration-log.statistics", "duration-log.disable"),
        *("xml-validation", "xml-validation.net", "xml-validation.routes"),
    )
)
_NOT_OURS_PARTS = ("-output", "output.", "summary", "fcd", "netstate", "vehroutes")


@dataclass(frozen=True)
class _Config:
    path: Path
    options: Mapping[str, str]

    def get(self, name: str) -> str | None:
        return next((self.options[n] for n in _NAMES[name] if n in self.options), None)

    def files(self, name: str) -> list[Path]:
        words = (self.get(name) or "").replace(",", " ").split()
        return [self.path.parent / word for word in words]


def load_configuration(
    path: Path, folder: Path, seed: int, scenario_id: str, title: Mapping[str, str]
) -> Scenario:
    """Load a SUMO configuration; the loops' file is written into the folder.

    Its own induction loops are taken, read every 30 s, else loops are placed by rule. Programs
    that react to traffic are read as fixed-time ones. Raises ModelError listing what is missing
    or can't be read.
    """
    config = _read_config(path)
    net_file, routes, additional = _check_files(config)
    window = _read_window(config, (*routes, *additional))
    own = [loop for file in additional for loop in _read_loops(file)]
    compiled = read_network(
        net_file, scenario_id, program_files=additional, loops={} if own else None
    )
    network = _take_loops(compiled, own, path) if own else compiled.network
    require_signals(network)
    loops_file = write_loops(network.detectors.values(), folder / "loops.add.xml")
    # SUMO reads additional files first and a type must be known before its vehicles, so the
    # earlier route files go there.
    return Scenario(
        id=scenario_id,
        title=title,
        network=network,
        net_file=net_file,
        route_file=routes[-1],
        additional_files=(*additional, *routes[:-1], loops_file),
        begin_s=window.begin_s,
        end_s=window.end_s,
        step_s=window.step_s,
        seed=seed,
        signal_indices=compiled.signal_indices,
        sumo_options=tuple(_pass_on(config)),
    )


def _read_config(path: Path) -> _Config:
    if not path.is_file():
        problem = "is no file" if path.exists() else "does not exist"
        raise ModelError(f"configuration {path}", [problem])
    try:
        root = ElementTree.parse(path).getroot()
    except UNREADABLE as error:
        raise ModelError(f"configuration {path}", [f"can't be read: {error}"]) from error
    options: dict[str, str] = {}
    for element in root.iter():
        value = element.get("value", element.get("v"))
        if value is not None:
            options[element.tag] = value.strip()
    return _Config(path.resolve(), options)


def _check_files(config: _Config) -> tuple[Path, list[Path], list[Path]]:
    nets, routes = config.files("net-file"), config.files("route-files")
    additional = config.files("additional-files")
    problems = []
    if not nets:
        problems.append("names no net-file")
    if not routes:
        problems.append("names no route-files")
    problems += [
        f"file {file} {'is no file' if file.exists() else 'does not exist'}"
        for file in (*nets, *routes, *additional)
        if not file.is_file()
    ]
    if problems:
        raise ModelError(f"configuration {config.path}", problems)
    return nets[0], routes, additional


@dataclass(frozen=True)
class _Window:
    begin_s: float
    end_s: float
    step_s: float


def _read_window(config: _Config, files: Iterable[Path]) -> _Window:
    """Read what span is simulated, and check that somebody departs in it."""
    problems: list[str] = []
    begin_s, end_s, step_s = (
        _read_time(config, name, default_s, problems)
        for name, default_s in (("begin", 0.0), ("end", -1.0), ("step-length", 1.0))
    )
    traffic = [element for file in files for element in read_elements(file, *TRAFFIC)]
    try:
        departures = find_departures(traffic)
    except ValueError as error:
        departures, problem = None, f"its route files can't be read: {error}"
    else:
        problem = "its route files hold no traffic"
    if departures is None:
        raise ModelError(f"configuration {config.path}", [*problems, problem])
    first_s, last_s = departures
    if end_s < 0 and not problems:
        end_s = max(begin_s, last_s) + UNKNOWN_END_S
        _log.warning("%s sets no end; the run ends at %g s", config.path, end_s)
    if not problems and not begin_s < end_s:
        problems.append(f"begin {begin_s:g} s must be before end {end_s:g} s")
    if not problems and not (first_s < end_s and begin_s <= last_s):
        problems.append(
            f"nobody departs: its demand lasts from {first_s:g} s to {last_s:g} s, the simulation "
            f"from {begin_s:g} s to {end_s:g} s"
        )
    if step_s <= 0 or abs(round(1 / step_s) * step_s - 1) > 1e-9:
        problems.append(f"step-length {step_s:g} s must divide a second")
    if problems:
        raise ModelError(f"configuration {config.path}", problems)
    return _Window(begin_s, end_s, step_s)


def _read_time(config: _Config, name: str, default_s: float, problems: list[str]) -> float:
    text = config.get(name)
    try:
        moment_s = default_s if text is None else parse_time(text)
    except ValueError:
        moment_s = nan
    if isfinite(moment_s):
        return moment_s
    problems.append(f"{name} {text!r} is no time in seconds or h:m:s")
    return default_s


def _pass_on(config: _Config) -> Iterable[str]:
    """Yield the options that shape the traffic itself, files among them by full path."""
    ours = {name for names in _NAMES.values() for name in names}
    for name, value in config.options.items():
        if name in ours or name in _NOT_OURS or any(part in name for part in _NOT_OURS_PARTS):
            continue
        if name.endswith(("-file", "-files")):
            value = ",".join(str(config.path.parent / word) for word in value.split(","))
        yield from (f"--{name}", value)


def _read_loops(file: Path) -> list[tuple[str, str, float]]:
    """Return id, lane and position of the file's induction loops."""
    found = []
    for element in read_elements(file, "inductionLoop", "e1Detector"):
        id_ = element.get("id", "")
        try:
            found.append((id_, element.get("lane", ""), float(element.get("pos", "nan"))))
        except ValueError as error:
            raise ModelError(f"file {file}", [f"loop {id_} has no position"]) from error
    return found


def _take_loops(
    compiled: CompiledNetwork, loops: Sequence[tuple[str, str, float]], path: Path
) -> Network:
    """Return the network with a copy of each given loop, read in our rhythm."""
    network = compiled.network
    detectors: dict[str, Detector] = {}
    problems = []
    for id_, lane_id, position_m in loops:
        link_id, _, lane = lane_id.rpartition("_")
        link = network.links.get(link_id)
        if link is None or not lane.isdigit():
            problems.append(f"loop {id_} lies on unknown lane {lane_id}")
            continue
        at_m = position_m if position_m >= 0 else link.length_m + position_m
        if not 0 <= at_m <= link.length_m:
            problems.append(f"loop {id_}: position {position_m} m is off lane {lane_id}")
            continue
        kind, approach = _name_kind(network, link_id, at_m)
        detector = Detector(f"e1_{id_}", kind, link_id, int(lane), round(at_m, 2), approach)
        detectors[detector.id] = detector
    if problems:
        raise ModelError(f"configuration {path}", problems)
    return replace(network, detectors=detectors)


def _name_kind(network: Network, link: str, at_m: float) -> tuple[DetectorKind, str | None]:
    for approach in network.approaches.values():
        if link in approach.links:
            below = approach.links[approach.links.index(link) :]
            back_m = sum(network.links[id_].length_m for id_ in below) - at_m
            if back_m <= NEAR_STOP_LINE_M:
                return DetectorKind.STOP_LINE, approach.id
            is_near = back_m <= NEAR_ADVANCE_M
            return (DetectorKind.ADVANCE if is_near else DetectorKind.TAIL), approach.id
    return DetectorKind.MAINLINE, None
