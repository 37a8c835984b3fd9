"""Repeats a run from its journal, without a simulator, and compares record by record."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

from api.assembly import build_engine
from networks import load
from networks.replay_field import ReplayField
from traffic.control import RawReadings
from traffic.journal import Journal, JournalError, read_header, read_steps
from traffic.response import Order

JOURNAL = "journal.jsonl"


class _Checker:
    """A stream that holds each written line against the recorded one."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = zip_longest(lines, ())
        self.number = 0

    def write(self, text: str) -> None:
        self.number += 1
        recorded, _ = next(self._lines, (None, None))
        if text != recorded:
            raise JournalError(
                f"line {self.number} differs\nrecorded: {str(recorded).strip()[:400]}\n"
                f"repeated: {text.strip()[:400]}"
            )


def replay_run(folder: Path) -> int:
    """Run the engine on the recorded readings and orders; return the number of steps.

    Raises JournalError naming the first record that differs or cannot be read.
    """
    path = folder / JOURNAL
    try:
        with path.open(encoding="utf-8") as lines:
            header = read_header(lines)
        with path.open(encoding="utf-8") as recorded, path.open(encoding="utf-8") as compared:
            return _repeat(header, recorded, compared)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise JournalError(f"{path}: not UTF-8: {error.reason}") from error


def _repeat(header: dict[str, object], recorded: Iterable[str], compared: Iterable[str]) -> int:
    missing = [name for name in ("scenario", "response", "seed", "managed") if name not in header]
    if missing:
        raise JournalError(f"line 1: the header lacks {', '.join(missing)}")
    orders: list[tuple[Order, ...]] = []
    steps = 0

    def readings() -> Iterator[RawReadings]:
        for raw, given in read_steps(recorded):
            orders.append(given)
            yield raw

    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        scenario = load(str(header["scenario"]), int(str(header["seed"])), Path(scratch))
        own = {key: header[key] for key in ("scenario", "response", "seed", "managed")}
        field = ReplayField(scenario.network, readings())
        managed = frozenset(str(junction) for junction in header["managed"])  # type: ignore[attr-defined]
        engine = build_engine(
            scenario,
            field,
            managed,
            Journal(_Checker(compared), own),
            automatic=str(header["response"]),
        )
        while True:
            steps += 1
            if engine.step(orders[steps - 1]) is None:
                return steps
