"""What a finished run left behind: SUMO's own files, what truly happened, and the alerts raised."""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from networks.scenario import Scenario
from networks.truth import Truth
from traffic.congestion import Alert
from traffic.model import DetectorKind
from traffic.performance import Trips

Floats = NDArray[np.float64]


class EvidenceError(ValueError):
    """Files of a run that are missing, broken or at odds; one problem per line, each with path."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """What statistic.xml counts."""

    end_s: float
    waiting: int  # still waiting to depart at the end
    teleports: int
    collisions: int


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What truly happened on the mainline and at the gates, with the places that figures need.

    Positions are measured from the mainline's upstream end; those of the bottleneck are None
    where the mainline has none.
    """

    begin_s: float
    end_s: float
    length_m: float
    bottleneck_m: float | None  # its link's upstream end
    upstream_end_m: float | None  # where the queue's head stands: its last watch loop, or its link
    loops_m: tuple[float, ...]  # of the mainline
    sample_s: float  # between samples of one vehicle
    time_s: Floats  # N samples
    x_m: Floats  # N
    speed_mps: Floats  # N
    gates: tuple[str, ...]  # G
    gate_length_m: Floats  # G
    queue_time_s: Floats  # T
    queue_m: Floats  # G x T, from the stop line to the last queued vehicle
    flow_end_s: Floats  # M, ends of whole minutes
    passed_veh: Floats  # M, through the bottleneck; NaN where no loop counts it


def build_truth(seen: Truth, scenario: Scenario) -> GroundTruth:
    """Place what was sampled on the scenario's mainline, with its first bottleneck there."""
    network, start_m = scenario.network, seen.link_start_m

    def place(loop: str) -> float | None:
        detector = network.detectors[loop]
        start = start_m.get(detector.link)
        return None if start is None else start + detector.position_m

    loops = (d.id for d in network.detectors.values() if d.kind is DetectorKind.MAINLINE)
    loops_m = sorted({round(x, 1) for loop in loops if (x := place(loop)) is not None})
    bottleneck_m = upstream_end_m = None
    passed = np.full(len(seen.flow_end_s), np.nan)
    for row, name in enumerate(seen.bottlenecks):
        bottleneck = network.bottlenecks[name]
        if bottleneck.link in start_m:
            bottleneck_m = start_m[bottleneck.link]
            watch_m = [x for loop in bottleneck.watch if (x := place(loop)) is not None]
            upstream_end_m = max(watch_m, default=bottleneck_m)
            passed = seen.passed_veh[row]
            break
    return GroundTruth(
        scenario.begin_s,
        scenario.end_s,
        seen.mainline_m,
        bottleneck_m,
        upstream_end_m,
        tuple(loops_m),
        seen.sample_s,
        seen.time_s,
        seen.x_m,
        seen.speed_mps,
        seen.gates,
        seen.gate_length_m,
        seen.clock_s,
        seen.queue_m,
        seen.flow_end_s,
        passed,
    )


@dataclass(frozen=True, slots=True)
class AlertMark:
    """One level of one alert, from when it was first seen until it was left."""

    alert: str
    bottleneck: str | None  # None: a blocked lane away from any
    level: str  # of traffic.alerts.alert.Level
    begin_s: float
    end_s: float | None  # None when it still stood at the end
    text: Mapping[str, str]  # language -> text


class AlertLog:
    """Follows the alerts of a run from snapshot to snapshot."""

    def __init__(self) -> None:
        self._marks: list[AlertMark] = []
        self._open: dict[str, int] = {}  # alert -> position of its latest mark

    def add(self, now_s: float, alerts: Iterable[Alert]) -> None:
        """Note the alerts that stand, and those just cleared, at one moment."""
        for alert in alerts:
            level = alert.level.value
            at = self._open.get(alert.id)
            if at is not None and (alert.cleared_s is not None or self._marks[at].level != level):
                until_s = now_s if alert.cleared_s is None else alert.cleared_s
                self._close(at, until_s)
                del self._open[alert.id]
                at = None
            if at is None and alert.cleared_s is None:
                self._open[alert.id] = len(self._marks)
                self._marks.append(
                    AlertMark(alert.id, alert.bottleneck, level, now_s, None, dict(alert.text))
                )

    def _close(self, at: int, end_s: float) -> None:
        mark = self._marks[at]
        self._marks[at] = AlertMark(
            mark.alert, mark.bottleneck, mark.level, mark.begin_s, end_s, mark.text
        )

    @property
    def marks(self) -> tuple[AlertMark, ...]:
        return tuple(self._marks)


def stream_elements(path: Path, *tags: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Stream elements as (tag, attributes). Raises EvidenceError when the file cannot be read."""
    try:
        for _, element in etree.iterparse(str(path), tag=tags, resolve_entities=False):
            yield str(element.tag), {str(k): str(v) for k, v in element.attrib.items()}
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error}") from error
    except etree.XMLSyntaxError as error:
        raise EvidenceError(f"{path}: broken XML: {error.msg}") from error


def get_number(path: Path, attributes: Mapping[str, str], name: str) -> float:
    try:
        return float(attributes[name])
    except (KeyError, ValueError) as error:
        what = attributes.get("id", "an element")
        raise EvidenceError(
            f"{path}: {what}: {name} is {attributes.get(name, 'missing')!r}, expected a number"
        ) from error


def read_statistic(path: Path) -> Statistic:
    """Read SUMO's statistic.xml. Raises EvidenceError when it is missing, broken or incomplete."""
    found: dict[str, dict[str, str]] = {}
    for tag, attributes in stream_elements(path, "performance", "vehicles", "teleports", "safety"):
        found.setdefault(tag, attributes)
    missing = {"performance", "vehicles", "teleports", "safety"} - found.keys()
    if missing:
        raise EvidenceError(f"{path}: has no element {', '.join(sorted(missing))}")
    return Statistic(
        end_s=get_number(path, found["performance"], "end"),
        waiting=int(get_number(path, found["vehicles"], "waiting")),
        teleports=int(get_number(path, found["teleports"], "total")),
        collisions=int(get_number(path, found["safety"], "collisions")),
    )


def name_purpose(vehicle: str, purposes: tuple[str, ...]) -> str:
    """The part of the id before the dot when the scenario names it, "other" when not.

    A scenario that names no purposes has one, "all".
    """
    if not purposes:
        return "all"
    purpose = vehicle.partition(".")[0]
    return purpose if purpose in purposes else "other"


def read_trips(folder: Path, purposes: tuple[str, ...], statistic: Statistic) -> Trips:
    """Read tripinfo.xml of a run into one row per vehicle of the demand.

    A vehicle on the road at the end counts until then; one that never departed waits from its
    planned departure until then. Raises EvidenceError when the file is missing or broken, or
    when vehicles waited to depart that it does not name.
    """
    rows: list[tuple[str, float, float, float, bool, bool]] = []
    path = folder / "tripinfo.xml"
    for _, trip in stream_elements(path, "tripinfo"):
        vehicle = trip.get("id", "")
        delay_s = get_number(path, trip, "departDelay")
        if get_number(path, trip, "depart") < 0:
            # One due in the last second had no step left to depart in.
            if delay_s >= 1.0:
                rows.append((vehicle, 0.0, 0.0, delay_s, False, False))
            continue
        arrived = get_number(path, trip, "arrival") >= 0 and not trip.get("vaporized")
        length_m, travel_s = (get_number(path, trip, n) for n in ("routeLength", "duration"))
        rows.append((vehicle, length_m, travel_s, delay_s, True, arrived))
    never = sum(not row[4] for row in rows)
    if never < statistic.waiting:
        raise EvidenceError(
            f"{path}: {statistic.waiting} vehicles waited to depart at the end, but only {never} "
            "are named; have SUMO write undeparted vehicles too"
        )
    return Trips(
        tuple(name_purpose(row[0], purposes) for row in rows),
        np.asarray([row[1] for row in rows], dtype=np.float64),
        np.asarray([row[2] for row in rows], dtype=np.float64),
        np.asarray([row[3] for row in rows], dtype=np.float64),
        np.asarray([row[4] for row in rows], dtype=np.bool_),
        np.asarray([row[5] for row in rows], dtype=np.bool_),
    )


def name_partial(target: Path, process: int) -> Path:
    """Where a process writes what becomes `target` when all is done."""
    return target.with_name(f".{target.name}.{process}.partial")


@contextmanager
def finished_folder(target: Path) -> Iterator[Path]:
    """Give a folder to write in that becomes `target` only when the block ends without an error.

    An earlier `target` is replaced at that moment; after an error or Ctrl-C it stands untouched.
    """
    work = name_partial(target, os.getpid())
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
        if target.exists():
            old = work.with_suffix(".old")
            target.rename(old)
            work.rename(target)
            shutil.rmtree(old)
        else:
            work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is either the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        work.write_text(text, encoding="utf-8")
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
