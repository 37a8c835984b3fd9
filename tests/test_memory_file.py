"""The file of what was learned: written whole or not at all, moved aside where it does not fit."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from real_engine import BEGIN_S, build_real_memory, build_road
from test_memory import assert_same, keep, run, to_utc

from api.errors import UserError
from api.memory import EVERY_S, FORMAT, check_memory, load_memory


def change_header(path: Path, **changes: object) -> None:
    with zipfile.ZipFile(path) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    with np.load(path) as stored:
        header = json.loads(stored["header"].tobytes()) | changes
    path.unlink()
    told = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members.items():
            if name != "header.npy":
                packed.writestr(name, content)
        with packed.open("header.npy", "w") as member:
            np.lib.format.write_array(member, told)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def bend(path: Path) -> None:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["array_0"] = np.zeros((2, *arrays["array_0"].shape))
    np.savez(path, **arrays)


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "another network": (lambda p: change_header(p, network="elsewhere"), "of network elsewhere"),
    "other loops": (
        lambda p: change_header(p, loops=["m0.0", "x1"]),
        "knows loops that are none: x1",
    ),
    "moved loops": (lambda p: change_header(p, layout_sha256="0"), "lay elsewhere"),
    "a newer format": (
        lambda p: change_header(p, format="traffic-memory/2"),
        f"format 'traffic-memory/2', this engine reads '{FORMAT}'",
    ),
    "cut off": (cut, "can't be read"),
    "a bit wrong": (spoil, "can't be read"),
    "another shape": (bend, "usual_m: [0] are not the axes of (2, 11)"),
    "no memory at all": (lambda p: p.write_text("hello"), "can't be read"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_fit_is_told_and_moved_aside_and_nothing_of_it_is_used(
    name: str, tmp_path: Path
) -> None:
    network = build_road()
    path = tmp_path / "memory.npz"
    first = keep(path, network)
    run(first.recall(lambda: build_real_memory(network), BEGIN_S), BEGIN_S, BEGIN_S + 1000, first)
    UNFIT[name][0](path)
    content = path.read_bytes()
    second = keep(path, network)
    memory = second.recall(lambda: build_real_memory(network), BEGIN_S)
    (notice,) = second.notices
    assert UNFIT[name][1] in notice
    assert "began without what was learned" in notice
    assert (tmp_path / "memory.npz.aside-1").read_bytes() == content
    assert_same(memory, build_real_memory(network))
    # It is kept from now on, and what was set aside stays.
    run(memory, BEGIN_S, BEGIN_S + EVERY_S, second)
    assert load_memory(path, network).header.learned_to == to_utc(BEGIN_S + EVERY_S)
    assert second.notices == (notice,)
    assert (tmp_path / "memory.npz.aside-1").read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["memory.npz", "memory.npz.aside-1"]


def test_a_file_that_cannot_be_moved_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_road()
    path = tmp_path / "memory.npz"
    path.write_text("hello")

    def refuse(*_: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(Path, "rename", refuse)
    file = keep(path, network)
    run(file.recall(lambda: build_real_memory(network), BEGIN_S), BEGIN_S, BEGIN_S + EVERY_S, file)
    assert "cannot be moved: not permitted" in file.notices[0]
    assert path.read_text() == "hello"


def test_a_full_disk_is_told_until_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_road()
    file = keep(tmp_path / "memory.npz", network)
    file.recall(lambda: build_real_memory(network), BEGIN_S)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        file.write()
    assert "No space left" in file.notices[0]
    assert not file.path.exists()
    file.write()
    assert file.notices == ()
    assert file.path.exists()


WRITER = """
import os, sys, time
from pathlib import Path
from real_engine import BEGIN_S, build_real_memory, build_road
from test_memory import keep

file = keep(Path(sys.argv[1]), build_road())
file.recall(lambda: build_real_memory(build_road()), BEGIN_S)
file.write()
os.fsync = lambda _: time.sleep(600)  # the disk takes its time
file.write()
"""


def test_death_in_the_midst_of_writing_leaves_the_memory_before(tmp_path: Path) -> None:
    path = tmp_path / "memory.npz"
    partial = tmp_path / "memory.npz.partial"
    here = Path(__file__).parent
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        env={**os.environ, "PYTHONPATH": f"{here}:{here.parent}"},
    )
    with writer:
        while not (path.exists() and partial.exists() and partial.stat().st_size > 10_000):
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
    assert load_memory(path, build_road()).header.learned_to == to_utc(BEGIN_S)
    file = keep(path, build_road())
    file.recall(lambda: build_real_memory(build_road()), BEGIN_S)
    file.write()
    assert file.notices == ()
    assert not partial.exists()


def test_a_place_where_nothing_can_be_kept_is_refused_before_the_start(tmp_path: Path) -> None:
    check_memory(None)
    check_memory(tmp_path / "memory.npz")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="is a folder"):
        check_memory(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        check_memory(tmp_path / "no" / "memory.npz")
