"""Pictures of how far odds can be believed."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from api.charts import INK
from api.warning.scores import OddsScores

COLORS = ("#56b4e9", "#009e73", "#e69f00", "#0072b2")  # Okabe and Ito's


def draw_reliability(panels: Mapping[str, Mapping[float, OddsScores]], path: Path) -> None:
    """Draw one panel for each sort of odds, a curve for each lead; areas tell how many moments."""
    figure = Figure(figsize=(4.6 * len(panels), 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
        for color, (lead_s, scores) in zip(COLORS, curves.items(), strict=False):
            said = [point[0] for point in scores.reliability]
            came = [point[1] for point in scores.reliability]
            most = max(point[2] for point in scores.reliability)
            area = [8 + 90 * point[2] / most for point in scores.reliability]
            axes.plot(said, came, color=color, linewidth=1.2, label=f"{lead_s / 60:g} min")
            axes.scatter(said, came, s=area, color=color)
        axes.set(
            title=title, xlabel="chance told", ylabel="share that came", xlim=(0, 1), ylim=(0, 1)
        )
        axes.set_aspect("equal")
        axes.legend(loc="upper left", frameon=False, title="within")
    work = path.with_suffix(".partial.png")
    figure.savefig(work, dpi=110)
    work.replace(path)
