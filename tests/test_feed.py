"""Feeds that lie as a whole: each fault is named, and teaches nobody anything."""

from dataclasses import replace

import numpy as np
import pytest
from test_health import Street, faulty

from traffic.feed import FeedFault, FeedSettings
from traffic.health import HealthScreen
from traffic.incidents.normal import Usual
from traffic.incidents.sections import Layout, build_sections
from traffic.model import ModelError
from traffic.readings import LoopBatch, Quality

MPH_AS_KMH = 1 / 1.609


def labels_of(street: Street, batch: LoopBatch, now_s: float) -> tuple[LoopBatch, set[FeedFault]]:
    out = street.screen.screen(batch, now_s)
    return out, {problem.fault for problem in street.screen.problems}


def settled() -> Street:
    street = Street()
    assert faulty(street.run(1800)) == {}
    assert street.screen.problems == ()
    return street


def assert_sound(street: Street) -> None:
    """After the trouble the feed is believed again at once, loop by loop."""
    assert faulty(street.run(60)) == {}
    assert street.screen.problems == ()


def test_mph_read_as_kmh_are_found_within_minutes_and_named() -> None:
    street = settled()
    found = []
    for _ in range(10):
        batch = street.batch()
        out, faults = labels_of(
            street, replace(batch, speed_mps=batch.speed_mps * MPH_AS_KMH), street.now_s
        )
        found.append(FeedFault.SPEED_UNITS in faults)
        if not found[-1]:  # doubted at once, and counts are believed
            assert faults == {FeedFault.ODD_SPEEDS}
            assert np.isnan(out.speed_mps).all()
            assert set(out.quality.tolist()) == {Quality.GOOD}
            np.testing.assert_array_equal(out.count_veh, batch.count_veh)
        if found[-1]:
            assert set(out.quality.tolist()) == {Quality.WRONG_UNITS}
            (problem,) = street.screen.problems
            assert problem.figure == pytest.approx(20 / 22 * MPH_AS_KMH, abs=0.03)
            assert "unit" in problem.text["en"]
            assert "单位" in problem.text["zh"]
    assert found == [False] * 3 + [True] * 7
    assert_sound(street)


def test_a_jam_is_no_wrong_unit() -> None:
    street = settled()
    for _ in range(40):
        batch = street.batch()
        jam = np.where(batch.count_veh > 0, 4.0, np.nan)
        slow = replace(batch, speed_mps=jam, occupancy=batch.count_veh * 5.5 / 4.0 / 30)
        _, faults = labels_of(street, slow, street.now_s)
        assert FeedFault.SPEED_UNITS not in faults


def test_one_odd_batch_is_doubted_by_its_speeds_and_forgotten() -> None:
    street = settled()
    batch = street.batch()
    out, faults = labels_of(street, replace(batch, speed_mps=batch.speed_mps / 2), street.now_s)
    assert faults == {FeedFault.ODD_SPEEDS}
    assert np.isnan(out.speed_mps).all()
    assert_sound(street)


def test_speeds_stay_in_doubt_while_too_few_loops_tell() -> None:
    street = settled()
    odd = street.batch()
    street.screen.screen(replace(odd, speed_mps=odd.speed_mps * MPH_AS_KMH), street.now_s)
    thin = street.batch()
    few = np.where(np.arange(len(street.ids)) < 3, thin.count_veh, 1.0)
    out, _ = labels_of(
        street, replace(thin, count_veh=few, occupancy=few * 5.5 / 20 / 30), street.now_s
    )
    assert np.isnan(out.speed_mps).all()
    assert_sound(street)


def test_occupancy_in_percent_is_found_in_light_traffic_too() -> None:
    """At a vehicle each half minute percent are below 1, but then vehicles are 500 m long."""
    street = settled()
    batch = street.batch()
    ones = np.ones(len(street.ids))
    thin = replace(batch, count_veh=ones, occupancy=ones * 5.5 / batch.speed_mps / 30)
    out, faults = labels_of(street, replace(thin, occupancy=100 * thin.occupancy), street.now_s)
    assert (100 * thin.occupancy < 1).mean() > 0.5
    assert faults == {FeedFault.OCCUPANCY_UNITS}
    assert set(out.quality.tolist()) == {Quality.WRONG_UNITS}
    out, faults = labels_of(street, street.batch(), street.now_s)
    assert faults == set()


def test_occupancy_in_percent_is_found_in_its_first_batch() -> None:
    street = settled()
    batch = street.batch()
    out, faults = labels_of(street, replace(batch, occupancy=batch.occupancy * 100), street.now_s)
    assert faults == {FeedFault.OCCUPANCY_UNITS}
    assert set(out.quality.tolist()) == {Quality.WRONG_UNITS}
    assert_sound(street)


@pytest.mark.parametrize("offset_s", [3600.0, -3600.0])
def test_a_clock_an_hour_off_is_named_with_its_sign(offset_s: float) -> None:
    street = Street()
    seen = []
    for _ in range(6):
        batch = street.batch()
        out, faults = labels_of(street, replace(batch, end_s=batch.end_s + offset_s), street.now_s)
        assert Quality.GOOD not in out.quality
        seen.append(FeedFault.CLOCK_OFFSET in faults)
    assert seen[-3:] == [True] * 3
    (problem,) = street.screen.problems
    assert problem.figure == offset_s
    assert f"{offset_s / 60:+.0f} min" in problem.text["en"]


def test_a_batch_that_comes_twice_or_late_counts_once() -> None:
    street = settled()
    first, second, third = street.batch(), street.batch(), street.batch()
    now_s = street.now_s
    street.screen.screen(first, now_s - 60)
    out, faults = labels_of(street, first, now_s - 60)
    assert (faults, set(out.quality.tolist())) == ({FeedFault.DUPLICATE}, {Quality.STALE})
    street.screen.screen(third, now_s)
    out, faults = labels_of(street, second, now_s)
    assert (faults, set(out.quality.tolist())) == ({FeedFault.OUT_OF_ORDER}, {Quality.CLOCK_SKEW})
    assert_sound(street)


def test_half_a_day_missing_is_told_and_is_no_fault_of_any_loop() -> None:
    street = settled()
    street.run(120, m1_1=(0.0, 0.0, float("nan")))  # a silence that began before
    street.now_s += 43200.0
    out, faults = labels_of(street, street.batch(), street.now_s)
    assert faults == {FeedFault.GAP}
    assert set(out.quality.tolist()) == {Quality.GOOD}
    (problem,) = street.screen.problems
    assert "12.0 h" in problem.text["en"]
    assert_sound(street)


def test_bad_feeds_leave_the_screen_as_if_they_had_never_been() -> None:
    """The same good batches get the same labels, with and without all the bad ones between."""
    clean, troubled = HealthScreen(Street().network), HealthScreen(Street().network)
    street = Street()
    for number in range(200):
        batch = street.batch(m1_1=(0.0, 0.0, float("nan"))) if number > 60 else street.batch()
        expected = clean.screen(batch, street.now_s).quality
        np.testing.assert_array_equal(troubled.screen(batch, street.now_s).quality, expected)
        if number % 3 == 0:
            now_s = street.now_s + 1
            for bad in (
                batch,
                replace(batch, end_s=batch.end_s + 1, occupancy=batch.occupancy * 100),
            ):
                assert Quality.GOOD not in troubled.screen(bad, now_s).quality


def test_what_is_usual_learns_nothing_from_a_bad_feed() -> None:
    street = settled()
    network = street.network
    usual = Usual(Layout(build_sections(network), street.ids))
    for _ in range(20):
        batch = street.batch()
        usual.learn(street.screen.screen(batch, street.now_s))
    before = usual.normal.tell(street.now_s)
    for _ in range(20):
        batch = street.batch()
        bad = replace(batch, occupancy=batch.occupancy * 100)
        usual.learn(street.screen.screen(bad, street.now_s))
    np.testing.assert_array_equal(usual.normal.tell(street.now_s - 600), before)


def test_feed_settings_that_cannot_be_say_all() -> None:
    with pytest.raises(ModelError) as told:
        FeedSettings(gap_s=0, slow_ratio=2, unit_batches=-1)
    assert len(told.value.problems) == 3
