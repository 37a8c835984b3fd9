"""A comparison's figures as a table in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

SHOWN = (
    "mean_speed_kmh",
    "time_spent_vehh",
    "time_spent_by_purpose_vehh.local",
    "jam_km_h",
    "onset_s",
    "warning_lead_min",
    "capacity_drop",
    "spillback_min",
    "command_vehicle_s",
    "never_departed",
    "teleports",
    "collisions",
    "plans_activated",
    "vetoes",
    "wall_s",
)


def print_summary(summary: Mapping[str, Any], console: Console) -> None:
    """Print means over the seeds, and the paired differences to the baseline beside them."""
    responses = summary["responses"]
    table = Table("figure", "unit", *responses, title=summary["title"]["en"])
    for name in SHOWN:
        field = summary["fields"][name.partition(".")[0]]
        cells = [_cell(summary, response, name, field["unit"]) for response in responses]
        if any(cells):
            label = name.removeprefix("time_spent_by_purpose_vehh.")
            table.add_row(label if label == name else f"time spent, {label}", field["unit"], *cells)
    console.print(table)


def _cell(summary: Mapping[str, Any], response: str, name: str, unit: str) -> str:
    mean = summary["responses"][response]["mean"].get(name)
    if mean is None:
        return ""
    if unit == "s after midnight":
        minutes = round(mean["mean"] / 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}"
    text = f"{mean['mean']:.1%}" if unit == "ratio" else f"{mean['mean']:,.1f}"
    change = summary["differences"].get(response, {}).get(name)
    relative = change and change.get("relative")
    if not relative:
        return text
    low, high = relative["low"], relative["high"]
    spread = "" if low is None else f" [{low:+.0%}, {high:+.0%}]"
    return f"{text}  {relative['mean']:+.1%}{spread}"
