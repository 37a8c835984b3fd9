"""Weights and threshold that `traffic bench incidents` fitted on its training days."""

from collections.abc import Mapping

from traffic.incidents.evidence import FIGURES
from traffic.incidents.sections import SectionKind
from traffic.incidents.weights import Weights

WEIGHTS: Mapping[SectionKind, Weights] = {
    kind: Weights(-6.0, dict.fromkeys(FIGURES, 0.3)) for kind in SectionKind
}
THRESHOLD = 10.0
