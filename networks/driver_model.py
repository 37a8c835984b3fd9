"""Who follows advice: the scenario's drivers, each with a fixed mind drawn from seed and id."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from networks.scenario import Drivers
from traffic.advisory import Advisory

# The honest rival of any advice: the same drivers follow present travel times, as apps do.
NAV_PERIOD_S = 60
NAV_OPTIONS = (
    ("--device.rerouting.probability", "0"),  # only those drawn below carry the device
    ("--device.rerouting.period", str(NAV_PERIOD_S)),
    ("--device.rerouting.pre-period", str(NAV_PERIOD_S)),
    ("--device.rerouting.adaptation-interval", "10"),
    ("--device.rerouting.adaptation-steps", "18"),  # travel times smoothed over 3 minutes
)


class Street(Protocol):
    """What the drivers' model needs of the road."""

    def vehicles_on(self, link: str) -> Sequence[str]: ...

    def route_ahead(self, vehicle: str) -> tuple[str, ...]:
        """Links from the present one, included, to the destination."""
        ...

    def find_route(self, vehicle: str, from_link: str, to_link: str) -> tuple[str, ...] | None:
        """Fastest links at free flow, both ends included; None when there is no way."""
        ...

    def take(self, vehicle: str, route: tuple[str, ...]) -> bool:
        """Change the route from the present link on; False when its links do not join."""
        ...


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of one advisory; evidence of the scenario that no engine sees."""

    bound_veh: int = 0  # came by the place of advice, bound through what it avoids
    advised_veh: int = 0  # of these, within its share
    complied_veh: int = 0  # of these, took the detour
    unable_veh: int = 0  # would have, but found no way to their destination


def draw(seed: int, vehicle: str, question: str) -> float:
    """Return the vehicle's fixed draw for that question, uniform in 0..1 (1 excluded)."""
    digest = blake2b(f"{seed}/{question}/{vehicle}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # as many bits as a float holds


def build_detour(
    street: Street, vehicle: str, route: Sequence[str], advisory: Advisory
) -> tuple[str, ...] | None:
    """Build the vehicle's route by the detour; None when it leads past what is to be avoided.

    `route` begins with the advisory's from_link. The detour rejoins the vehicle's own route where
    it can; otherwise the driver finds the way from the detour's end at free flow.
    """
    here, ahead, destination = route[0], list(route[1:]), route[-1]
    detour = [link for link in (*advisory.via, advisory.to_link) if link != here]
    if len(detour) > 1 and detour[-1] == detour[-2]:
        detour.pop()  # via may or may not end with to_link
    if destination in detour:
        onward: Sequence[str] = ()
        detour = detour[: detour.index(destination) + 1]
    elif detour[-1] in ahead:
        onward = ahead[ahead.index(detour[-1]) + 1 :]
    else:
        found = street.find_route(vehicle, detour[-1], destination)
        if found is None:
            return None
        onward = found[1:]
    if not set(advisory.avoid).isdisjoint((*detour, *onward)):
        return None
    return (here, *detour, *onward)


class DriverModel:
    """Lets the scenario's drivers hear advisories at their from_link and decide for themselves.

    A driver complies or not for the whole morning. Alternatives issued at one link share its
    drivers out: each takes the next slice of the draw, so that shares add up.
    """

    def __init__(self, drivers: Drivers, seed: int, street: Street) -> None:
        self._drivers = drivers
        self._seed = seed
        self._street = street
        self._heard: dict[str, list[Advisory]] = {}  # from_link -> in force
        self._present: dict[str, frozenset[str]] = {}  # from_link -> vehicles a second ago
        self._tallies: dict[str, Tally] = {}

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """What became of each advisory, by its id."""
        return dict(self._tallies)

    def complies(self, vehicle: str) -> bool:
        return draw(self._seed, vehicle, "compliance") < self._drivers.compliance

    def hear(self, advisories: Iterable[Advisory]) -> None:
        """Replace what is on the drivers' screens."""
        self._heard = {}
        for advisory in advisories:
            self._heard.setdefault(advisory.from_link, []).append(advisory)
            self._tallies.setdefault(advisory.id, Tally())
        # A driver already on the link when advice begins has passed the place to decide.
        self._present = {
            link: self._present[link]
            if link in self._present
            else frozenset(self._street.vehicles_on(link))
            for link in self._heard
        }

    def act(self, now_s: float) -> None:
        """Let those who entered or departed on a link of advice since the last call decide."""
        for link, advisories in self._heard.items():
            current = [a for a in advisories if a.issued_s <= now_s < a.expires_s]
            present = frozenset(self._street.vehicles_on(link))
            if current:
                for vehicle in sorted(present - self._present[link]):
                    self._decide(vehicle, link, current)
            self._present[link] = present

    def _decide(self, vehicle: str, link: str, advisories: Sequence[Advisory]) -> None:
        route = self._street.route_ahead(vehicle)
        if not route or route[0] != link:
            return
        mind = draw(self._seed, vehicle, f"share at {link}")
        taken = 0.0
        for advisory in advisories:
            if set(advisory.avoid).isdisjoint(route[1:]):
                continue
            was = self._tallies[advisory.id]
            is_advised = taken <= mind < taken + advisory.share
            taken += advisory.share
            would = (
                is_advised
                and advisory.penalty_s <= self._drivers.accepted_penalty_s
                and self.complies(vehicle)
            )
            detour = build_detour(self._street, vehicle, route, advisory) if would else None
            did = detour is not None and self._street.take(vehicle, detour)
            self._tallies[advisory.id] = Tally(
                was.bound_veh + 1,
                was.advised_veh + is_advised,
                was.complied_veh + did,
                was.unable_veh + (would and not did),
            )
