"""A forecaster kept in files goes on as if it had never rested, and with fitting data only."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from loop_days import BEGIN, make_speeds, write_wide
from test_command import (
    Command,
    command,  # noqa: F401  a fixture
)

from traffic.forecasting.calendar import Calendar
from traffic.forecasting.loops import LoopForecast, LoopForecaster
from traffic.forecasting.neighbors import build_neighbors
from traffic.forecasting.settings import LoopForecastSettings
from traffic.model import ModelError

pytest.importorskip("pyarrow")
pytest.importorskip("lightgbm")

from api.errors import UserError
from api.forecasting.boosting import BoostedTrees, BoostingSettings
from api.forecasting.saved import ARRAYS, HEADER, load_model, save_model
from api.forecasting.units import parse_unit

PER_DAY, SIZE, STEP_S = 96, 6, 900.0
ZONE = ZoneInfo("Europe/Berlin")
MIDNIGHT = datetime(2026, 3, 27, tzinfo=ZONE)  # two days before the clock is put forward
NAMES = tuple(f"d{i}" for i in range(SIZE))
SETTINGS = LoopForecastSettings(
    interval_s=STEP_S, leads=4, most=60, bent=30, settle=60, onset_below=18, onset_from=20,
    onset_leads=2, trial_least=8, trial_margin=1e-6,
)  # fmt: skip
BOOSTING = BoostingSettings(first=60, every=40, delay=16, keep=150, trees=6, anchors=(0.0, 1.0))
SHIFTS = ((2 * 86400 + 2 * 3600.0, 3600.0),)


def build(challenger: bool = True) -> LoopForecaster:
    near = build_neighbors(SIZE, [(i, i + 1, 1.0) for i in range(SIZE - 1)])
    trees = BoostedTrees(SETTINGS.leads, BOOSTING) if challenger else None
    calendar = Calendar(MIDNIGHT.weekday(), shifts=SHIFTS)
    return LoopForecaster(SIZE, calendar, SETTINGS, near, trees)


def make_values() -> np.ndarray:
    values = make_speeds(3, SIZE)
    values[100:130, 2] = np.nan
    values[:150, 4] = np.nan  # heard for the first time after the first parts below
    values[140:170] = np.nan  # all silent
    return values


def feed(forecaster: LoopForecaster, values: np.ndarray, rows: range) -> list[LoopForecast]:
    return [forecaster.update((t + 1) * STEP_S, values[t]) for t in rows]


def list_bytes(made: list[LoopForecast]) -> list[bytes]:
    names = ("value", "quantiles", "trusted", "onset_chance", "estimated")
    return [b"".join(getattr(m, n).tobytes() for n in names) + repr(m.model).encode() for m in made]


def save(folder: Path, forecaster: LoopForecaster) -> Path:
    folder.mkdir()
    save_model(folder, forecaster, NAMES, parse_unit("km/h"), MIDNIGHT)
    return folder


# Before a window is full; before random features; a fit waits to speak; in the gap; later.
@pytest.mark.parametrize("split", [5, 40, 88, 150, 200])
def test_two_parts_with_a_rest_between_say_what_one_pass_says(tmp_path: Path, split: int) -> None:
    values = make_values()
    whole = feed(build(), values, range(len(values)))
    first = build()
    feed(first, values, range(split))
    saved = load_model(save(tmp_path / "model", first))
    assert saved.header.detectors == NAMES
    assert saved.header.learned_to.timestamp() - MIDNIGHT.timestamp() == split * STEP_S
    second = saved.build_forecaster(MIDNIGHT + timedelta(days=5))
    assert second.calendar == first.calendar
    said = feed(second, values, range(split, len(values)))
    assert list_bytes(said) == list_bytes(whole[split:])
    assert any("lightgbm" in one.model for one in said)


def test_what_was_saved_is_the_same_bytes_and_unmoved_by_later_learning(tmp_path: Path) -> None:
    values = make_values()
    one, other = build(challenger=False), build(challenger=False)
    for forecaster in (one, other):
        feed(forecaster, values, range(120))
    learned = one.take_out()
    save(tmp_path / "one", other)
    feed(one, values, range(120, 240))
    again = build(challenger=False)
    again.put_back(learned)
    save(tmp_path / "again", again)
    for name in (HEADER, ARRAYS):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_learning_does_not_fit_who_is_built_otherwise() -> None:
    """Rule 19: all that does not fit, by name."""
    first = build(challenger=False)
    feed(first, make_values(), range(60))
    plain = replace(SETTINGS, leads=3, onset_below=None, onset_from=None)
    other = LoopForecaster(SIZE, Calendar(), plain, None)
    with pytest.raises(ModelError) as caught:
        other.put_back(first.take_out())
    message = str(caught.value)
    for name in ("experts.mixture.weights", "spread.counts", "onset: there is no such part"):
        assert name in message


def retell(folder: Path, change: Callable[[dict], None]) -> None:
    told = json.loads((folder / HEADER).read_text())
    change(told)
    (folder / HEADER).write_text(json.dumps(told))


def test_a_broken_model_says_what_is_broken(tmp_path: Path) -> None:
    first = build()
    feed(first, make_values(), range(30))
    folder = save(tmp_path / "model", first)
    good = (folder / HEADER).read_text(), (folder / ARRAYS).read_bytes()

    def refuse() -> str:
        with pytest.raises(UserError) as caught:
            load_model(tmp_path).build_forecaster(MIDNIGHT)
        (folder / HEADER).write_text(good[0])
        (folder / ARRAYS).write_bytes(good[1])
        return str(caught.value)

    retell(folder, lambda told: told.update(format="traffic-forecast-model/9", quantity="weight"))
    message = refuse()
    assert "traffic-forecast-model/9" in message
    assert "quantity 'weight'" in message
    retell(folder, lambda told: (told["settings"].update(leads=0), told.pop("zone")))
    message = refuse()
    assert "leads 0 must be above 0" in message
    assert "zone: Field required" in message
    retell(folder, lambda told: told.update(zone="Mars/Base"))
    assert "Mars/Base" in refuse()
    retell(folder, lambda told: told.update(detectors=told["detectors"][:-1]))
    assert "expected" in refuse()
    (folder / ARRAYS).write_bytes(good[1][:-100])
    assert "is not what model.json was written with" in refuse()
    # Even where the sum is right, no object is unpickled: that would run code.
    np.savez(folder / ARRAYS, plain=np.array([{}], object))
    found = hashlib.sha256((folder / ARRAYS).read_bytes()).hexdigest()
    retell(folder, lambda told: told.update(arrays_sha256=found))
    assert "allow_pickle" in refuse()
    (folder / ARRAYS).unlink()
    with pytest.raises(UserError, match=r"has no learned\.npz"):
        load_model(folder)


def ask(verb: str, data: Path, out: Path, *more: str, unit: str = "m/s") -> list[str]:
    return [
        "forecast", verb, "--data", str(data), "--unit", unit, "--zone", "Asia/Shanghai",
        "--out", str(out), *more,
    ]  # fmt: skip


def test_evaluate_goes_on_from_a_fit(command: Command, tmp_path: Path) -> None:  # noqa: F811
    """The same predictions as of one evaluation over both files; columns may be in any order."""
    values = make_speeds(5, 3)
    first = write_wide(tmp_path / "first.csv", values[: 4 * PER_DAY])
    later = write_wide(
        tmp_path / "later.csv", values[4 * PER_DAY :], begin=BEGIN + timedelta(days=4)
    )
    whole = write_wide(tmp_path / "whole.csv", values)
    rows = [line.split(",") for line in later.read_text().splitlines()]
    later.write_text("\n".join(",".join([r[0], r[3], r[1], r[2]]) for r in rows) + "\n")
    fit, go_on, once = tmp_path / "fit", tmp_path / "on", tmp_path / "once"
    for words in (
        ask("fit", first, fit),
        ask("evaluate", later, go_on, "--model", str(fit)),
        ask("evaluate", whole, once, "--train", "0.8"),
    ):
        code, said = command(*words)
        assert code == 0, said
    names = Path("predictions") / "predictions.parquet"
    assert (go_on / names).read_bytes() == (once / names).read_bytes()
    told = [json.loads((out / "summary.json").read_text()) for out in (go_on, once)]
    assert told[0]["horizons_min"] == told[1]["horizons_min"]
    # And learning goes on over both, to the same model as from the whole.
    for words in (
        ask("fit", later, tmp_path / "both", "--model", str(fit / "model")),
        ask("fit", whole, tmp_path / "all"),
    ):
        code, said = command(*words)
        assert code == 0, said
    for name in (HEADER, ARRAYS):
        both, at_once = (tmp_path / out / "model" / name for out in ("both", "all"))
        assert both.read_bytes() == at_once.read_bytes()


def test_data_that_do_not_fit_the_model_are_refused_with_all_reasons(
    command: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    values = make_speeds(2, 3)
    fit = tmp_path / "fit"
    code, said = command(*ask("fit", write_wide(tmp_path / "first.csv", values), fit))
    assert code == 0, said

    def refuse(path: Path, *more: str, unit: str = "m/s") -> str:
        words = ask("evaluate", path, tmp_path / "out", "--model", str(fit), *more, unit=unit)
        code, said = command(*words)
        assert code == 2
        return " ".join(said.split())

    hourly = write_wide(tmp_path / "hourly.csv", values[:48], per_day=24)
    hourly.write_text(hourly.read_text().replace("d1,d2", "d1,new"))
    said = refuse(hourly, "--challenger", "--slow", "50", unit="veh/h")
    for words in (
        "lack detectors of the model: d2",
        "does not know detectors of the data: new",
        "every 3600 s, those learned every 900 s",
        "is of flow, but the model has learned speed",
        "--challenger: the model brings its own",
        "--slow: the model brings its own",
    ):
        assert words in said
    assert "but what was learned goes to 2026-03-04 00:00" in refuse(tmp_path / "first.csv")
    after = BEGIN + timedelta(days=2)
    odd = write_wide(tmp_path / "odd.csv", values, begin=after + timedelta(minutes=5))
    assert "by no whole intervals after" in refuse(odd)
    # Kilometers per hour that were really miles, told by the level that the model knows.
    miles = write_wide(tmp_path / "miles.csv", values * np.float32(2.2369), begin=after)
    said = refuse(miles, unit="km/h")
    assert "looks like mph read as km/h" in said
    words = ask("evaluate", miles, tmp_path / "out", "--model", str(tmp_path))
    code, said = command(*words)
    assert (code, "has no model.json" in said) == (2, True)
