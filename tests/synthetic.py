"""Made-up runs with SUMO's files and samples of a known jam, for the figures and the report."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from api.evidence import (
    AlertLog,
    AlertMark,
    GroundTruth,
    finished_folder,
    read_statistic,
    read_trips,
)
from api.figures import RunLog, compute_figures, write_run
from traffic.congestion import Alert, Level

BEGIN_S = 6.5 * 3600
GATES = ("G1.W", "G1.S", "G2.W", "G2.E")
TITLE = {"en": "Made-up morning", "zh": "虚构早高峰"}
FREE_MPS, JAM_MPS = 20.0, 5.0


def make_truth(
    seed: int,
    jam_m: float,
    *,
    begin_s: float = BEGIN_S,
    end_s: float = 8 * 3600,
    length_m: float = 6000.0,
    onset_s: float = 7 * 3600.0,
    step_s: float = 10.0,
) -> GroundTruth:
    """A triangular jam before the bottleneck, `jam_m` long at its height, 40 min after onset."""
    rng = np.random.default_rng(seed)
    bottleneck_m = length_m - 1000.0
    place = np.arange(0.0, length_m, 5.0)
    samples = []
    clock_s = np.arange(begin_s, end_s, step_s)
    for now_s in clock_s:
        grown = min((now_s - onset_s) / 2400, 2 - (now_s - onset_s) / 2400)
        is_jam = (place < bottleneck_m) & (place > bottleneck_m - max(0.0, grown) * jam_m)
        flow_vps = 0.85 if jam_m and onset_s < now_s < onset_s + 4800 else 0.95
        speed = np.where(is_jam, JAM_MPS, FREE_MPS)
        count = np.cumsum(flow_vps / speed * 5.0) + rng.uniform()
        at = np.flatnonzero(np.diff(np.floor(count)) > 0)
        noisy = speed[at] * rng.normal(1.0, 0.06, len(at))
        samples.append(np.stack([np.full(len(at), now_s), place[at], noisy]))
    time_s, x_m, speed_mps = np.concatenate(samples, axis=1)
    queue_time_s = clock_s
    wave = np.clip(1 - np.abs(queue_time_s - onset_s - 1500) / 1500, 0, None)
    heights = np.array([[320.0], [180.0], [120.0], [60.0]]) * (0.4 if jam_m > 1000 else 1.0)
    minutes_s = np.arange(begin_s + 60, end_s + 1, 60.0)
    is_queue = (minutes_s > onset_s) & (minutes_s <= onset_s + 4800) if jam_m else minutes_s < 0
    return GroundTruth(
        begin_s,
        end_s,
        length_m,
        bottleneck_m,
        bottleneck_m - 60.0,
        tuple(np.arange(350.0, length_m, 550.0)),
        step_s,
        time_s,
        x_m,
        speed_mps,
        GATES,
        np.array([330.0, 380.0, 350.0, 300.0]),
        queue_time_s,
        heights * wave + rng.uniform(0, 25, (4, len(queue_time_s))),
        minutes_s,
        np.where(is_queue, 51.0, 57.0),
    )


def make_marks(onset_s: float, *, jams: bool) -> tuple[AlertMark, ...]:
    """A warning 20 minutes ahead that is confirmed where the jam comes."""
    log = AlertLog()

    def alert(level: Level, cleared_s: float | None = None) -> Alert:
        text = {
            "en": f"Tunnel: {level.value} <at about 07:00>.",
            "zh": f"隧道：约 07:00 {'拥堵已确认' if level is Level.CONFIRMED else '预计拥堵'}。",
        }
        return Alert(
            "tunnel@1", "tunnel", level, onset_s - 1200, onset_s, cleared_s, None, 0.8, text, ()
        )

    log.add(onset_s - 1200, [alert(Level.WARNING)])
    log.add(onset_s - 1170, [alert(Level.WARNING)])
    if jams:
        log.add(onset_s + 180, [alert(Level.CONFIRMED)])
        log.add(onset_s + 4500, [alert(Level.CONFIRMED, onset_s + 4500)])
    else:
        log.add(onset_s + 2400, [alert(Level.WARNING, onset_s + 2400)])
    return log.marks


def write_sumo_files(folder: Path, spent_s: float, end_s: float = 8 * 3600) -> None:
    """Trips of two purposes: one arrived, one on the road at the end, one that never departed.

    A fourth is due in the last second, in which nobody departs any more.
    """
    (folder / "tripinfo.xml").write_text(
        f"""<tripinfos>
        <tripinfo id="tunnel.0" depart="25000" departDelay="20.5" arrival="{25000 + spent_s}"
          duration="{spent_s}" routeLength="9000" vaporized=""/>
        <tripinfo id="local.0" depart="{end_s - 100}" departDelay="0" arrival="-1"
          duration="100" routeLength="1000" vaporized="end"/>
        <tripinfo id="local.1" depart="-1" departDelay="300" arrival="-1"
          duration="0" routeLength="5.1" vaporized="end"/>
        <tripinfo id="local.2" depart="-1" departDelay="0.1" arrival="-1"
          duration="0" routeLength="5.1" vaporized="end"/>
        </tripinfos>"""
    )
    (folder / "statistic.xml").write_text(
        f"""<statistics><performance begin="{BEGIN_S}" end="{end_s}"/>
        <vehicles loaded="3" inserted="2" running="1" waiting="1"/>
        <teleports total="0" jam="0"/><safety collisions="0"/></statistics>"""
    )


def write_run_of(
    folder: Path,
    response: str,
    seed: int,
    jam_m: float,
    spent_s: float,
    *,
    bare: bool = False,
    **truth: float,
) -> None:
    """A finished run in its place under the folder; `bare` of a city without mainline or gates."""
    onset_s = 7 * 3600.0 + 60.0 * seed
    with finished_folder(folder / response / f"seed-{seed}") as out:
        write_sumo_files(out, spent_s)
        statistic = read_statistic(out / "statistic.xml")
        trips = read_trips(out, ("tunnel", "local"), statistic)
        seen = make_truth(seed, jam_m, onset_s=onset_s, **truth)
        if bare:
            none = np.empty(0)
            seen = replace(
                seen, length_m=0.0, bottleneck_m=None, upstream_end_m=None, loops_m=(),
                time_s=none, x_m=none, speed_mps=none, gates=(), gate_length_m=none,
                queue_m=np.empty((0, len(seen.queue_time_s))), passed_veh=none, flow_end_s=none,
            )  # fmt: skip
        marks = make_marks(onset_s, jams=jam_m > 1000)
        log = RunLog("made-up", TITLE, response, seed, marks, int(response == "full"), 0, 12.5)
        write_run(out, compute_figures(trips, statistic, seen, log), seen, log)
