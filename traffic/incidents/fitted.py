"""Weights that `traffic bench incidents` fitted on its training days, and a usual threshold.

A city's own days give its own threshold: see traffic.incidents.raising.find_threshold.
"""

from collections.abc import Mapping

from traffic.incidents.sections import SectionKind
from traffic.incidents.weights import Weights

WEIGHTS: Mapping[SectionKind, Weights] = {
    SectionKind.STREET: Weights(
        -6.845,
        {
            "starved_entry": 0.462,
            "starved_middle": 0.512,
            "starved_exit": -0.895,
            "missing": 2.564,
            "collapsed_exit": 0.176,
            "collapsed_entry": 0.088,
            "covered_middle": 0.586,
            "covered_entry": 0.019,
            "fuller_above": 0.368,
            "slower_above": 0.002,
        },
    ),
    SectionKind.MAINLINE: Weights(
        -5.838,
        {
            "starved_entry": 0.0,
            "starved_middle": 0.0,
            "starved_exit": 0.288,
            "missing": 1.232,
            "collapsed_exit": 0.08,
            "collapsed_entry": -0.088,
            "covered_middle": 0.0,
            "covered_entry": 0.086,
            "fuller_above": 3.378,
            "slower_above": 6.304,
        },
    ),
}
THRESHOLD = 3.0  # between those of the benchmark's places for 0.75 false alarms per network-hour
