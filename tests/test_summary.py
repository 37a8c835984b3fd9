"""From a run's files to summary.json: nothing lost, nothing invented, nothing half-written."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel
from synthetic import BEGIN_S, GATES, make_marks, make_truth, write_run_of, write_sumo_files

from api.evidence import (
    EvidenceError,
    finished_folder,
    name_purpose,
    read_statistic,
    read_trips,
    write_whole,
)
from api.figures import FIELDS, build_truth_contour, fields_markdown
from api.summary import build_summary, load_runs, write_summary
from traffic.performance import jam_km_h


def test_trips_hold_the_unfinished_and_those_who_never_departed(tmp_path: Path) -> None:
    write_sumo_files(tmp_path, 900.0)
    trips = read_trips(tmp_path, ("tunnel", "local"), read_statistic(tmp_path / "statistic.xml"))
    assert trips.purpose == ("tunnel", "local", "local")
    assert trips.spent_s.tolist() == [920.5, 100.0, 300.0]
    assert trips.departed.tolist() == [True, True, False]
    assert trips.arrived.tolist() == [True, False, False]
    assert trips.length_m.tolist() == [9000.0, 1000.0, 0.0]


def test_waiting_vehicles_that_are_not_named_are_an_error(tmp_path: Path) -> None:
    write_sumo_files(tmp_path, 900.0)
    path = tmp_path / "statistic.xml"
    path.write_text(path.read_text().replace('waiting="1"', 'waiting="2"'))
    with pytest.raises(EvidenceError, match="2 vehicles waited to depart at the end, but only 1"):
        read_trips(tmp_path, (), read_statistic(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("<statistics><performance", "broken XML"),
        ("<statistics><performance end='1'/></statistics>", "no element safety, teleports"),
        (
            "<s><performance end='x'/><vehicles waiting='0'/><teleports total='0'/>"
            "<safety collisions='0'/></s>",
            "end is 'x', expected a number",
        ),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "statistic.xml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(EvidenceError, match=f"statistic.xml.*{message}"):
        read_statistic(path)


def test_purpose_is_the_part_before_the_dot_when_the_scenario_knows_it() -> None:
    assert name_purpose("local.12", ("local",)) == "local"
    assert name_purpose("strange.12", ("local",)) == "other"
    assert name_purpose("strange.12", ()) == "all"


def test_the_alert_log_keeps_each_level_from_first_sight_to_its_end() -> None:
    marks = make_marks(7 * 3600.0, jams=True)
    told = [(mark.level, mark.begin_s - 7 * 3600, mark.end_s) for mark in marks]
    assert told == [
        ("warning", -1200.0, 7 * 3600.0 + 180),
        ("confirmed", 180.0, 7 * 3600.0 + 4500),
    ]


def test_an_interrupted_run_leaves_nothing_and_an_earlier_one_stands(tmp_path: Path) -> None:
    target = tmp_path / "none" / "seed-1"

    def write(name: str, stop: BaseException | None = None) -> None:
        with finished_folder(target) as out:
            (out / name).write_text(name)
            if stop is not None:
                raise stop

    with pytest.raises(KeyboardInterrupt):
        write("half", KeyboardInterrupt())
    assert list((tmp_path / "none").iterdir()) == []
    write("first")
    with pytest.raises(RuntimeError):
        write("half", RuntimeError())
    assert [path.name for path in target.iterdir()] == ["first"]
    write("second")
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["seed-1"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of `none`, two of `full`: the third was interrupted."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2, 3):
        write_run_of(folder, "none", seed, 3000.0, 1400.0 + 100 * seed)
    for seed in (1, 2):
        write_run_of(folder, "full", seed, 0.0, 1000.0 + 60 * seed)
    (folder / "full" / ".seed-3.77.partial").mkdir()
    (folder / "full" / ".seed-3.77.partial" / "figures.json").write_text("{")
    return folder


def test_figures_of_a_made_up_jam_are_those_it_was_made_with(runs: Path) -> None:
    whole = json.loads((runs / "none" / "seed-1" / "figures.json").read_text())
    figures = whole["figures"]
    assert list(figures) == list(FIELDS)
    # 600 m are slow to half when the jam is 300 m long: 4 min after 07:01 at 75 m a minute.
    assert figures["onset_s"] == pytest.approx(7 * 3600 + 60, abs=300)
    assert figures["flow_before_vph"] == pytest.approx(57 * 60, rel=0.03)
    assert figures["discharge_vph"] == 51 * 60
    assert figures["capacity_drop"] == pytest.approx(1 - 51 / 57, abs=0.03)
    lead_min = (figures["onset_s"] - figures["warning_s"]) / 60
    assert figures["warning_lead_min"] == lead_min
    assert figures["never_departed"] == 1
    assert figures["vehicles"] == 3
    assert figures["longest_queue_by_gate_m"].keys() == set(GATES)
    calm = json.loads((runs / "full" / "seed-1" / "figures.json").read_text())["figures"]
    assert calm["onset_s"] is None
    assert calm["warning_lead_min"] is None
    assert calm["jam_km_h"] == 0.0


def test_jam_of_a_triangle_is_its_area() -> None:
    """Grows 3 km in 40 min and shrinks in 40: half of 3 km times 80 min is 2 km*h."""
    truth = make_truth(1, 3000.0, end_s=BEGIN_S + 7200)
    contour = build_truth_contour(truth)
    assert contour is not None
    assert jam_km_h(contour) == pytest.approx(2.0, rel=0.05)


def test_differences_pair_the_seeds_that_both_finished(runs: Path) -> None:
    summary = write_summary(runs)
    assert list(summary["responses"]) == ["none", "full"]
    assert list(summary["responses"]["none"]["seeds"]) == ["1", "2", "3"]
    found = summary["differences"]["full"]["time_spent_vehh"]
    before = np.array([1520.5 + 400, 1620.5 + 400]) / 3600
    after = np.array([1080.5 + 400, 1140.5 + 400]) / 3600
    interval = ttest_rel(after, before).confidence_interval(0.95)
    assert found["n"] == 2
    assert found["mean"] == pytest.approx((after - before).mean())
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
    assert found["relative"]["mean"] == pytest.approx((after - before).mean() / before.mean())
    assert found["relative"]["low"] == pytest.approx(interval.low / before.mean())
    assert summary["differences"]["full"]["onset_s"] is None
    assert summary["differences"]["full"]["warning_s"]["relative"] is None
    local = summary["differences"]["full"]["time_spent_by_purpose_vehh.local"]
    assert (local["mean"], local["low"], local["high"]) == (0.0, 0.0, 0.0)
    assert json.loads((runs / "summary.json").read_text()) == summary


def test_the_fold_does_not_depend_on_the_order_of_the_runs(runs: Path) -> None:
    found = load_runs(runs)
    shuffled = build_summary(reversed(found))
    assert shuffled["responses"] == build_summary(found)["responses"]
    assert shuffled["differences"] == build_summary(found)["differences"]


def test_one_seed_has_means_without_intervals_and_one_response_no_differences(runs: Path) -> None:
    only = [run for run in load_runs(runs) if run.seed == 1 and run.response == "full"]
    summary = build_summary(only)
    mean = summary["responses"]["full"]["mean"]["mean_speed_kmh"]
    assert (mean["n"], mean["low"], mean["high"]) == (1, None, None)
    assert summary["differences"] == {}
    assert summary["baseline"] is None


def test_what_cannot_be_summarized_is_said_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="no finished run"):
        write_summary(tmp_path)
    for seed, text in ((1, "{"), (2, '{"scenario": "a"}')):
        write_whole(tmp_path / "none" / f"seed-{seed}" / "figures.json", text)
    with pytest.raises(EvidenceError, match=r"seed-1(.|\n)*seed-2"):
        write_summary(tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_every_field_is_documented_in_the_json_and_on_its_page(runs: Path) -> None:
    summary = build_summary(load_runs(runs))
    for name in summary["responses"]["none"]["mean"]:
        field = summary["fields"][name.partition(".")[0]]
        assert field["unit"]
        assert field["en"]
        assert field["zh"]
    page = Path(__file__).parents[1] / "docs" / "figures.md"
    assert page.read_text(encoding="utf-8") == fields_markdown()


def test_without_gates_there_is_no_spillback_to_tell(tmp_path: Path) -> None:
    """Rule 17: nothing to measure is no zero."""
    write_run_of(tmp_path, "none", 1, 0.0, 1000.0, bare=True)
    (run,) = load_runs(tmp_path)
    nothing = ("spillback_min", "jam_km_h", "onset_s", "capacity_drop")
    assert [run.figures[name] for name in nothing] == [None] * len(nothing)
