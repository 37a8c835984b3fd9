"""Who travels on the Heishizi morning: streams by purpose, quarter-hour factors.

Invented, but for the general pattern: a tunnel-bound flow that passes the capacity before seven
past ten and falls below it an hour later, 8 % trucks.
"""

from collections.abc import Iterable

from networks.demand import Flow
from networks.streets import Streets

TUNNEL_VPH = 3515.0  # tunnel-bound at factor 1
TUNNEL_FACTORS = (0.78, 0.95, 1.08, 1.10, 1.05, 0.95, 0.75, 0.55, 0.45, 0.40)  # per quarter-hour
LOCAL_FACTORS = (0.70, 0.85, 1.00, 1.05, 1.00, 0.90, 0.80, 0.70, 0.60, 0.55)
_G50 = tuple(f"g{i:02d}" for i in range(19))
_ENTRY1, _ENTRY2 = ("r1", *_G50[6:]), ("r2", *_G50[10:])
_EXIT1, _EXIT2 = (*_G50[:6], "X1"), (*_G50[:10], "X2")


def build_flows(layout: Streets, scale: float) -> tuple[Flow, ...]:
    """Return who travels where; `scale` multiplies all demand."""
    return tuple(
        Flow(
            purpose,
            layout.links_along(places),
            flow_vph * scale,
            TUNNEL_FACTORS if purpose.startswith("tunnel") else LOCAL_FACTORS,
        )
        for purpose, places, flow_vph in _list_streams()
    )


def _list_streams() -> Iterable[tuple[str, tuple[str, ...], float]]:
    """Yield purpose, places on the way and vehicles per hour at factor 1."""
    yield "tunnel_mainline", _G50, 0.72 * TUNNEL_VPH
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
        yield "tunnel_arterial", (*street.split(), *entry), 0.28 * TUNNEL_VPH * share
    for ramp, street, flow_vph in (
        (_EXIT1, "A1 WA", 120.0),
        (_EXIT1, "G1 B2 S2", 180.0),
        (_EXIT2, "A2 N2", 130.0),
        (_EXIT2, "G2 B4 S4", 170.0),
        (_EXIT2, "G2 A3 N3", 100.0),
    ):
        yield "exit", (*ramp, *street.split()), flow_vph
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
        yield "local", tuple(street.split()), flow_vph
