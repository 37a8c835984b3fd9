"""What an engine has learned that outlives it: taken out whole, and put back into one built alike.

Kept is what takes hours or days to learn, and the course of the last minutes for those who are back
within them. Not kept is what people and the street know: alerts, responses, advice, findings that
stand, signals.
"""

from traffic.estimation import Estimator
from traffic.forecasting import LoopForesight
from traffic.incidents.normal import Usual
from traffic.intake import Intake
from traffic.learned import Learned, put_back, take_out


class Memory:
    """The parts of one engine that learn; `usual` is what its incident detector learns on."""

    LEARNED = ("health", "estimator", "forecaster", "usual")

    def __init__(
        self, health: Intake, estimator: Estimator, forecaster: LoopForesight, usual: Usual
    ) -> None:
        self.health, self.estimator, self.forecaster = health, estimator, forecaster
        self.usual = usual

    def take_out(self) -> Learned:
        """Return all that has been learned; later learning leaves it alone."""
        return take_out(self)

    def put_back(self, learned: Learned, rest_s: float | None) -> None:
        """Go on from what another has learned, `rest_s` ago by the same clock, None by another one.

        Raises ModelError with all that does not fit; then this memory is of no use.
        """
        put_back(self, learned)
        self.health.resume(rest_s)
        self.forecaster.resume(rest_s)
