"""Detectors that lie: what the wrapper does to readings, and what the health screen calls it."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from test_health import Street, build_network

from api.benchmark.health_trials import NAMES, score_kind
from networks.faulty_field import Fault, FaultKind, FaultyField, break_batches, check_faults
from networks.recordings import collect_batches
from networks.replay_field import ReplayField
from traffic.control import RawReadings
from traffic.health import HealthScreen
from traffic.model import ModelError
from traffic.readings import LoopBatch, Quality
from traffic.trends import TrendSettings

NETWORK = build_network()
LOOPS = tuple(NETWORK.detectors)
BEGIN_S = 28600.0


def list_batches(hours: float = 2.5) -> list[LoopBatch]:
    """Free traffic in waves that reach all lanes of a station together; lane 2 carries least."""
    street = Street()
    rng = np.random.default_rng(7)
    batches = []
    lanes = np.array([{"0": 1.0, "1": 0.9, "2": 0.35}[name[-1]] for name in LOOPS])
    for _ in range(round(hours * 120)):
        wave = rng.choice((0.3, 1.7))
        batch = street.batch()
        count = np.asarray(rng.poisson(9.0 * lanes * wave), float)
        speed = np.where(count > 0, rng.normal(20, 1, len(LOOPS)), np.nan)
        occupancy = np.nan_to_num(count * 5.5 / speed / 30)
        batches.append(
            LoopBatch(batch.end_s, 30, LOOPS, count, occupancy, speed, batch.quality.copy())
        )
    return batches


BATCHES = list_batches()


def labels_of(*faults: Fault) -> list[Mapping[str, Quality]]:
    screen = HealthScreen(NETWORK)
    told = []
    for batch in break_batches(BATCHES, faults, LOOPS):
        out = screen.screen(batch, batch.end_s)
        told.append({d: Quality(q) for d, q in zip(out.detectors, out.quality, strict=True)})
    return told


def test_sound_loops_are_never_failed() -> None:
    assert {q for row in labels_of() for q in row.values()} == {Quality.GOOD}


@pytest.mark.parametrize(
    ("kind", "limit_min"),
    [
        (FaultKind.STUCK, 5), (FaultKind.CHATTERING, 1), (FaultKind.DEAD, 8),
        (FaultKind.DRIFTING, 40), (FaultKind.LATE, 45),
    ],
)  # fmt: skip
def test_each_fault_is_found_by_its_name_and_alone(kind: FaultKind, limit_min: float) -> None:
    rows = labels_of(Fault(kind, "m1.1", BEGIN_S))
    bad = [(b.end_s, row) for b, row in zip(BATCHES, rows, strict=True) if row["m1.1"] != 0]
    assert bad
    assert BEGIN_S < bad[0][0] <= BEGIN_S + 60 * limit_min
    assert {row["m1.1"] for _, row in bad} <= set(NAMES[kind])
    assert {q for row in rows for name, q in row.items() if name != "m1.1"} == {Quality.GOOD}


def test_two_swapped_loops_are_found_and_cleared_when_the_wires_are_put_right() -> None:
    rows = labels_of(Fault(FaultKind.SWAPPED, "m1.0", BEGIN_S, BEGIN_S + 2400, other="m1.2"))
    found = [
        b.end_s for b, row in zip(BATCHES, rows, strict=True) if row["m1.0"] is Quality.SWAPPED
    ]
    assert found
    assert found[0] <= BEGIN_S + 1800
    assert found[-1] <= BEGIN_S + 2400 + 900
    assert {row["m1.0"] == row["m1.2"] for row in rows} == {True}
    others = {q for row in rows for name, q in row.items() if name not in ("m1.0", "m1.2")}
    assert others == {Quality.GOOD}


def test_a_drift_clears_when_the_loop_is_tuned_again() -> None:
    rows = labels_of(Fault(FaultKind.DRIFTING, "m0.0", BEGIN_S, BEGIN_S + 3000))
    marks = [row["m0.0"] is Quality.DRIFTING for row in rows]
    assert any(marks)
    assert not marks[-1]


def test_each_kind_changes_its_own_loop_in_its_own_time_only() -> None:
    begin_s = BATCHES[10].end_s
    for kind in FaultKind:
        other = "m2.2" if kind is FaultKind.SWAPPED else None
        fault = Fault(kind, "m1.1", begin_s, begin_s + 300, other)
        for before, after in zip(BATCHES, break_batches(BATCHES, [fault], LOOPS), strict=True):
            at = [i for i, name in enumerate(LOOPS) if name not in fault.loops]
            for name in ("count_veh", "occupancy", "speed_mps"):
                one, two = getattr(before, name), getattr(after, name)
                np.testing.assert_array_equal(one[at], two[at])
                if not begin_s < before.end_s <= begin_s + 300:
                    np.testing.assert_array_equal(one, two)


def test_a_late_loop_says_what_it_saw_two_minutes_ago() -> None:
    i = LOOPS.index("m1.1")
    fault = Fault(FaultKind.LATE, "m1.1", BATCHES[10].end_s)
    told = list(break_batches(BATCHES[:40], [fault], LOOPS))
    for k in range(11, 40):
        assert told[k].count_veh[i] == BATCHES[k - 4].count_veh[i]


class Recorded:
    """A street of seconds, each 30th of which has a batch."""

    def __iter__(self) -> Iterator[RawReadings]:
        local = LoopBatch(0, 1, ("m1.1",), *(np.ones(1) for _ in range(3)), np.zeros(1, np.int8))
        for batch in BATCHES[:4]:
            yield RawReadings(batch.end_s, local, batch, {})
            yield RawReadings(batch.end_s + 15, local, None, {})


def test_a_field_of_liars_is_a_field_and_repeats_itself() -> None:
    fault = Fault(FaultKind.CHATTERING, "m1.1", 0.0)
    runs = []
    for seed in (1, 1, 2):
        field = FaultyField(ReplayField(NETWORK, Recorded()), [fault], seed)
        counts = []
        is_on = True
        while is_on:
            reading = field.read()
            assert field.read() is reading
            if reading.centre is not None:
                counts.append(reading.centre.count_veh[LOOPS.index("m1.1")])
            is_on = field.advance()
        runs.append(counts)
        assert len(counts) == 4
    assert runs[0] == runs[1] != runs[2]


def test_faults_that_cannot_be_say_all() -> None:
    faults = [
        Fault(FaultKind.DEAD, "nowhere", math.nan),
        Fault(FaultKind.SWAPPED, "m1.1", 0.0),
        Fault(FaultKind.LATE, "m1.1", 5.0, 5.0, other="m1.1"),
    ]
    problems = check_faults(faults, LOOPS)
    text = "\n".join(problems)
    for part in (
        "no loop nowhere", "begin_s nan", "other None is for swapped", "begin_s 5.0 must be",
        "swapped with itself", "has a fault already",
    ):  # fmt: skip
        assert part in text
    with pytest.raises(ModelError):
        list(break_batches(BATCHES, faults, LOOPS))


def test_scores_tell_found_misnamed_and_missed_apart() -> None:
    recording = collect_batches(BATCHES[:20])
    faults = [Fault(FaultKind.DEAD, f"m0.{k}", BATCHES[4].end_s) for k in range(3)]
    sound = np.zeros((20, len(LOOPS)), np.int8)
    labels = sound.copy()
    labels[8:, LOOPS.index("m0.0")] = Quality.NO_HITS
    labels[8:, LOOPS.index("m0.1")] = Quality.CHATTER
    labels[3:, LOOPS.index("m2.2")] = Quality.LATE
    score = score_kind(recording, FaultKind.DEAD, faults, labels, sound)
    assert (score.injected, score.found, score.misnamed, score.wrongly_failed) == (3, 1, 1, 1)
    assert score.delays_s == (120.0,)
    assert score.sound_loops == len(LOOPS) - 3


def test_trend_settings_that_cannot_be_say_all() -> None:
    with pytest.raises(ModelError) as told:
        TrendSettings(swap_s=0, drift_ratio=1.1, late_gain=-1)
    assert len(told.value.problems) == 3
