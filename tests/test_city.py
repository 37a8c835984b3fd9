"""The simulated people act on what the engine says: drivers hear, rescuers get their lane."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from test_response import build_full

from api.city import SimulatedCity
from networks.scenario import Dispatch
from traffic.response import ActivePlan, Life, Response

DISPATCH = Dispatch(100.0, "in", "out")


@dataclass
class FakeStrategy:
    response: Response
    advisories: tuple[str, ...] = ()


@dataclass
class FakeSnapshot:
    time_s: float
    strategy: FakeStrategy | None
    is_fresh: bool = True


@dataclass
class FakeEngine:
    snapshots: list[FakeSnapshot | None]

    def step(self, orders: Sequence[object] = ()) -> FakeSnapshot | None:
        return self.snapshots.pop(0)


@dataclass
class FakeField:
    dispatch: Dispatch | None = DISPATCH
    heard: list[tuple[str, ...]] = field(default_factory=list)
    command_trips: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def scenario(self) -> "FakeField":
        return self

    def hear(self, advisories: tuple[str, ...]) -> None:
        self.heard.append(advisories)

    def send_command_vehicle(self, *wish: object) -> None:
        self.command_trips.append(wish)


def drive(fake: FakeField, *snapshots: FakeSnapshot | None) -> FakeField:
    city = SimulatedCity(FakeEngine(list(snapshots)), fake)  # type: ignore[arg-type]
    for _ in snapshots:
        city.step()
    return fake


def with_plan(kind: str, life: Life = Life.ACTIVE) -> FakeStrategy:
    return FakeStrategy(Response(0.0, (ActivePlan(build_full(kind), life, 0.0, "officer"),)))


def test_drivers_hear_each_new_batch_of_advice_and_nothing_between() -> None:
    strategy = FakeStrategy(Response(0.0), ("detour",))
    seconds = [FakeSnapshot(30.0, strategy), FakeSnapshot(31.0, strategy, is_fresh=False), None]
    assert drive(FakeField(), FakeSnapshot(0.0, None), *seconds).heard == [("detour",)]


@pytest.mark.parametrize(
    ("strategy", "lane"),
    [
        (None, False),
        (with_plan("full"), True),
        (with_plan("full", Life.RECOVERING), False),
        (with_plan("gating"), False),  # asks for no lane
    ],
)
def test_the_command_vehicle_goes_once_when_due_and_by_the_lane_if_a_plan_opened_it(
    strategy: FakeStrategy | None, lane: bool
) -> None:
    seconds = [FakeSnapshot(t, strategy) for t in (99.0, 100.0, 101.0)]
    assert drive(FakeField(), *seconds).command_trips == [(101.0, "in", "out", lane)]


def test_without_a_dispatch_nobody_is_sent() -> None:
    assert drive(FakeField(None), FakeSnapshot(100.0, None)).command_trips == []
