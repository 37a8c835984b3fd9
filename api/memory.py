"""What the engine of a service has learned, kept in a file from one run to the next.

The file holds a header to read and arrays, no code. It is replaced as a whole and is never half
written; one that does not fit is moved aside, never overwritten, and the engine begins anew.
"""

import hashlib
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from api.arrays import write_arrays
from api.errors import UserError
from api.service import Steps
from traffic.alerts.alert import AlertOrder
from traffic.learned import Learned
from traffic.memory import Memory
from traffic.model import ModelError, Network
from traffic.response import Order
from traffic.snapshot import Snapshot

FORMAT = "traffic-memory/1"
EVERY_S = 900.0  # of the engine's time, from one writing to the next
EXAMPLES = 5
_HEADER, _PLAIN = "header", "plain"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Header:
    """What a memory is of, and up to when."""

    format: str
    network: str
    loops: tuple[str, ...]
    layout_sha256: str  # of where loops and bottlenecks lie
    midnight: datetime  # of the day that the engine counted time from
    learned_to: datetime


@dataclass(frozen=True, eq=False)
class Kept:
    """A memory that rests in a file."""

    header: Header
    learned: Learned

    def find_rest_s(self, midnight: datetime, now_s: float) -> float | None:
        """Return how long ago it was, by the engine's clock; None where that counts anew."""
        then_s = (self.header.learned_to - self.header.midnight).total_seconds()
        return now_s - then_s if midnight == self.header.midnight and now_s >= then_s else None


def describe_network(network: Network) -> Header:
    """Return the header of a memory of this network that knows nothing yet."""
    places: list[list[Any]] = [
        [d.id, d.kind.value, d.link, d.lane, d.position_m, d.approach]
        for d in network.detectors.values()
    ]
    places += [
        [b.id, b.link, list(b.corridor), list(b.watch), {k: list(v) for k, v in b.feeders.items()}]
        for b in network.bottlenecks.values()
    ]
    found = hashlib.sha256(json.dumps(places).encode()).hexdigest()
    never = datetime.fromtimestamp(0, UTC)
    return Header(FORMAT, network.id, tuple(network.detectors), found, never, never)


def load_memory(path: Path, network: Network) -> Kept:
    """Read a memory. Raises UserError with all reasons why it is none of this network."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            told = json.loads(stored[_HEADER].tobytes())
            _check_format(path, told)
            header = TypeAdapter(Header).validate_python(told, strict=False)
            numbers = range(len(stored.files) - 2)
            arrays = tuple(stored[f"array_{i}"] for i in numbers)
            learned = Learned(json.loads(stored[_PLAIN].tobytes()), arrays)
    except ValidationError as error:
        raise UserError(
            f"{path}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        ) from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, UserError):
            raise
        raise UserError([f"{path}: can't be read: {error}"]) from error
    problems = list(_check_network(header, describe_network(network)))
    if problems:
        raise UserError(f"{path}: {problem}" for problem in problems)
    return Kept(header, learned)


def _check_format(path: Path, told: Any) -> None:
    found = told.get("format") if isinstance(told, dict) else None
    if found != FORMAT:
        raise UserError([f"{path}: format {found!r}, this engine reads {FORMAT!r}"])


def _check_network(header: Header, own: Header) -> list[str]:
    problems = []
    if header.network != own.network:
        problems.append(f"is of network {header.network}, not {own.network}")
    for what, names in (
        ("does not know loops", set(own.loops) - set(header.loops)),
        ("knows loops that are none", set(header.loops) - set(own.loops)),
    ):
        some = sorted(names)
        more = f" and {len(some) - EXAMPLES} more" if len(some) > EXAMPLES else ""
        if some:
            problems.append(f"{what}: {', '.join(some[:EXAMPLES])}{more}")
    if not problems and header.loops != own.loops:
        problems.append("has the loops in another order")
    elif not problems and header.layout_sha256 != own.layout_sha256:
        problems.append("loops or bottlenecks lay elsewhere when it was learned")
    return problems


class MemoryFile:
    """Keeps the memory of one engine; used from the engine's thread, but for `notices`.

    `to_utc` turns the engine's time into moments. A file that does not fit is moved aside.
    """

    def __init__(self, path: Path, network: Network, to_utc: Callable[[float], datetime]) -> None:
        self.path = path
        self._network = network
        self._to_utc = to_utc
        self._memory: Memory | None = None
        self._now_s = self._written_s = 0.0
        self._aside: tuple[str, ...] = ()
        self._failure: tuple[str, ...] = ()
        self._is_blocked = False
        self._origin: tuple[float | None] | None = None  # how long what was recalled had rested

    @property
    def notices(self) -> tuple[str, ...]:
        """What is wrong with the memory; empty when nothing is."""
        return self._aside + self._failure

    def recall(self, build: Callable[[], Memory], now_s: float) -> Memory:
        """Return a memory that knows what the file holds, or nothing where that does not fit.

        It is the one that is kept from now on.
        """
        memory = build()
        self._now_s = self._written_s = now_s
        if self.path.exists():
            try:
                kept = load_memory(self.path, self._network)
                rest_s = kept.find_rest_s(self._to_utc(0.0), now_s)
                memory.put_back(kept.learned, rest_s)
                self._origin = (rest_s,)
                log.info("%s: learned up to %s", self.path, kept.header.learned_to.isoformat())
            except (UserError, ModelError) as error:
                self._set_aside(str(error))
                memory = build()
        self._memory = memory
        return memory

    def keep_origin(self, folder: Path) -> dict[str, Any]:
        """Copy what was recalled to a folder; return what a journal says of it, to be repeated."""
        if self._origin is None:
            return {}
        with self.path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        copy = folder / f"memory-{found[:16]}.npz"
        try:
            if not copy.exists():
                shutil.copyfile(self.path, copy)
        except OSError as error:
            self._aside = (f"this run cannot be repeated: {copy}: {error.strerror}",)
        return {"memory": {"file": copy.name, "rest_s": self._origin[0]}}

    def _set_aside(self, reason: str) -> None:
        reason = "; ".join(reason.splitlines())
        numbers = range(1, 1_000_000)
        names = (self.path.with_name(f"{self.path.name}.aside-{k}") for k in numbers)
        aside = next(name for name in names if not name.exists())
        try:
            self.path.rename(aside)
        except OSError as error:
            self._is_blocked = True
            self._aside = (
                f"began without what was learned: {reason}; nothing is kept, as that file cannot "
                f"be moved: {error.strerror}",
            )
        else:
            self._aside = (f"began without what was learned: {reason}; kept as {aside.name}",)
        log.warning("%s", self._aside[0])

    def note(self, now_s: float) -> None:
        """Hear how far the engine is; write when it is due."""
        self._now_s = now_s
        if now_s - self._written_s >= EVERY_S:
            self.write()

    def write(self) -> None:
        """Replace the file by what the engine knows now; `notices` tells when that fails."""
        if self._memory is None or self._is_blocked:
            return
        self._written_s = self._now_s
        learned = self._memory.take_out()
        header = replace(
            describe_network(self._network),
            midnight=self._to_utc(0.0),
            learned_to=self._to_utc(self._now_s),
        )
        arrays: dict[str, NDArray[Any]] = {
            _HEADER: np.frombuffer(TypeAdapter(Header).dump_json(header), np.uint8),
            _PLAIN: np.frombuffer(json.dumps(learned.plain).encode(), np.uint8),
        }
        arrays |= {f"array_{i}": array for i, array in enumerate(learned.arrays)}
        work = self.path.with_name(f"{self.path.name}.partial")
        try:
            with work.open("wb") as stream:
                write_arrays(stream, arrays)
                stream.flush()
                os.fsync(stream.fileno())
            work.replace(self.path)
        except OSError as error:
            self._failure = (f"what is learned cannot be kept in {self.path}: {error.strerror}",)
            log.warning("%s", self._failure[0])
        else:
            self._failure = ()


class Remembering:
    """An engine whose memory is kept while it runs."""

    def __init__(self, engine: Steps, file: MemoryFile) -> None:
        self._engine, self._file = engine, file

    def step(self, orders: Sequence[Order | AlertOrder] = ()) -> Snapshot | None:
        """Run one second, as `Engine.step`."""
        snapshot = self._engine.step(orders)
        if snapshot is not None:
            self._file.note(snapshot.time_s)
        return snapshot


def check_memory(path: Path | None) -> None:
    """Raise UserError unless a memory can be kept there."""
    if path is None:
        return
    if path.is_dir():
        raise UserError([f"setting memory: {path} is a folder"])
    try:
        work = path.with_name(f"{path.name}.partial")
        work.open("ab").close()
        work.unlink()
    except OSError as error:
        raise UserError([f"setting memory: {path}: {error.strerror}"]) from error
