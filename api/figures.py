"""The figures of one run: what each is, how it is made from the evidence, where it is kept."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from api.evidence import (
    AlertMark,
    EvidenceError,
    Floats,
    GroundTruth,
    Statistic,
    write_whole,
)
from traffic.performance import (
    Contour,
    Trips,
    build_contour,
    find_breakdown,
    find_capacity_drop,
    jam_km_h,
    mean_speed_mps,
    time_spent_by_purpose_s,
)
from traffic.units import SECONDS_PER_HOUR, to_kmph, to_vph

UPSTREAM_M = 600.0  # of road before the queue's head, where a breakdown shows first
DOWNSTREAM_M = 500.0  # of road after the bottleneck, for the flow where no loop counts it
CELL_M = 100.0
QUEUE_WINDOW_S = 120.0  # a signal cycle or two, so that the report draws no red and green
SPILL_M = 15.0  # from a gate's upstream end: the next vehicle does not fit


@dataclass(frozen=True, slots=True)
class Field:
    """One figure: `unit` says what a value is in, `better` which way is good, if any."""

    unit: str
    en: str
    zh: str
    better: str | None = None  # "low" or "high"
    per: str | None = None  # "purpose" or "gate": the value is a mapping from those

    @property
    def has_ratio(self) -> bool:
        """Whether a difference may be told as a share of the baseline's mean."""
        return self.unit not in ("s after midnight", "ratio", "min")


FIELDS: Mapping[str, Field] = {
    "mean_speed_kmh": Field(
        "km/h",
        "Network mean speed: vehicle-km over vehicle-hours, wait to depart counted",
        "路网平均速度：车公里/车小时，计入出发等待",
        "high",
    ),
    "time_spent_vehh": Field(
        "veh·h",
        "Total time spent by all vehicles until arrival or the end, wait to depart counted",
        "全部车辆总耗时（至到达或仿真结束，计入出发等待）",
        "low",
    ),
    "time_spent_by_purpose_vehh": Field(
        "veh·h", "Total time spent, by purpose of the trip", "按出行目的的总耗时", "low", "purpose"
    ),
    "jam_km_h": Field(
        "km·h",
        "Jam on the mainline: length times duration of cells (100 m, 1 min) below 30 km/h",
        "主线拥堵：速度低于 30 km/h 的时空单元（100 m × 1 min）长度×时长",
        "low",
    ),
    "onset_s": Field(
        "s after midnight",
        "Onset: first of at least 5 min below 40 km/h upstream of the bottleneck, the mean of "
        "15 min below it too",
        "拥堵起始：瓶颈上游速度低于 40 km/h 持续至少 5 分钟、且 15 分钟均值亦低于该值的首个时刻",
    ),
    "recovery_s": Field(
        "s after midnight",
        "Recovery: first of at least 15 min at 40 km/h or more after onset, or 5 min to the end",
        "恢复：起始之后速度回到 40 km/h 以上并持续 15 分钟（或至结束且满 5 分钟）的首个时刻",
    ),
    "warning_s": Field("s after midnight", "First warning raised", "首次预警时刻"),
    "alert_s": Field("s after midnight", "First confirmed alert", "首次确认告警时刻"),
    "warning_lead_min": Field(
        "min",
        "Warning ahead of onset; below 0 when it came after",
        "预警提前量（负值为滞后）",
        "high",
    ),
    "flow_before_vph": Field(
        "veh/h", "Bottleneck flow in the 10 min before onset", "起始前 10 分钟瓶颈流量"
    ),
    "discharge_vph": Field(
        "veh/h",
        "Mean queue discharge from 5 min after onset until recovery or the end",
        "起始 5 分钟后至恢复（或结束）的平均排队消散流量",
    ),
    "capacity_drop": Field(
        "ratio",
        "Capacity drop: the part of the flow before onset that is lost in queue discharge",
        "通行能力下降：排队消散流量相对起始前流量的损失比例",
        "low",
    ),
    "longest_queue_by_gate_m": Field(
        "m",
        "Longest queue at each gate, from its stop line",
        "各控制口最长排队（自停止线起）",
        "low",
        "gate",
    ),
    "spillback_min_by_gate": Field(
        "min",
        "Time a gate's queue reached the upstream end",
        "各控制口排队溢流时长",
        "low",
        "gate",
    ),
    "spillback_min": Field("min", "Spillback at all gates together", "全部控制口溢流总时长", "low"),
    "vehicles": Field("veh", "Vehicles of the demand", "需求车辆数"),
    "arrived": Field("veh", "Vehicles that arrived", "到达车辆数", "high"),
    "never_departed": Field("veh", "Vehicles that never departed", "始终未能出发的车辆数", "low"),
    "teleports": Field(
        "veh", "Vehicles that the simulator had to move (teleports)", "被仿真器瞬移的车辆数", "low"
    ),
    "collisions": Field("count", "Collisions", "碰撞次数", "low"),
    "plans_activated": Field("count", "Response plans activated", "启动的响应预案数"),
    "command_vehicle_s": Field(
        "s",
        "Travel time of the command vehicle to the scene, wait to depart counted",
        "指挥车到达现场用时（计入出发等待）",
        "low",
    ),
    "vetoes": Field("count", "Commands vetoed by the interlock", "被联锁否决的指令数", "low"),
    "wall_s": Field("s", "Wall-clock time of the run", "运行耗时", "low"),
}


@dataclass(frozen=True)
class RunLog:
    """What only the one who ran the simulation knows of it."""

    scenario: str
    title: Mapping[str, str]
    response: str
    seed: int
    alerts: tuple[AlertMark, ...]
    plans_activated: int
    vetoes: int
    wall_s: float
    command_s: float | None = None  # travel time of the command vehicle, if one was sent
    controller: str | None = None  # of every signal, if one was named


def build_truth_contour(truth: GroundTruth) -> Contour | None:
    """Edie's cells of 100 m and 1 min of the mainline; None where there is none to speak of."""
    if truth.length_m < CELL_M:
        return None
    return build_contour(
        truth.time_s,
        truth.x_m,
        truth.speed_mps,
        sample_s=truth.sample_s,
        begin_s=truth.begin_s,
        end_s=truth.end_s,
        length_m=truth.length_m,
        cell_m=CELL_M,
    )


def _breakdown_figures(contour: Contour | None, truth: GroundTruth) -> dict[str, float | None]:
    figures: dict[str, float | None] = dict.fromkeys(
        ("onset_s", "recovery_s", "flow_before_vph", "discharge_vph", "capacity_drop")
    )
    if contour is None or truth.bottleneck_m is None or truth.upstream_end_m is None:
        return figures
    head_m = np.ceil(truth.upstream_end_m / CELL_M) * CELL_M
    speed = contour.column_speed_mps(head_m - UPSTREAM_M, head_m)
    breakdown = find_breakdown(speed, contour.time_s)
    if breakdown is None:
        return figures
    figures |= {"onset_s": breakdown.onset_s, "recovery_s": breakdown.recovery_s}
    if len(truth.flow_end_s) and np.isfinite(truth.passed_veh).all():
        minute_s = 60.0
        edges_s = np.concatenate(([truth.flow_end_s[0] - minute_s], truth.flow_end_s))
        flow = to_vph(truth.passed_veh, minute_s)
    else:
        at_m = truth.bottleneck_m
        edges_s, flow = contour.time_s, contour.column_flow_vph(at_m, at_m + DOWNSTREAM_M)
    drop = find_capacity_drop(flow, edges_s, breakdown)
    if drop is not None:
        figures["flow_before_vph"] = drop.before_vph
        figures["discharge_vph"] = drop.discharge_vph
        figures["capacity_drop"] = drop.share
    return figures


def _first_s(marks: tuple[AlertMark, ...], level: str) -> float | None:
    return min((mark.begin_s for mark in marks if mark.level == level), default=None)


def compute_figures(
    trips: Trips, statistic: Statistic, truth: GroundTruth, log: RunLog
) -> dict[str, Any]:
    """Compute every figure of FIELDS for one run; None where there is nothing to measure."""
    contour = build_truth_contour(truth)
    speed = mean_speed_mps(trips)
    spent = time_spent_by_purpose_s(trips)
    broke = _breakdown_figures(contour, truth)
    warning_s = _first_s(log.alerts, "warning")
    onset_s = broke["onset_s"]
    lead_min = None if warning_s is None or onset_s is None else (onset_s - warning_s) / 60
    steps_min = np.diff(truth.queue_time_s, append=truth.end_s) / 60
    spilled = (truth.queue_m >= truth.gate_length_m[:, None] - SPILL_M) @ steps_min
    figures: dict[str, Any] = {
        "mean_speed_kmh": None if speed is None else to_kmph(speed),
        "time_spent_vehh": sum(spent.values()) / SECONDS_PER_HOUR,
        "time_spent_by_purpose_vehh": {name: s / SECONDS_PER_HOUR for name, s in spent.items()},
        "jam_km_h": None if contour is None else jam_km_h(contour),
        **broke,
        "warning_s": warning_s,
        "alert_s": _first_s(log.alerts, "confirmed"),
        "warning_lead_min": lead_min,
        "longest_queue_by_gate_m": {
            gate: float(truth.queue_m[g].max(initial=0.0)) for g, gate in enumerate(truth.gates)
        },
        "spillback_min_by_gate": {g: float(m) for g, m in zip(truth.gates, spilled, strict=True)},
        "spillback_min": float(spilled.sum()) if truth.gates else None,
        "vehicles": len(trips.purpose),
        "arrived": int(trips.arrived.sum()),
        "never_departed": int((~trips.departed).sum()),
        "teleports": statistic.teleports,
        "collisions": statistic.collisions,
        "plans_activated": log.plans_activated,
        "command_vehicle_s": log.command_s,
        "vetoes": log.vetoes,
        "wall_s": log.wall_s,
    }
    return {name: figures[name] for name in FIELDS}


def _plain(array: np.ndarray[Any, Any], digits: int) -> list[Any]:
    """Nested lists with NaN as null."""
    rounded = np.round(array.astype(np.float64), digits)
    plain = rounded.astype(object)
    plain[np.isnan(rounded)] = None
    return list(plain.tolist())


def write_run(folder: Path, figures: Mapping[str, Any], truth: GroundTruth, log: RunLog) -> None:
    """Write figures.json, and series.json with what the report draws of one run."""
    run: dict[str, Any] = {"scenario": log.scenario, "title": dict(log.title)}
    run |= {"response": log.response, "seed": log.seed, "controller": log.controller}
    contour = build_truth_contour(truth)
    queue_time_s, queue_m = _find_longest(truth)
    series = {
        **run,
        "bottleneck_m": truth.bottleneck_m,
        "loops_m": list(truth.loops_m),
        "begin_s": truth.begin_s,
        "end_s": truth.end_s,
        "x_m": [] if contour is None else contour.x_m.tolist(),
        "time_s": [] if contour is None else contour.time_s.tolist(),
        "speed_kmh": [] if contour is None else _plain(to_kmph(1.0) * contour.speed_mps, 1),
        "gates": list(truth.gates),
        "queue_time_s": queue_time_s.tolist(),
        "queue_m": _plain(queue_m, 0),
        "alerts": [asdict(mark) for mark in log.alerts],
    }
    write_whole(folder / "series.json", json.dumps(series, ensure_ascii=False, allow_nan=False))
    whole = json.dumps({**run, "figures": figures}, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "figures.json", whole + "\n")


def _find_longest(truth: GroundTruth) -> tuple[Floats, Floats]:
    """Starts (W) of windows about a cycle long, and the longest queue in each (G x W)."""
    starts_s = np.arange(truth.begin_s, truth.end_s, QUEUE_WINDOW_S, dtype=np.float64)
    window = np.searchsorted(starts_s, truth.queue_time_s, side="right") - 1
    longest_m = np.full((len(truth.gates), len(starts_s)), np.nan)
    for gate, queue_m in enumerate(truth.queue_m):
        np.fmax.at(longest_m[gate], window, queue_m)
    return starts_s, longest_m


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises EvidenceError naming the file when it is missing or broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise EvidenceError(f"{path}: broken JSON: {error}") from error
    if not isinstance(value, dict):
        raise EvidenceError(f"{path}: expected a JSON object")
    return value


def fields_markdown() -> str:
    """The page docs/figures.md."""
    lines = [
        "# The figures",
        "",
        "What `figures.json` of each run and `summary.json` of a comparison hold. Made from "
        "`api/figures.py` by `python -m api.figures`; a test compares the two.",
        "",
        "All are made from what truly happened (SUMO's `tripinfo.xml` and `statistic.xml`, samples "
        "of all vehicles on the mainline every few seconds), never from the engine's estimates. "
        "A figure with nothing to measure is `null`: no onset, no warning.",
        "",
        "| field | unit | meaning | 含义 | better |",
        "|---|---|---|---|---|",
    ]
    for name, field in FIELDS.items():
        key = f"`{name}`" + (f", per {field.per}" if field.per else "")
        lines.append(
            f"| {key} | {field.unit} | {field.en} | {field.zh} | {field.better or 'neither'} |"
        )
    return "\n".join([*lines, "", *NOTES, ""])


NOTES = (
    "## Differences",
    "",
    "`differences` holds, per response, the paired difference of each figure to the baseline's "
    "run of the same seed: the mean over the seeds that both finished, with Student's 95 % "
    "t-interval (`low`, `high`; `null` for one seed). `relative` is the same over the baseline's "
    "mean, taken as known, as a ratio; times of day, minutes, ratios and figures whose baseline "
    "mean is not above 0 have none. A figure per purpose or gate is named with it, as in "
    "`time_spent_by_purpose_vehh.local`.",
    "",
    "## Definitions",
    "",
    "- Speed, flow and density in space and time: Edie 1963, over cells of 100 m and 1 min.",
    f"- Speed upstream of the bottleneck: over the {UPSTREAM_M:.0f} m that end with the 100 m cell "
    "of its most downstream watch loop. Flow through it: counted by its loops, or by Edie over the "
    f"{DOWNSTREAM_M:.0f} m after its upstream end where it has none.",
    f"- A gate's queue: from the stop line to the last vehicle slower than 5 km/h; it spills back "
    f"within {SPILL_M:.0f} m of the upstream end of the approach.",
    "- Breakdown: a dip that 15 min outweigh is none (HCM 6th edition, chapter 26). Capacity drop: "
    "Cassidy and Bertini 1999.",
    "- The demand is who is due between begin and end of the simulation, by SUMO's own account: "
    "flows count, and who is due before the beginning does not.",
    "- A vehicle still on the road at the end counts with its time and distance until then; one "
    "that never departed with its wait from planned departure to the end.",
)

if __name__ == "__main__":
    write_whole(Path(__file__).parents[1] / "docs" / "figures.md", fields_markdown())
