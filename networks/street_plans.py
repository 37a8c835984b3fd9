"""Plans of built-in streets, as `traffic optimize` wrote them, put into the streets' programs."""

import json
from math import isfinite
from pathlib import Path
from typing import Any

from networks.plain_xml import Program
from networks.streets import ALL_RED_S, AMBER_S, Streets, build_timed_programs, count_stages
from traffic.model import ModelError

FOLDER = Path(__file__).parent / "data"
CHANGE_S = AMBER_S + ALL_RED_S  # at the beginning of each slot


def load_street_programs(streets: Streets, town: str) -> tuple[Program, ...]:
    """Load the plans kept for a town, `plan.json` of `traffic optimize` (docs/plans.md).

    They are read before there is a network to check them against; what the network tells of its
    signals is checked like any other's. Raises ModelError listing every junction whose plan does
    not have each stage once, in order, with a green.
    """
    path = FOLDER / f"{town}_plans.json"
    try:
        (period,) = json.loads(path.read_text(encoding="utf-8"))["periods"]
        plans: dict[str, Any] = period["junctions"]
        problems = [
            f"junction {name}: {'no plan' if name in streets.signal_links else 'unknown'}"
            for name in sorted(streets.signal_links.keys() ^ plans.keys())
        ]
        greens_s, offsets_s = {}, {}
        for name in streets.signal_links.keys() & plans.keys():
            slots = [(slot["stage"], float(slot["slot_s"])) for slot in plans[name]["slots"]]
            wanted = [f"s{i + 1}" for i in range(count_stages(streets, name))]
            if [stage for stage, _ in slots] != wanted:
                problems.append(f"junction {name}: stages {[s for s, _ in slots]}, not {wanted}")
            problems += [
                f"junction {name}: slot_s {slot_s:g} of {stage} must be finite, above {CHANGE_S:g}"
                for stage, slot_s in slots
                if not (isfinite(slot_s) and slot_s > CHANGE_S)
            ]
            offset_s = float(plans[name]["offset_s"])
            if not isfinite(offset_s):
                problems.append(f"junction {name}: offset_s {offset_s:g} must be finite")
            greens_s[name] = [slot_s - CHANGE_S for _, slot_s in slots]
            cycle_s = sum(slot_s for _, slot_s in slots)
            offsets_s[name] = (offset_s + CHANGE_S) % cycle_s
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"plans {path}", [f"can't be read: {error!r}"]) from error
    if problems:
        raise ModelError(f"plans {path}", sorted(problems))
    return build_timed_programs(streets, greens_s, offsets_s)
