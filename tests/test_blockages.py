"""Days with blockages: how they are drawn, what of them is recorded, and what a file must hold."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from networks import load
from networks.blockages import (
    APART_S,
    LONGEST_S,
    QUIET_S,
    SHORTEST_S,
    WAIT_S,
    build_day,
    draw_blockages,
    find_enclosed,
)
from networks.recordings import Recording, collect_batches, load_recording, record_day
from networks.scenario import LaneClosure, Scenario
from traffic.model import ModelError

pytest.importorskip("sumo")


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return load("crossing", 1, tmp_path_factory.mktemp("crossing"))


def exposure_of(scenario: Scenario) -> dict[str, float]:
    return dict.fromkeys(scenario.network.links, 1.0)


@pytest.mark.parametrize("seed", range(20))
def test_blockages_lie_between_loops_one_after_the_other_and_leave_a_lane(
    crossing: Scenario, seed: int
) -> None:
    long_day = replace(crossing, end_s=crossing.begin_s + 9000.0)
    drawn = draw_blockages(long_day, exposure_of(crossing), 4, random.Random(seed))
    assert len(drawn) == 4
    network = crossing.network
    after_s = crossing.begin_s + QUIET_S
    for one in drawn:
        open_lanes = sorted({d.lane for d in network.detectors.values() if d.link == one.link})
        lanes = open_lanes or list(range(network.links[one.link].lanes))
        assert one.link in find_enclosed(network)
        assert one.lanes == tuple(range(one.lanes[0], one.lanes[0] + len(one.lanes)))
        assert set(one.lanes) < set(lanes) or len(lanes) == 1
        assert SHORTEST_S <= one.lasts_s <= LONGEST_S
        assert one.begin_s >= after_s
        after_s = one.begin_s + WAIT_S + one.lasts_s + APART_S
    assert after_s - APART_S <= long_day.end_s


def test_one_seed_is_one_day_and_another_seed_another(crossing: Scenario) -> None:
    long_day = replace(crossing, end_s=crossing.begin_s + 9000.0)
    days = [build_day(replace(long_day, seed=seed), exposure_of(crossing), 2) for seed in (1, 1, 2)]
    assert days[0].closures == days[1].closures
    assert days[0].closures != days[2].closures
    assert days[0].sumo_options != days[2].sumo_options


def test_places_without_traffic_are_never_drawn(crossing: Scenario) -> None:
    long_day = replace(crossing, end_s=crossing.begin_s + 9000.0)
    busy = find_enclosed(crossing.network)[0]
    exposure = exposure_of(crossing) | dict.fromkeys(find_enclosed(crossing.network), 0.0)
    drawn = draw_blockages(long_day, exposure | {busy: 0.1}, 4, random.Random(1))
    assert {one.link for one in drawn} == {busy}


def test_a_day_that_cannot_be_drawn_says_all_that_is_wrong(crossing: Scenario) -> None:
    with pytest.raises(ModelError) as told:
        draw_blockages(crossing, {}, 500, random.Random(1))
    assert len(told.value.problems) == 2
    assert "no link with traffic between loops" in str(told.value)
    assert "500 blockages of up to 1200 s do not fit" in str(told.value)


def test_a_vehicle_stands_for_as_long_as_it_should_and_the_loops_below_starve(
    crossing: Scenario,
) -> None:
    network = crossing.network
    link = max(
        find_enclosed(network),
        key=lambda one: len({d.lane for d in network.detectors.values() if d.link == one}),
    )
    lane = max(d.lane for d in network.detectors.values() if d.link == link)
    begin_s = crossing.begin_s + 300.0
    closure = LaneClosure(link, lane, 60.0, begin_s, begin_s + 200.0, 300.0)
    day = replace(crossing, end_s=crossing.begin_s + 1000.0, closures=(closure,))
    recording, stands = record_day(day, lambda share: None)
    (stand,) = stands
    assert stand.closure == closure
    assert begin_s <= stand.begin_s <= begin_s + 230.0
    assert stand.end_s - stand.begin_s == pytest.approx(300.0, abs=2.0)
    assert len(recording.end_s) == 33  # the last batch, at the end itself, is not read
    assert set(recording.detectors) == set(network.detectors)
    assert np.nansum(recording.count_veh) > 0


def build_recording() -> Recording:
    values = np.array([[1.0, np.nan], [2.0, 3.0]])
    return Recording(30.0, ("a", "b"), np.array([30.0, 60.0]), values, values / 10, values * 5)


def test_a_recording_is_the_same_after_a_while_on_disk(tmp_path: Path) -> None:
    build_recording().save(tmp_path / "day.npz")
    again = load_recording(tmp_path / "day.npz")
    first = list(build_recording().batches())
    for one, other in zip(first, again.batches(), strict=True):
        assert one.detectors == other.detectors
        np.testing.assert_allclose(one.occupancy, other.occupancy, rtol=1e-6)
        np.testing.assert_array_equal(one.quality, other.quality)
    assert first[0].quality.tolist() == [0, 1]
    assert collect_batches(first).end_s.tolist() == [30.0, 60.0]


def test_broken_recordings_say_what_and_where(tmp_path: Path) -> None:
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04torn")
    for name in ("torn.npz", "missing.npz"):
        with pytest.raises(ModelError, match=name):
            load_recording(tmp_path / name)
    values = np.zeros((2, 2))
    with pytest.raises(ValueError, match="count_veh has shape") as told:
        Recording(30.0, ("a",), np.zeros(2), values, values, np.zeros((2, 1)))
    assert "occupancy has shape" in str(told.value)
    with pytest.raises(ValueError, match="no batches"):
        collect_batches([])
