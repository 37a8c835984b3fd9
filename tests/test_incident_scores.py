"""How the benchmark of incidents scores days, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_incidents import NEAR
from typer.testing import CliRunner

from api.benchmark.incident_chances import judge_chances, list_told
from api.benchmark.incident_command import plan_seeds, score_places
from api.benchmark.incident_days import Day, find_place, write_json
from api.benchmark.incident_scores import DayScore, Event, fold_scores
from api.cli import app
from api.errors import UserError
from networks.recordings import Recording
from traffic.incidents.chance import Calibration
from traffic.model import ModelError


def test_what_is_told_of_findings_is_held_against_what_stood() -> None:
    """A finding stands from its alarm until its level halves; true while a blockage stands near."""
    levels, odds = np.zeros((8, 3)), np.zeros((8, 3))
    levels[2:7, 0] = 8.0
    odds[:, 0] = np.arange(8.0)
    end_s = 30.0 * np.arange(1, 9)
    stood = Event("x", 1, 1, "l", (0,), 5.0, 100.0, 150.0)
    nowhere = replace(stood, section=None)
    told = list_told(levels, odds, end_s, NEAR, 5.0, (stood, nowhere))
    assert told.tolist() == [
        [2.0, 0.0, 0.0], [3.0, 30.0, 1.0], [4.0, 60.0, 1.0], [5.0, 90.0, 0.0], [6.0, 120.0, 0.0],
    ]  # fmt: skip
    even = Calibration(0.0, 0.0, 0.0, 0.0)  # tells 0.5 of each
    judged = judge_chances(even, [told, np.zeros((0, 3))], 0.4)
    assert (judged["intervals"], judged["brier"], judged["brier_static"]) == (5, 0.25, 0.24)
    assert judged["reliability"] == [
        {"from": 0.4, "to": 0.6, "intervals": 5, "told": 0.5, "came_true": 0.4}
    ]
    assert judged["when_raised"] == {"findings": 1, "told": 0.5, "came_true": 0.0}
    assert judge_chances(even, [np.zeros((0, 3))], 0.4) == {"intervals": 0}


def test_rates_of_days_are_totals_over_totals() -> None:
    scores = [
        DayScore(1, 2.0, 4, (60.0, 180.0), 3, False),
        DayScore(2, 2.0, 0, (), 1, True),
    ]
    told = fold_scores(scores, np.random.default_rng(1))
    assert told["detection_rate"]["mean"] == 0.5
    assert told["false_per_hour"]["mean"] == 1.0
    assert told["false_per_hour_clear_days"] == 0.5
    assert told["time_to_detect_min"]["mean"] == 2.0
    assert told["false_per_hour"]["low"] <= 1.0 <= told["false_per_hour"]["high"]


def test_seeds_of_training_and_of_scoring_are_kept_apart() -> None:
    with pytest.raises(UserError, match=r"crossing: seeds \[3\] are for training and for scoring"):
        plan_seeds(["crossing"], "1-3", "3-5")


def test_wrong_wishes_are_all_named_at_once(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app,
        ["bench", "incidents", "--out", str(tmp_path), "--maps", "atlantis", "--budget", "-1",
         "--training", "1", "--seeds", "1"],
    )  # fmt: skip
    text = str(result.exception)
    for part in ("atlantis", "--budget -1", "for training and for scoring"):
        assert part in text


def write_days(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    """Made-up hours of the crossing; the town itself is built once."""
    pytest.importorskip("sumo")
    from networks import load

    loops = tuple(load("crossing", 1, tmp_path / "town").network.detectors)
    rng = np.random.default_rng(2)
    for seed in seeds:
        day = Day("crossing", seed, tmp_path)
        day.target.mkdir(parents=True)
        count = rng.poisson(2.0, (120, len(loops))).astype(float)
        speed = np.where(count > 0, 9.0, np.nan)
        end_s = 25200.0 + 30.0 * np.arange(1, 121)
        recording = Recording(30.0, loops, end_s, count, np.minimum(count * 0.03, 1), speed)
        recording.save(day.target / "readings.npz")
        write_json(day.target / "truth.json", {"stands": []})
        write_json(day.target / "day.json", {"seed": seed})


def test_days_on_disk_are_scored_without_a_simulator(tmp_path: Path) -> None:
    write_days(tmp_path, (1, 2, 101, 102))
    overview = score_places(tmp_path, {"crossing": ((101, 102), (1, 2))}, 0.75)
    assert json.loads(json.dumps(overview)) == overview
    assert overview["places"]["crossing"]["training_seeds"] == [101, 102]
    for name in ("ours", "california7", "snd"):
        assert overview["total"][name]["hours"] == 2.0
        assert overview["total"][name]["blockages"] == 0
    fresh = overview["places"]["crossing"]["fresh"]
    assert (fresh["threshold"], fresh["hours"], fresh["training"]["hours"]) == (9.0, 2.0, 2.0)
    assert find_place(tmp_path, "resco:a").name == "resco-a"


def test_the_commands_score_what_a_folder_holds(tmp_path: Path) -> None:
    write_days(tmp_path, (1, 2, 101, 102))
    asked = ["--out", str(tmp_path), "--maps", "crossing"]
    runner = CliRunner()
    result = runner.invoke(
        app, ["bench", "incidents", *asked, "--training", "101,102", "--seeds", "1,2"]
    )
    assert result.exception is None, result.exception
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["places"]["crossing"]["scoring_seeds"] == [1, 2]
    result = runner.invoke(app, ["bench", "health", *asked, "--seeds", "1", "--faults", "none"])
    assert result.exception is None, result.exception
    told = json.loads((tmp_path / "health.json").read_text())
    chatter = told["places"]["crossing"]["kinds"]["chattering"]
    assert chatter["found"] == chatter["injected"] > 0
    result = runner.invoke(app, ["bench", "health", *asked, "--faults", "asleep", "--seeds", "x"])
    assert "asleep" in str(result.exception)
    assert "'x'" in str(result.exception)


def test_another_network_s_days_have_other_loops(tmp_path: Path) -> None:
    write_days(tmp_path, (1, 101))
    day = Day("crossing", 1, tmp_path)
    values = np.zeros((3, 1))
    Recording(30.0, ("x",), 30.0 * np.arange(1, 4), values, values, values).save(
        day.target / "readings.npz"
    )
    with pytest.raises(ModelError, match="other loops"):
        score_places(tmp_path, {"crossing": ((101,), (1,))}, 0.75)
