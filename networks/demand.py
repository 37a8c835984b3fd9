"""Demand as a route file: flows of vehicles with Poisson departures, the same for one seed.

All scenarios built here share their drivers. These follow IDMM (Treiber and Helbing 2003), whose
drivers keep longer gaps after a while in congestion: that, not a script, is what makes capacity
drop when a queue forms.
"""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from networks.streets import Turn

QUARTER_S = 900.0
TRUCK_SHARE = 0.08


@dataclass(frozen=True, slots=True)
class Flow:
    """Traffic on one route: `flow_vph` times a factor for each quarter-hour from the start."""

    purpose: str
    links: tuple[str, ...]
    flow_vph: float
    factors: tuple[float, ...]


def sum_turns_vph(flows: Iterable[Flow]) -> dict[Turn, float]:
    """Return the undisturbed flow of every turn in its busiest quarter-hour."""
    turns: defaultdict[Turn, float] = defaultdict(float)
    for flow in flows:
        for turn in itertools.pairwise(flow.links):
            turns[turn] += flow.flow_vph * max(flow.factors)
    return dict(turns)


def share_bound(flows: Iterable[Flow], link: str, through: str) -> float:
    """Return the part of the traffic on the link that is bound through another, 0..1.

    A city knows it from surveys or plates; here the demand says it, all factors taken for 1.
    """
    total_vph = bound_vph = 0.0
    for flow in flows:
        if link in flow.links:
            total_vph += flow.flow_vph
            if through in flow.links[flow.links.index(link) :]:
                bound_vph += flow.flow_vph
    return round(bound_vph / total_vph, 3) if total_vph else 0.0


def write_flows(
    path: Path,
    net_file: Path,
    flows: Sequence[Flow],
    begin_s: float,
    seed: str,
    piece_s: float = QUARTER_S,
) -> Path:
    """Write cars and trucks, named `<purpose>.<number>`, to a route file; return its path.

    Each flow draws from a generator of its own, named by seed and position, so that a change in
    one flow leaves the others as they were. A factor holds for `piece_s`. Raises ValueError
    listing links that the compiled network lacks.
    """
    _check_links(net_file, flows)
    root = ElementTree.Element("routes")
    root.extend(_build_drivers())
    departures: list[tuple[float, int, str]] = []
    for index, flow in enumerate(flows):
        route = {"id": f"route{index}", "edges": " ".join(flow.links)}
        ElementTree.SubElement(root, "route", route)
        rng = random.Random(f"{seed}/{index}")
        for depart_s in _draw_departures(rng, flow, begin_s, piece_s):
            kind = "truck" if rng.random() < TRUCK_SHARE else "car"
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


def _draw_departures(
    rng: random.Random, flow: Flow, begin_s: float, piece_s: float
) -> Iterable[float]:
    for piece, factor in enumerate(flow.factors):
        now_s = begin_s + piece * piece_s
        end_s = now_s + piece_s
        rate = flow.flow_vph * factor / 3600.0
        while rate > 0 and (now_s := now_s + rng.expovariate(rate)) < end_s:
            yield now_s


def _build_drivers() -> Iterable[ElementTree.Element]:
    drivers = {
        "carFollowModel": "IDMM",
        "adaptFactor": "1.5",
        "adaptTime": "300",
        "lcStrategic": "5",  # commuters know the lane drop: they merge within its last kilometre
        "lcAssertive": "1.3",
        "minGap": "2.2",
        "speedFactor": "normc(1,0.08,0.7,1.3)",
    }
    kinds: Mapping[str, Mapping[str, str]] = {
        "car": {"tau": "1.15", "accel": "1.6"},
        "truck": {"vClass": "truck", "tau": "1.3", "accel": "1.0", "length": "10"},
    }
    for kind, own in kinds.items():
        yield ElementTree.Element("vType", {"id": kind, **drivers, **own})


def _check_links(net_file: Path, flows: Iterable[Flow]) -> None:
    known = {edge.get("id") for edge in ElementTree.parse(net_file).getroot().iter("edge")}
    used = {link for flow in flows for link in flow.links}
    if missing := sorted(used - known):
        raise ValueError(f"{net_file} lacks links of the demand: {', '.join(missing)}")
