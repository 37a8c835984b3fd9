"""`traffic serve` as a real process: a simulated city behind the doors, from start to end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from towns import write_town

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_town(tmp_path_factory.mktemp("town"), 86_400.0)


@contextmanager
def serving(*words: object, cwd: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRAFFIC_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "api.entry", "serve", *map(str, words)],
        cwd=cwd,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_url(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().split()[-1]


def test_it_ends_at_once_on_ctrl_c_with_a_reader_and_its_journal_can_be_repeated(
    town: Path, tmp_path: Path
) -> None:
    (tmp_path / "journal.jsonl").write_text("of an earlier run\n")
    token = "a-token-of-the-tests"
    words = ("--scenario", town, "--speed", "inf")
    with (
        serving(*words, cwd=tmp_path, TRAFFIC_PORT="0", TRAFFIC_TOKEN=token) as process,
        httpx.Client(base_url=read_url(process)) as client,
        client.stream("GET", "/v1/events") as events,
    ):
        next(events.iter_lines())
        while client.get("/v1/state").status_code != 200:
            assert process.poll() is None
        order = "/v1/responses/none/activate"
        headers = {"Authorization": f"Bearer {token}"}
        assert client.post(order, headers=headers).status_code == 404
        process.send_signal(signal.SIGINT)
        said, told = process.communicate(timeout=30)
    assert (process.returncode, said, told) == (130, "", "interrupted\n")
    assert (tmp_path / "journal.1.jsonl").read_text() == "of an earlier run\n"
    repeated = subprocess.run(
        [sys.executable, "-m", "api.entry", "replay", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert repeated.returncode == 0, repeated.stderr
    assert "every record the same" in repeated.stdout


def test_the_environment_says_where_to_listen_unless_the_command_does(
    town: Path, tmp_path: Path
) -> None:
    words = ("--scenario", town, "--port", "0")
    with serving(*words, cwd=tmp_path, TRAFFIC_PORT="1", TRAFFIC_HOST="127.0.0.2") as process:
        url = read_url(process)
        assert url.startswith("http://127.0.0.2:")
        assert httpx.get(f"{url}/v1/health").status_code == 200
        address = ("--port", url.rpartition(":")[2], "--host", "127.0.0.2")
        with serving("--scenario", town, *address, cwd=tmp_path) as second:
            _, told = second.communicate(timeout=30)
        assert second.returncode == 2
        assert told.startswith(f"cannot listen on 127.0.0.2 port {address[1]}: Address already in")


def test_all_that_cannot_be_is_told_before_it_starts(tmp_path: Path) -> None:
    words = ("--scenario", "nowhere", "--speed", "nan", "--journal", tmp_path)
    with serving(*words, cwd=tmp_path, TRAFFIC_TOKEN="half-secret", TRAFFIC_DAY="soon") as process:
        said, told = process.communicate(timeout=30)
    assert (process.returncode, said) == (2, "")
    problems = told.splitlines()
    assert [line.partition(": ")[0] for line in problems] == [
        "setting token",
        "setting day",
        "service",
        "scenario nowhere",
        f"--journal {tmp_path}",
    ]
    assert "half-secret" not in told
    assert list(tmp_path.iterdir()) == []


def run_until(process: "subprocess.Popen[str]", time: str) -> dict[str, Any]:
    """Wait until the engine's clock is there; return its health, and end it."""
    with httpx.Client(base_url=read_url(process)) as client:
        while True:
            answer = client.get("/v1/state")
            if answer.status_code == 200 and answer.json()["time"] >= time:
                break
            assert process.poll() is None
        health: dict[str, Any] = client.get("/v1/health").json()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    return health


def find_days_heard(memory: Path) -> set[str]:
    """The kinds of days of which profiles hold readings."""
    with np.load(memory) as stored:
        profiles = [a for a in (stored[name] for name in stored.files) if a.shape[:2] == (2, 288)]
    assert profiles
    names = enumerate(("a workday", "a weekend"))
    return {name for kind, name in names if any(one[kind].any() for one in profiles)}


def test_the_date_says_which_kind_of_day_it_is(town: Path, tmp_path: Path) -> None:
    words = ("--scenario", town, "--speed", "inf")
    setting = {"TRAFFIC_PORT": "0", "TRAFFIC_MEMORY": "learned.npz", "TRAFFIC_DAY": "2025-03-15"}
    with serving(*words, cwd=tmp_path, **setting) as process:
        run_until(process, "2025-03-14T16:20")
    assert find_days_heard(tmp_path / "learned.npz") == {"a weekend"}


def test_it_goes_on_from_what_was_learned_and_its_journal_can_still_be_repeated(
    town: Path, tmp_path: Path
) -> None:
    words = ("--scenario", town, "--speed", "inf")
    setting = {"TRAFFIC_PORT": "0", "TRAFFIC_MEMORY": "learned.npz"}
    memory = tmp_path / "learned.npz"
    with serving(*words, cwd=tmp_path, **setting) as process:
        assert run_until(process, "2025-03-09T16:20")["reasons"] == []
    content = memory.read_bytes()
    with serving(*words, cwd=tmp_path, **setting, TRAFFIC_DAY="2025-03-11") as process:
        assert run_until(process, "2025-03-10T16:20")["reasons"] == []
    assert memory.read_bytes() != content
    assert find_days_heard(memory) == {"a workday"}
    (copy,) = tmp_path.glob("memory-*.npz")
    assert copy.read_bytes() == content
    repeated = subprocess.run(
        [sys.executable, "-m", "api.entry", "replay", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert repeated.returncode == 0, repeated.stderr
    copy.unlink()
    repeated = subprocess.run(
        [sys.executable, "-m", "api.entry", "replay", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert repeated.returncode == 2
    assert copy.name in repeated.stderr
    memory.write_text("something else")
    with serving(*words, cwd=tmp_path, **setting) as process:
        health = run_until(process, "2025-03-09T16:20")
    assert health["health"] == "degraded"
    assert "began without what was learned: learned.npz: can't be read" in health["reasons"][0]
    assert (tmp_path / "learned.npz.aside-1").read_text() == "something else"


def test_a_memory_without_a_place_is_refused(town: Path, tmp_path: Path) -> None:
    words = ("--scenario", town, "--port", "0")
    with serving(*words, cwd=tmp_path, TRAFFIC_MEMORY="no/such/file") as process:
        _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (
        2,
        "setting memory: no/such/file: No such file or directory\n",
    )
