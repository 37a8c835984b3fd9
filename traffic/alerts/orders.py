"""What an operator may do with an open alert, whatever it tells of."""

from dataclasses import replace

from traffic.alerts.alert import Alert, AlertOrder, Severity
from traffic.alerts.settings import CongestionSettings

CLEAR = "clear"  # ends an alert with its next update


def follow_order(
    alert: Alert, order: AlertOrder, settings: CongestionSettings, now_s: float
) -> Alert | str:
    """Return the alert as the operator wants it, or why that cannot be; a clear changes nothing."""
    if order.kind == "acknowledge":
        return replace(alert, acknowledged_by=order.by, acknowledged_s=now_s)
    if order.kind == "snooze":
        until_s, longest_s = order.until_s, settings.longest_snooze_s
        if until_s is None or not now_s < until_s <= now_s + longest_s:
            return f"a snooze ends within {longest_s:g} s from now, not at {until_s}"
        return replace(alert, snoozed_until_s=until_s)
    if order.kind == "escalate":
        if alert.severity is Severity.CRITICAL:
            return f"alert {alert.id} is {alert.severity.value} already"
        worse = list(Severity)[alert.severity.rank + 1]
        return replace(alert, severity=worse, escalated_by=order.by, snoozed_until_s=None)
    return alert
