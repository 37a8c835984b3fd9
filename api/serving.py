"""`traffic serve`: a simulated city behind the doors."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from api.app import create_app, serve
from api.assembly import build_engine, build_plans, find_managed
from api.errors import UserError
from api.service import Service
from api.settings import Settings
from networks import load
from networks.sumo_field import SumoField
from traffic.engine import Engine
from traffic.journal import Journal
from traffic.response import Order
from traffic.snapshot import Snapshot


class SimulatedCity:
    """An engine whose advice reaches the simulated drivers."""

    def __init__(self, engine: Engine, field: SumoField) -> None:
        self._engine = engine
        self._field = field

    def step(self, orders: Sequence[Order] = ()) -> Snapshot | None:
        snapshot = self._engine.step(orders)
        if snapshot is not None and snapshot.is_fresh and snapshot.strategy is not None:
            self._field.hear(snapshot.strategy.advisories)
        return snapshot


def serve_scenario(
    name: str, seed: int, speed: float, host: str, port: int, journal: Path, console: Console
) -> None:
    """Serve a scenario until interrupted; orders come from people, none is given by itself.

    Raises UserError for settings that cannot be and for an address that cannot be had.
    """
    try:
        settings = Settings(host=host, port=port)
    except ValidationError as error:
        raise UserError(
            f"setting {'.'.join(map(str, e['loc']))}: {e['msg']}"  # no input: it may be the token
            for e in error.errors(include_url=False, include_input=False)
        ) from error
    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        scenario = load(name, seed, Path(scratch))
        managed = find_managed(scenario, ("full",))

        @contextmanager
        def open_engine() -> Iterator[SimulatedCity]:
            header = {
                "scenario": name,
                "response": "none",
                "seed": seed,
                "managed": sorted(managed),
            }
            with (
                journal.open("w", encoding="utf-8") as stream,
                SumoField(scenario, managed=managed) as field,
            ):
                engine = build_engine(scenario, field, managed, Journal(stream, header))
                yield SimulatedCity(engine, field)

        service = Service(
            open_engine,
            scenario.network,
            build_plans(scenario),
            speed,
            stale_s=settings.stale_s,
        )
        try:
            serve(create_app(service, settings), settings)
        except OSError as error:
            raise UserError([f"cannot listen on {host} port {port}: {error.strerror}"]) from error
