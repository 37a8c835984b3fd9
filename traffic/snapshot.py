"""What one step of the engine saw, decided, vetoed and issued; immutable, safe to share."""

from collections.abc import Mapping
from dataclasses import dataclass

from traffic.advisory import Advisory
from traffic.alerts.alert import AlertOrder, AlertRefusal
from traffic.congestion import Alert
from traffic.control import Aspect, Command, RawReadings
from traffic.estimation import State
from traffic.forecasting import Forecast
from traffic.incidents.detection import IncidentFinding
from traffic.interlock import Veto
from traffic.readings import LoopBatch
from traffic.response import Order, Response
from traffic.trouble import NOTHING_WATCHED, HealthReport


@dataclass(frozen=True)
class Strategy:
    """What the strategic half last found; it stands until the next batch reaches the centre."""

    readings: LoopBatch
    state: State
    forecast: Forecast
    alerts: tuple[Alert, ...]
    response: Response
    advisories: tuple[Advisory, ...]
    alert_refusals: tuple[AlertRefusal, ...] = ()
    findings: tuple[IncidentFinding, ...] = ()  # blocked lanes, and those cleared just now


@dataclass(frozen=True)
class Snapshot:
    """One step of the engine: what was seen, decided, vetoed and issued."""

    time_s: float
    raw: RawReadings
    orders: tuple[Order | AlertOrder, ...]
    strategy: Strategy | None  # None until the first batch
    is_fresh: bool  # the strategy was made in this step
    wanted: tuple[Command, ...]
    shown: Mapping[str, Mapping[str, Aspect]]
    vetoes: tuple[Veto, ...]
    faults: Mapping[str, str]  # junction -> why its controller was not heard
    health: HealthReport = NOTHING_WATCHED  # loops and feeds that are not trusted
