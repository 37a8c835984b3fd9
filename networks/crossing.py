"""One signalized crossing of two roads, apart from all others: for checks against closed forms.

All of it is invented. Four arms of 600 m with two lanes each way at 60 km/h; at the stop line each
has two lanes for traffic straight on and right, and a bay for lefts, which have a stage of their
own. Arrivals are Poisson with constant rates below capacity, and the last five minutes have none,
so that every vehicle arrives.
"""

from functools import cache
from pathlib import Path

from networks.demand import QUARTER_S, Flow, sum_turns_vph
from networks.plain_xml import Roads, compile_roads
from networks.streets import COMPASS, TURN_BY_STEPS, Road, Streets, build_programs, build_streets

BEGIN_S = 7.0 * 3600.0
QUARTERS = 3
END_S = BEGIN_S + QUARTERS * QUARTER_S + 300.0
STEP_S = 0.5
MAINLINE: tuple[str, ...] = ()
SPECIAL_LOOPS: dict[str, tuple[float, ...]] = {}

JUNCTION = "C"
# Per lane, over greens as long as displayed: where demand just exceeded a green of 20 to 40 s, 1270
# to 1460 veh/h left, seeds 11 to 13. Less leave a queue that has stood for long, as elsewhere.
SATURATION_VPH = 1350.0
ARM_M = 600.0
_PLACES = {
    JUNCTION: (0.0, 0.0),
    "N": (0.0, ARM_M),
    "E": (ARM_M, 0.0),
    "S": (0.0, -ARM_M),
    "W": (-ARM_M, 0.0),
}
# Arm of arrival -> vehicles per hour turning left, straight on, right.
_FLOWS_VPH = {
    "N": (50.0, 230.0, 50.0),
    "E": (60.0, 320.0, 60.0),
    "S": (60.0, 280.0, 60.0),
    "W": (70.0, 390.0, 70.0),
}
_PURPOSES = {"l": "left", "t": "straight", "r": "right"}


@cache
def build_layout() -> Streets:
    """Return the four arms, each named by its compass direction."""
    return build_streets(_PLACES, [Road(arm, JUNCTION, "", arm) for arm in COMPASS])


def build_flows(scale: float = 1.0) -> tuple[Flow, ...]:
    """Return the twelve movements; `scale` multiplies all demand."""
    layout = build_layout()
    return tuple(
        Flow(
            _PURPOSES[turn],
            layout.links_along((arm, JUNCTION, COMPASS[(i + steps) % 4])),
            flow_vph * scale,
            (1.0,) * QUARTERS,
        )
        for i, arm in enumerate(COMPASS)
        for (steps, turn), flow_vph in zip(TURN_BY_STEPS.items(), _FLOWS_VPH[arm], strict=True)
    )


def build_roads(folder: Path) -> Path:
    """Compile the network with its fixed-time plan into the folder; return the net file.

    Raises plain_xml.CompileError when netconvert fails.
    """
    layout = build_layout()
    programs = build_programs(layout, sum_turns_vph(build_flows()), {})
    roads = Roads(layout.nodes, layout.edges, layout.connections, programs)
    return compile_roads(roads, folder, "crossing")
