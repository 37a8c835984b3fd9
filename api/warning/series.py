"""A recorded day as the engine's parts see it: forecasts and features moment by moment."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from api.warning.truth import DayEvents, find_events
from networks.day_records import DayRecord
from networks.days import Day, Kind, draw_day, draw_faults, keep_loops, spoil
from networks.scenario import Scenario
from traffic.estimation import Estimator
from traffic.forecasting import Forecast, Forecaster
from traffic.health import HealthScreen
from traffic.readings import LoopBatch
from traffic.warning.breakdown import BreakdownWatch, Signs
from traffic.warning.spillback import QueueWatch, Storage

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DaySeries:
    """N moments of one bottleneck on one day, H leads."""

    name: str
    day: Day
    events: DayEvents
    time_s: Floats  # N
    end_s: float  # until when the day was followed
    base_chance: Floats  # N x H, of the forecast without fitted coefficients
    breakdown: Floats  # N x H x F, breakdown.FEATURES
    storages: tuple[Storage, ...]  # S
    tail_m: Floats  # N, as the loops tell
    forecasts: tuple[Forecast, ...]  # N
    queue: Floats  # N x P x H x F, spillback.FEATURES at S x 3 places, breakdown's odds left out
    batches: tuple[LoopBatch, ...]  # N, screened
    signs: tuple[Signs, ...]  # N

    @property
    def to_onset_s(self) -> Floats:
        """From each moment to the day's breakdown, N; infinite without one, below 0 after it."""
        onset_s = self.events.onset_s
        return (np.inf if onset_s is None else onset_s) - self.time_s

    @property
    def known_s(self) -> Floats:
        return self.end_s - self.time_s


def redraw(record: DayRecord) -> Day:
    """Return the day that was recorded, as it is drawn now."""
    return draw_day(Kind(str(record.drawn["kind"])), int(str(record.drawn["seed"])))


def spoil_day(record: DayRecord, day: Day, scenario: Scenario) -> tuple[LoopBatch, ...]:
    """Return the readings with the day's failed loops, drawn from those that warnings rest on."""
    bottlenecks = scenario.network.bottlenecks.values()
    asked = {loop for b in bottlenecks for loop in (*b.watch, *b.feeders)}
    faults = draw_faults(day, sorted(asked))
    kept = scenario.network.detectors
    return tuple(spoil(keep_loops(batch, kept), faults) for batch in record.batches)


def build_series(record: DayRecord, scenario: Scenario, bottleneck_id: str) -> DaySeries:
    """Run the day's readings through health, estimation, forecast and the features' watches.

    `scenario` is DayBuilder's base: its network has the loops that days record.
    """
    network = scenario.network
    bottleneck = network.bottlenecks[bottleneck_id]
    row = list(network.bottlenecks).index(bottleneck_id)
    day = redraw(record)
    health, estimator = HealthScreen(network), Estimator(network)
    forecaster = Forecaster(network, usual=scenario.usual_day)
    watch = BreakdownWatch(network, bottleneck, scenario.usual_day)
    queue = QueueWatch(network, bottleneck, watch.log)
    places_m = queue.list_places_m().ravel()
    screened, forecasts, chances, features, queues, tails, signs = [], [], [], [], [], [], []
    for raw in spoil_day(record, day, scenario):
        batch = health.screen(raw, raw.end_s)
        forecast = forecaster.update(batch, estimator.update(batch))
        watch.hear(batch)
        queue.follow()
        screened.append(batch)
        forecasts.append(forecast)
        chances.append(forecast.breakdown_chance[row])
        features.append(watch.compute(forecast, row))
        tails.append(queue.tail_m)
        signs.append(watch.build_signs())
        nothing = np.full(len(forecast.lead_s), 0.5)
        inflow_vph = watch.expect_inflow_vph(forecast, row)
        queues.append(queue.compute(forecast.lead_s, inflow_vph, nothing, places_m))
    return DaySeries(
        record.name,
        day,
        find_events(record.truth, network, bottleneck),
        np.array([batch.end_s for batch in screened]),
        float(record.truth.edges_s[-1]),
        np.array(chances),
        np.array(features),
        queue.storages,
        np.array(tails),
        tuple(forecasts),
        np.array(queues),
        tuple(screened),
        tuple(signs),
    )


def with_odds(series: DaySeries, odds: Floats, column: int) -> DaySeries:
    """Return the series with the breakdown's log odds (N x H) filled into the queue's features."""
    queue = series.queue.copy()
    queue[..., column] = odds[:, None, :]
    return replace(series, queue=queue)
