"""What the docs say is so: their code runs, what they name exists (rule 40)."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer

from api import alerts, cli, console, operator, partners, trust
from api.assembly import RESPONSES
from api.seeds import parse_seeds
from api.settings import Settings

ROOT = Path(__file__).parents[1]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "bench").glob("*.md"), *(ROOT / "docs").rglob("*.md")])
READMES = ("README.md", "README.zh-CN.md")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def find_blocks(text: str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text) if found == language]


def find_commands(text: str) -> list[list[str]]:
    """Return the words of each command in a text's shell blocks, comments left out."""
    lines = "\n".join(find_blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def find_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


PYTHON_BLOCKS = [
    pytest.param(block, id=f"{path.name}-{i}")
    for path in DOCS
    for i, block in enumerate(find_blocks(path.read_text(encoding="utf-8"), "python"))
]


@pytest.mark.parametrize("block", PYTHON_BLOCKS)
def test_python_in_the_docs_runs(block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_named_targets_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = {words[1] for words in find_commands(text) if words[0] == "make"}
    named |= set(re.findall(r"`make ([a-z]+)`", text))
    assert named <= find_targets()


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_named_commands_are_understood(path: Path) -> None:
    """Each `traffic` line parses, options and all, and names known responses and seeds."""
    group = cast(Any, typer.main.get_command(cli.app))
    for words in find_commands(path.read_text(encoding="utf-8")):
        if words[0] == "traffic":
            assert words[1] in group.commands, words
            found, rest = group.commands[words[1]], list(words[2:])
            if rest and rest[0] in getattr(found, "commands", {}):
                found, rest = found.commands[rest[0]], rest[1:]
            asked = found.make_context(words[1], rest).params
            cli.parse_responses(str(asked.get("responses") or asked.get("response") or "none"))
            parse_seeds(str(asked.get("seeds") or asked.get("seed") or 1))


def test_both_readmes_name_the_same_commands_and_responses() -> None:
    one, other = (read(name) for name in READMES)
    assert find_commands(one)
    assert find_commands(one) == find_commands(other)
    for text in (one, other):
        assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(RESPONSES)


def test_the_main_job_is_what_the_readme_says() -> None:
    """`make run` writes where the README looks."""
    recipe = next(line for line in read("Makefile").splitlines() if "traffic compare" in line)
    out = shlex.split(recipe)[shlex.split(recipe).index("--out") + 1]
    for name in READMES:
        assert f"`{out}`" in read(name)


def test_ci_runs_the_readmes_test_command() -> None:
    assert ["make", "test"] in find_commands(read("README.md"))
    steps = read(".ci/run").splitlines()
    assert {"make check", "make smoke", "make test"} <= set(steps)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_local_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_rules_are_numbered_in_order_and_tests_cite_known_ones() -> None:
    numbers = [int(n) for n in re.findall(r"^(\d+)\. ", read("docs/rules.md"), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    for path in sorted((ROOT / "tests").glob("*.py")):
        cited = re.findall(r"\b[Rr]ule (\d+)", path.read_text(encoding="utf-8"))
        assert {int(n) for n in cited} <= set(numbers), path.name


def test_operations_lists_every_setting() -> None:
    listed = re.findall(r"^\| `TRAFFIC_(\w+)` \|", read("docs/operations.md"), re.MULTILINE)
    assert [name.lower() for name in listed] == list(Settings.model_fields)


def test_operations_lists_every_route() -> None:
    listed = re.findall(r"^\| `(GET|POST) (\S+)` \|", read("docs/operations.md"), re.MULTILINE)
    network = SimpleNamespace(links={}, approaches={}, detectors={}, bottlenecks={}, origin=None)
    service = cast(Any, SimpleNamespace(network=network, plans={}))
    settings = Settings()
    routers = (
        operator.build_router(service, settings, operator.EventLog(settings), "t" * 16),
        partners.build_router(service, settings),
        alerts.build_router(service, settings, "t" * 16),
        trust.build_router(service, settings),
        console.build_router(),
    )
    served = [
        (method, cast(Any, route).path)
        for router in routers
        for route in router.routes
        for method in cast(Any, route).methods
    ]
    assert sorted(listed) == sorted(served)
