"""What a user can mend: one clear message and exit code 2. All else is a fault of ours."""

from collections.abc import Callable, Iterable
from typing import Any

from api.evidence import EvidenceError
from networks.bare_runs import BareRunError
from networks.sumo_field import FieldError
from traffic.journal import JournalError
from traffic.model import ModelError
from traffic.timing import TimingError


class UserError(ValueError):
    """A wish that cannot be met; lists every problem."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__("\n".join(problems))


class FaultError(RuntimeError):
    """A fault of ours whose traceback has been printed already."""


USER_ERRORS = (
    BareRunError, EvidenceError, FieldError, JournalError, ModelError, TimingError, UserError,
)  # fmt: skip


def attempt(*steps: Callable[[], Any]) -> list[Any]:
    """Return what each step gives. Raises UserError with the problems of all that fail."""
    results, problems = [], []
    for step in steps:
        try:
            results.append(step())
        except USER_ERRORS as error:
            problems.append(str(error))
    if problems:
        raise UserError(problems)
    return results
