"""The figures of evidence: what each says of a section, and how far it can reach."""

from collections.abc import Mapping

FLOOR = 15.0  # largest log likelihood ratio that is kept: traffic clears it soon
MOST_MISSING = 30.0  # vehicles

# Each is near 0 in usual traffic, with the largest value that is told apart from a larger one.
LARGEST_OF: Mapping[str, float] = {
    "starved_entry": FLOOR,
    "starved_middle": FLOOR,  # log likelihood ratio: the lane that gets less than its share
    "starved_exit": FLOOR,
    "crowded_entry": FLOOR,
    "crowded_middle": FLOOR,  # log likelihood ratio: the lane that gets more than its share
    "crowded_exit": FLOOR,
    "missing": 3.5,  # of vehicles that came in, ought to be out and are not, while nobody waits
    "collapsed_exit": FLOOR,  # log likelihood ratio: less comes out than is usual now
    "collapsed_entry": FLOOR,
    "fuller_above": 1.0,  # occupancy of entry over exit, beyond the usual
    "slower_above": 1.0,  # speed at the exit over entry in parts of free speed, beyond the usual
}
FIGURES = tuple(LARGEST_OF)
