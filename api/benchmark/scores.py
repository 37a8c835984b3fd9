"""The figures of one benchmark run, from what SUMO wrote down of every trip."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from api.evidence import EvidenceError, get_number, read_statistic, stream_elements

FIELDS: Mapping[str, str] = {
    "trips": "vehicles due within the hour, count",
    "delay_s": "mean delay of a trip, s: time loss plus wait to depart; unfinished trips until the "
    "end, and for those that never departed the time since they were due",
    "never_departed": "vehicles that found no room to enter, count",
    "unfinished": "vehicles on the road at the end, count",
    "largest_wait_s": "the longest that one vehicle waited, s: its standing time over the whole "
    "trip plus its wait to depart",
    "teleports": "vehicles that the simulator took out of a jam, count; 0 under the protocol",
    "collisions": "count",
    "vetoes": "commands that the interlock refused, count; 0 for a sound controller, none where "
    "SUMO runs the signals",
    "faults": "seconds in which a controller failed or overran, summed over junctions, count",
    "wall_s": "computing time of the run, s",
}


@dataclass(frozen=True, slots=True)
class Score:
    """See FIELDS."""

    trips: int
    delay_s: float
    never_departed: int
    unfinished: int
    largest_wait_s: float
    teleports: int
    collisions: int


def score_run(folder: Path) -> Score:
    """Score the tripinfo.xml and statistic.xml of a run.

    Raises EvidenceError when a file is missing or broken, names no trip, or leaves out vehicles
    that never departed.
    """
    path = folder / "tripinfo.xml"
    statistic = read_statistic(folder / "statistic.xml")
    delays_s: list[float] = []
    waits_s: list[float] = []
    never = unfinished = 0
    for _, trip in stream_elements(path, "tripinfo"):
        before_s = get_number(path, trip, "departDelay")
        if get_number(path, trip, "depart") < 0:
            never += 1
            delays_s.append(before_s)
            waits_s.append(before_s)
            continue
        unfinished += get_number(path, trip, "arrival") < 0
        delays_s.append(get_number(path, trip, "timeLoss") + before_s)
        waits_s.append(get_number(path, trip, "waitingTime") + before_s)
    if not delays_s:
        raise EvidenceError(f"{path}: names no trip")
    if never < statistic.waiting:
        raise EvidenceError(
            f"{path}: {statistic.waiting} vehicles waited to depart at the end, but only {never} "
            "are named"
        )
    return Score(
        trips=len(delays_s),
        delay_s=sum(delays_s) / len(delays_s),
        never_departed=never,
        unfinished=unfinished,
        largest_wait_s=max(waits_s),
        teleports=statistic.teleports,
        collisions=statistic.collisions,
    )
