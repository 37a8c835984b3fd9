"""The protocols of the engine's strategic half and of its recorder."""

from typing import Protocol

from traffic.advisory import Advisory
from traffic.alerts.alert import AlertOrder, AlertRefusal
from traffic.congestion import Alert
from traffic.estimation import State
from traffic.forecasting import Forecast
from traffic.incidents.detection import IncidentFinding
from traffic.readings import LoopBatch
from traffic.response import Order, Response
from traffic.snapshot import Snapshot
from traffic.trouble import HealthReport


class Health(Protocol):
    """Is asked each second; gives a labelled batch when the strategic half is due."""

    @property
    def report(self) -> HealthReport: ...

    def screen(self, batch: LoopBatch | None, now_s: float) -> LoopBatch | None: ...


class StandIns(Protocol):
    """Estimates what no trusted loop tells any more where a response has to look."""

    def fill(self, batch: LoopBatch) -> LoopBatch: ...


class Estimator(Protocol):
    def update(self, batch: LoopBatch) -> State: ...


class Forecaster(Protocol):
    def update(self, batch: LoopBatch, state: State) -> Forecast: ...


class Incidents(Protocol):
    """Gives the blockages that stand, and those just cleared; for alerts to name as their cause."""

    def update(self, batch: LoopBatch) -> tuple[IncidentFinding, ...]: ...


class Congestion(Protocol):
    @property
    def refused(self) -> tuple[AlertRefusal, ...]:
        """Orders of the last update that could not be followed."""
        ...

    def update(
        self,
        batch: LoopBatch,
        state: State,
        forecast: Forecast,
        orders: tuple[AlertOrder, ...],
        findings: tuple[IncidentFinding, ...],
    ) -> tuple[Alert, ...]: ...


class Responses(Protocol):
    def update(
        self,
        batch: LoopBatch,
        state: State,
        forecast: Forecast,
        alerts: tuple[Alert, ...],
        orders: tuple[Order, ...],
    ) -> Response: ...


class Advisor(Protocol):
    def update(
        self, batch: LoopBatch, state: State, forecast: Forecast, response: Response
    ) -> tuple[Advisory, ...]: ...


class Journal(Protocol):
    def record(self, snapshot: Snapshot) -> None: ...
