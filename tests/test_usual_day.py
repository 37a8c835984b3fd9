"""Tables of usual days: written and read again, and what is said of broken ones."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks.usual_day import (
    FOLDER,
    find_usual_day,
    load_usual_day,
    record_usual_day,
    write_usual_day,
)
from traffic.forecasting import UsualDay
from traffic.model import ModelError

FLOWS = st.one_of(st.none(), st.integers(0, 9000))


@given(rows=st.lists(st.tuples(FLOWS, FLOWS), min_size=2, max_size=8))
def test_a_day_comes_back_as_it_was_written(
    rows: list[tuple[int | None, int | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("day") / "day.csv"
    flows = np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=float)
    write_usual_day(UsualDay(23400.0, 900.0, ("main.0", "ramp.0"), flows), path)
    day = load_usual_day(path)
    assert (day.begin_s, day.step_s, day.loops) == (23400.0, 900.0, ("main.0", "ramp.0"))
    np.testing.assert_array_equal(day.flow_vph, flows)


def test_a_broken_table_is_told_with_all_its_problems(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text("clock,main.0 veh/h,ramp.0 flow_vph\n0,1\n900,2,many\n1000,3,4\n")
    with pytest.raises(ModelError) as raised:
        load_usual_day(path)
    assert raised.value.problems == (
        "column 'main.0 veh/h' is not '<loop> flow_vph'",
        "first column is 'clock', expected begin_s",
        "row 1 has 2 fields, expected 3",
        "row 2, ramp.0 flow_vph: 'many' is no number",
        "begin_s must rise in equal steps, in at least two rows",
    )


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.csv.*can't be read"):
        load_usual_day(tmp_path / "nowhere.csv")


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("")
    with pytest.raises(ModelError, match=r"day\.csv.*can't be read"):
        load_usual_day(tmp_path / "day.csv")


TWICE = "begin_s,a flow_vph,a flow_vph\n0,1,1\n900,2,2\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [("\n0,1\n900,2\n", "first column is ''"), (TWICE, "'a flow_vph' is there twice")],
)
def test_a_blank_or_repeated_title_is_refused(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text(text)
    with pytest.raises(ModelError, match=told):
        load_usual_day(tmp_path / "day.csv")


def test_a_town_without_a_recording_has_no_usual_day() -> None:
    assert find_usual_day("nowhere") is None


def test_no_recording_makes_no_usual_day() -> None:
    with pytest.raises(ModelError, match="no batches"):
        record_usual_day(())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*_usual_day.csv")), ids=lambda p: p.stem)
def test_every_bundled_day_can_be_read(path: Path) -> None:
    assert load_usual_day(path).loops
