"""The append-only record of a run, one JSON line per record, enough to repeat it bit for bit.

A second is recorded when something was seen or decided in it. Arrays are sparse: a loop that saw
nothing in a second leaves no entry. Numbers are written so that they read back exactly.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from math import isfinite
from typing import Any, Protocol

import numpy as np

from traffic.alerts.alert import AlertOrder
from traffic.control import RawReadings
from traffic.forecasting import Forecast
from traffic.lanes import UNKNOWN_TURN
from traffic.readings import LaneBatch, LoopBatch
from traffic.response import Order
from traffic.snapshot import Snapshot
from traffic.trouble import FeedTrouble

FORMAT = 1


class JournalError(ValueError):
    """A record that cannot be read; names the line and what is wrong with it."""


class Writer(Protocol):
    def write(self, text: str, /) -> Any: ...


_AS_IT_IS = (str, int, bool, type(None))


@cache
def _name_fields(kind: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind)) if is_dataclass(kind) else ()


def _plain(value: Any) -> Any:
    """Domain values as JSON: dataclasses by field, sets in order, NaN and infinity as null."""
    kind: Any = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is float:
        return value if isfinite(value) else None
    # The kinds that there are most of come first; others like them further down.
    if kind is tuple or kind is list:
        return [_plain(v) for v in value]
    if kind is frozenset and not value:
        return []
    if names := _name_fields(kind):
        told = {name: getattr(value, name) for name in names}
        return {n: v if type(v) in _AS_IT_IS else _plain(v) for n, v in told.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value.tolist()]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, frozenset | set):
        return sorted((_plain(v) for v in value), key=str)
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def _pack(batch: LoopBatch) -> dict[str, Any]:
    """A batch without its silent loops; `i` are positions in the header's list."""
    silent = (batch.count_veh == 0) & (batch.occupancy == 0) & np.isnan(batch.speed_mps)
    at = np.flatnonzero(~silent | (batch.quality != 0))
    return {
        "end": batch.end_s,
        "of": batch.interval_s,
        "i": at.tolist(),
        "n": _plain(batch.count_veh[at]),
        "o": _plain(batch.occupancy[at]),
        "v": _plain(batch.speed_mps[at]),
        "q": batch.quality[at].tolist(),
    }


def _unpack(packed: Mapping[str, Any], detectors: tuple[str, ...]) -> LoopBatch:
    size = len(detectors)
    count, occupancy = np.zeros(size), np.zeros(size)
    speed, quality = np.full(size, np.nan), np.zeros(size, dtype=np.int8)
    at = np.asarray(packed["i"], dtype=int)
    count[at] = np.asarray(packed["n"], dtype=np.float64)
    occupancy[at] = np.asarray(packed["o"], dtype=np.float64)
    speed[at] = np.asarray(packed["v"], dtype=np.float64)
    quality[at] = packed["q"]
    return LoopBatch(packed["end"], packed["of"], detectors, count, occupancy, speed, quality)


def _pack_lanes(batch: LaneBatch) -> dict[str, Any]:
    """The vehicles of `of` lanes; lane `i` holds `n` of them. Turns only where one is told."""
    numbers = np.diff(batch.starts)
    at = np.flatnonzero(numbers)
    packed: dict[str, Any] = {
        "of": numbers.size,
        "i": at.tolist(),
        "n": numbers[at].tolist(),
        "x": _plain(batch.position_m),
        "v": _plain(batch.speed_mps),
    }
    if (batch.turn != UNKNOWN_TURN).any():
        packed["turn"] = batch.turn.tolist()
    if batch.halted.any():
        packed["halted"] = batch.halted.tolist()
    return packed


def _unpack_lanes(packed: Mapping[str, Any]) -> LaneBatch:
    numbers = np.zeros(packed["of"], dtype=np.int32)
    numbers[np.asarray(packed["i"], dtype=int)] = packed["n"]
    position_m = np.asarray(packed["x"], dtype=np.float64)
    turn = packed.get("turn", [UNKNOWN_TURN] * position_m.size)
    return LaneBatch(
        np.concatenate(([0], np.cumsum(numbers))).astype(np.int32),
        position_m,
        np.asarray(packed["v"], dtype=np.float64),
        np.asarray(turn, dtype=np.int32),
        np.asarray(packed.get("halted", ()), dtype=np.int32),
    )


def _pack_forecast(forecast: Forecast) -> dict[str, Any]:
    """A forecast without those of loops: nothing acts on them, they follow from the readings, and
    their last digits depend on the machine's linear algebra, which would spoil a repetition."""
    names = (f.name for f in fields(forecast) if f.name != "loops")
    return {name: _plain(getattr(forecast, name)) for name in names}


class Journal:
    """Writes snapshots to a text stream, a line each; `header` says how the run was set up."""

    def __init__(self, stream: Writer, header: Mapping[str, Any]) -> None:
        self._stream = stream
        self._loops: dict[str, tuple[str, ...]] = {}
        self._shown: Mapping[str, Any] = {}
        self._feed: tuple[FeedTrouble, ...] = ()
        self._write({"kind": "run", "format": FORMAT, **header})

    def record(self, snapshot: Snapshot) -> None:
        raw = snapshot.raw
        line: dict[str, Any] = {"kind": "step", "t": snapshot.time_s}
        for name, batch in (("local", raw.local), ("centre", raw.centre)):
            if batch is not None:
                self._name_loops(name, batch)
                line[name] = _pack(batch)
        if raw.lanes is not None:
            line["lanes"] = _pack_lanes(raw.lanes)
        if snapshot.orders:
            line["orders"] = _plain(snapshot.orders)
        if snapshot.is_fresh and snapshot.strategy is not None:
            strategy = snapshot.strategy
            line["quality"] = strategy.readings.quality.tolist()
            line["forecast"] = _pack_forecast(strategy.forecast)
            if strategy.findings:
                line["findings"] = _plain(strategy.findings)
            line["alerts"] = _plain(strategy.alerts)
            line["response"] = _plain(strategy.response)
            line["advisories"] = _plain(strategy.advisories)
            if strategy.alert_refusals:
                line["alert_refusals"] = _plain(strategy.alert_refusals)
        for name, values in (("wanted", snapshot.wanted), ("vetoes", snapshot.vetoes)):
            if values:
                line[name] = _plain(values)
        if snapshot.health.feed != self._feed:
            line["feed"] = _plain(snapshot.health.feed)
            self._feed = snapshot.health.feed
        changed = {j: a for j, a in snapshot.shown.items() if a != self._shown.get(j)}
        if changed:
            line["shown"] = _plain(changed)
            self._shown = snapshot.shown
        if snapshot.faults:
            line["faults"] = dict(snapshot.faults)
        self._write(line)

    def end(self) -> None:
        """Say that the run has come to its end: what lacks this was cut off."""
        self._write({"kind": "end"})

    def _name_loops(self, name: str, batch: LoopBatch) -> None:
        if self._loops.get(name) != batch.detectors:
            self._loops[name] = batch.detectors
            self._write({"kind": "loops", "batch": name, "ids": list(batch.detectors)})

    def _write(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        self._stream.write(text + "\n")


def read_header(lines: Iterable[str]) -> dict[str, Any]:
    """Return how the run was set up, the first line. Raises JournalError."""
    header = next(iter(_parse(lines)), None)
    if header is None or header.get("kind") != "run":
        raise JournalError("line 1: expected the header of a run")
    if header.get("format") != FORMAT:
        raise JournalError(f"line 1: format {header.get('format')!r}, this engine reads {FORMAT}")
    return header


def _read_order(order: Mapping[str, Any]) -> Order | AlertOrder:
    return AlertOrder(**order) if "alert" in order else Order(**order)


def read_steps(
    lines: Iterable[str],
) -> Iterator[tuple[RawReadings, tuple[Order | AlertOrder, ...]]]:
    """Yield what the engine was given at each step. Raises JournalError naming the line."""
    loops: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(_parse(lines), 1):
        try:
            if line["kind"] == "loops":
                loops[line["batch"]] = tuple(line["ids"])
            elif line["kind"] == "step":
                centre, lanes = line.get("centre"), line.get("lanes")
                raw = RawReadings(
                    line["t"],
                    _unpack(line["local"], loops["local"]),
                    _unpack(centre, loops["centre"]) if centre is not None else None,
                    {},
                    _unpack_lanes(lanes) if lanes is not None else None,
                )
                yield raw, tuple(_read_order(order) for order in line.get("orders", ()))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise JournalError(f"line {number}: {type(error).__name__} {error}") from error


def _parse(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise JournalError(f"line {number}: not JSON: {error}") from error
        if not isinstance(line, dict):
            raise JournalError(f"line {number}: expected an object, found {type(line).__name__}")
        yield line
