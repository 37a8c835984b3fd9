"""SUMO's route files: who departs when, packed or plain."""

import gzip
import shutil
import zlib
from collections.abc import Iterator, Sequence
from math import ceil, inf, sqrt
from pathlib import Path
from typing import IO, cast
from xml.etree import ElementTree

# What reading a packed file raises when it is cut off or no archive, and what parsing does.
UNREADABLE = (ElementTree.ParseError, EOFError, OSError, UnicodeDecodeError, zlib.error)

TRAFFIC = ("vehicle", "trip", "flow", "person", "personFlow", "container", "containerFlow")


def parse_time(text: str) -> float:
    """Return seconds of a number or d:h:m:s, as SUMO writes times; raises ValueError."""
    total_s = 0.0
    for part, unit_s in zip(reversed(text.split(":")), (1.0, 60.0, 3600.0, 86400.0), strict=False):
        total_s += float(part) * unit_s
    return total_s


def find_departures(elements: Sequence[ElementTree.Element]) -> tuple[float, float] | None:
    """Return when the first of this traffic may depart and when the last; None without any.

    A flow without an end goes on for ever; one that waits for an event, "triggered" and the
    like, may depart at any time.
    """
    first_s, last_s = inf, -inf
    for element in elements:
        is_flow = element.get("depart") is None
        try:
            begin_s = parse_time(element.get("begin" if is_flow else "depart", "0"))
        except ValueError:
            begin_s = 0.0
        end_s = begin_s
        if is_flow and element.get("end") is not None:
            end_s = parse_time(element.get("end", ""))
        first_s, last_s = min(first_s, begin_s), max(last_s, end_s)
    return (first_s, last_s) if elements else None


def list_vehicles(route_file: Path, end_s: float = inf) -> Iterator[str]:
    """Yield the ids of a route file's vehicles; of a flow as many as it may send until then."""
    with open_plain(route_file) as stream:
        for _, element in ElementTree.iterparse(stream):
            id_ = element.get("id", "")
            if element.tag in ("vehicle", "trip"):
                yield id_
            elif element.tag == "flow":
                yield from (f"{id_}.{k}" for k in range(_bound_flow(element, end_s)))
            if element.tag in ("vehicle", "trip", "flow"):
                element.clear()


def _bound_flow(flow: ElementTree.Element, end_s: float) -> int:
    if "number" in flow.attrib:
        return int(flow.attrib["number"])
    begin_s = parse_time(flow.get("begin", "0"))
    until_s = min(end_s, parse_time(flow.get("end", str(end_s))))
    lasts_s = max(0.0, until_s - begin_s)
    for hourly in ("vehsPerHour", "perHour"):
        if hourly in flow.attrib:
            return ceil(lasts_s * float(flow.attrib[hourly]) / 3600.0)
    if "probability" in flow.attrib:  # at most one each second
        return ceil(lasts_s)
    rate: str = flow.get("period", "1")
    if rate.startswith("exp("):  # Poisson: six standard deviations above the mean
        mean: float = lasts_s * float(rate[4:-1])
        return ceil(mean + 6 * sqrt(mean) + 6)
    return ceil(lasts_s / parse_time(rate))


def open_plain(file: Path) -> IO[bytes]:
    """Open a file, unpacked."""
    return cast(IO[bytes], gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


def copy_plain(source: Path, target: Path) -> None:
    """Copy a file, unpacked."""
    with open_plain(source) as packed, target.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
