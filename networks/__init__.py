"""Scenarios and fields: the only place that knows the simulator."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from networks.scenario import Scenario

# Name -> title by language.
SCENARIOS: Mapping[str, Mapping[str, str]] = {
    "heishizi": {
        "en": "Heishizi: a morning on the G50 ahead of the tunnel",
        "zh": "黑石子:G50 隧道前的早高峰",
    },
    "heishizi-incident": {
        "en": "Heishizi, a tunnel lane closed from 07:05 to 07:45",
        "zh": "黑石子:07:05 至 07:45 隧道内一条车道关闭",
    },
    "heishizi-calm": {
        "en": "Heishizi on a calm morning, demand x 0.8",
        "zh": "黑石子:需求为 0.8 倍的平稳早晨",
    },
    "crossing": {
        "en": "Crossing: one isolated junction with protected lefts, below capacity",
        "zh": "十字路口：左转专用放行的孤立路口，未饱和",
    },
    "corridor": {
        "en": "Corridor: an arterial of five junctions, coordinated eastbound",
        "zh": "干线走廊：五个路口的主干路，东行方向绿波协调",
    },
    "onramp": {
        "en": "On-ramp: a merge that breaks down, fed by one gate",
        "zh": "入口匝道：合流处发生交通失效，由一个控流口供给",
    },
}

_scratch: list["tempfile.TemporaryDirectory[str]"] = []  # removed when the process ends


def load(name: str, seed: int = 1, folder: Path | None = None) -> "Scenario":
    """Load a built-in scenario, `resco:<map>`, or a SUMO configuration by its path (.sumocfg).

    Files are written into the folder, by default one that is removed when the process ends.
    Raises ModelError naming what is unknown, missing or can't be read.
    """
    from networks import builtin, external, resco
    from traffic.model import ModelError

    if seed < 0:
        raise ModelError(f"scenario {name}", [f"seed {seed} must not be negative"])
    is_configuration = name.endswith(".sumocfg")
    if name not in SCENARIOS and not name.startswith(resco.RESCO) and not is_configuration:
        known = ", ".join(SCENARIOS)
        problem = f"unknown; known are {known}, {resco.RESCO}<map>, and paths of a .sumocfg"
        raise ModelError(f"scenario {name}", [problem])
    if folder is None:
        _scratch.append(tempfile.TemporaryDirectory(prefix="traffic-"))
        folder = Path(_scratch[-1].name)
    folder = folder.resolve()  # the simulator reads relative paths from elsewhere
    if name in SCENARIOS:
        return builtin.build_scenario(name, folder, seed)
    if is_configuration:
        path = Path(name)
        title = {"en": f"{path.stem}, a SUMO scenario", "zh": f"SUMO 场景 {path.stem}"}
        return external.load_configuration(path, folder, seed, path.stem, title)
    return resco.load_resco(name, folder, seed)
