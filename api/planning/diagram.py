"""The time-space diagram of an arterial: when its signals are green, and its green waves."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from api.charts import FAINT, INK, STYLE
from traffic.model import Network, SafePlan
from traffic.optimization.arterial import Arterial, find_bands
from traffic.optimization.greens import build_green_runs

CYCLES = 3
OUTBOUND, INBOUND, RED = "#0072b2", "#e08214", "#e9d3d3"
HALF_BAR = 0.012  # width of one direction's bar, of the whole arterial
NEAREST = 0.05  # least distance of two junctions, of the whole arterial
LONGEST_NAME = 22  # letters of a junction


def draw_time_space(
    network: Network, plans: Mapping[str, SafePlan], arterial: Arterial, path: Path
) -> None:
    """Draw three cycles: distance right, time up; writes SVG or PNG by the file's ending.

    Junctions stand as far apart as outbound traffic takes between them, no nearer than their names
    and bars can be told apart.
    """
    places = _spread(arterial.outbound_travel_s)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.6 * len(places) + 3.2, 6.2), layout="constrained")
        axes = figure.add_subplot()
        cycle_s = max(plans[id_].cycle_s for id_ in arterial.junctions)
        until_s = CYCLES * cycle_s
        half = HALF_BAR * max(places[-1], 1.0)
        phases = zip(arterial.junctions, places, arterial.outbound, arterial.inbound, strict=True)
        for id_, at, out, back in phases:
            for phase, left, color in ((out, at, OUTBOUND), (back, at - half, INBOUND)):
                axes.bar(left, until_s, half, 0, align="edge", color=RED, zorder=2)
                _draw_greens(axes, network, plans[id_], id_, phase, left, half, color, until_s)
        bands = find_bands(network, plans, arterial)
        for (begin, wide), times, sign, color in (
            (bands[0], arterial.outbound_travel_s, 1, OUTBOUND),
            (bands[1], arterial.inbound_travel_s, -1, INBOUND),
        ):
            for k in range(-2 * CYCLES, 3 * CYCLES) if wide else ():
                low = np.array([begin + k * cycle_s + sign * t for t in times])
                axes.fill_between(places, low, low + wide, color=color, alpha=0.2, zorder=1, lw=0)
                for edge in (low, low + wide):
                    axes.plot(places, edge, color=color, lw=0.8, zorder=1)
        axes.set_ylim(0, until_s)
        axes.set_xlim(-3 * half, places[-1] + 3 * half)
        axes.set_yticks(np.arange(CYCLES + 1) * cycle_s)
        axes.set_yticks(np.arange(0, until_s, 10.0), minor=True)
        names = [_shorten(id_) for id_ in arterial.junctions]
        axes.set_xticks(places, names, rotation=30, ha="right")
        axes.set_xlabel("Junctions in order outbound, spaced by travel time")
        axes.set_ylabel(f"Time, s: {CYCLES} cycles of {cycle_s:g} s")
        axes.set_title(f"{network.id}: green waves", color=INK, fontsize=11)
        axes.grid(axis="y", color=FAINT, alpha=0.35)
        axes.legend(
            handles=[
                Patch(color=OUTBOUND, label=f"green outbound, {_tell_band(bands[0][1])}"),
                Patch(color=INBOUND, label=f"green inbound, {_tell_band(bands[1][1])}"),
                Patch(color=RED, label="red"),
            ],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=3,
            frameon=False,
        )
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=140)


def _tell_band(wide_s: int) -> str:
    return f"band of {wide_s} s" if wide_s else "no common band"


def _spread(travel_s: Sequence[float]) -> list[float]:
    """Return where junctions stand, seconds, none nearer to the next than NEAREST of all."""
    least = NEAREST * max(travel_s[-1], 1.0)
    places = [0.0]
    for before, after in pairwise(travel_s):
        places.append(places[-1] + max(after - before, least))
    return places


def _shorten(id_: str) -> str:
    return id_ if len(id_) <= LONGEST_NAME else f"{id_[: LONGEST_NAME - 1]}…"


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
            axes.bar(left, run.green_s, width, begin_s, align="edge", color=color, zorder=3)
            begin_s += plan.cycle_s
