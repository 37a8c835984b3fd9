"""What is kept of a scene's alerts: its thresholds, by version, and its fitted warning models."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from traffic.alerts.settings import CongestionSettings
from traffic.model import ModelError
from traffic.warning.models import WarningModels

FOLDER = Path(__file__).parent / "data"
FORMAT = 1
_SETTINGS = tuple(f.name for f in fields(CongestionSettings))


def find_alert_settings(town: str) -> CongestionSettings:
    """Load the thresholds kept for a town; those built in where there are none."""
    path = FOLDER / f"{town}_alerts.toml"
    return load_alert_settings(path) if path.exists() else CongestionSettings()


def load_alert_settings(path: Path) -> CongestionSettings:
    """Load thresholds from TOML: a version, and any of CongestionSettings' fields.

    Raises ModelError naming the file and all that is wrong with it.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"alert settings {path}", [f"can't be read: {error}"]) from error
    problems = [] if "version" in given else ["has no version"]
    problems += [f"has an unknown {name}" for name in sorted(given.keys() - set(_SETTINGS))]
    known = {name: value for name, value in given.items() if name in _SETTINGS}
    try:
        settings = CongestionSettings(**known)
    except ModelError as error:
        problems += error.problems
    if problems:
        raise ModelError(f"alert settings {path}", problems)
    return settings


def find_warning_models(town: str) -> Mapping[str, WarningModels]:
    """Load the models fitted for a town's bottlenecks; none where nothing was fitted."""
    path = FOLDER / f"{town}_warning.json"
    return load_warning_models(path) if path.exists() else {}


def load_warning_models(path: Path) -> dict[str, WarningModels]:
    """Load what `write_warning_models` wrote. Raises ModelError with all problems at once."""
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"warning models {path}", [f"can't be read: {error}"]) from error
    if not isinstance(table, Mapping):
        raise ModelError(f"warning models {path}", ["is no table"])
    problems = []
    if table.get("format") != FORMAT:
        problems.append(f"format {table.get('format')!r}, expected {FORMAT}")
    rows = table.get("bottlenecks")
    if not isinstance(rows, Mapping):
        problems.append(f"bottlenecks is {type(rows).__name__}, expected a table")
        rows = {}
    found = {}
    for name, row in rows.items():
        try:
            found[str(name)] = WarningModels.from_table(row)
        except ModelError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
    if problems:
        raise ModelError(f"warning models {path}", problems)
    return found


def write_warning_models(
    models: Mapping[str, WarningModels], path: Path, command: str, fitted_on: str
) -> None:
    """Write fitted models; `command` makes the file again, `fitted_on` says from what."""
    table = {
        "format": FORMAT,
        "command": command,
        "fitted_on": fitted_on,
        "bottlenecks": {name: one.to_table() for name, one in models.items()},
    }
    work = path.with_suffix(".partial")
    work.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    work.replace(path)
