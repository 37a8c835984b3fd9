"""What a user can mend: one clear message and exit code 2. All else is a fault of ours."""

from collections.abc import Iterable

from api.evidence import EvidenceError
from networks.sumo_field import FieldError
from traffic.journal import JournalError
from traffic.model import ModelError


class UserError(ValueError):
    """A wish that cannot be met; lists every problem."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__("\n".join(problems))


USER_ERRORS = (EvidenceError, FieldError, JournalError, ModelError, UserError)
