"""The domain stands alone: it imports no sibling, no simulator, no web, no storage."""

import ast
from pathlib import Path

DOMAIN = Path(__file__).parents[1] / "traffic"
OUTSIDE = {"api", "bench", "controllers", "networks"}
OUTSIDE |= {"fastapi", "libsumo", "sqlalchemy", "sumolib", "traci", "pydantic"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_the_domain_imports_nothing_outside_it() -> None:
    files = sorted(DOMAIN.rglob("*.py"))
    assert files
    assert {f.name: imported(f) & OUTSIDE for f in files if imported(f) & OUTSIDE} == {}
