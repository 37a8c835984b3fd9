"""Plans kept for built-in streets: put into the streets' programs as they are, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from networks import heishizi, load, street_plans
from networks.plan_files import load_plans
from networks.street_plans import FOLDER, load_street_programs
from traffic.model import ModelError
from traffic.plans import check_plan

PLANS = FOLDER / "heishizi_plans.json"


def test_the_streets_of_heishizi_run_the_plans_that_are_kept(tmp_path: Path) -> None:
    """What the network tells of its signals is, at every second, what the file says."""
    network = load("heishizi", folder=tmp_path).network
    (period,) = load_plans(PLANS, network).periods
    assert period.plans.keys() == network.junctions.keys()
    for name, kept in period.plans.items():
        own = network.plans[name]
        assert check_plan(network.junctions[name], own) == []
        assert own.cycle_s == kept.cycle_s
        for now_s in range(int(kept.cycle_s)):
            assert own.stage_at(now_s) == kept.stage_at(now_s)


def test_all_junctions_share_one_cycle(tmp_path: Path) -> None:
    network = load("heishizi", folder=tmp_path).network
    assert len({plan.cycle_s for plan in network.plans.values()}) == 1


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plans in a folder where they may be broken."""
    path = tmp_path / "heishizi_plans.json"
    path.write_bytes(PLANS.read_bytes())
    monkeypatch.setattr(street_plans, "FOLDER", tmp_path)
    return path


def test_broken_plans_are_told_with_all_their_problems(kept: Path) -> None:
    document = json.loads(kept.read_text())
    junctions: dict[str, Any] = document["periods"][0]["junctions"]
    junctions["Z9"] = junctions.pop("A1")
    junctions["A2"]["slots"].pop(1)
    junctions["B1"]["offset_s"] = float("nan")
    junctions["R2"]["slots"][1]["slot_s"] = 5.0
    junctions["X1"]["slots"][0]["slot_s"] = float("inf")
    kept.write_text(json.dumps(document))
    with pytest.raises(ModelError) as raised:
        load_street_programs(heishizi.build_layout(), "heishizi")
    assert raised.value.problems == (
        "junction A1: no plan",
        "junction A2: stages ['s1', 's3', 's4'], not ['s1', 's2', 's3', 's4']",
        "junction B1: offset_s nan must be finite",
        "junction R2: slot_s 5 of s2 must be finite, above 5",
        "junction X1: slot_s inf of s1 must be finite, above 5",
        "junction Z9: unknown",
    )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"periods": []}', '{"periods": [{"junctions": {"A1": {"slots": [{}]}}}]}'],
)
def test_a_file_that_holds_no_plans_is_named(kept: Path, text: str) -> None:
    kept.write_text(text)
    with pytest.raises(ModelError, match=r"heishizi_plans\.json: can't be read"):
        load_street_programs(heishizi.build_layout(), "heishizi")
