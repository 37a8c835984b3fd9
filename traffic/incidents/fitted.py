"""What `traffic bench incidents` learned on its training days, and a usual threshold.

A city's own days give its own threshold: see traffic.incidents.raising.find_threshold.
"""

from collections.abc import Mapping

from traffic.incidents.chance import Calibration
from traffic.incidents.sections import SectionKind
from traffic.incidents.weights import Weights

WEIGHTS: Mapping[SectionKind, Weights] = {
    SectionKind.STREET: Weights(
        -6.096,
        {
            "starved_entry": 0.967,
            "starved_middle": 0.985,
            "starved_exit": 0.0,
            "crowded_entry": 0.189,
            "crowded_middle": 0.328,
            "crowded_exit": 0.054,
            "missing": 5.725,
            "collapsed_exit": 0.488,
            "collapsed_entry": 0.088,
            "fuller_above": 12.245,
            "slower_above": 1.381,
        },
    ),
    SectionKind.MAINLINE: Weights(
        -5.82,
        {
            "starved_entry": 0.0,
            "starved_middle": 0.0,
            "starved_exit": 0.388,
            "crowded_entry": 0.0,
            "crowded_middle": 0.0,
            "crowded_exit": 0.486,
            "missing": 6.676,
            "collapsed_exit": 0.0,
            "collapsed_entry": 0.0,
            "fuller_above": 0.0,
            "slower_above": 18.355,
        },
    ),
}

# What figures reach on a section of a kind when nothing is blocked, until its own days tell: the
# third quartile of the sections.
BACKGROUND: Mapping[SectionKind, Mapping[str, float]] = {
    SectionKind.STREET: {
        "starved_entry": 2.2,
        "starved_middle": 2.8,
        "starved_exit": 2.0,
        "crowded_entry": 2.9,
        "crowded_middle": 3.5,
        "crowded_exit": 2.8,
        "missing": 0.8,
        "collapsed_exit": 3.6,
        "collapsed_entry": 3.5,
        "fuller_above": 0.27,
        "slower_above": 0.55,
    },
    SectionKind.MAINLINE: {
        "starved_entry": 0.0,
        "starved_middle": 0.0,
        "starved_exit": 1.0,
        "crowded_entry": 15.0,
        "crowded_middle": 0.0,
        "crowded_exit": 14.0,
        "missing": 1.1,
        "collapsed_exit": 14.0,
        "collapsed_entry": 14.0,
        "fuller_above": 0.18,
        "slower_above": 0.19,
    },
}
THRESHOLD = 9.0  # the highest of the benchmark's places: cautious until calibrated
CHANCE = Calibration(1.164, 0.337, -2.841, -0.811)
