"""Scenarios that are not ours: any SUMO configuration by its path, and the RESCO benchmark maps."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from networks.loops import write_loops
from networks.scenario import Scenario
from networks.sumo_xml import CompiledNetwork, read_elements, read_network
from traffic.model import Detector, DetectorKind, ModelError, Network

_log = logging.getLogger(__name__)

RESCO = "resco:"
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
# Options about the seed, the window, what is printed: whoever runs the scenario decides those.
_NOT_OURS = frozenset(
    (
        *("seed", "random", "precision", "configuration-file", "save-configuration"),
        *("gui-settings-file", "start", "quit-on-end", "delay", "window-size", "window-pos"),
        *("remote-port", "num-clients", "tracker-interval", "demo"),
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
    begin_s = _read_time(config, "begin", 0.0)
    end_s = _read_time(config, "end", -1.0)
    departures_s = [_find_last_departure(file) for file in (*routes, *additional)]
    last_s = max((moment for moment in departures_s if moment is not None), default=None)
    if last_s is None:
        raise ModelError(f"configuration {path}", ["its route files hold no traffic"])
    if end_s < 0:
        end_s = max(begin_s, last_s) + UNKNOWN_END_S
        _log.warning("%s sets no end; the run ends at %g s", path, end_s)
    own = [loop for file in additional for loop in _read_loops(file)]
    compiled = read_network(
        net_file, scenario_id, program_files=additional, loops={} if own else None
    )
    network = _take_loops(compiled, own, path) if own else compiled.network
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
        begin_s=begin_s,
        end_s=end_s,
        step_s=_read_time(config, "step-length", 1.0),
        seed=seed,
        signal_indices=compiled.signal_indices,
        sumo_options=tuple(_pass_on(config)),
    )


def load_resco(name: str, folder: Path, seed: int) -> Scenario:
    """Load a RESCO map, `name` being resco:<map>; raises ModelError when it is not installed."""
    maps = find_resco_maps()
    if not maps:
        problem = "needs the package sumo-rl: pip install 'traffic-response[bench]'"
        raise ModelError(f"scenario {name}", [problem])
    map_id = name.removeprefix(RESCO)
    if map_id not in maps:
        raise ModelError(f"scenario {name}", [f"unknown map; known are {', '.join(sorted(maps))}"])
    title = {"en": f"RESCO benchmark, {map_id}", "zh": f"RESCO 基准路网 {map_id}"}
    return load_configuration(maps[map_id], folder, seed, name, title)


def find_resco_maps() -> dict[str, Path]:
    """Return map -> configuration of the installed sumo-rl package; empty without it.

    The package itself is not imported: it asks for a learning library that we have no use for.
    """
    spec = find_spec("sumo_rl")
    places = spec.submodule_search_locations if spec is not None else None
    files = [file for place in places or () for file in Path(place).glob("nets/RESCO/*/*.sumocfg")]
    return {file.parent.name: file for file in files}


def _read_config(path: Path) -> _Config:
    if not path.is_file():
        raise ModelError(f"configuration {path}", ["does not exist"])
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError, OSError) as error:
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
        f"file {file} does not exist"
        for file in (*nets, *routes, *additional)
        if not file.is_file()
    ]
    if problems:
        raise ModelError(f"configuration {config.path}", problems)
    return nets[0], routes, additional


def _read_time(config: _Config, name: str, default_s: float) -> float:
    text = config.get(name)
    if text is None:
        return default_s
    try:
        return _parse_time(text)
    except ValueError as error:
        problem = f"{name} {text!r} is no time in seconds or h:m:s"
        raise ModelError(f"configuration {config.path}", [problem]) from error


def _parse_time(text: str) -> float:
    """Return seconds of a number or d:h:m:s, as SUMO writes times; raises ValueError."""
    total_s = 0.0
    for part, unit_s in zip(reversed(text.split(":")), (1.0, 60.0, 3600.0, 86400.0), strict=False):
        total_s += float(part) * unit_s
    return total_s


_DEMAND = ("vehicle", "trip", "flow", "person", "personFlow", "container", "containerFlow")


def _find_last_departure(file: Path) -> float | None:
    """Return the last departure or end of a flow in the file, seconds; None without traffic."""
    elements = read_elements(file, *_DEMAND)
    last_s = 0.0 if elements else None
    for element in elements:
        with suppress(ValueError):  # "triggered" and the like: some other departure counts
            moment_s = _parse_time(element.get("end", element.get("depart", "0")))
            last_s = max(last_s or 0.0, moment_s)
    return last_s


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
