"""How much each section looks blocked on its own, when nothing is: learned as time goes by.

Where lanes end, at ramps and at the head of a recurrent queue the figures of evidence rise on any
day. What they reach there now and then says nothing; on a quiet stretch half of it says much.
"""

import numpy as np
from numpy.typing import NDArray

from traffic.incidents.figures import FIGURES, LARGEST_OF

Floats = NDArray[np.float64]

HIGH = 0.98  # share of usual intervals that a background covers
TRUSTED = 60.0  # intervals after which a section's own past counts as much as its kind's
MEMORY = 20000.0  # intervals, a week, after which older ones are forgotten
# Of the largest value: steps of a tenth, from what is too little to matter.
EDGES = np.concatenate([[0.0], np.geomspace(0.003, 1.0, 60), [np.inf]])


class Background:
    """Histograms of each section's figures (S x F x bins) in usual intervals.

    `learn` takes an interval in; `tell` gives the level that HIGH of them stay below.
    """

    LEARNED = ("_seen",)

    def __init__(self, sections: int) -> None:
        self._largest = np.array([LARGEST_OF[name] for name in FIGURES])
        self._seen = np.zeros((sections, len(FIGURES), len(EDGES) - 1), np.float32)
        self._place = np.ogrid[:sections, : len(FIGURES)]

    def learn(self, figures: Floats, is_usual: NDArray[np.bool_]) -> None:
        """Take in the figures of an interval, S x F, of the sections (S) where it was usual."""
        if not is_usual.any():
            return
        at = np.searchsorted(EDGES, figures / self._largest) - 1
        at = np.clip(at, 0, self._seen.shape[2] - 1)
        sections, kinds = self._place
        new = np.broadcast_to(is_usual[:, None], at.shape)
        self._seen[new & (self._count() >= MEMORY)[:, None]] *= 1.0 - 1.0 / MEMORY
        np.add.at(self._seen, (sections, kinds, at), new.astype(np.float32))

    def _count(self) -> Floats:
        return np.asarray(self._seen[:, 0].sum(axis=1), float)

    def tell(self, of_kind: Floats) -> Floats:
        """Return the background of each section, S x F; `of_kind` (S x F) is that of its kind.

        A section that was watched for n intervals counts n, its kind TRUSTED.
        """
        own = self._count()[:, None]
        return np.asarray((own * self._find_high() + TRUSTED * of_kind) / (own + TRUSTED))

    def _find_high(self) -> Floats:
        below = np.cumsum(self._seen, axis=2, dtype=float)
        wanted = HIGH * below[:, :, -1]
        at = (below < wanted[:, :, None]).sum(axis=2)  # the bin that holds the quantile
        sections, kinds = self._place
        held = self._seen[sections, kinds, at]
        before = below[sections, kinds, at] - held
        part = np.where(held > 0, (wanted - before) / np.where(held > 0, held, 1.0), 0.0)
        upper = np.minimum(EDGES[at + 1], 1.0)
        high = EDGES[at] + part * (upper - EDGES[at])
        # The lowest bin is as good as nothing.
        return np.asarray(np.where(at > 0, np.minimum(high, 1.0), 0.0) * self._largest)
