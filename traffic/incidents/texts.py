"""Where a blockage is, in words: the road, the loops on both sides of it, the lane."""

from collections.abc import Mapping

from traffic.incidents.sections import ENTRY, EXIT, Section, SectionKind
from traffic.model import Network


def tell_place(network: Network, section: Section, lane: int | None) -> dict[str, str]:
    """Return road, stretch and lane by language; lanes count from the right, from 1."""
    link = network.links[section.links[0]]
    name = link.name or link.id
    entry, leave = (network.detectors[section.stations[station][0]] for station in (ENTRY, EXIT))
    if section.kind is SectionKind.STREET:
        junction = network.approaches[section.id].junction
        en = f"{name}, approach {section.id} to {junction}"
        zh = f"{name}，{junction} 路口进口道 {section.id}"
    else:
        above, below = (
            f"{entry.link} {entry.position_m:.0f}",
            f"{leave.link} {leave.position_m:.0f}",
        )
        en = f"{name}, between the loops at {above} m and {below} m"
        zh = f"{name}，{above} 米与 {below} 米线圈之间"
    if lane is not None:
        en += f", lane {lane + 1} from the right"
        zh += f"，右起第 {lane + 1} 车道"
    return {"en": en, "zh": zh}


def tell_finding(place: Mapping[str, str], clock: str) -> dict[str, str]:
    """Return the sentence of a place that is blocked since that time of day."""
    return {
        "en": f"{place['en']}: probably blocked since about {clock}",
        "zh": f"{place['zh']}：约 {clock} 起可能受阻",
    }
