"""Alerts: a breakdown that is coming, one that has come, a blocked lane, and their ends.

One alert per event. At a bottleneck a warning comes from the forecast, a confirmation from the
speeds at its watch loops, or at those that stand in for them; a lane that seems blocked there
makes the alert's cause an incident, or raises it as a suspicion, and what comes of it keeps the id.
A blocked lane away from any bottleneck has an alert of its own. Each threshold has a lower (or
higher) one for clearing, and a time to hold, so that alerts do not flicker. An operator may
acknowledge an alert, let it sleep, make it worse or clear it; one that was cleared does not come
back before its reason has gone, but a jam after a cleared warning is news.
"""

from collections.abc import Iterable

from traffic.alerts.alert import ALERT_ORDERS, Alert, AlertOrder, AlertRefusal, Level
from traffic.alerts.blockages import Blockage
from traffic.alerts.bottleneck import BottleneckWatch
from traffic.alerts.settings import CongestionSettings
from traffic.estimation import State
from traffic.forecasting import Forecast
from traffic.incidents.detection import IncidentFinding
from traffic.model import Network
from traffic.readings import LoopBatch

__all__ = ["Alert", "Congestion", "CongestionSettings", "Level"]


class Congestion:
    """Raises, confirms and clears alerts; call once for each screened batch, in order."""

    def __init__(self, network: Network, settings: CongestionSettings | None = None) -> None:
        self._network = network
        self._settings = settings or CongestionSettings()
        self._watches = {
            bottleneck.id: BottleneckWatch(bottleneck, network, self._settings)
            for bottleneck in network.bottlenecks.values()
        }
        self._blockages: dict[str, Blockage] = {}
        self._owners: dict[str, BottleneckWatch | Blockage] = {}  # finding -> whose event it is
        self._number = 0
        self.refused: tuple[AlertRefusal, ...] = ()  # of the last update's orders

    def update(
        self,
        batch: LoopBatch,
        state: State,
        forecast: Forecast,
        orders: Iterable[AlertOrder] = (),
        findings: Iterable[IncidentFinding] = (),
    ) -> tuple[Alert, ...]:
        """Follow the orders; return the open alerts and those cleared at this update.

        `findings` are the blockages that stand and those just cleared.
        """
        self.refused = tuple(
            AlertRefusal(order, reason)
            for order in orders
            if (reason := self._follow(order, batch.end_s))
        )
        row = {bottleneck: i for i, bottleneck in enumerate(forecast.bottlenecks)}
        told: dict[int, list[IncidentFinding]] = {}
        for finding in findings:
            told.setdefault(id(self._find_owner(finding, forecast, row)), []).append(finding)
        alerts = [
            watch.update(batch, forecast, row.get(name), told.get(id(watch), ()))
            for name, watch in self._watches.items()
        ]
        alerts += [one.update(batch, told.get(id(one), ())) for one in self._blockages.values()]
        self._forget()
        return tuple(alert for alert in alerts if alert is not None)

    def _find_owner(
        self, finding: IncidentFinding, forecast: Forecast, row: dict[str, int]
    ) -> BottleneckWatch | Blockage:
        """Return the event that a finding belongs to, by what was known when it first came."""
        owner = self._owners.get(finding.id)
        if owner is None:
            owner = self._choose_owner(finding, forecast, row)
            self._owners[finding.id] = owner
        return owner

    def _choose_owner(
        self, finding: IncidentFinding, forecast: Forecast, row: dict[str, int]
    ) -> BottleneckWatch | Blockage:
        for name, watch in self._watches.items():
            if watch.is_concerned(finding, forecast, row.get(name)):
                return watch
        near = next((one for one in self._events if one.event.is_near(finding)), None)
        if near is not None:
            return near
        self._number += 1
        name = f"blockage-{self._number}"
        self._blockages[name] = Blockage(name, self._network, self._settings)
        return self._blockages[name]

    @property
    def _events(self) -> tuple[BottleneckWatch | Blockage, ...]:
        return (*self._watches.values(), *self._blockages.values())

    def _forget(self) -> None:
        """Drop events that are over, and whose findings were whose."""
        self._owners = {f: one for f, one in self._owners.items() if not one.event.is_gone}
        self._blockages = {n: one for n, one in self._blockages.items() if not one.is_done}

    def _follow(self, order: AlertOrder, now_s: float) -> str | None:
        """Carry out an order; return why it cannot be, if it cannot."""
        if order.kind not in ALERT_ORDERS:
            return f"unknown kind of order {order.kind!r}, known: {', '.join(ALERT_ORDERS)}"
        for one in self._events:
            if one.alert is not None and one.alert.id == order.alert:
                return one.follow_order(order, now_s)
        return f"no open alert {order.alert}"
