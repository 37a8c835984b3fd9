"""What alerts say, in English and Chinese."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from traffic.alerts.alert import Alert, Cause, Level
from traffic.incidents.detection import IncidentFinding
from traffic.units import METERS_PER_KILOMETER, to_clock, to_kmph
from traffic.warning.spillback import QueueOutlook
from traffic.warning.standins import StandIn

Floats = NDArray[np.float64]

CAUSES: Mapping[Cause, Mapping[str, str]] = {
    Cause.RECURRENT: {"en": "recurrent", "zh": "常发"},
    Cause.INCIDENT: {"en": "incident", "zh": "疑似事件"},
    Cause.SURGE: {"en": "demand surge", "zh": "流量突增"},
    Cause.DETECTOR_FAULT: {"en": "detectors in doubt", "zh": "检测器存疑"},
}
QUALITIES: Mapping[str, str] = {  # names of Quality in Chinese, as the glossary has them
    "missing": "缺失",
    "no_hits": "无计数",
    "chatter": "抖动",
    "locked_on": "常占",
    "no_change": "数值不变",
    "occupancy_spike": "占有率突跳",
    "stale": "数据过期",
    "clock_skew": "时钟偏差",
    "drifting": "漂移",
    "swapped": "互换",
    "late": "滞后",
    "wrong_units": "单位错误",
}
NEAR_M = 150.0  # of a ramp: a place is told by its name alone


def tell_alert(alert: Alert, place: Mapping[str, str]) -> dict[str, str]:
    """Return the alert's one sentence by language; `place` names the bottleneck in each."""
    since = to_clock(alert.raised_s)
    if alert.cleared_s is not None:
        at = to_clock(alert.cleared_s)
        by = alert.cleared_by
        return {
            "en": f"{place['en']}: congestion alert of {since} cleared at {at}"
            + (f" by {by}." if by else "."),
            "zh": f"{place['zh']}：{since} 发布的拥堵预警已于 {at} "
            + (f"由 {by} 解除。" if by else "解除。"),
        }
    cause = CAUSES[alert.cause]
    why = {"en": f", {cause['en']}", "zh": f"，{cause['zh']}"}
    if alert.cause is Cause.RECURRENT:
        why = {"en": "", "zh": ""}
    if alert.level is Level.CONFIRMED:
        return {
            "en": f"{place['en']}: congestion confirmed{why['en']}, alert since {since}.",
            "zh": f"{place['zh']}：已确认拥堵{why['zh']}，{since} 起预警。",
        }
    if alert.expected_onset_s is None:
        return {
            "en": f"{place['en']}: congestion possible{why['en']}, alert since {since}.",
            "zh": f"{place['zh']}：可能发生拥堵{why['zh']}，{since} 起预警。",
        }
    onset = to_clock(alert.expected_onset_s)
    share = f"{alert.breakdown_chance:.0%}"
    return {
        "en": f"{place['en']}: breakdown expected about {onset} (chance {share}){why['en']}.",
        "zh": f"{place['zh']}：预计约 {onset} 发生拥堵（概率 {share}）{why['zh']}。",
    }


def tell_blockage(finding: IncidentFinding, chance: float) -> dict[str, str]:
    """Return where a lane is blocked, since when and how surely, by language."""
    return {
        "en": f"{finding.text['en']} (chance {chance:.0%})",
        "zh": f"{finding.text['zh']}（概率 {chance:.0%}）",
    }


def tell_ended(finding: IncidentFinding) -> dict[str, str]:
    """Return where a lane was blocked, and until when it seemed so, by language."""
    since, until = to_clock(finding.onset_s), to_clock(finding.cleared_s or finding.found_s)
    return {
        "en": f"{finding.place['en']}: probably blocked since about {since}, "
        f"no longer seen since {until}",
        "zh": f"{finding.place['zh']}：约 {since} 起可能受阻，{until} 起已无迹象",
    }


def tell_suspicion(
    alert: Alert, place: Mapping[str, str], since_s: float, chance: float | None
) -> dict[str, str]:
    """Return the sentence of an alert that a finding raised; `chance` None: it stands no more."""
    since = to_clock(since_s)
    if alert.cleared_s is not None:
        at, by = to_clock(alert.cleared_s), alert.cleared_by
        return {
            "en": f"{place['en']}: suspected blockage of {since} cleared at {at}"
            + (f" by {by}." if by else "."),
            "zh": f"{place['zh']}：{since} 起的疑似车道受阻已于 {at} "
            + (f"由 {by} 解除。" if by else "解除。"),
        }
    if chance is None:
        return {
            "en": f"{place['en']}: blockage suspected since {since}, no longer seen.",
            "zh": f"{place['zh']}：{since} 起疑似车道受阻，目前已无迹象。",
        }
    return {
        "en": f"{place['en']}: blockage suspected since {since} (chance {chance:.0%}).",
        "zh": f"{place['zh']}：{since} 起疑似车道受阻（概率 {chance:.0%}）。",
    }


def tell_inflow(inflow_vph: Floats, lead_s: float, capacity_vph: float) -> dict[str, str]:
    """Return the evidence of a forecast inflow, quantiles .1 .5 .9, by language."""
    low, middle, high = inflow_vph
    ahead = f"{lead_s / 60:.0f}"
    return {
        "en": f"inflow {middle:.0f} ({low:.0f}-{high:.0f}) veh/h in {ahead} min, "
        f"capacity {capacity_vph:.0f} veh/h",
        "zh": f"{ahead} 分钟后来流 {middle:.0f}（{low:.0f}-{high:.0f}）辆/小时，"
        f"通行能力 {capacity_vph:.0f} 辆/小时",
    }


def tell_speed(speed_mps: float) -> dict[str, str]:
    return {
        "en": f"speed {to_kmph(speed_mps):.0f} km/h",
        "zh": f"速度 {to_kmph(speed_mps):.0f} 公里/小时",
    }


def tell_stand_in(stand_in: StandIn) -> dict[str, str]:
    """Return where is looked because a watched cross-section cannot be trusted, by language."""
    blind, seen_at = stand_in.blind, stand_in.seen_at
    where = f"{blind.link} {blind.position_m:.0f} m"
    why = ", ".join(name.replace("_", " ") for name in stand_in.qualities)
    why_zh = "、".join(QUALITIES.get(name, name) for name in stand_in.qualities)
    if seen_at is None:
        return {
            "en": f"nothing is seen, because {where} is not trusted ({why}) and nothing near is",
            "zh": f"{where} 线圈不可信（{why_zh}），附近也无可信线圈，目前无法观测",
        }
    there = f"{seen_at.link} {seen_at.position_m:.0f} m"
    return {
        "en": f"seen at {there}, because {where} is not trusted ({why})",
        "zh": f"{where} 线圈不可信（{why_zh}），改看 {there} 线圈",
    }


def tell_tail(
    queue: QueueOutlook | None,
    now_s: float,
    place: Mapping[str, str],
    places: Mapping[str, Mapping[str, str]],
) -> dict[str, str]:
    """Return the advice on the farthest tail within the last lead, by language.

    The place is that which it reaches as likely as not, the window that of nine in ten and one in
    ten. Nothing is said where no queue is likely, or where too little is known.
    """
    if queue is None or np.isnan(queue.farthest_m).any():
        return {}
    shortest, middle, longest = queue.farthest_m[-1].tolist()
    if not middle > 0:
        return {}
    # The first lead by which it has come as far as it will.
    reached = queue.farthest_m[:, 1] >= middle - 1e-6
    at = to_clock(now_s + queue.lead_s[int(np.argmax(reached))])
    told = {}
    for language in ("en", "zh"):
        head = place[language]
        tail = _tell_place(queue, middle, head, places, language)
        window = (
            f"{shortest / METERS_PER_KILOMETER:.1f}",
            f"{longest / METERS_PER_KILOMETER:.1f}",
        )
        if language == "en":
            told["en"] = (
                f"Slow from {tail} to {head}, tail near {tail} at {at} "
                f"({window[0]} to {window[1]} km before {head})."
            )
        else:
            told["zh"] = (
                f"{tail}至{head}缓行，预计 {at} 队尾位于{tail}附近"
                f"（{head}上游 {window[0]} 至 {window[1]} 公里）。"
            )
    return told


def _tell_place(
    queue: QueueOutlook,
    back_m: float,
    place: str,
    places: Mapping[str, Mapping[str, str]],
    language: str,
) -> str:
    """Return a place as drivers know it: by the nearest ramp, or by its distance."""
    nearest = min(queue.storages, key=lambda s: abs(s.length_m - back_m), default=None)
    far = f"{back_m / METERS_PER_KILOMETER:.1f}"
    if nearest is None or nearest.ramp not in places:
        return f"{far} km before {place}" if language == "en" else f"{place}上游 {far} 公里"
    name = places[nearest.ramp][language]
    beyond_m = back_m - nearest.length_m
    if abs(beyond_m) <= NEAR_M:
        return name
    off = f"{abs(beyond_m) / METERS_PER_KILOMETER:.1f}"
    if language == "en":
        return f"{off} km {'before' if beyond_m > 0 else 'after'} {name}"
    return f"{name}{'上游' if beyond_m > 0 else '下游'} {off} 公里"
