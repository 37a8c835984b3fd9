"""What speaks for a blockage in each section, as a few figures each interval.

Counts are held against what the other lanes, the loops upstream and the time of day let expect.
Every figure is near 0 in usual traffic and has the same meaning on every road, so that one set of
weights serves all; what is unknown counts as 0.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from traffic.incidents.figures import FLOOR, MOST_MISSING
from traffic.incidents.normal import COUNT, OCCUPANCY, SPEED, Usual
from traffic.incidents.sections import ENTRY, EXIT, MIDDLE, Layout, Section, SectionKind
from traffic.readings import LoopBatch, Quality

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

WINDOW = 3  # intervals: about one cycle of a signal
REMNANT = 0.2  # share of a lane's flow that passes a blockage, if any
CLEAR = 3.0  # log likelihood ratio from which a lane is named
CROWD = 1.7  # times the odds of a vehicle to be in a lane that others have changed to
OWN_VEH = 30.0  # vehicles at a section's entry that count as much as the usual shares
STANDING = 0.3  # occupancy of a stop line that a queue reaches


def update_cusum(sums: Floats, count: Floats, expected: Floats, remnant: float) -> Floats:
    """Return Page's cumulative sums for a Poisson count that falls to `remnant` of its mean.

    S' = min(max(S + n ln r + e (1 - r), 0), FLOOR), by Page (1954) with the log likelihood ratio
    of Poisson means r e against e; where either is NaN, S stands.
    """
    gain = count * np.log(remnant) + expected * (1.0 - remnant)
    return np.asarray(np.clip(sums + np.nan_to_num(gain), 0.0, FLOOR))


def update_crowding(sums: Floats, count: Floats, total: Floats, share: Floats) -> Floats:
    """Return Page's sums for a lane whose vehicles' odds rise to CROWD times those of its share.

    S' = min(max(S + n ln c - N ln(1 + (c - 1) p), 0), FLOOR): the log likelihood ratio of n of N
    vehicles in a lane, binomial with odds c p / (1 - p) against p / (1 - p); NaN leaves S.
    """
    gain = count * np.log(CROWD) - total * np.log1p((CROWD - 1.0) * share)
    return np.asarray(np.clip(sums + np.nan_to_num(gain), 0.0, FLOOR))


class Evidence:
    """Follows the sections' loops; call `update` once for each batch, in order."""

    def __init__(self, sections: Sequence[Section], layout: Layout) -> None:
        self._layout = layout
        shape = layout.shape  # S x 3 stations x K lanes
        self._is_mainline = np.array([s.kind is SectionKind.MAINLINE for s in sections])
        # Lanes are counted from the left edge, where both stations begin alike.
        lanes = layout.is_loop.sum(axis=2)  # S x 3
        place = np.arange(shape[2])[None, :] + (lanes[:, ENTRY] - lanes[:, EXIT])[:, None]
        self._has_entry = (place >= 0) & (place < lanes[:, ENTRY, None])
        self._entry_of_exit = np.clip(place, 0, shape[2] - 1)
        self._is_exit = np.array([False, False, True])[None, :, None]
        self._lag = np.array([s.length_m / s.free_mps for s in sections]) / 30.0  # S, intervals
        self._free_mps = np.array([s.free_mps for s in sections])
        self._counts = np.full((WINDOW, *shape), np.nan)  # newest last
        self._occupancies = np.full((WINDOW, *shape), np.nan)
        self._speeds = np.full((WINDOW, *shape), np.nan)
        self._entered = np.zeros((int(self._lag.max(initial=0)) + 2, shape[0]))
        self._starved = np.zeros(shape)
        self._due = np.full((WINDOW, *shape), np.nan)
        self._crowded = np.zeros(shape)
        self._missing = np.zeros(shape[0])
        self._collapsed = np.zeros((3, shape[0]))
        self._level = 1.0  # of demand, to the usual

    def update(self, batch: LoopBatch, usual: Usual) -> Floats:
        """Return the figures of each section, S x F, see traffic.incidents.figures."""
        good = (batch.quality == Quality.GOOD) | (batch.quality == Quality.ESTIMATED)
        count, occupancy, speed = (
            self._layout.gather(np.where(good, values, np.nan))
            for values in (batch.count_veh, batch.occupancy, batch.speed_mps)
        )
        for kept, new in (
            (self._counts, count),
            (self._occupancies, occupancy),
            (self._speeds, speed),
        ):
            kept[:-1] = kept[1:]
            kept[-1] = new
        told = self._layout.gather(usual.normal.tell(batch.end_s - batch.interval_s / 2))
        u_count, u_occupancy, u_speed = told[COUNT], told[OCCUPANCY], told[SPEED]
        with np.errstate(invalid="ignore", divide="ignore"):
            # Turns divide a street's traffic, and change with the time of day.
            shares = np.where(
                self._is_mainline[:, None, None],
                usual.tell_shares(_sum(count, 2)),
                u_count / _sum(u_count, 2)[:, :, None],
            )
            shares = np.where(np.isnan(count), np.nan, shares)
            shares = shares / _sum(shares, 2)[:, :, None]
            self._crowded = update_crowding(
                self._crowded, count, _sum(count, 2)[:, :, None], self._carry(shares)
            )
            shares = self._temper(shares)
            self._compare_lanes(count, occupancy, shares)
            return self._judge(u_count, u_occupancy, u_speed)

    def _carry(self, shares: Floats) -> Floats:
        """Let a mainline's exit expect its shares (S x 3 x K) as the entry's lanes have them now.

        Who came in on a lane leaves on it, but for those who usually change in between. The few
        vehicles of a minute tell an entry's lanes but roughly, so the usual shares count in.
        """
        came = _sum(self._counts[:, :, ENTRY], 0)  # S x K
        total = np.nan_to_num(_sum(came, 1))[:, None]
        leave = shares[:, EXIT]
        usual, now = self._match(shares[:, ENTRY], came / total)
        carried = now * leave / usual
        carried = np.where(np.isfinite(carried), carried, leave)
        blend = (OWN_VEH * leave + total * carried) / (OWN_VEH + total)
        expected = shares.copy()
        expected[self._is_mainline, EXIT] = (blend / _sum(blend, 1)[:, None])[self._is_mainline]
        return expected

    def _match(self, *of_entry: Floats) -> tuple[Floats, ...]:
        """Return values of the entry's lanes (S x K) at the exit lanes that continue them."""
        return tuple(
            np.where(self._has_entry, np.take_along_axis(one, self._entry_of_exit, axis=1), np.nan)
            for one in of_entry
        )

    def _temper(self, shares: Floats) -> Floats:
        """Let a mainline's lane expect no more of its share than it had at the section's entry.

        Drivers choose lanes kilometers ahead, by what lies beyond; a blockage makes them change
        between two stations. What an entry's own lanes lack tells of the section before.
        """
        came = _mean(self._counts[:, :, ENTRY], 0)  # S x K
        came = came / _sum(came, 1)[:, None]
        leave = shares[:, EXIT]
        usual, now = self._match(shares[:, ENTRY], came)
        # A lane that begins in between, as at a ramp, expects nothing.
        due = np.fmin(np.minimum(leave, now), now * leave / usual)
        tempered = shares.copy()
        tempered[self._is_mainline, EXIT] = due[self._is_mainline]
        tempered[self._is_mainline, ENTRY] = np.nan
        return tempered

    def _compare_lanes(self, count: Floats, occupancy: Floats, shares: Floats) -> None:
        """Hold each lane's count (S x 3 x K) against its share of what its station counts."""
        due = np.where(np.isnan(count), np.nan, shares) * _sum(count, 2)[:, :, None]
        # Below a blockage a lane is empty; one that is full merely stands.
        due = np.where(occupancy < STANDING, due, 0.0)
        # Lanes are green at different times, so that at a stop line only whole cycles compare.
        self._due[:-1] = self._due[1:]
        self._due[-1] = due
        lane = np.where(self._is_exit, _mean(self._counts, 0), count)
        self._starved = update_cusum(
            self._starved, lane, np.where(self._is_exit, _mean(self._due, 0), due), REMNANT
        )

    def _judge(self, u_count: Floats, u_occupancy: Floats, u_speed: Floats) -> Floats:
        mean_count = _mean(self._counts, 0)  # S x 3 x K
        mean_occupancy = _mean(self._occupancies, 0)
        flow = _sum(mean_count, 2)  # S x 3
        u_flow = _sum(np.where(np.isnan(mean_count), np.nan, u_count), 2)
        self._follow_level(flow, u_flow)

        expected = self._level * u_flow.T
        self._collapsed = update_cusum(self._collapsed, flow.T, expected, REMNANT)

        entry_o, exit_o = _mean(mean_occupancy[:, ENTRY], 1), _mean(mean_occupancy[:, EXIT], 1)
        middle_o = _mean(mean_occupancy[:, MIDDLE], 1)
        above_o = np.fmax(entry_o, middle_o)
        u_entry, u_exit = _mean(u_occupancy[:, ENTRY], 1), _mean(u_occupancy[:, EXIT], 1)
        u_above = np.fmax(u_entry, _mean(u_occupancy[:, MIDDLE], 1))
        fuller = above_o - exit_o - (u_above - u_exit)

        speeds = _mean(_mean(self._speeds, 0), 2)  # S x 3
        u_speeds = _mean(u_speed, 2)
        slower = (speeds[:, EXIT] - speeds[:, ENTRY]) - (u_speeds[:, EXIT] - u_speeds[:, ENTRY])

        # Ramps between the ends let the usual flows differ.
        passing = np.nan_to_num(u_flow[:, EXIT] / u_flow[:, ENTRY], nan=1.0, posinf=1.0)
        missing = self._find_missing(mean_occupancy, exit_o, u_exit, np.clip(passing, 0.2, 1.0))
        figures = (
            _most(self._starved[:, ENTRY]),
            _most(self._starved[:, MIDDLE]),
            _most(self._starved[:, EXIT]),
            _most(self._crowded[:, ENTRY]),
            _most(self._crowded[:, MIDDLE]),
            _most(self._crowded[:, EXIT]),
            missing,
            self._collapsed[EXIT],
            self._collapsed[ENTRY],
            fuller,
            slower / self._free_mps,
        )
        return np.asarray(np.nan_to_num(np.stack(figures, axis=1)))

    def _follow_level(self, flow: Floats, u_flow: Floats) -> None:
        """Follow over a quarter of an hour how today's traffic compares with the usual."""
        known = ~np.isnan(flow[:, ENTRY]) & ~np.isnan(u_flow[:, ENTRY])
        usual = u_flow[known, ENTRY].sum()
        if usual > 0:
            now = float(np.clip(flow[known, ENTRY].sum() / usual, 0.3, 2.0))
            self._level += (now - self._level) / 30.0

    def _find_missing(
        self, mean_occupancy: Floats, exit_o: Floats, u_exit: Floats, passing: Floats
    ) -> Floats:
        """Count those who came in a free-flow travel time ago and have not come out.

        `passing` is the share of them that usually leaves by the exit, S.
        """
        entered = np.nan_to_num(_sum(self._counts[-1, :, ENTRY], 1))
        left = np.nan_to_num(_sum(self._counts[-1, :, EXIT], 1))
        self._entered[:-1] = self._entered[1:]
        self._entered[-1] = entered
        whole = self._lag.astype(int)
        part = self._lag - whole
        rows = np.arange(len(whole))
        last = len(self._entered) - 1
        due = (1 - part) * self._entered[last - whole, rows] + part * self._entered[
            last - whole - 1, rows
        ]
        self._missing = np.clip(self._missing + passing * due - left, 0.0, MOST_MISSING)
        standing = np.nan_to_num(_most(mean_occupancy[:, EXIT])) >= STANDING
        self._missing[standing] *= 0.5
        emptier = np.clip(1 - exit_o / np.maximum(u_exit, 0.05), 0, 1)
        return np.asarray(np.log1p(self._missing) * np.nan_to_num(emptier))

    def find_starved(self, section: int) -> tuple[int, int] | None:
        """Return station and position in it of the lane that starves most; None if none does."""
        worst = self._starved[section]  # 3 x K
        if worst.max(initial=0.0) < CLEAR:
            return None
        station, position = np.unravel_index(int(worst.argmax()), worst.shape)
        return int(station), int(position)


def _mean(values: Floats, axis: int) -> Floats:
    known = ~np.isnan(values)
    number = known.sum(axis=axis)
    return np.asarray(
        np.where(number > 0, np.where(known, values, 0.0).sum(axis=axis) / number, np.nan)
    )


def _sum(values: Floats, axis: int) -> Floats:
    """Add lanes up, those not heard taken out; NaN where none is heard."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(known.any(axis=axis), total, np.nan))


def _most(values: Floats) -> Floats:
    """Return the largest of each row's lanes, 0 without any."""
    return np.asarray(np.nan_to_num(values).max(axis=1, initial=0.0))
