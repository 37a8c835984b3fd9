"""The time-space diagram of an arterial: when its signals are green, and its green waves."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from api.charts import FAINT, INK, STYLE
from traffic.model import Network, SafePlan
from traffic.optimization.arterial import Arterial, find_bands
from traffic.optimization.greens import build_green_runs

CYCLES = 3
OUTBOUND, INBOUND, RED = "#0072b2", "#d55e00", "#8a1c1c"


def draw_time_space(
    network: Network, plans: Mapping[str, SafePlan], arterial: Arterial, path: Path
) -> None:
    """Draw three cycles: distance right, time up; writes SVG or PNG by the file's ending."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.6 * len(arterial.junctions) + 3.2, 5.4), layout="constrained")
        axes = figure.add_subplot()
        longest_s = max(plans[id_].cycle_s for id_ in arterial.junctions)
        until_s = CYCLES * longest_s
        x_s = arterial.outbound_travel_s
        width = 0.05 * max(x_s[-1], 1.0)
        for id_, at_s, out, back in zip(
            arterial.junctions, x_s, arterial.outbound, arterial.inbound, strict=True
        ):
            for phase, left, color in ((out, at_s, OUTBOUND), (back, at_s - width / 2, INBOUND)):
                axes.bar(left, until_s, width / 2, 0, align="edge", color=RED, alpha=0.25)
                _draw_greens(axes, network, plans[id_], id_, phase, left, width / 2, color, until_s)
        bands = find_bands(network, plans, arterial)
        cycle_s = plans[arterial.junctions[0]].cycle_s
        back_s = arterial.inbound_travel_s
        for (begin, wide), times, sign, color in (
            (bands[0], x_s, 1, OUTBOUND),
            (bands[1], back_s, -1, INBOUND),
        ):
            for k in range(-CYCLES, 2 * CYCLES):
                low = [begin + k * cycle_s + sign * t for t in times]
                if wide:
                    axes.fill_between(x_s, low, [t + wide for t in low], color=color, alpha=0.18)
        axes.set_ylim(0, until_s)
        axes.set_xlim(-width, x_s[-1] + width)
        axes.set_xticks(x_s, arterial.junctions, rotation=30, ha="right")
        axes.set_xlabel("Junction, spaced by outbound travel time")
        axes.set_ylabel("Time, s")
        axes.set_title(
            f"{network.id}: cycle {cycle_s:g} s, bands {bands[0][1]} s outbound (blue), "
            f"{bands[1][1]} s inbound (orange)",
            color=INK,
            fontsize=10,
        )
        axes.grid(axis="y", color=FAINT, alpha=0.2)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=140)


def _draw_greens(
    axes: Axes,
    network: Network,
    plan: SafePlan,
    junction: str,
    phase: str,
    left: float,
    width: float,
    color: str,
    until_s: float,
) -> None:
    for run in build_green_runs(network.junctions[junction], plan):
        if run.phase != phase:
            continue
        begin_s = plan.offset_s + run.start_s + run.lost_s - 2 * plan.cycle_s
        while begin_s < until_s:
            axes.bar(left, run.green_s, width, begin_s, align="edge", color=color)
            begin_s += plan.cycle_s
