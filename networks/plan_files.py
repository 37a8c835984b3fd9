"""Files of flows and of plans: CSV and JSON, each problem with its place in the file."""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from traffic.model import ModelError, Network
from traffic.optimization.demand import GivenFlow
from traffic.plans import PlanSet, build_plan_set

FLOWS_FORMAT = "traffic-flows/1"
COLUMNS = ("approach", "to_link", "flow_vph")


def read_flows(path: Path) -> tuple[tuple[GivenFlow, ...], list[str]]:
    """Return the flows that can be read, and what is wrong with the rest.

    CSV with the columns approach, to_link (may be empty), flow_vph; or JSON, which is
    {"format": "traffic-flows/1", "flows": [{"approach", "to_link", "flow_vph"}]}. Raises ModelError
    when the file as a whole can't be read.
    """
    text = _read(path)
    rows: Iterable[tuple[str, Any]]
    if path.suffix == ".json":
        document = _parse(path, text)
        told = document.get("flows") if isinstance(document, Mapping) else None
        if not isinstance(told, list) or document.get("format") != FLOWS_FORMAT:
            problem = f"must be a mapping with format {FLOWS_FORMAT!r} and a list of flows"
            raise ModelError(f"file {path}", [problem])
        rows = ((f"flows[{i}]", row) for i, row in enumerate(told))
    else:
        reader = csv.DictReader(text.splitlines())
        missing = {"approach", "flow_vph"} - set(reader.fieldnames or ())
        if missing:
            problem = f"has no column {', '.join(sorted(missing))}; columns are {COLUMNS}"
            raise ModelError(f"file {path}", [problem])
        rows = ((f"line {i}", row) for i, row in enumerate(reader, 2))
    problems: list[str] = []
    flows = []
    for where, row in rows:
        value = row.get("flow_vph") if isinstance(row, Mapping) else None
        approach = row.get("approach") if isinstance(row, Mapping) else None
        vph = _read_number(value)
        if math.isnan(vph):
            problems.append(f"{where}: flow_vph {value!r} must be a number")
        if not isinstance(approach, str) or not approach:
            problems.append(f"{where}: approach {approach!r} must be a name")
        if not math.isnan(vph) and isinstance(approach, str):
            flows.append(GivenFlow(approach, row.get("to_link") or None, vph, where))
    if not flows and not problems:
        problems.append("holds no flows")
    return tuple(flows), problems


def load_flows(path: Path) -> tuple[GivenFlow, ...]:
    """Read flows as of `read_flows`; raises ModelError listing every problem of the file."""
    flows, problems = read_flows(path)
    if problems:
        raise ModelError(f"file {path}", problems)
    return flows


def load_plans(path: Path, network: Network) -> PlanSet:
    """Read a set of plans for a network; raises ModelError listing every problem."""
    return build_plan_set(_parse(path, _read(path)), network)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"file {path}", [f"can't be read: {error}"]) from error


def _parse(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelError(f"file {path}", [f"is no JSON: {error}"]) from error


def _read_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan
