"""Repeats a run from its journal, without a simulator, and compares record by record."""

import tempfile
from collections.abc import Iterable, Iterator
from math import inf
from pathlib import Path
from typing import Any

from api.assembly import USUAL_CONTROLLER, build_engine, build_memory
from api.errors import UserError
from api.memory import load_memory
from controllers import CONTROLLERS
from networks import load
from networks.replay_field import ReplayField
from traffic.alerts.alert import AlertOrder
from traffic.control import RawReadings
from traffic.journal import Journal, JournalError, read_header, read_steps
from traffic.lanes import LEAVES
from traffic.memory import Memory
from traffic.model import ModelError, Network
from traffic.response import Order

JOURNAL = "journal.jsonl"


class _Checker:
    """A stream that holds each written line against the recorded one."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._number = 0

    def write(self, text: str) -> None:
        self._number += 1
        recorded = next(self._lines, None)
        if recorded is None:
            raise JournalError(f"line {self._number} is missing: the recording was cut off there")
        if text != recorded:
            raise JournalError(
                f"line {self._number} differs\nrecorded: {recorded.strip()[:400]}\n"
                f"repeated: {text.strip()[:400]}"
            )

    def finish(self) -> None:
        if next(self._lines, None) is not None:
            raise JournalError(f"line {self._number + 1} follows the end of the run")


def replay_run(folder: Path) -> int:
    """Run the engine on the recorded readings and orders; return the number of steps.

    Raises JournalError naming the file and the first record that differs or cannot be read.
    """
    path = folder / JOURNAL
    try:
        with path.open(encoding="utf-8") as lines:
            header = read_header(lines)
        with path.open(encoding="utf-8") as recorded, path.open(encoding="utf-8") as compared:
            return _repeat(header, recorded, compared, folder)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise JournalError(f"{path}: not UTF-8: {error.reason}") from error
    except JournalError as error:
        raise JournalError(f"{path}: {error}") from error


def _repeat(
    header: dict[str, Any], recorded: Iterable[str], compared: Iterable[str], folder: Path
) -> int:
    name, response, seed, managed, controller = _read_setup(header)
    orders: list[tuple[Order | AlertOrder, ...]] = []
    steps = 0

    def readings() -> Iterator[RawReadings]:
        before_s = -inf
        for raw, given in read_steps(recorded):
            _check_reading(raw, before_s, scenario.network)
            before_s = raw.now_s
            orders.append(given)
            yield raw
        if not orders:
            raise JournalError("line 2 is missing: the recording holds no step")

    with tempfile.TemporaryDirectory(prefix="traffic-") as scratch:
        scenario = load(name, seed, Path(scratch))
        strange = sorted(managed - scenario.network.plans.keys())
        if strange:
            raise JournalError(f"line 1: scenario {name} has no junction {', '.join(strange)}")
        field = ReplayField(scenario.network, readings(), CONTROLLERS[controller].needs)
        checker = _Checker(compared)
        own = {"scenario": name, "response": response, "seed": seed, "managed": sorted(managed)}
        if "controller" in header:
            own["controller"] = controller
        memory = build_memory(scenario)
        if "memory" in header:
            own["memory"] = header["memory"]
            _recall(memory, folder, header["memory"], scenario.network)
        journal = Journal(checker, own)
        engine = build_engine(scenario, field, managed, journal, response, controller, memory)
        while True:
            steps += 1
            if engine.step(orders[steps - 1]) is None:
                journal.end()
                checker.finish()
                return steps


def _read_setup(header: dict[str, Any]) -> tuple[str, str, int, frozenset[str], str]:
    expected = {"scenario": str, "response": str, "seed": int, "managed": list}
    problems = [
        f"line 1: the header's {name} is {header.get(name, 'missing')!r}"
        for name, kind in expected.items()
        if not isinstance(header.get(name), kind)
    ]
    controller = header.get("controller", USUAL_CONTROLLER)
    if controller not in CONTROLLERS:
        problems.append(f"line 1: the header's controller is {controller!r}")
    if problems:
        raise JournalError("\n".join(problems))
    managed = frozenset(str(junction) for junction in header["managed"])
    return header["scenario"], header["response"], header["seed"], managed, controller


def _recall(memory: Memory, folder: Path, origin: Any, network: Network) -> None:
    """Give an engine what the recorded one knew when it began. Raises JournalError."""
    try:
        kept = load_memory(folder / origin["file"], network)
        memory.put_back(kept.learned, origin["rest_s"])
    except (KeyError, TypeError) as error:
        raise JournalError(f"line 1: the header's memory is {origin!r}") from error
    except (UserError, ModelError) as error:
        raise JournalError(f"what the recorded engine knew: {error}") from error


def _check_reading(raw: RawReadings, before_s: float, network: Network) -> None:
    """Raise JournalError unless the engine of this scenario can have seen it."""
    if not before_s < raw.now_s:
        raise JournalError(f"step at {raw.now_s} s follows the one at {before_s} s")
    for batch in (raw.local, raw.centre):
        strange = sorted(set(batch.detectors) - network.detectors.keys()) if batch else []
        if strange:
            raise JournalError(f"step at {raw.now_s} s: the scenario has no loop {strange[0]}")
    if raw.lanes is not None:
        lanes = network.lanes
        sensed = 0 if lanes is None else len(lanes.sensed)
        exits = 0 if lanes is None else len(lanes.exits)
        if raw.lanes.starts.size != sensed + 1:
            raise JournalError(
                f"step at {raw.now_s} s: {raw.lanes.starts.size - 1} lanes, the scenario senses "
                f"{sensed}"
            )
        junctions = 0 if lanes is None else len(lanes.ways)
        if raw.lanes.halted.size not in (0, junctions):
            raise JournalError(
                f"step at {raw.now_s} s: looks into {raw.lanes.halted.size} junctions, there "
                f"are {junctions}"
            )
        if not ((raw.lanes.turn >= LEAVES) & (raw.lanes.turn < exits)).all():
            raise JournalError(f"step at {raw.now_s} s: a turn is none of the {exits} that exist")
