"""`traffic forecast` and `traffic bench forecast` as an engineer meets them."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loop_days import make_speeds, write_wide
from test_command import (
    Command,
    command,  # noqa: F401  a fixture
)

from api.errors import UserError
from api.forecasting.los_loop import load_los_loop, score_peer
from api.forecasting.scores import (
    Said,
    compare_days,
    find_average_precision,
    score_coverage,
    score_onset,
    score_persistence,
    score_windows,
)

DATA = Path(os.environ.get("TRAFFIC_SHARED", Path(__file__).parents[2] / "shared")) / "data"
PER_DAY, STEP_S = 96, 900
COLUMNS = ["issued", "lead_min", "detector", "predicted", "q05", "q50", "q95", "model"]


def read_parquet(path: Path) -> Any:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path)


def write_los_loop(folder: Path, days: int = 3, detectors: int = 4) -> np.ndarray:
    """Write invented speeds in mph, every 5 min, and a graph, as the Los-loop data are laid out."""
    folder.mkdir(parents=True, exist_ok=True)
    speeds = make_speeds(days, detectors, per_day=288) * 2.2369
    names = [f"7{i}" for i in range(detectors)]
    rows = [",".join(f"{v:.3f}" for v in row) for row in speeds]
    (folder / "los_speed.csv").write_text("\n".join([",".join(names), *rows]) + "\n")
    near = np.exp(-np.abs(np.subtract.outer(np.arange(detectors), np.arange(detectors))))
    np.savetxt(folder / "los_adj.csv", near, fmt="%.4f", delimiter=",")
    return speeds


def make_said(value: np.ndarray, measured: np.ndarray, first: int = 0, **told: Any) -> Said:
    given = {"low": value - 1, "median": value, "high": value + 1}
    given |= {
        "onset_chance": np.zeros((len(value), value.shape[2]), np.float32),
        "trusted": np.ones(value.shape, bool),
        "model": (("mixture",) * value.shape[1],) * len(value),
    }
    return Said(first=first, value=value, measured=measured, **(given | told))


@pytest.mark.skipif(not (DATA / "los-loop").is_dir(), reason="needs the Los-loop data")
def test_the_evaluator_scores_stored_predictions_as_published() -> None:
    """T-GCN at 15 min: RMSE 5.126, MAE 3.180 over 389 windows."""
    data = load_los_loop(DATA)
    assert (data.train, data.count_windows(3), data.count_windows(12)) == (1612, 389, 380)
    peer = score_peer(data)
    assert peer is not None
    assert (round(peer["rmse"], 3), round(peer["mae"], 3)) == (5.126, 3.180)
    # The same predictions, through the code that scores ours.
    assert data.peer_mph is not None
    said = make_said(data.peer_mph, data.speed_mph, data.first_issue)
    assert score_windows(said, slice(0, 389), 3) == pytest.approx(peer, rel=1e-5)


def test_scores_are_what_they_say() -> None:
    """Persistence one and two rows ahead of 0, 1, 3, 6: errors 1, 2, 3 and 3, 5."""
    measured = np.array([[0.0], [1.0], [3.0], [6.0]], np.float32)
    value = np.repeat(measured[:3, None], 2, axis=1)
    said = make_said(value, measured)
    one, two = slice(0, 3), slice(0, 2)
    assert score_windows(said, one, 1) == pytest.approx({"rmse": np.sqrt(14 / 3), "mae": 2.0})
    both = score_windows(said, two, 2)
    assert both["rmse"] == pytest.approx(np.sqrt((1 + 4 + 9 + 25) / 4))
    assert score_persistence(said, two, 2) == pytest.approx(both["rmse"])
    covered = score_coverage(said, two, 2, slow=2.0)
    assert covered["coverage_all"] == pytest.approx(1 / 4)
    assert covered["coverage_outcome_slow"] == pytest.approx(1.0)
    assert covered["mean_width"] == pytest.approx(2.0)
    days = compare_days(said, 2, 1, {"1": 1})
    assert [d["day"] for d in days] == [1, 2]
    assert [d["1"] for d in days] == pytest.approx([1, 1])


def test_what_did_not_come_is_not_scored() -> None:
    measured = np.array([[0.0], [np.nan], [3.0]], np.float32)
    said = make_said(np.zeros((2, 1, 1), np.float32), measured)
    assert score_windows(said, slice(0, 2), 1) == pytest.approx({"rmse": 3.0, "mae": 3.0})


def test_average_precision_is_the_mean_precision_at_each_onset() -> None:
    """Ranks 1 and 3 of four: (1/1 + 2/3) / 2; all alike: the rate."""
    outcome = np.array([True, False, True, False])
    assert find_average_precision(outcome, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx(5 / 6)
    assert find_average_precision(outcome, np.full(4, 0.5)) == pytest.approx(0.5)
    assert np.isnan(find_average_precision(np.zeros(4, bool), np.full(4, 0.5)))


def test_an_onset_is_from_fast_to_slow_within_the_horizon() -> None:
    """Rows 0 and 1 are fast; only row 1 turns slow at once. Skill: 1 - Brier / (r (1 - r))."""
    measured = np.array([[50.0], [50.0], [30.0], [42.0], [30.0]], np.float32)
    chance = np.array([[0.2], [0.7], [np.nan], [np.nan]], np.float32)
    said = make_said(np.zeros((4, 1, 1), np.float32), measured, onset_chance=chance)
    scored = score_onset(said, slice(0, 4), 1, below=40, begin=45)
    assert scored["cases"] == 2
    assert scored["rate"] == pytest.approx(0.5)
    assert scored["average_precision"] == pytest.approx(1.0)
    assert scored["brier_skill"] == pytest.approx(1 - ((0.04 + 0.09) / 2) / 0.25)


def test_evaluate_forecasts_and_keeps_every_prediction(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    values = make_speeds(8, 4) * np.float32(3.6)
    values[3 * PER_DAY : 3 * PER_DAY + 48] /= np.float32(1.609344)  # half a day in mph
    path, out = write_wide(tmp_path / "loops.csv", values), tmp_path / "out"
    graph = tmp_path / "graph.csv"
    graph.write_text("from,to,weight\nd0,d1,1\nd1,d0,1\nd1,d2,0.5\n")
    code, said = command(
        "forecast", "evaluate", "--data", str(path), "--unit", "km/h", "--zone", "Asia/Shanghai",
        "--graph", str(graph), "--out", str(out), "--train", "0.7",
    )  # fmt: skip
    assert code == 0, said
    account = json.loads((out / "account.json").read_text(encoding="utf-8"))
    assert [f["kind"] for f in account["findings"]] == ["unit"]
    assert "mph read as km/h" in account["findings"][0]["what"]["en"]
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    found = summary["horizons_min"]
    assert list(found) == ["15", "30", "45", "60"]
    for horizon in found.values():
        assert horizon["rmse"] < horizon["persistence_rmse"]
    table = read_parquet(out / "predictions" / "predictions.parquet")
    assert table.column_names == COLUMNS
    first = int(8 * PER_DAY * 0.7)
    assert table.num_rows == (8 * PER_DAY - first) * 4 * 4
    # Anyone can rescore: RMSE over 15 min from the file alone.
    rows = table.to_pylist()
    assert str(rows[0]["issued"].tzinfo) == "Asia/Shanghai"
    stamps = sorted({row["issued"] for row in rows})
    assert len(stamps) == 8 * PER_DAY - first
    assert stamps[0].strftime("%Y-%m-%d %H:%M") == "2026-03-07 14:15"  # row 537 of 15 min
    place = {stamp: first + i for i, stamp in enumerate(stamps)}
    errors = [
        row["predicted"] - values[place[row["issued"]] + 1, int(row["detector"][1:])]
        for row in rows
        if row["lead_min"] == 15 and place[row["issued"]] + 4 < len(values)
    ]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(found["15"]["rmse"], rel=0.01)
    assert all(row["q05"] <= row["q50"] <= row["q95"] for row in rows)


def test_fit_tells_what_comes_after_the_last_reading(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    values = make_speeds(3, 3)
    path, out = write_wide(tmp_path / "loops.csv", values), tmp_path / "out"
    code, said = command(
        "forecast", "fit", "--data", str(path), "--unit", "m/s", "--zone", "Asia/Shanghai",
        "--out", str(out),
    )  # fmt: skip
    assert code == 0, said
    rows = read_parquet(out / "next" / "predictions.parquet").to_pylist()
    assert len(rows) == 4 * 3
    assert {row["issued"].strftime("%Y-%m-%d %H:%M") for row in rows} == {"2026-03-04 23:45"}
    assert all(abs(row["predicted"] - 28) < 4 for row in rows)  # near midnight all is free


def test_all_that_is_wrong_with_a_wish_is_said_at_once(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Rule 19, and exit code 2 of rule 35."""
    code, said = command(
        "forecast", "fit", "--data", "nowhere.csv", "--unit", "knots", "--zone", "Mars/Base",
        "--begin", "noon", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert code == 2
    for words in ("--unit 'knots'", "--zone 'Mars/Base'", "--begin 'noon'"):
        assert words in said
    assert not (tmp_path / "out").exists()


def test_a_graph_names_its_wrong_rows(tmp_path: Path) -> None:
    from api.forecasting.own_data import load_graph

    path = tmp_path / "graph.csv"
    path.write_text("from,to,weight\na,b,1\na,x,1\nb,a,heavy\n")
    with pytest.raises(UserError) as caught:
        load_graph(path, ("a", "b"))
    assert "graph.csv:3: no detector 'x'" in str(caught.value)
    assert "graph.csv:4: weight 'heavy'" in str(caught.value)


def test_the_benchmark_keeps_predictions_that_anyone_can_rescore(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    pytest.importorskip("lightgbm")
    speeds = write_los_loop(tmp_path / "data" / "los-loop", days=2)
    out = tmp_path / "out"
    code, said = command("bench", "forecast", "--data", str(tmp_path / "data"), "--out", str(out))
    assert code == 0, said
    assert "streaming, mixture alone" in " ".join(said.split())
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    train = int(len(speeds) * 0.8)
    for mode in ("batch", "streaming"):
        table = read_parquet(out / mode / "predictions.parquet")
        assert table.column_names == COLUMNS
        rows = table.to_pydict()
        stamps = {stamp: i for i, stamp in enumerate(sorted(set(rows["issued"])))}
        assert len(stamps) == len(speeds) - train - 12 - 3
        assert min(stamps).strftime("%m-%d %H:%M") == "03-02 15:15"  # row 471 of 5 min
        for lead_min, windows in (("15", -15), ("60", -24)):
            steps = int(lead_min) // 5
            count = len(speeds) - train - 12 - steps
            assert windows + len(speeds) - train == count
            errors = [
                rows["predicted"][i]
                - speeds[train + 11 + stamps[rows["issued"][i]] + rows["lead_min"][i] // 5][
                    int(rows["detector"][i][1:])
                ]
                for i in range(table.num_rows)
                if rows["lead_min"][i] <= int(lead_min) and stamps[rows["issued"][i]] < count
            ]
            assert len(errors) == count * steps * speeds.shape[1]
            rmse = summary["modes"][mode]["horizons"][lead_min]["rmse"]
            assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(rmse, rel=1e-4)
        chances = read_parquet(out / mode / "onset.parquet")
        assert chances.column_names == ["issued", "detector", "chance"]
        assert summary["mixture_alone"][mode]["speaks"] == {"mixture": 1.0}
        alone = read_parquet(out / "mixture-alone" / mode / "predictions.parquet")
        assert set(alone["model"].to_pylist()) == {"mixture"}
        assert alone.num_rows == table.num_rows
    days = summary["modes"]["streaming"]["over_persistence"]
    assert [d["day"] for d in days] == [1, 2]


def test_validation_never_sees_a_test_row(tmp_path: Path) -> None:
    write_los_loop(tmp_path, days=3)
    data = load_los_loop(tmp_path)
    assert data.train == 691
    hidden = data.hide_test(600)
    assert (len(hidden.speed_mph), hidden.train) == (600, 480)
    for rows in (575, 692):
        with pytest.raises(UserError, match=f"--validate {rows}: must be 576 to 691 rows"):
            data.hide_test(rows)


def test_the_benchmark_says_which_data_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_los_loop(tmp_path)
    assert "has no los_speed.csv" in str(caught.value)
    assert "has no los_adj.csv" in str(caught.value)


def test_trees_learn_what_the_mixture_misses() -> None:
    """An error that depends on a feature's sign: trees find it."""
    pytest.importorskip("lightgbm")
    from api.forecasting.boosting import BoostedTrees, BoostingSettings

    rng = np.random.default_rng(1)
    trees = BoostedTrees(3, BoostingSettings(first=20, every=20, keep=40, trees=100))
    value = np.ones((3, 200), np.float32)

    def look() -> tuple[np.ndarray, np.ndarray]:
        features = rng.normal(size=(200, 2)).astype(np.float32)
        return features, (value + 0.2 * np.sign(features[:, 0])).astype(np.float32)

    assert trees.forecast(look()[0], value) is None
    for _ in range(40):
        features, came = look()
        trees.learn(features, value, came)
    features, came = look()
    made = trees.forecast(features, value)
    assert made is not None
    assert made.shape == (3, 200)
    assert np.abs(made - came).mean() < 0.3 * np.abs(value - came).mean()
