"""Route files: the flows that were asked for, drawn one by one, on links that exist."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from networks.demand import QUARTER_S, Flow, share_bound, sum_turns_vph, write_flows

BEGIN_S = 25200.0
NET = '<net><edge id="a"/><edge id="b"/><edge id="c"/></net>'
THROUGH = Flow("through", ("a", "b"), 900.0, (1.0, 0.0, 2.0))
EXIT = Flow("exit", ("a", "c"), 300.0, (1.0, 1.0, 1.0))


def write(folder: Path, *flows: Flow, seed: str = "town/1") -> list[dict[str, str]]:
    """Return the attributes of the vehicles written."""
    net = folder / "net.xml"
    net.write_text(NET)
    path = write_flows(folder / "routes.xml", net, flows, BEGIN_S, seed)
    return [vehicle.attrib for vehicle in ElementTree.parse(path).getroot().iter("vehicle")]


def test_departures_are_poisson_in_each_quarter(tmp_path: Path) -> None:
    """Over n = 30 seeds a count with mean m has mean m, and variance m too; 4 standard errors."""
    counts: Counter[int] = Counter()
    seconds: list[int] = []
    for seed in range(30):
        vehicles = write(tmp_path, THROUGH, seed=f"town/{seed}")
        departs = [float(vehicle["depart"]) for vehicle in vehicles]
        assert departs == sorted(departs)
        quarters = Counter(int((depart_s - BEGIN_S) // QUARTER_S) for depart_s in departs)
        counts += quarters
        seconds.append(quarters[2])
    assert counts.keys() == {0, 2}  # none at factor 0, none after the last quarter
    for quarter, mean in ((0, 225.0), (2, 450.0)):
        assert counts[quarter] / 30 == pytest.approx(mean, abs=4 * (mean / 30) ** 0.5)
    variance = sum((n - 450.0) ** 2 for n in seconds) / 30
    assert variance == pytest.approx(450.0, abs=4 * 450.0 * (2 / 30) ** 0.5)


def test_a_change_in_one_flow_leaves_the_others(tmp_path: Path) -> None:
    def of_exit(*flows: Flow) -> list[dict[str, str]]:
        return [v for v in write(tmp_path, *flows) if v["id"].startswith("exit.")]

    first = of_exit(THROUGH, EXIT)
    assert first == of_exit(replace(THROUGH, flow_vph=100.0), EXIT)
    assert [v["id"] for v in first] == [f"exit.{i}" for i in range(len(first))]


def test_links_that_the_network_lacks_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks links of the demand: d, e"):
        write(tmp_path, replace(EXIT, links=("a", "e")), replace(EXIT, links=("d", "b")))


def test_what_passes_a_link_and_where_it_is_bound() -> None:
    assert sum_turns_vph([THROUGH, EXIT]) == {("a", "b"): 1800.0, ("a", "c"): 300.0}
    assert share_bound([THROUGH, EXIT], "a", "b") == 0.75
    assert share_bound([THROUGH, EXIT], "b", "a") == 0.0  # it has passed a already
    assert share_bound([THROUGH, EXIT], "z", "a") == 0.0
