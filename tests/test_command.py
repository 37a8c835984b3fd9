"""The command as its users meet it: what a run leaves, how it ends, what it says when it can't."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from synthetic import write_run_of
from towns import write_town

from api import comparing, entry
from api.errors import FaultError, UserError
from api.runs import Run
from api.seeds import parse_seeds
from api.workers import Failure, run_all

ROOT = Path(__file__).parents[1]
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `traffic` in this process; return its exit code and all that it said."""

    def call(*words: object) -> tuple[int, str]:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        monkeypatch.setattr(sys, "argv", ["traffic", *map(str, words)])
        try:
            with pytest.raises(SystemExit) as left:
                entry.main()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, said.out + said.err

    return call


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_town(tmp_path_factory.mktemp("town"))


@pytest.fixture(scope="module")
def kept(town: Path) -> Path:
    """The folder of one run by the real command."""
    out = town.parent / "out"
    words = ("run", town.name, "--response", "full", "--seed", "4", "--out", "out")
    done = subprocess.run(
        [sys.executable, "-m", "api.entry", *words],
        cwd=town.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "town has no bottleneck, or no means, for full" in done.stderr
    return out


def test_a_run_keeps_its_evidence(kept: Path) -> None:
    run = kept / "full" / "seed-4"
    copied = {"net.xml", "routes.xml", "additional-1.xml", "additional-2.xml"}
    written = {"tripinfo.xml", "statistic.xml", "tls_states.xml", "journal.jsonl"}
    made = {"figures.json", "series.json"}
    assert {path.name for path in run.iterdir()} == copied | written | made
    assert {path.name for path in kept.iterdir()} == {"full", "summary.json", "report.html"}


def test_the_demand_is_counted_by_the_simulators_own_account(kept: Path) -> None:
    """Not from the route file: there are several, flows name nobody, and some are due too early."""
    figures = json.loads((kept / "full" / "seed-4" / "figures.json").read_text())["figures"]
    assert figures["vehicles"] == 301
    assert 0 < figures["never_departed"] < 300
    assert figures["arrived"] + figures["never_departed"] < 301
    statistic = (kept / "full" / "seed-4" / "statistic.xml").read_text()
    assert f'waiting="{figures["never_departed"]}"' in statistic


def test_a_run_is_repeated_from_its_journal_from_anywhere(kept: Path, command: Command) -> None:
    assert command("replay", kept / "full" / "seed-4") == (
        0,
        "500 steps repeated, every record the same\n",
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: lines[:90], "line 91 is missing: the recording was cut off there"),
        (lambda lines: [*lines[:90], lines[90][:20]], "line 91: not JSON"),
        (lambda lines: lines[:1], "line 2 is missing: the recording holds no step"),
        (lambda lines: [], "line 1: expected the header of a run"),
        (lambda lines: [*lines, lines[-1]], "line {} follows the end of the run"),
        (lambda lines: [*lines[:50], lines[51], lines[50], *lines[52:]], "s follows the one at"),
        (lambda lines: [lines[0].replace('"seed":4', '"seed":"x"'), *lines[1:]], "seed is 'x'"),
        (lambda lines: [lines[0].replace("[]", '["x"]'), *lines[1:]], "has no junction x"),
        (
            lambda lines: [line.replace("stop_line_west_0", "lost") for line in lines],
            "the scenario has no loop lost",
        ),
        (lambda lines: [*lines[:50], lines[50].replace('"t":', '"t" :'), *lines[51:]], "differs"),
    ],
)
def test_a_spoilt_journal_is_named_with_where(
    kept: Path,
    tmp_path: Path,
    command: Command,
    spoil: Callable[[list[str]], list[str]],
    message: str,
) -> None:
    lines = (kept / "full" / "seed-4" / "journal.jsonl").read_text().splitlines(keepends=True)
    journal = tmp_path / "journal.jsonl"
    journal.write_text("".join(spoil(lines)))
    code, said = command("replay", tmp_path)
    assert code == 2
    assert f"{journal}: " in said
    assert message.format(len(lines) + 1) in said


def test_a_missing_journal_is_named(tmp_path: Path, command: Command) -> None:
    assert command("replay", tmp_path) == (
        2,
        f"{tmp_path / 'journal.jsonl'}: No such file or directory\n",
    )


def test_all_problems_are_told_at_once(tmp_path: Path, command: Command) -> None:
    (tmp_path / "file").touch()
    words = ("compare", "nowhere", "--responses", "none,all", "--seeds", "x,²")
    code, said = command(*words, "--out", tmp_path / "file")
    assert code == 2
    for problem in (
        "response 'all': expected one of none,",
        "'x' is no seed",
        "'²' is no seed",
        "scenario nowhere: unknown",
        f"--out {tmp_path / 'file'}: {tmp_path / 'file'} is a file",
    ):
        assert problem in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [
        ("run",),
        ("run", "heishizi", "--seed", "-1"),
        ("run", "heishizi", "--seed", "99999999999"),
        ("compare", "heishizi", "--out", "x", "--jobs", "0"),
        ("serve", "--port", "70000"),
        ("serve", "--nonsense"),
        ("nonsense",),
    ],
)
def test_a_line_that_cannot_be_read_is_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, words: tuple[str, ...]
) -> None:
    """Rule 35."""
    monkeypatch.chdir(tmp_path)
    code, said = command(*words)
    assert code == 2
    assert "Usage: traffic" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "5-1", "1-", "-1", "a", "1,,2", "²", "1-99999", "9" * 30])
def test_nonsense_is_no_seed(text: str) -> None:
    with pytest.raises(UserError, match="is no seed and no range"):
        parse_seeds(text)


def test_a_message_stays_as_it_is_meant(tmp_path: Path, command: Command) -> None:
    """A terminal's markup and emoji would change it: h:m:s has a letter M in a circle."""
    write_town(tmp_path)
    path = tmp_path / "town.sumocfg"
    path.write_text(path.read_text().replace('value="600"', 'value="[red]"'))
    code, said = command("run", path)
    assert (code, said) == (
        2,
        f"configuration {path}: end '[red]' is no time in seconds or h:m:s\n",
    )


def test_runs_of_another_scenario_or_broken_ones_are_not_mixed_in(
    town: Path, tmp_path: Path, command: Command
) -> None:
    write_run_of(tmp_path, "none", 1, 0.0, 900.0)
    code, said = command("run", town, "--out", tmp_path)
    assert code == 2
    assert "none seed 1 there belongs to scenario made-up" in said
    (tmp_path / "none" / "seed-1" / "figures.json").write_text("{")
    code, said = command("run", town, "--out", tmp_path)
    assert code == 2
    assert "figures.json: broken JSON" in said


def test_a_file_in_the_place_of_a_response_is_named(town: Path, tmp_path: Path) -> None:
    (tmp_path / "full").touch()
    with pytest.raises(UserError, match=r"full is a file"):
        comparing.check_out(tmp_path, str(town))


def test_the_first_response_is_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for response, spent_s in (("none", 900.0), ("nav", 800.0), ("full", 700.0)):
        write_run_of(tmp_path, response, 1, 0.0, spent_s)
    monkeypatch.setattr(comparing, "run_all", lambda *_: ())
    runs = [Run("made-up", "nav", 1, tmp_path)]
    comparing.compare(runs, 1, Console(quiet=True), "nav")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["baseline"] == "nav"
    assert set(summary["differences"]) == {"none", "full"}


def test_one_problem_of_many_runs_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [Run("town", "none", seed, tmp_path) for seed in (1, 2)]
    failures = tuple(Failure(run, "no road") for run in runs)
    monkeypatch.setattr(comparing, "run_all", lambda *_: failures)
    with pytest.raises(UserError, match=r"^none seed 1, none seed 2: no road$"):
        comparing.compare(runs, 1, Console(quiet=True))
    crashed = (*failures, Failure(runs[0], "a fault of ours", is_fault=True))
    monkeypatch.setattr(comparing, "run_all", lambda *_: crashed)
    with pytest.raises(FaultError):
        comparing.compare(runs, 1, Console(quiet=True))


@pytest.fixture(scope="module")
def long_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day's simulation, so that a run is under way when it is first heard of."""
    return write_town(tmp_path_factory.mktemp("long"), 86_400.0)


def test_a_run_that_dies_leaves_the_others_alone(
    town: Path, long_town: Path, tmp_path: Path
) -> None:
    dying = Run(str(long_town), "none", 1, tmp_path)
    broken = Run(str(town.parent / "gone.sumocfg"), "none", 2, tmp_path)
    other = Run(str(town), "none", 3, tmp_path)

    def hear(run: Run, share: float) -> None:
        if run == dying and 0 < share < 1:
            for process in multiprocessing.active_children():
                if process.name == "none seed 1":
                    process.kill()

    failures = run_all((dying, broken, other), 2, hear)
    told = {failure.run: failure.message for failure in failures}
    assert told[dying] == "the simulator's process died (SIGKILL)"
    assert told[broken].endswith("gone.sumocfg: does not exist")
    assert other.target.is_dir()
    assert [p.name for p in tmp_path.rglob("*") if p.name.endswith(".partial")] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_end_it_leaves_what_was_finished_and_nothing_half_written(
    long_town: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Rule 33."""
    out = tmp_path / "out"
    write_run_of(out, "none", 7, 0.0, 900.0)
    done = out / "none" / "seed-7" / "figures.json"
    done.write_text(done.read_text().replace('"made-up"', json.dumps(str(long_town))))
    # The real command, but that it tells when a run has begun.
    program = (
        "from api import comparing, entry\n"
        "run_all = comparing.run_all\n"
        "def tell(*word): print('under way', flush=True)\n"
        "comparing.run_all = lambda runs, jobs, hear: run_all(runs, jobs, tell)\n"
        "entry.main()\n"
    )
    words = ("compare", long_town, "--responses", "none,nav", "--seeds", "1-2", "--out", out)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while "under way" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        said, told = process.communicate(timeout=60)
    assert (process.returncode, told.strip().splitlines()[-1]) == (code, "interrupted")
    assert "Traceback" not in said + told
    assert {path.name for path in out.iterdir()} == {"none", "summary.json", "report.html"}
    assert [path.name for path in (out / "none").iterdir()] == ["seed-7"]
    assert list(json.loads((out / "summary.json").read_text())["responses"]) == ["none"]
    assert list(scratch.iterdir()) == []
