"""Who complies is fixed by seed and id, shares add up, and detours end where drivers want to go."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from networks.driver_model import DriverModel, Tally, build_detour, draw
from networks.scenario import Drivers
from traffic.advisory import Advisory

ADVISORY = Advisory(
    id="a1",
    bottleneck="neck",
    from_link="in",
    to_link="out",
    via=("in", "hill1", "hill2", "out"),
    avoid=("main",),
    share=1.0,
    usual_time_s=900.0,
    detour_time_s=600.0,
    penalty_s=60.0,
    issued_s=0.0,
    expires_s=1000.0,
    text={"en": "Take the hill road", "zh": "请走山路"},
)


class FakeStreet:
    def __init__(self, ways: Mapping[tuple[str, str], tuple[str, ...]] | None = None) -> None:
        self.on: dict[str, list[str]] = {}
        self.routes: dict[str, tuple[str, ...]] = {}
        self.ways = ways or {}
        self.joins = True

    def enter(self, link: str, vehicles: Sequence[str], route: tuple[str, ...]) -> None:
        self.on.setdefault(link, []).extend(vehicles)
        self.routes |= dict.fromkeys(vehicles, route)

    def vehicles_on(self, link: str) -> Sequence[str]:
        return list(self.on.get(link, ()))

    def route_ahead(self, vehicle: str) -> tuple[str, ...]:
        return self.routes[vehicle]

    def find_route(self, vehicle: str, from_link: str, to_link: str) -> tuple[str, ...] | None:
        return self.ways.get((from_link, to_link))

    def take(self, vehicle: str, route: tuple[str, ...]) -> bool:
        if self.joins:
            self.routes[vehicle] = route
        return self.joins


USUAL = ("in", "main", "out", "home")
DETOUR = ("in", "hill1", "hill2", "out", "home")


def detoured(street: FakeStreet) -> set[str]:
    return {vehicle for vehicle, route in street.routes.items() if route != USUAL}


def run(drivers: Drivers, *advice: Advisory, n: int = 4000) -> tuple[FakeStreet, DriverModel]:
    street = FakeStreet()
    model = DriverModel(drivers, 7, street)
    model.hear(advice)
    street.enter("in", [f"through.{i}" for i in range(n)], USUAL)
    model.act(1.0)
    return street, model


def test_draws_are_uniform_and_the_questions_independent() -> None:
    # The empirical distribution of n draws lies within 1.95 / sqrt(n) of the uniform one but for
    # one seed in a thousand (Kolmogorov-Smirnov); two questions agree on 0.3 * 0.3 of them.
    n = 4000
    one = [draw(1, f"v.{i}", "compliance") for i in range(n)]
    other = [draw(1, f"v.{i}", "share") for i in range(n)]
    for draws in (one, other):
        worst = max(abs(d - (i + 0.5) / n) for i, d in enumerate(sorted(draws)))
        assert worst < 1.95 / n**0.5
    both = sum(a < 0.3 and b < 0.3 for a, b in zip(one, other, strict=True)) / n
    assert both == pytest.approx(0.09, abs=0.015)
    assert draw(1, "v.0", "share") != draw(2, "v.0", "share")


def test_share_of_complying_drivers_takes_the_detour() -> None:
    street, model = run(Drivers(compliance=0.3), replace(ADVISORY, share=0.5))
    assert len(detoured(street)) / 4000 == pytest.approx(0.15, abs=0.02)
    assert all(model.complies(vehicle) for vehicle in detoured(street))
    assert {street.routes[vehicle] for vehicle in detoured(street)} == {DETOUR}
    tally = model.tallies["a1"]
    assert tally.bound_veh == 4000
    assert tally.advised_veh / 4000 == pytest.approx(0.5, abs=0.03)
    assert tally.complied_veh == len(detoured(street))
    assert tally.unable_veh == 0


def test_shares_of_alternatives_add_up() -> None:
    second = replace(ADVISORY, id="a2", via=("valley",), share=0.5)
    street, model = run(Drivers(compliance=1.0), replace(ADVISORY, share=0.5), second)
    assert len(detoured(street)) == 4000
    assert model.tallies["a1"].complied_veh + model.tallies["a2"].complied_veh == 4000


def test_nobody_takes_a_detour_longer_than_accepted() -> None:
    drivers = Drivers(compliance=1.0, accepted_penalty_s=300.0)
    street, model = run(drivers, replace(ADVISORY, penalty_s=301.0), n=50)
    assert not detoured(street)
    assert model.tallies["a1"] == Tally(50, 50, 0, 0)
    street, _ = run(drivers, replace(ADVISORY, penalty_s=300.0), n=50)
    assert len(detoured(street)) == 50


@pytest.mark.parametrize(("issued_s", "expires_s"), [(2.0, 1000.0), (0.0, 1.0)])
def test_advice_is_void_before_issue_and_from_expiry(issued_s: float, expires_s: float) -> None:
    street, model = run(
        Drivers(compliance=1.0), replace(ADVISORY, issued_s=issued_s, expires_s=expires_s), n=50
    )
    assert not detoured(street)
    assert model.tallies["a1"] == Tally()


def test_each_driver_decides_once_on_entering_and_not_before() -> None:
    street = FakeStreet()
    model = DriverModel(Drivers(compliance=1.0), 7, street)
    street.enter("in", ["early.0"], USUAL)
    model.hear([ADVISORY])
    model.act(1.0)
    assert model.tallies["a1"].bound_veh == 0  # was past the place to decide
    street.enter("in", ["late.0"], USUAL)
    for second in range(2, 5):
        model.hear([replace(ADVISORY, id="a2")])  # issued anew while the driver is on the link
        model.act(float(second))
    assert model.tallies["a2"] == Tally(1, 1, 1, 0)
    assert street.routes["early.0"] == USUAL


def test_those_not_bound_through_it_are_not_advised() -> None:
    street = FakeStreet()
    model = DriverModel(Drivers(compliance=1.0), 7, street)
    model.hear([ADVISORY])
    street.enter("in", ["exit.0"], ("in", "exit"))
    model.act(1.0)
    assert model.tallies["a1"] == Tally()
    assert street.routes["exit.0"] == ("in", "exit")


@pytest.mark.parametrize(
    ("route", "via", "expected"),
    [
        (USUAL, ("hill1", "hill2"), DETOUR),
        (USUAL, ("in", "hill1", "hill2", "out"), DETOUR),  # a path may come with both its ends
        (("in", "main", "hill2"), ("hill1", "hill2"), ("in", "hill1", "hill2")),  # lives there
        (("in", "main", "shop"), ("hill1",), ("in", "hill1", "out", "mall", "shop")),  # found
        (("in", "main", "nowhere"), ("hill1",), None),
        (("in", "main", "inside"), ("hill1",), None),  # the way found leads back through it
    ],
)
def test_detour_ends_at_the_drivers_own_destination(
    route: tuple[str, ...], via: tuple[str, ...], expected: tuple[str, ...] | None
) -> None:
    ways: dict[tuple[str, str], tuple[str, ...]] = {
        ("out", "shop"): ("out", "mall", "shop"),
        ("out", "inside"): ("out", "main", "inside"),
    }
    assert build_detour(FakeStreet(ways), "v.0", route, replace(ADVISORY, via=via)) == expected


def test_driver_who_finds_no_way_stays_and_is_counted() -> None:
    street = FakeStreet()
    street.joins = False
    model = DriverModel(Drivers(compliance=1.0), 7, street)
    model.hear([ADVISORY])
    street.enter("in", ["through.0"], USUAL)
    model.act(1.0)
    assert model.tallies["a1"] == Tally(1, 1, 0, 1)
    assert street.routes["through.0"] == USUAL
