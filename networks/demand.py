"""Demand as a route file: streams of vehicles with Poisson departures, the same for one seed."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

QUARTER_S = 900.0


@dataclass(frozen=True, slots=True)
class Flow:
    """Traffic on one route: `flow_vph` times a factor for each quarter-hour from the start."""

    purpose: str
    links: tuple[str, ...]
    flow_vph: float
    factors: tuple[float, ...]


def write_flows(
    path: Path,
    flows: Sequence[Flow],
    kinds: Iterable[ElementTree.Element],
    begin_s: float,
    seed: str,
    truck_share: float,
) -> Path:
    """Write vehicles of the kinds "car" and "truck", named `<purpose>.<number>`, to a route file.

    Each flow draws from a generator of its own, named by seed and position, so that a change in
    one flow leaves the others as they were.
    """
    root = ElementTree.Element("routes")
    root.extend(kinds)
    departures: list[tuple[float, int, str]] = []
    for index, flow in enumerate(flows):
        ElementTree.SubElement(
            root, "route", {"id": f"route{index}", "edges": " ".join(flow.links)}
        )
        rng = random.Random(f"{seed}/{index}")
        for depart_s in _departures(rng, flow, begin_s):
            kind = "truck" if rng.random() < truck_share else "car"
            departures.append((round(depart_s, 1), index, kind))
    counts: Counter[str] = Counter()
    for depart_s, index, kind in sorted(departures):
        purpose = flows[index].purpose
        attributes = {
            "id": f"{purpose}.{counts[purpose]}",
            "type": kind,
            "route": f"route{index}",
            "depart": f"{depart_s:.1f}",
            "departLane": "free",
            "departSpeed": "avg",
        }
        ElementTree.SubElement(root, "vehicle", attributes)
        counts[purpose] += 1
    ElementTree.indent(root)
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    return path


def _departures(rng: random.Random, flow: Flow, begin_s: float) -> Iterable[float]:
    for quarter, factor in enumerate(flow.factors):
        start_s = begin_s + quarter * QUARTER_S
        rate = flow.flow_vph * factor / 3600.0
        now_s = start_s
        while rate > 0 and (now_s := now_s + rng.expovariate(rate)) < start_s + QUARTER_S:
            yield now_s
