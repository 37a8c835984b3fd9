"""What radar or video sees in SUMO: here, who halts within a junction."""

from pathlib import Path

import pytest
from towns import write_permissive_town

from networks import load
from networks.sumo_field import SumoField
from traffic.control import Sensing

sumo = pytest.importorskip("sumo")

FLOWS = """<routes>
  <flow id="oncoming" begin="0" end="25" period="2" from="in_e" to="out_w"/>
  <trip id="left" depart="0" from="in_w" to="out_n"/>
  <trip id="across" depart="4" from="in_n" to="out_s"/>
</routes>"""


def test_who_waits_for_a_gap_within_the_junction_is_seen_to_halt(tmp_path: Path) -> None:
    """One turns left against a stream: it halts past its stop line until the stage ends."""
    path = write_permissive_town(tmp_path)
    (tmp_path / "routes.xml").write_text(FLOWS)
    scenario = load(str(path), 1, tmp_path / "loaded")
    halted = []
    with SumoField(scenario, sensing=Sensing.LANES) as field:
        for _ in range(60):
            lanes = field.read().lanes
            assert lanes is not None
            halted.append(lanes.halted.tolist())
            if not field.advance():
                break
    assert max(halted) == [1]
    first = halted.index([1])
    assert halted[first : first + 4] == [[1]] * 4
    assert halted[:first] == [[0]] * first
    assert halted[-1] == [0]
