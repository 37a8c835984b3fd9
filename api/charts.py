"""The report's charts as inline SVG: text stays text, in both languages, colours safe for all eyes.

A label of LABELS becomes two spans of which the page shows one.
"""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from traffic.units import to_clock

# Okabe and Ito's palette; each response also has a line style of its own.
RESPONSE_STYLES: Mapping[str, tuple[str, str]] = {
    "none": ("#4d4d4d", "--"),
    "nav": ("#e69f00", "-."),
    "gating": ("#009e73", "-"),
    "advice": ("#cc79a7", "-"),
    "full": ("#0072b2", "-"),
}
OTHER_STYLE = ("#d55e00", ":")
WARNING_COLOR = "#56b4e9"
CONFIRMED_COLOR = "#d55e00"
INK = "#1c2733"
FAINT = "#5b6875"
EMPTY = "#e4e8ec"
SPEED_MAP = "YlOrRd_r"  # dark is slow; lightness alone tells it, without colour too
TOP_SPEED_KMH = 80.0

# Drawn in English, since the fonts here need no Chinese; the reader's browser has them.
LABELS: Mapping[str, str] = {
    "Time of day": "时刻",
    "Distance along mainline, km": "主线里程（km）",
    "Queue, m": "排队长度（m）",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "traffic",
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def to_svg(figure: Figure) -> str:
    """Return the figure as an <svg> element that scales with the page."""
    buffer = StringIO()
    figure.patch.set_visible(False)
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for en, zh in LABELS.items():
        both = (
            f'<tspan class="en" lang="en">{en}</tspan><tspan class="zh" lang="zh-CN">{zh}</tspan>'
        )
        svg = svg.replace(f">{en}<", f">{both}<")
    # Without a size of its own it takes the width of its place and the height of its viewBox.
    return re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)


def _use_clock(axes: Axes, begin_s: float, end_s: float) -> None:
    steps = (300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0)
    step_s = next((s for s in steps if (end_s - begin_s) / s <= 7), steps[-1])
    axes.set_xlim(begin_s, end_s)
    axes.xaxis.set_major_locator(MultipleLocator(step_s))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: to_clock(s)))


def draw_contour(run: Mapping[str, Any], onset_s: float | None) -> str:
    """Draw speed over time (right) and distance (up) from one run's series.json."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        speed = np.asarray(run["speed_kmh"], dtype=np.float64)  # null becomes NaN
        time_s, x_km = run["time_s"], np.asarray(run["x_m"]) / 1000
        axes.set_facecolor(EMPTY)
        axes.imshow(
            speed.T,
            origin="lower",
            aspect="auto",
            interpolation="none",
            extent=(time_s[0], time_s[-1], x_km[0], x_km[-1]),
            cmap=SPEED_MAP,
            vmin=0.0,
            vmax=TOP_SPEED_KMH,
        )
        for mark in _list_congestion(run):
            is_warning = mark["level"] == "warning"
            # A white edge keeps the line visible on dark cells and on light ones.
            axes.axvline(mark["begin_s"], color="white", linewidth=3.2)
            axes.axvline(
                mark["begin_s"],
                color="#0072b2" if is_warning else "black",
                linewidth=1.6,
                linestyle="--" if is_warning else "-",
            )
        loops_km = [x / 1000 for x in run["loops_m"]]
        axes.plot(
            [1.012] * len(loops_km), loops_km, "<", color=FAINT, markersize=4.5,
            transform=axes.get_yaxis_transform(), clip_on=False,
        )  # fmt: skip
        if run["bottleneck_m"] is not None:
            at_km = run["bottleneck_m"] / 1000
            axes.axhline(at_km, color="white", linewidth=2.6)
            axes.axhline(at_km, color="black", linewidth=1.1, linestyle=(0, (6, 2, 1, 2)))
            if onset_s is not None:
                axes.plot(
                    onset_s, at_km, "D", markersize=8, markerfacecolor="white",
                    markeredgecolor="black", markeredgewidth=1.5,
                )  # fmt: skip
        _use_clock(axes, time_s[0], time_s[-1])
        axes.set_ylim(x_km[0], x_km[-1])
        axes.set_xlabel("Time of day")
        axes.set_ylabel("Distance along mainline, km")
        return to_svg(figure)


def draw_speed_scale() -> str:
    """Draw the colour scale that all contours share."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 0.55), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(
            np.linspace(0, TOP_SPEED_KMH, 80)[None, :],
            aspect="auto",
            cmap=SPEED_MAP,
            extent=(0, TOP_SPEED_KMH, 0, 1),
        )
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MultipleLocator(10))
        axes.axvline(30, color="black", linewidth=1.5)
        return to_svg(figure)


def draw_queues(runs: Sequence[Mapping[str, Any]]) -> str:
    """Draw the queue at each gate over time, a line per response."""
    gates = list(dict.fromkeys(gate for run in runs for gate in run["gates"]))
    columns = 2 if len(gates) in (2, 4) else min(3, len(gates))
    rows = -(-len(gates) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.8, 0.5 + 2.3 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for at, axes in enumerate(grid.flat):
            if at >= len(gates):
                axes.set_visible(False)
                continue
            axes.set_title(gates[at], loc="left", fontsize=10, fontweight="bold")
            axes.grid(axis="y", color="#d9dfe5", linewidth=0.6)
            axes.set_axisbelow(True)
            for run in runs:
                if gates[at] not in run["gates"]:
                    continue
                queue = np.asarray(run["queue_m"], dtype=np.float64)
                color, dash = RESPONSE_STYLES.get(run["response"], OTHER_STYLE)
                axes.plot(
                    run["queue_time_s"],
                    queue[run["gates"].index(gates[at])],
                    color=color,
                    linestyle=dash,
                    linewidth=1.7,
                )
            axes.set_ylim(bottom=0)
            _use_clock(axes, runs[0]["begin_s"], runs[0]["end_s"])
            axes.tick_params(labelbottom=at + columns >= len(gates))
            if at % columns == 0:
                axes.set_ylabel("Queue, m")
        return to_svg(figure)


def _list_congestion(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the marks of alerts of congestion, without those of lanes suspected to be blocked."""
    return [mark for mark in run["alerts"] if mark["level"] != "suspected"]


def draw_alerts(runs: Sequence[Mapping[str, Any]], onsets_s: Sequence[float | None]) -> str:
    """Draw when alerts stood, a row per run, with the true onset of the jam."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.8, 0.75 + 0.3 * len(runs)), layout="constrained")
        axes = figure.add_subplot()
        begin_s, end_s = runs[0]["begin_s"], runs[0]["end_s"]
        for row, (run, onset_s) in enumerate(zip(runs, onsets_s, strict=True)):
            for mark in _list_congestion(run):
                is_warning = mark["level"] == "warning"
                until_s = end_s if mark["end_s"] is None else mark["end_s"]
                axes.barh(
                    row, until_s - mark["begin_s"], left=mark["begin_s"],
                    height=0.34 if is_warning else 0.62,
                    color=WARNING_COLOR if is_warning else CONFIRMED_COLOR,
                )  # fmt: skip
            if onset_s is not None:
                axes.plot(
                    onset_s, row, "D", markersize=7, markerfacecolor="white",
                    markeredgecolor="black", markeredgewidth=1.4,
                )  # fmt: skip
        names = [f"{run['response']} · {run['seed']}" for run in runs]
        axes.set_yticks(range(len(runs)), names)
        axes.set_ylim(len(runs) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="x", color="#d9dfe5", linewidth=0.6)
        axes.set_axisbelow(True)
        _use_clock(axes, begin_s, end_s)
        return to_svg(figure)
