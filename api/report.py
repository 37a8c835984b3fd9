"""report.html of a comparison: one file that needs no other, in Chinese and English."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api import charts
from api.evidence import write_whole
from api.figures import FIELDS, read_json
from api.summary import is_clock, write_summary
from traffic.units import to_clock

TEMPLATES = Path(__file__).parent / "templates"
RESPONSE_NAMES: Mapping[str, Mapping[str, str]] = {
    "none": {"en": "no response", "zh": "无处置"},
    "nav": {"en": "navigation apps alone", "zh": "仅导航改道"},
    "gating": {"en": "gating", "zh": "上游截流"},
    "timing": {"en": "retimed detours", "zh": "分流路线配时调整"},
    "advice": {"en": "detour advice", "zh": "绕行建议"},
    "full": {"en": "full response", "zh": "完整处置"},
}
HEADLINES: Mapping[str, Mapping[str, str]] = {
    "mean_speed_kmh": {"en": "Network mean speed", "zh": "路网平均速度"},
    "time_spent_vehh": {"en": "Total time spent", "zh": "车辆总耗时"},
    "jam_km_h": {"en": "Jam on the mainline", "zh": "主线拥堵"},
    "warning_lead_min": {"en": "Warning ahead of the jam", "zh": "预警提前量"},
}
MINUS = "−"


def format_value(name: str, value: float | None, *, signed: bool = False) -> str:
    """Write a figure in its own unit; a dash where there is none."""
    if value is None:
        return "–"
    unit = FIELDS[name.partition(".")[0]].unit
    if is_clock(name):
        if not signed:
            return to_clock(value)
        value, unit = value / 60, "min"
    if unit == "ratio":
        text = f"{value * 100:+.1f} pp" if signed else f"{value * 100:.1f} %"
    else:
        digits = 0 if abs(value) >= 100 or value == round(value) else 1 if abs(value) >= 2 else 2
        text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    if signed and float(text.rstrip(" %p").replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def _percent(ratio: float) -> str:
    text = f"{ratio * 100:+.1f} %"
    return (text.lstrip("+-") if float(text.rstrip(" %")) == 0 else text).replace("-", MINUS)


def _span(low: str, high: str) -> str:
    return f"[{low}, {high}]"


def describe_difference(name: str, difference: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A paired difference as text with its interval, and what it says.

    The verdict is "better", "worse" or "unclear"; None for a figure that is neither good nor bad
    and for a single seed, which has no interval.
    """
    if difference is None:
        return None
    low, high = difference["low"], difference["high"]
    relative = difference["relative"]
    if relative is not None:
        text = _percent(relative["mean"])
        ends = None if low is None else _span(_percent(relative["low"]), _percent(relative["high"]))
    else:
        text = format_value(name, difference["mean"], signed=True)
        if is_clock(name):
            text += " min"
        ends = None
        if low is not None:
            ends = _span(*(format_value(name, end, signed=True) for end in (low, high)))
    better = FIELDS[name.partition(".")[0]].better
    verdict = None
    if better is not None and low is not None:
        if low <= 0 <= high:
            verdict = "same" if low == high == 0 else "unclear"
        else:
            verdict = "better" if (low > 0) == (better == "high") else "worse"
    return {"text": text, "interval": ends, "verdict": verdict, "n": difference["n"]}


def _describe_mean(name: str, mean: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if mean is None:
        return None
    ends = None
    if mean["low"] is not None and mean["low"] < mean["high"]:
        ends = _span(format_value(name, mean["low"]), format_value(name, mean["high"]))
    return {"text": format_value(name, mean["mean"]), "interval": ends, "n": mean["n"]}


def build_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table: a row per figure with each response's mean and its difference to the baseline.

    A figure that no run has is left out: a city without a bottleneck has no onset.
    """
    responses = summary["responses"]
    names = next(iter(responses.values()))["mean"]
    rows = []
    for name in names:
        if all(of["mean"][name] is None for of in responses.values()):
            continue
        base, _, key = name.partition(".")
        field = FIELDS[base]
        rows.append(
            {
                "name": name,
                "key": key,
                "unit": "" if is_clock(name) or field.unit == "ratio" else field.unit,
                "en": field.en,
                "zh": field.zh,
                "means": {r: _describe_mean(name, of["mean"][name]) for r, of in responses.items()},
                "differences": {
                    r: describe_difference(name, of.get(name))
                    for r, of in summary["differences"].items()
                },
            }
        )
    return rows


def build_headlines(summary: Mapping[str, Any], shown: str) -> list[dict[str, Any]]:
    """The few figures on top: from the baseline's mean to the shown response's."""
    baseline = summary["baseline"]
    means = summary["responses"]
    cards = []
    for name, title in HEADLINES.items():
        after = means[shown]["mean"][name]
        before = means[baseline]["mean"][name] if baseline not in (None, shown) else None
        # A good response leaves no jam to be ahead of: the baseline's onset judges the warning.
        is_lead = name == "warning_lead_min"
        if is_lead and before is not None:
            after, before = before, None
        if after is None and before is None:
            continue
        cards.append(
            {
                **title,
                "unit": FIELDS[name].unit,
                "before": None if before is None else format_value(name, before["mean"]),
                "after": format_value(name, None if after is None else after["mean"]),
                "difference": None
                if before is None
                else describe_difference(name, summary["differences"][shown][name]),
            }
        )
    return cards


def _load_series(folder: Path, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every run's series.json, in the order of the summary."""
    return [
        read_json(folder / response / f"seed-{seed}" / "series.json")
        for response, of in summary["responses"].items()
        for seed in of["seeds"]
    ]


def build_report(folder: Path, summary: Mapping[str, Any], shown: str | None = None) -> str:
    """Return the page. `shown` is drawn beside the baseline: `full`, or the last there is.

    Raises EvidenceError naming a series.json that is missing or broken.
    """
    responses = list(summary["responses"])
    rest = [response for response in responses if response != summary["baseline"]]
    if shown is None or shown not in responses:
        shown = "full" if "full" in responses else (rest or responses)[-1]
    beside = list(dict.fromkeys([summary["baseline"] or shown, shown]))
    runs = _load_series(folder, summary)
    seeds = [set(summary["responses"][response]["seeds"]) for response in beside]
    common = set.intersection(*seeds)
    seed = min(map(int, common or set.union(*seeds)))

    def get_onset(run: Mapping[str, Any]) -> float | None:
        figures = summary["responses"][run["response"]]["seeds"][str(run["seed"])]
        onset_s: float | None = figures["onset_s"]
        return onset_s

    drawn = [run for run in runs if run["seed"] == seed]
    gated = [run for run in drawn if run["gates"]]
    is_watched = any(run["alerts"] or run["bottleneck_m"] is not None for run in runs)
    watched = runs if is_watched else []
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        summary=summary,
        names=RESPONSE_NAMES,
        styles={r: charts.RESPONSE_STYLES.get(r, charts.OTHER_STYLE) for r in responses},
        shown=shown,
        seed=seed,
        seeds=sorted({run["seed"] for run in runs}),
        headlines=build_headlines(summary, shown),
        rows=build_rows(summary),
        contours=[
            {
                "response": run["response"],
                "svg": Markup(charts.draw_contour(run, get_onset(run))),
                "figures": summary["responses"][run["response"]]["seeds"][str(seed)],
            }
            for response in beside
            for run in drawn
            if run["response"] == response and run["speed_kmh"]
        ],
        scale=Markup(charts.draw_speed_scale()),
        alerts=Markup(charts.draw_alerts(runs, [get_onset(run) for run in runs]))
        if watched
        else None,
        queues=Markup(charts.draw_queues(gated)) if gated else None,
        drawn=[run["response"] for run in drawn],
        texts=[mark for run in drawn if run["response"] == shown for mark in run["alerts"]],
        clock=to_clock,
    )


def write_report(folder: Path, baseline: str | None = None, shown: str | None = None) -> Path:
    """Write summary.json and report.html of the finished runs under `folder`; return the page.

    Raises EvidenceError listing what is missing or broken.
    """
    summary = write_summary(folder, baseline)
    path = folder / "report.html"
    write_whole(path, build_report(folder, summary, shown))
    return path
