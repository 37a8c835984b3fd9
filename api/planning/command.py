"""What `traffic optimize` is asked."""

from dataclasses import dataclass
from pathlib import Path

from api.errors import UserError
from api.planning.methods import METHODS
from traffic.plans import DAY_S


@dataclass(frozen=True)
class Wish:
    """What an engineer asks for; checked by `check_wish`."""

    scenario: str
    method: str
    out: Path
    flows: Path | None
    seeds: tuple[int, ...]  # of the demand that is measured and tried
    periods_s: tuple[float, ...]  # when plans begin; empty for one plan all the time
    cycle_s: float | None
    max_cycle_s: float
    budget_s: float
    evaluations: int | None  # instead of the budget
    jobs: int
    seed: int  # of the search


def parse_method(text: str) -> str:
    """Raises UserError when there is no such method."""
    if text not in METHODS:
        raise UserError([f"--method {text!r}: expected one of {', '.join(METHODS)}"])
    return text


def parse_periods(text: str) -> tuple[float, ...]:
    """Read "06:00,07:30", seconds since midnight. Raises UserError naming every wrong part."""
    if not text:
        return ()
    times, wrong = [], []
    for part in text.split(","):
        hours, _, minutes = part.strip().partition(":")
        if not (hours.isdigit() and minutes.isdigit() and len(minutes) == 2 and int(minutes) < 60):
            wrong.append(f"--periods {part!r}: expected a time such as 07:30")
            continue
        times.append(int(hours) * 3600.0 + int(minutes) * 60.0)
    wrong += [f"--periods {text!r}: {t:g} s is beyond midnight" for t in times if t >= DAY_S]
    if times != sorted(set(times)):
        wrong.append(f"--periods {text!r}: must be in order, each once")
    if wrong:
        raise UserError(wrong)
    return tuple(times)


def check_file(path: Path | None) -> None:
    """Raises UserError when a file is named that is not there."""
    if path is not None and not path.is_file():
        raise UserError([f"--flows {path}: is no file"])
