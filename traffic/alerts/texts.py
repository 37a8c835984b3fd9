"""What alerts say, in English and Chinese."""

from collections.abc import Mapping

import numpy as np

from traffic.alerts.alert import Alert, Cause, Level
from traffic.units import METERS_PER_KILOMETER, to_clock
from traffic.warning.spillback import QueueOutlook

CAUSES: Mapping[Cause, Mapping[str, str]] = {
    Cause.RECURRENT: {"en": "recurrent", "zh": "常发"},
    Cause.INCIDENT: {"en": "incident", "zh": "疑似事件"},
    Cause.SURGE: {"en": "demand surge", "zh": "流量突增"},
    Cause.DETECTOR_FAULT: {"en": "detectors in doubt", "zh": "检测器存疑"},
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
