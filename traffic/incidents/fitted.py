"""Weights that `traffic bench incidents` fitted on its training days, and a usual threshold.

A city's own days give its own threshold: see traffic.incidents.raising.find_threshold.
"""

from collections.abc import Mapping

from traffic.incidents.sections import SectionKind
from traffic.incidents.weights import Weights

WEIGHTS: Mapping[SectionKind, Weights] = {
    SectionKind.STREET: Weights(
        -7.148,
        {
            "starved_entry": 0.489,
            "starved_middle": 0.525,
            "starved_exit": -0.871,
            "missing": 2.602,
            "collapsed_exit": 0.192,
            "collapsed_entry": 0.085,
            "covered_middle": 0.605,
            "covered_entry": 0.033,
            "fuller_above": 0.334,
            "slower_above": -0.063,
        },
    ),
    SectionKind.MAINLINE: Weights(
        -5.904,
        {
            "starved_entry": 0.0,
            "starved_middle": 0.0,
            "starved_exit": 0.234,
            "missing": 0.985,
            "collapsed_exit": 0.083,
            "collapsed_entry": -0.119,
            "covered_middle": 0.0,
            "covered_entry": 0.122,
            "fuller_above": 2.179,
            "slower_above": 7.959,
        },
    ),
}
THRESHOLD = 3.0  # above the 1.0 to 2.7 of the benchmark: cautious until calibrated
