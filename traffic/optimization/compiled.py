"""Compilation to machine code, kept on disk between runs.

numba renews what it keeps of a function when the function's own file changes, but not when a
function that it calls has changed in another file. Hence a folder for each state of these files.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numba

_HERE = Path(__file__).parent


def _find_folder() -> str:
    digest = hashlib.sha256()
    for file in sorted(_HERE.glob("*.py")):
        digest.update(file.read_bytes())
    place = _HERE / "__pycache__"
    if not os.access(place if place.exists() else _HERE, os.W_OK):
        place = Path.home() / ".cache" / "traffic-response"
    return str(place / f"compiled-{digest.hexdigest()[:16]}")


_FOLDER = _find_folder()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that makes no arrays, at its first call for each kind of arguments.

    Without numba's counting of references: it counts at each use of an array that is part of a
    tuple, which takes several times as long as the search itself. Nothing made here needs it.
    """
    config, njit = cast(Any, numba).config, cast(Any, numba).njit
    before, config.CACHE_DIR = config.CACHE_DIR, _FOLDER
    try:
        made: Callable[..., Any] = njit(cache=True, _nrt=False, forceinline=True)(function)
        return made
    finally:
        config.CACHE_DIR = before
