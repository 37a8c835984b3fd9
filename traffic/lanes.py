"""Lanes before stop lines and the ways through signals, as detailed as lane sensing needs them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

UNKNOWN_TURN = -1
LEAVES = -2  # turns off or ends its trip before the stop line

SENSED_M = 200.0  # from a stop line, along the lanes that lead to it
HALTED_MPS = 2.0  # slower, a vehicle within a junction is said to halt there


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane of a link on the way to a stop line.

    `onward` names the lanes that it leads to across joints, each with the meters driven on the
    joint; it is empty at a stop line. `stop_m` is the least distance from the lane's downstream
    end to a stop line.
    """

    id: str
    link: str
    index: int
    length_m: float
    speed_mps: float
    stop_m: float = 0.0
    onward: tuple[tuple[str, float], ...] = ()

    @property
    def is_sensed(self) -> bool:
        return self.stop_m < SENSED_M


@dataclass(frozen=True, slots=True)
class Way:
    """The way from one lane at a stop line into a lane of another link.

    `phase` is None where no signal stops it. `yields_to` are the positions, among its junction's
    ways, of those that it gives way to when its green is permissive.
    """

    from_lane: str
    to_lane: str
    to_link: str
    phase: str | None
    length_m: float
    yields_to: tuple[int, ...] = ()


@dataclass(frozen=True)
class LaneMap:
    """All lanes on the way to a city's stop lines, and the ways of each of its junctions."""

    lanes: Mapping[str, Lane]
    ways: Mapping[str, tuple[Way, ...]]  # junction -> ways, those of a lane side by side

    @cached_property
    def sensed(self) -> tuple[str, ...]:
        """The lanes that radar or video sees: the axis N of a LaneBatch."""
        return tuple(id_ for id_, lane in self.lanes.items() if lane.is_sensed)

    @cached_property
    def exits(self) -> tuple[str, ...]:
        """The links that a turn may announce: a LaneBatch tells their positions here."""
        return tuple(sorted({way.to_link for ways in self.ways.values() for way in ways}))

    def check(self, links: Iterable[str], phases: Mapping[str, Iterable[str]]) -> Iterable[str]:
        """Yield what does not fit together; `phases` maps each junction to its phases."""
        links = set(links)
        for id_, lane in self.lanes.items():
            if lane.id != id_:
                yield f"lane {lane.id} is listed as {id_}"
            if lane.link not in links:
                yield f"lane {id_} belongs to unknown link {lane.link}"
            for name in ("length_m", "speed_mps"):
                if not getattr(lane, name) > 0:
                    yield f"lane {id_}: {name} {getattr(lane, name)} must be above 0"
            if not lane.stop_m >= 0:
                yield f"lane {id_}: stop_m {lane.stop_m} must not be negative"
            for onward, across_m in lane.onward:
                if onward not in self.lanes:
                    yield f"lane {id_} leads to unknown lane {onward}"
                if not across_m >= 0:
                    yield f"lane {id_} to {onward}: {across_m} m across must not be negative"
        users = Counter(
            (way.from_lane, junction)
            for junction, ways in self.ways.items()
            for way in {way.from_lane: way for way in ways}.values()
        )
        seen: set[str] = set()
        for lane_id, junction in users:
            if lane_id in seen:
                yield f"lane {lane_id} ends at the stop lines of several junctions, {junction} too"
            seen.add(lane_id)
        for junction, ways in self.ways.items():
            if junction not in phases:
                yield f"ways of unknown junction {junction}"
                continue
            runs = Counter(lane for lane, _ in groupby(way.from_lane for way in ways))
            for lane_id, count in runs.items():
                if count > 1:
                    yield f"junction {junction}: ways of lane {lane_id} must stand side by side"
            known = set(phases[junction])
            for place, way in enumerate(ways):
                name = f"junction {junction}: way {place} ({way.from_lane} to {way.to_lane})"
                if way.from_lane not in self.lanes:
                    yield f"{name} leaves an unknown lane"
                if way.to_link not in links:
                    yield f"{name} leads to unknown link {way.to_link}"
                if way.phase is not None and way.phase not in known:
                    yield f"{name} is of unknown phase {way.phase}"
                if not all(0 <= other < len(ways) and other != place for other in way.yields_to):
                    yield f"{name} yields to {way.yields_to}, of which one is no other way"
