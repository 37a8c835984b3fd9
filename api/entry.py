"""Where the `traffic` command begins, and how it ends.

Exit code 0: done, 2: what was asked cannot be, 1: a fault of ours, 130 and 143: told to end by
Ctrl-C and by SIGTERM. The heavy imports come after it is settled how to end.
"""

import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

# An engine's matrices are small: more threads only wait for each other. Before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class Stopped(BaseException):
    """Told to end. No KeyboardInterrupt, which libraries translate on its way."""


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise Stopped(number)


def main() -> None:
    """Entry point: one clear message for what the user can mend."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        sys.exit(_run())
    except Stopped as stopped:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + stopped.args[0])


def _run() -> int:
    import typer

    from api.cli import app, errors
    from api.errors import USER_ERRORS, FaultError

    # For a command line that it cannot read typer raises click's errors, or since it brings a
    # click of its own, that one's.
    usage_error: Any = typer.BadParameter.__bases__[0]
    try:
        code = app(prog_name="traffic", standalone_mode=False)
    except typer.Exit as done:
        return done.exit_code
    except usage_error as error:
        error.show()
        return 2
    except USER_ERRORS as error:
        errors.print(str(error), style="red")
        return 2
    except FaultError as error:
        errors.print(str(error), style="red")
        return 1
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
