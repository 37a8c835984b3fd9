"""A simulated city behind an engine: its drivers hear the advice, its rescuers get their lane."""

from collections.abc import Sequence

from networks.sumo_field import SumoField
from traffic.alerts.alert import AlertOrder
from traffic.engine import Engine
from traffic.response import Life, Order, Step
from traffic.snapshot import Snapshot


class SimulatedCity:
    """An engine and the simulated people who act on what it says."""

    def __init__(self, engine: Engine, field: SumoField) -> None:
        self._engine = engine
        self._field = field

    def step(self, orders: Sequence[Order | AlertOrder] = ()) -> Snapshot | None:
        """Run one second, as `Engine.step`."""
        snapshot = self._engine.step(orders)
        if snapshot is not None:
            if snapshot.is_fresh and snapshot.strategy is not None:
                self._field.hear(snapshot.strategy.advisories)
            self._dispatch(snapshot)
        return snapshot

    def _dispatch(self, snapshot: Snapshot) -> None:
        """Send the command vehicle when it is due, by the emergency lane if that is open."""
        dispatch = self._field.scenario.dispatch
        if dispatch is None or self._field.command_trips or snapshot.time_s < dispatch.depart_s:
            return
        active = snapshot.strategy.response.active if snapshot.strategy else ()
        is_open = any(
            one.life is Life.ACTIVE and Step.EMERGENCY_LANE in one.plan.steps for one in active
        )
        self._field.send_command_vehicle(
            snapshot.time_s + 1, dispatch.from_link, dispatch.to_link, is_open
        )
