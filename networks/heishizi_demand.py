"""Who travels on the Heishizi morning: streams by purpose, quarter-hour factors, drivers.

Invented, but for the general pattern: a tunnel-bound flow that passes the capacity before seven
past ten and falls below it an hour later, 8 % trucks. The following model is IDMM (Treiber and
Helbing 2003), whose drivers keep longer gaps after a while in congestion: that, not a script, is
what makes capacity drop when the queue forms.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from networks.streets import Streets, Turn

BEGIN_S = 6.5 * 3600.0
QUARTER_S = 900.0
TRUCK_SHARE = 0.08
TUNNEL_VPH = 3515.0  # tunnel-bound at factor 1
TUNNEL_FACTORS = (0.78, 0.95, 1.08, 1.10, 1.05, 0.95, 0.75, 0.55, 0.45, 0.40)  # per quarter-hour
LOCAL_FACTORS = (0.70, 0.85, 1.00, 1.05, 1.00, 0.90, 0.80, 0.70, 0.60, 0.55)
PURPOSES = ("tunnel_mainline", "tunnel_arterial", "exit", "local")
_G50 = tuple(f"g{i:02d}" for i in range(19))
_ENTRY1, _ENTRY2 = ("r1", *_G50[6:]), ("r2", *_G50[10:])
_EXIT1, _EXIT2 = (*_G50[:6], "X1"), (*_G50[:10], "X2")


@dataclass(frozen=True, slots=True)
class Stream:
    """Traffic on one route; `flow_vph` at factor 1."""

    purpose: str
    places: tuple[str, ...]
    flow_vph: float

    @property
    def factors(self) -> tuple[float, ...]:
        return TUNNEL_FACTORS if self.purpose.startswith("tunnel") else LOCAL_FACTORS


def _streams() -> Iterable[Stream]:
    yield Stream("tunnel_mainline", _G50, 0.72 * TUNNEL_VPH)
    # The rest, 28 %, comes from the streets by the two entries.
    arterial = {
        ("WA A1 X1 G1", _ENTRY1): 190.0,
        ("S1 B1 A1 X1 G1", _ENTRY1): 60.0,
        ("S2 B2 G1", _ENTRY1): 150.0,
        ("N2 A2 X2 G2", _ENTRY2): 140.0,
        ("S3 B3 A2 X2 G2", _ENTRY2): 60.0,
        ("WB B1 B2 B3 B4 G2", _ENTRY2): 100.0,
        ("S4 B4 G2", _ENTRY2): 160.0,
        ("N3 A3 G2", _ENTRY2): 124.0,
    }
    total_vph = sum(arterial.values())
    for (street, entry), flow_vph in arterial.items():
        share = flow_vph / total_vph
        yield Stream("tunnel_arterial", (*street.split(), *entry), 0.28 * TUNNEL_VPH * share)
    for ramp, street, flow_vph in (
        (_EXIT1, "A1 WA", 120.0),
        (_EXIT1, "G1 B2 S2", 180.0),
        (_EXIT2, "A2 N2", 130.0),
        (_EXIT2, "G2 B4 S4", 170.0),
        (_EXIT2, "G2 A3 N3", 100.0),
    ):
        yield Stream("exit", (*ramp, *street.split()), flow_vph)
    for street, flow_vph in (
        ("WA A1 X1 G1 A2 X2 G2 A3 N3", 130.0),
        ("N3 A3 G2 X2 A2 G1 X1 A1 WA", 130.0),
        ("WB B1 B2 B3 B4 B5 A3 N3", 80.0),
        ("N3 A3 B5 B4 B3 B2 B1 WB", 80.0),
        ("S1 B1 A1 N1", 80.0),
        ("N1 A1 B1 S1", 80.0),
        ("S3 B3 A2 N2", 90.0),
        ("N2 A2 B3 S3", 90.0),
        ("WA A1 X1 G1 B2 S2", 60.0),
        ("S2 B2 B3 B4 S4", 60.0),
        ("S4 B4 B3 B2 B1 WB", 70.0),
        ("N3 A3 H1 H2 HE", 70.0),
        ("HE H2 H1 A3 G2 X2 A2 N2", 70.0),
        ("SH H1 A3 N3", 40.0),
        ("N3 A3 H1 SH", 30.0),
        ("S4 B4 B5 R2 RE", 70.0),
        ("RE R2 B5 B4 S4", 60.0),
    ):
        yield Stream("local", tuple(street.split()), flow_vph)


STREAMS = tuple(_streams())


def turn_flows_vph(layout: Streets) -> dict[Turn, float]:
    """Return the undisturbed flow of every turn in its busiest quarter-hour."""
    flows: Counter[Turn] = Counter()
    for stream in STREAMS:
        links = layout.links_along(stream.places)
        for turn in itertools.pairwise(links):
            flows[turn] += stream.flow_vph * max(stream.factors)
    return dict(flows)


def write_routes(layout: Streets, net: Path, folder: Path, seed: int, scale: float) -> Path:
    """Write `heishizi.rou.xml`: Poisson departures of every stream, the same for the same seed.

    `scale` multiplies all demand. Raises ValueError listing links that the compiled network lacks.
    """
    root = ElementTree.Element("routes")
    root.extend(_types())
    departures: list[tuple[float, int, str, str]] = []
    for index, stream in enumerate(STREAMS):
        links = layout.links_along(stream.places)
        ElementTree.SubElement(root, "route", {"id": f"route{index}", "edges": " ".join(links)})
        rng = random.Random(f"heishizi/{seed}/{index}")
        for depart_s in _departures(rng, stream, scale):
            kind = "truck" if rng.random() < TRUCK_SHARE else "car"
            departures.append((round(depart_s, 1), index, stream.purpose, kind))
    _check_links(net, layout)
    counts: Counter[str] = Counter()
    for depart_s, index, purpose, kind in sorted(departures):
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
    path = folder / "heishizi.rou.xml"
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    return path


def _departures(rng: random.Random, stream: Stream, scale: float) -> Iterable[float]:
    for quarter, factor in enumerate(stream.factors):
        begin_s = BEGIN_S + quarter * QUARTER_S
        now_s = begin_s
        while (now_s := now_s + rng.expovariate(stream.flow_vph * scale * factor / 3600.0)) < (
            begin_s + QUARTER_S
        ):
            yield now_s


def _types() -> Iterable[ElementTree.Element]:
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


def _check_links(net: Path, layout: Streets) -> None:
    known = {edge.get("id") for edge in ElementTree.parse(net).getroot().iter("edge")}
    used = {link for stream in STREAMS for link in layout.links_along(stream.places)}
    if missing := sorted(used - known):
        raise ValueError(f"{net} lacks links of the demand: {', '.join(missing)}")
