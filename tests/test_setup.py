"""Set-up tells a person who may not install system packages the one command to run."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[1] / "tools" / "setup.py"


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, on a Debian that lacks one library, for a person who is not root."""
    spec = importlib.util.spec_from_file_location("traffic_setup", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "find_missing_libraries", lambda: ["libGL.so.1"])
    monkeypatch.setattr(module, "find_privilege", lambda: None)
    return module


@pytest.mark.parametrize(
    ("programs", "command"),
    [
        ({"apt-get", "sudo"}, "sudo sh -c 'apt-get update && apt-get install --yes"),
        ({"apt-get"}, "su -c 'apt-get update && apt-get install --yes"),
        (set(), "Install them with this system's package manager"),
    ],
)
def test_the_command_by_hand_is_one_that_the_machine_has(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, programs: set[str], command: str
) -> None:
    monkeypatch.setattr(setup.shutil, "which", lambda name: name if name in programs else None)
    with pytest.raises(setup.SetupError) as caught:
        setup.install_libraries()
    assert command in str(caught.value)
    assert "libgl1" in str(caught.value)
