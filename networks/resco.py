"""The RESCO benchmark maps: as they come, and under the benchmark's protocol.

Maps: Ault and Sharon, Reinforcement Learning Benchmarks for Traffic Signal Control, NeurIPS 2021
Datasets and Benchmarks; they come with the package sumo-rl.
"""

from dataclasses import replace
from importlib.util import find_spec
from itertools import combinations, permutations
from math import inf
from pathlib import Path

from networks.external import load_configuration
from networks.scenario import Scenario
from traffic.model import Intergreen, Junction, ModelError

RESCO = "resco:"

PROTOCOL_S = 3600.0  # from the begin of each map's own configuration
PROTOCOL_MIN_GREEN_S = 5.0
PROTOCOL_AMBER_S = 3.0
_OTHER_AMBER_S = {"arterial4x4": 2.0}


def find_resco_maps() -> dict[str, Path]:
    """Return map -> configuration of the installed sumo-rl package; empty without it.

    The package itself is not imported: it asks for a learning library that we have no use for.
    """
    spec = find_spec("sumo_rl")
    places = spec.submodule_search_locations if spec is not None else None
    files = [file for place in places or () for file in Path(place).glob("nets/RESCO/*/*.sumocfg")]
    return {file.parent.name: file for file in files}


def load_resco(name: str, folder: Path, seed: int) -> Scenario:
    """Load a RESCO map, `name` being resco:<map>; raises ModelError when it is not installed."""
    maps = find_resco_maps()
    if not maps:
        problem = "needs the package sumo-rl: pip install 'traffic-response[bench]'"
        raise ModelError(f"scenario {name}", [problem])
    map_id = name.removeprefix(RESCO)
    if map_id not in maps:
        raise ModelError(f"scenario {name}", [f"unknown map; known are {', '.join(sorted(maps))}"])
    title = {"en": f"RESCO benchmark, {map_id}", "zh": f"RESCO 基准路网 {map_id}"}
    return load_configuration(maps[map_id], folder, seed, name, title)


def load_protocol(map_id: str, folder: Path, seed: int) -> Scenario:
    """Load a RESCO map under the benchmark's protocol; raises ModelError as `load_resco` does.

    One hour in steps of one second, and junctions as of `free_junction`. The safe plan stays the
    map's own program. Every signal of the maps is in RESCO's published lists, so all are managed.
    """
    scenario = load_resco(f"{RESCO}{map_id}", folder, seed)
    hour = replace(scenario, end_s=scenario.begin_s + PROTOCOL_S, step_s=1.0)
    return free_scenario(hour, get_amber_s(map_id))


def get_amber_s(map_id: str) -> float:
    """Return the protocol's amber on a map, seconds."""
    return _OTHER_AMBER_S.get(map_id, PROTOCOL_AMBER_S)


def free_scenario(scenario: Scenario, amber_s: float = PROTOCOL_AMBER_S) -> Scenario:
    """Return the scenario with all its junctions as of `free_junction`."""
    network = scenario.network
    junctions = {id_: free_junction(j, amber_s) for id_, j in network.junctions.items()}
    return replace(scenario, network=replace(network, junctions=junctions))


def free_junction(junction: Junction, amber_s: float = PROTOCOL_AMBER_S) -> Junction:
    """Return the junction as the protocol has it: stages in any order, one amber, no all-red.

    What loses green shows amber for `amber_s`, and nothing that gains green starts before: hence
    phases that share no stage conflict, even where their paths do not cross. Green lasts 5 s at
    least; it has no other limit, nor has red, so that whatever forces a stage is the controller.
    A state of the program without green for traffic, as one on ingolstadt21, is no stage.
    """
    together = {
        frozenset(pair)
        for stage in junction.stages
        for pair in combinations(sorted(stage.green), 2)
    }
    phases = [phase.id for phase in junction.phases]
    apart = {frozenset(pair) for pair in combinations(phases, 2)} - together
    return replace(
        junction,
        phases=tuple(
            replace(phase, min_green_s=PROTOCOL_MIN_GREEN_S, max_green_s=inf, max_red_s=inf)
            for phase in junction.phases
        ),
        conflicts=junction.conflicts | apart,
        intergreens=dict.fromkeys(permutations(phases, 2), Intergreen(amber_s, 0.0)),
        successors=None,
    )
