"""Can the interlock see to a large city each second? 1,000 junctions of four stages."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.registry import Case, benchmark
from traffic.control import Aspect, Command
from traffic.interlock import Interlock
from traffic.model import Intergreen, Junction, Movement, Phase, SafePlan, Stage

JUNCTIONS = 1000
SECONDS = 60
SLOT_S = 15.0
ARMS = ("north", "east", "south", "west")


@dataclass(frozen=True)
class Answer:
    """What the street shows in the last second, and the commands refused until then."""

    shown: Mapping[str, Mapping[str, Aspect]]
    vetoes: int


def build_junction(name: str) -> Junction:
    """Return a junction whose four arms take turns, each conflicting with the others."""
    phases = tuple(
        Phase(arm, (Movement(f"{name}-{arm}", f"{name}-{arm}-in", f"{name}-out"),)) for arm in ARMS
    )
    pairs = [(one, other) for one in ARMS for other in ARMS if one != other]
    return Junction(
        id=name,
        phases=phases,
        stages=tuple(Stage(arm, frozenset((arm,))) for arm in ARMS),
        conflicts=frozenset(frozenset(pair) for pair in pairs),
        intergreens={pair: Intergreen(3.0, 1.0) for pair in pairs},
        successors={arm: frozenset((ARMS[(i + 1) % len(ARMS)],)) for i, arm in enumerate(ARMS)},
    )


@benchmark("interlock", "interlock of 1,000 junctions, per second of the street", at_most=0.05)
def build(smoke: bool) -> Case[Answer]:
    """One minute of commands; a quarter of them name a stage that does not exist."""
    count = 8 if smoke else JUNCTIONS
    junctions = [build_junction(f"j{i}") for i in range(count)]
    plan = SafePlan(tuple((arm, SLOT_S) for arm in ARMS))

    def subject() -> Answer:
        interlock = Interlock(junctions, {j.id: plan for j in junctions}, 0.0)
        vetoes = 0
        shown: Mapping[str, Mapping[str, Aspect]] = {}
        for now_s in map(float, range(SECONDS)):
            wanted = plan.stage_at(now_s)
            commands = [
                Command(j.id, "unknown" if i % 4 == 0 else wanted, now_s, now_s + 5.0, "bench")
                for i, j in enumerate(junctions)
            ]
            shown, refused = interlock.admit(commands, now_s)
            vetoes += len(refused)
        return Answer(shown, vetoes)

    def check(answer: Answer) -> Mapping[str, tuple[object, object]]:
        green = sum(heads["west"] is Aspect.GREEN for heads in answer.shown.values())
        lit = sum(a is not Aspect.RED for heads in answer.shown.values() for a in heads.values())
        return {
            "junctions that show the last arm green at the end": (count, green),
            "arms that show anything but red at the end": (count, lit),
            "vetoes": (SECONDS * count // 4, answer.vetoes),
        }

    return Case(subject, float(SECONDS), check)
