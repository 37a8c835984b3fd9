"""Who may import whom, what is declared, and how long a file may be (rules 1 to 7)."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("api", "bench", "controllers", "networks", "traffic")
SIBLINGS_ALLOWED = {
    "traffic": set[str](),
    "controllers": {"traffic"},
    "networks": {"traffic"},
    "api": {"controllers", "networks", "traffic"},
    "bench": {"api", "controllers", "networks", "traffic"},
}
DOMAIN_LIBRARIES = {"numba", "numpy", "ortools", "scipy"}
SUMO_USERS = {
    "libsumo": {"bench", "networks/sumo_field.py"},
    "sumo": {"networks"},
    "sumolib": {"networks"},
    "traci": {"bench", "networks/sumo_field.py"},
}
SUMO = set(SUMO_USERS)
WEB = {"fastapi", "httpx", "jinja2", "pydantic", "pydantic_settings", "sqlalchemy", "sse_starlette"}
WEB |= {"starlette", "typer", "uvicorn"}
MAX_LINES = 400
MAX_ENGINE_LINES = 150


def find_modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def find_imports(source: str) -> set[str]:
    """Return the top-level names that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def find_breaches(allowed: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return file -> what it imports of `allowed`'s names beyond those that are allowed to it."""
    breaches = {}
    for room in ROOMS:
        for path in find_modules(room):
            name = path.relative_to(ROOT).as_posix()
            found = find_imports(path.read_text(encoding="utf-8"))
            beyond = {n for n in found if n in allowed and not may_use(name, allowed[n])}
            if beyond:
                breaches[name] = beyond
    return breaches


def may_use(name: str, places: set[str]) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in places)


def test_an_import_is_found_wherever_it_stands() -> None:
    source = "import a.b\ndef f():\n    from c.d import e\n    from . import near\n"
    assert find_imports(source) == {"a", "c"}


def test_rooms_import_only_the_siblings_that_they_may() -> None:
    """Rule 1."""
    users = {
        sibling: {room for room in ROOMS if sibling in SIBLINGS_ALLOWED[room] | {room}}
        for sibling in ROOMS
    }
    assert all(find_modules(room) for room in ROOMS)
    assert find_breaches(users) == {}


def test_the_domain_uses_numerical_libraries_only() -> None:
    """Rule 2."""
    known = sys.stdlib_module_names | DOMAIN_LIBRARIES | {"traffic"}
    beyond = {
        path.name: found - known
        for path in find_modules("traffic")
        if (found := find_imports(path.read_text(encoding="utf-8"))) - known
    }
    assert beyond == {}


def test_sumo_is_known_to_networks_and_driven_by_its_field() -> None:
    """Rule 3; a benchmark may drive the bare simulation that it compares with."""
    assert find_breaches(SUMO_USERS) == {}


def test_the_web_and_the_command_line_stay_in_api() -> None:
    """Rule 4."""
    assert find_breaches({module: {"api"} for module in WEB}) == {}


IMPORT_ALL = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
failed = []
for room in {rooms!r}:
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(package.__path__, room + ".", failed.append):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError as error:
                failed.append(f"{{module.name}}: {{error}}")
print(*failed, sep="\\n")
"""


def import_all_without_sumo(
    rooms: Iterable[str], then: str = ""
) -> subprocess.CompletedProcess[str]:
    """Import every module of the rooms where SUMO is not to be found; stdout lists what failed."""
    code = IMPORT_ALL.format(blocked=sorted(SUMO), rooms=tuple(rooms)) + then
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_module_imports_on_a_machine_without_sumo() -> None:
    """Rule 5."""
    done = import_all_without_sumo(ROOMS)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


def test_the_block_on_sumo_blocks() -> None:
    """The test above would pass with a hook that does nothing."""
    done = import_all_without_sumo((), then="import sumolib")
    assert done.returncode == 1
    assert "No module named 'sumolib'" in done.stderr


def test_whatever_the_product_imports_is_declared() -> None:
    """Rule 6: a clean install has it; what came with another package may go again."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["bench"], *extras["forecast"]]
    declared = {re.split(r"[\[><=!~; ]", text)[0].lower().replace("_", "-") for text in wanted}
    owners = importlib.metadata.packages_distributions()
    undeclared = {}
    for room in ROOMS:
        for path in find_modules(room):
            found = find_imports(path.read_text(encoding="utf-8"))
            missing = {
                name
                for name in found - sys.stdlib_module_names - set(ROOMS)
                if not declared & {o.lower().replace("_", "-") for o in owners.get(name, [name])}
            }
            if missing:
                undeclared[path.relative_to(ROOT).as_posix()] = missing
    assert undeclared == {}


def test_files_stay_short_and_the_loop_shorter() -> None:
    """Rule 7."""
    long = {}
    for room in ROOMS:
        for path in find_modules(room):
            name = path.relative_to(ROOT).as_posix()
            limit = MAX_ENGINE_LINES if name == "traffic/engine.py" else MAX_LINES
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > limit:
                long[name] = lines
    assert long == {}
