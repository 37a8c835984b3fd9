"""`traffic serve`: a simulated city behind the doors."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from api.app import create_app, serve
from api.assembly import build_engine, build_memory, build_plans, find_managed
from api.city import SimulatedCity
from api.errors import UserError, attempt
from api.memory import MemoryFile, Remembering, check_memory
from api.service import Service, Steps, check_speed
from api.settings import Settings
from networks import load
from networks.sumo_field import SumoField
from traffic.journal import Journal


def serve_scenario(
    name: str, seed: int, speed: float, journal: Path, given: Mapping[str, Any]
) -> None:
    """Serve a scenario until interrupted; orders come from people, none is given by itself.

    `given` are settings that stand above the environment's. Raises UserError for a wish that
    cannot be met, with all problems at once, and for an address that cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        settings, _, scenario, _ = attempt(
            lambda: _read_settings(given),
            lambda: check_speed(speed),
            lambda: load(name, seed, Path(scratch)),
            lambda: _check_journal(journal),
        )
        check_memory(settings.memory)
        calendar = settings.build_calendar()
        managed = find_managed(scenario, ("full",))
        kept = None
        if settings.memory is not None:
            kept = MemoryFile(settings.memory, scenario.network, settings.to_utc)
        header = {"scenario": name, "response": "none", "seed": seed, "managed": sorted(managed)}

        @contextmanager
        def open_engine() -> Iterator[Steps]:
            _move_aside(journal)
            memory, origin = build_memory(scenario, calendar), {}
            if kept is not None:
                memory = kept.recall(lambda: build_memory(scenario, calendar), scenario.begin_s)
                origin = kept.keep_origin(journal.parent)
            with (
                journal.open("w", encoding="utf-8") as stream,
                SumoField(scenario, managed=managed) as field,
            ):
                record = Journal(stream, header | origin)
                engine = build_engine(scenario, field, managed, record, memory=memory)
                city = SimulatedCity(engine, field)
                yield city if kept is None else Remembering(city, kept)
                record.end()
                if kept is not None:
                    kept.write()

        plans = build_plans(scenario)
        service = Service(
            open_engine,
            scenario.network,
            plans,
            speed,
            stale_s=settings.stale_s,
            notices=lambda: () if kept is None else kept.notices,
        )
        try:
            serve(create_app(service, settings), settings)
        except OSError as error:
            place = f"{settings.host} port {settings.port}"
            raise UserError([f"cannot listen on {place}: {error.strerror}"]) from error


def _read_settings(given: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**given)
    except ValidationError as error:
        raise UserError(
            f"setting {'.'.join(map(str, e['loc']))}: {e['msg']}"  # no input: it may be the token
            for e in error.errors(include_url=False, include_input=False)
        ) from error


def _check_journal(journal: Path) -> None:
    """Raise UserError unless it can be written."""
    is_new = not journal.exists()
    try:
        journal.open("a").close()
        if is_new:
            journal.unlink()
    except OSError as error:
        raise UserError([f"--journal {journal}: {error.strerror}"]) from error


def _move_aside(journal: Path) -> None:
    """Keep the record of an earlier run: one starts again after a fault, and it tells of it."""
    if journal.is_file() and journal.stat().st_size:
        names = (journal.with_suffix(f".{k}{journal.suffix}") for k in count(1))
        journal.rename(next(name for name in names if not name.exists()))
