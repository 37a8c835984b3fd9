"""Runs in SUMO: what evidence they leave, that they repeat, and how they fail."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from street import BEGIN_S, GREEN_NS, INDICES, block, build_base, run

from networks.replay_field import ReplayField
from networks.scenario import LaneClosure, Scenario
from networks.sumo_field import FieldError, SumoField
from networks.truth import TruthSampler
from traffic.control import RawReadings


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return build_base(tmp_path_factory.mktemp("scenario"))


def test_evidence_is_complete_and_counts_those_never_let_in(base: Scenario, tmp_path: Path) -> None:
    out = tmp_path / 'the "evidence" & more <of it>'
    blocked = block(base, 5.0, 600.0, 1, 2, position_m=100.0)
    with SumoField(replace(blocked, end_s=BEGIN_S + 500.0), out=out) as field:
        run(field, 500.0)
        truth = TruthSampler(field).finish()
    written = {"tripinfo.xml", "statistic.xml", "tls_states.xml"}
    copied = {"net.xml", "routes.xml", "additional-1.xml"}
    assert {file.name for file in out.iterdir()} == written | copied
    demand = {
        v.attrib["id"]
        for v in ElementTree.parse(out / "routes.xml").getroot().iter("vehicle")
        if float(v.attrib["depart"]) < BEGIN_S + 500.0
    }
    trips = ElementTree.parse(out / "tripinfo.xml").getroot()
    assert {t.attrib["id"] for t in trips} == demand
    waited = [t for t in trips if t.attrib["depart"] == "-1"]
    assert len(waited) == truth.never_departed_veh > 0
    states = ElementTree.parse(out / "tls_states.xml").getroot().findall("tlsState")
    assert {s.attrib["id"] for s in states} == {"c"}
    assert (
        ElementTree.parse(out / "statistic.xml").getroot().find("vehicleTripStatistics") is not None
    )


def test_same_scenario_and_seed_give_the_same_readings_and_can_be_replayed(base: Scenario) -> None:
    def record() -> list[RawReadings]:
        with SumoField(base, loops=frozenset({"n0", "m2"})) as field:
            raws = [field.read()]
            run(field, 120.0, lambda: raws.append(field.read()))
        return raws

    def flatten(raw: RawReadings) -> tuple[object, ...]:
        batches = [b for b in (raw.local, raw.centre) if b is not None]
        arrays = [(b.count_veh, b.occupancy, b.speed_mps, b.quality) for b in batches]
        return raw.now_s, [[a.tobytes() for a in group] for group in arrays]

    first, second = record(), record()
    assert [flatten(raw) for raw in first] == [flatten(raw) for raw in second]
    replay = ReplayField(base.network, iter(first))
    again = [replay.read()]
    while replay.advance():
        replay.apply({"c": GREEN_NS})
        again.append(replay.read())
    assert again == first


def test_recording_must_hold_something_and_go_forward(base: Scenario) -> None:
    with pytest.raises(ValueError, match="holds no readings"):
        ReplayField(base.network, [])
    with SumoField(base) as field:
        raw = field.read()
    replay = ReplayField(base.network, [raw, replace(raw, now_s=raw.now_s - 1)])
    with pytest.raises(ValueError, match=r"23399\.0 s follows the one at 23400\.0 s"):
        replay.advance()


def test_truth_samples_agree_with_the_street(base: Scenario) -> None:
    with SumoField(base) as field:
        sampler = TruthSampler(field)
        halting: list[float] = []

        def look() -> None:
            sampler.sample()
            if field.now_s % 10 == 0:
                halting.append(field.simulator.edge.getLastStepHaltingNumber("n_in"))

        run(field, 660.0, look)
        look()  # at the last second, too
        truth = sampler.finish()
        arrived = field.simulator.simulation.getParameter("", "stats.vehicles.inserted")
    assert truth.clock_s.tolist() == [BEGIN_S + 10 * k for k in range(1, 67)]
    assert truth.halting_veh.tolist() == [halting]
    # A queue of n vehicles in 2 lanes is at least (n / 2 - 1) spacings of 7.5 m long.
    n = truth.halting_veh[0]
    assert (truth.queue_m[0] >= 7.5 * (n / 2 - 1) - 2.5).all()
    assert truth.queue_m.max() <= truth.gate_length_m[0]
    # 180 vehicles, all through the bottleneck before the end; one that changes lanes over the
    # loops is counted in both.
    assert 180 <= truth.passed_veh.sum() <= 180 * 1.01
    assert truth.flow_end_s.tolist() == [BEGIN_S + 60 * k for k in range(1, 12)]
    # Vehicles times seconds on the mainline: 180 at about the speed limit over its length.
    spent_s = len(truth.time_s) * truth.sample_s
    assert spent_s == pytest.approx(180 * truth.mainline_m / truth.speed_mps.mean(), rel=0.05)
    assert int(arrived) == 580
    assert not truth.x_m.flags.writeable


def test_only_one_field_at_a_time(base: Scenario) -> None:
    with SumoField(base), pytest.raises(FieldError, match="another simulation is open"):
        SumoField(base)
    with SumoField(base) as field:
        assert field.advance()


def test_bad_scenario_lists_all_problems(base: Scenario, tmp_path: Path) -> None:
    bad = replace(
        base,
        route_file=tmp_path / "gone.xml",
        net_file=tmp_path / "lost.xml",
        step_s=0.7,
        end_s=BEGIN_S,
    )
    with pytest.raises(FieldError) as caught:
        SumoField(bad, out=tmp_path / "out", loops=frozenset({"x9"}), managed=frozenset({"y"}))
    message = str(caught.value)
    for word in ("gone.xml", "lost.xml", "step_s 0.7", "end_s", "no loop x9", "no junction y"):
        assert word in message
    assert not (tmp_path / "out").exists()


def test_unknown_lane_index_and_loop_are_named(base: Scenario) -> None:
    indices = {"c": INDICES | {"ns_left": (3, 99), "ew_left": (7,)}}
    with pytest.raises(FieldError) as caught:
        SumoField(replace(base, signal_indices=indices), managed=frozenset({"c"}))
    assert "junction c: link index 99 is beyond its 16" in str(caught.value)
    assert "junction c: link index 15 belongs to no phase" in str(caught.value)
    closure = LaneClosure("main", 7, 10.0, BEGIN_S, BEGIN_S + 10)
    with pytest.raises(FieldError, match="scenario test: closure of unknown lane main_7"):
        SumoField(replace(base, closures=(closure,)))
    with pytest.raises(FieldError, match="loop n0 is unknown to the simulator"):
        SumoField(replace(base, additional_files=()))


def test_simulator_dying_mid_run_names_scenario_and_second(base: Scenario, tmp_path: Path) -> None:
    good = base.route_file.read_text()
    broken = tmp_path / "routes.xml"
    broken.write_text(good.replace('id="through.90"', 'type="gone" id="through.90"'))
    field = SumoField(replace(base, route_file=broken))
    with pytest.raises(FieldError, match=r"scenario test: the simulator failed at 06:3\d:\d\d"):
        run(field, 600.0)
    with SumoField(base) as again:  # the process is not spoilt
        assert again.advance()


def test_what_the_simulator_would_misread_in_a_path_is_refused(
    base: Scenario, tmp_path: Path
) -> None:
    comma = tmp_path / "a,b.xml"
    comma.write_bytes(base.route_file.read_bytes())
    with pytest.raises(FieldError) as caught:
        SumoField(replace(base, route_file=comma), out=tmp_path / "a:b")
    assert f"file {comma}: no comma" in str(caught.value)
    assert f"{tmp_path / 'a:b'}: no comma or colon" in str(caught.value)


def test_a_window_needs_a_display(base: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(FieldError, match="DISPLAY is not set"):
        SumoField(base, gui=True)
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(FieldError, match="sumo-gui could not start on display :987"):
        SumoField(base, gui=True)


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb")
def test_the_window_shows_the_same_run(base: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    def record(field: SumoField) -> list[float]:
        with field:
            run(field, 60.0)
            batch = field.read().centre
            assert batch is not None
            return batch.count_veh.tolist()

    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=(writer,), stderr=subprocess.DEVNULL) as server:
        os.close(writer)
        try:
            with open(reader) as display:
                monkeypatch.setenv("DISPLAY", f":{display.readline().strip()}")
            seen = record(SumoField(base, gui=True))
            assert seen == record(SumoField(base))
            field = SumoField(base, gui=True)
            with pytest.raises(KeyboardInterrupt), field:
                raise KeyboardInterrupt
            field = SumoField(base, gui=True)
            assert field._window is not None
            field._window.kill()  # as a person does who closes it
            with pytest.raises(FieldError, match="the simulator failed at"):
                run(field, 60.0)
        finally:
            server.terminate()
