"""Keeps recorded days in a folder: simulates those that are missing, loads all."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from api.comparing import do_runs, raise_failures
from api.errors import UserError
from networks.day_records import DayRecord, load_record, record_day, write_record
from networks.days import CYCLE, Day, DayBuilder, draw_days

# Days that models are fitted on and days that they are scored on share no seed.
TRAINING_FROM, SCORING_FROM = 1000, 2000
MOST_DAYS = SCORING_FROM - TRAINING_FROM


@dataclass(frozen=True)
class Recording:
    """One day to simulate, in a process of its own."""

    day: Day
    folder: Path

    @property
    def name(self) -> str:
        return self.day.name

    @property
    def target(self) -> Path:
        return self.folder / f"{self.day.name}.npz"

    def do(self, tell: Callable[[float], None]) -> None:
        scratch = Path(tempfile.mkdtemp(prefix="traffic-"))
        try:
            write_record(record_day(self.day, DayBuilder(scratch), tell), self.target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def check_days(name: str, days: int) -> None:
    """Raises UserError unless so many days can be drawn, of every kind in its share."""
    if not len(CYCLE) <= days <= MOST_DAYS or days % len(CYCLE):
        raise UserError(
            [f"{name} {days}: expected a multiple of {len(CYCLE)} up to {MOST_DAYS}, so that each "
             "kind of day has its share"]
        )  # fmt: skip


def draw_training(days: int) -> tuple[Day, ...]:
    return draw_days(range(TRAINING_FROM, TRAINING_FROM + days))


def draw_scoring(days: int) -> tuple[Day, ...]:
    return draw_days(range(SCORING_FROM, SCORING_FROM + days))


def record_missing(days: Sequence[Day], folder: Path, jobs: int, console: Console) -> None:
    """Simulate the days that the folder lacks, or has from another drawing.

    Raises UserError naming each that failed, FaultError when it was our fault.
    """
    missing = [
        recording
        for day in days
        if not (recording := Recording(day, folder)).target.exists()
        or not is_same(load_record(recording.target), day)
    ]
    if missing:
        console.print(f"simulating {len(missing)} of {len(days)} days")
        raise_failures(do_runs(missing, jobs, console))


def is_same(record: DayRecord, day: Day) -> bool:
    """Whether the record is of the day as it is drawn now, and not of one before a change."""
    return all(
        record.drawn.get(part) == getattr(day, part) for part in ("level", "shift_s", "spread")
    )


def load_days(days: Sequence[Day], folder: Path) -> list[DayRecord]:
    """Load recorded days in order. Raises ModelError naming a file that is broken."""
    return [load_record(Recording(day, folder).target) for day in days]
