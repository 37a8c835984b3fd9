"""The forecast with fitted odds: of breakdown, and of how far a queue will reach."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from traffic.estimation import State
from traffic.forecasting import Forecast, UsualDay
from traffic.forecasting.inflow import SHORT_REST_S
from traffic.model import ModelError, Network
from traffic.readings import LoopBatch
from traffic.warning.breakdown import BreakdownWatch, Signs
from traffic.warning.models import WarningModels
from traffic.warning.spillback import QueueOutlook, QueueWatch

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Foresight(Forecast):
    """A forecast, what its odds rest on, and how far queues will reach.

    `queues` holds None for a bottleneck without fitted coefficients.
    """

    signs: tuple[Signs, ...] = ()  # B
    queues: tuple[QueueOutlook | None, ...] = ()  # B


class Base(Protocol):
    def resume(self, rest_s: float | None) -> None: ...

    def update(self, batch: LoopBatch, state: State) -> Forecast: ...


class Foreseer:
    """Puts fitted odds in place of a forecast's own; call once for each screened batch, in order.

    A bottleneck without fitted coefficients keeps the odds of the forecast. Raises ModelError
    naming every bottleneck that the network does not have.
    """

    LEARNED = ("_base", "_watches", "_queues")

    def __init__(
        self,
        network: Network,
        base: Base,
        models: Mapping[str, WarningModels],
        usual: UsualDay | None = None,
    ) -> None:
        unknown = [
            f"unknown bottleneck {name}" for name in models if name not in network.bottlenecks
        ]
        if unknown:
            raise ModelError("warning models", unknown)
        self._base = base
        self._models = dict(models)
        self._network, self._usual = network, usual
        self._watch_anew()

    def _watch_anew(self) -> None:
        bottlenecks = tuple(self._network.bottlenecks.values())
        self._watches = [BreakdownWatch(self._network, b, self._usual) for b in bottlenecks]
        self._queues = [
            QueueWatch(self._network, b, watch.log)
            for b, watch in zip(bottlenecks, self._watches, strict=True)
        ]

    def resume(self, rest_s: float | None) -> None:
        """Go on after a rest, None when time begins anew.

        But for a short one bottlenecks are watched anew: what is known of them is of minutes ago.
        """
        self._base.resume(rest_s)
        if rest_s is None or rest_s > SHORT_REST_S:
            self._watch_anew()

    def update(self, batch: LoopBatch, state: State) -> Foresight:
        """Return the forecast at the batch's end. Raises ModelError when leads do not fit."""
        forecast = self._base.update(batch, state)
        chance = forecast.breakdown_chance.copy()
        signs: list[Signs] = []
        queues: list[QueueOutlook | None] = []
        for row, name in enumerate(forecast.bottlenecks):
            watch, queue = self._watches[row], self._queues[row]
            watch.hear(batch)
            queue.follow()
            signs.append(watch.build_signs())
            models = self._models.get(name)
            if models is None:
                queues.append(None)
                continue
            if models.breakdown.lead_s != forecast.lead_s:
                problem = f"leads {models.breakdown.lead_s} s, the forecast has {forecast.lead_s} s"
                raise ModelError(f"warning models of {name}", [problem])
            if not np.isnan(chance[row]).all():
                chance[row] = models.breakdown.find_chance(watch.compute(forecast, row))
            inflow_vph = watch.expect_inflow_vph(forecast, row)
            queues.append(queue.build_outlook(models.queue, inflow_vph, chance[row]))
        given = {f.name: getattr(forecast, f.name) for f in fields(forecast)}
        given["breakdown_chance"] = chance
        return Foresight(**given, signs=tuple(signs), queues=tuple(queues))
