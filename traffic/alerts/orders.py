"""An alert as an operator attends to it, whatever it tells of."""

from dataclasses import replace

from traffic.alerts.alert import Alert, AlertOrder, Severity
from traffic.alerts.settings import CongestionSettings

CLEAR = "clear"  # ends an alert with its next update


class Attended:
    """The alert of one event, if any, which an operator attends to."""

    def __init__(self, settings: CongestionSettings) -> None:
        self.alert: Alert | None = None
        self._settings = settings
        self._closed_by: str | None = None  # who has just cleared the alert
        self._calmer_s = 0.0

    def follow_order(self, order: AlertOrder, now_s: float) -> str | None:
        """Do with the open alert what an operator wants; return why it cannot be, if it cannot."""
        if self.alert is None:
            return f"no open alert {order.alert}"
        wanted = _follow(self.alert, order, self._settings, now_s)
        if isinstance(wanted, str):
            return wanted
        if order.kind == CLEAR:
            self._closed_by = order.by
        if wanted.severity is not self.alert.severity:
            self._calmer_s = 0.0
        self.alert = wanted
        return None

    def _grade(self, alert: Alert, severity: Severity, interval_s: float) -> Alert:
        """Tell its severity. What is worse holds at once and ends a snooze, what is better holds
        after a while.
        """
        if severity.rank >= alert.severity.rank:
            self._calmer_s = 0.0
        else:
            self._calmer_s += interval_s
            if self._calmer_s < self._settings.calmer_s:
                severity = alert.severity
        is_worse = severity.rank > alert.severity.rank and alert.raised_s < alert.updated_s
        snoozed_until_s = None if is_worse else alert.snoozed_until_s
        return replace(alert, severity=severity, snoozed_until_s=snoozed_until_s)


def _follow(
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
