"""A recording as the city: what was read once is read again, and nothing can be changed."""

from collections.abc import Iterable, Mapping

from traffic.control import Aspect, RawReadings, Sensing
from traffic.model import Network


class ReplayField:
    """Recorded readings in order; implements traffic.control.Field, no simulator needed.

    The recording is drawn one reading ahead and may be as long as a stream. Raises ValueError
    when it is empty or goes back in time, naming both moments.
    """

    def __init__(
        self,
        network: Network,
        recording: Iterable[RawReadings],
        sensing: Sensing = Sensing.LOOPS,
    ) -> None:
        self.network = network
        self.sensing = sensing
        self._rest = iter(recording)
        first = next(self._rest, None)
        if first is None:
            raise ValueError(f"recording of network {network.id} holds no readings")
        self._current = first
        self._next = next(self._rest, None)

    def read(self) -> RawReadings:
        return self._current

    def apply(self, shown: Mapping[str, Mapping[str, Aspect]]) -> None:
        """The recorded street has long shown its signals: nothing to do."""

    def advance(self) -> bool:
        """Go on to the next recorded second; False after the last."""
        if self._next is None:
            return False
        if self._next.now_s <= self._current.now_s:
            raise ValueError(
                f"recording of network {self.network.id}: reading at {self._next.now_s} s follows "
                f"the one at {self._current.now_s} s"
            )
        self._current, self._next = self._next, next(self._rest, None)
        return True
