"""Set up `.venv` with the locked versions, and the system libraries that SUMO's wheels expect.

Standard library only: it runs before anything is installed. Safe to run again; with nothing to
do it ends at once. Exits 1 with one message when it cannot go on.
"""

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
READY = VENV / "ready"  # holds the fingerprint of what was installed
LOCK = ROOT / "requirements.lock"

# Shared library -> Debian package. The wheels bring the rest of what they link to.
LIBRARIES = {
    "libX11.so.6": "libx11-6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libGL.so.1": "libgl1",
    "libatomic.so.1": "libatomic1",
}


class SetupError(Exception):
    """Something that a person has to do first."""


def find_missing_libraries() -> list[str]:
    """Return the shared libraries that the loader does not find; only Linux needs them here."""
    if not sys.platform.startswith("linux"):
        return []
    missing = []
    for library in LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(library)
    return missing


def find_privilege() -> list[str] | None:
    """Return the prefix with which apt may install: none as root, sudo without a password."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0:
        return [sudo, "-n"]
    return None


def write_as_root(command: str) -> str:
    """Return the line by which a person gives this command as root; a bare Debian has no sudo."""
    return f"{'sudo sh -c' if shutil.which('sudo') else 'su -c'} {shlex.quote(command)}"


def install_libraries() -> None:
    """Install the missing libraries with apt, or raise with the one command that does."""
    missing = find_missing_libraries()
    if not missing:
        return
    packages = [LIBRARIES[library] for library in missing]
    if shutil.which("apt-get") is None:
        raise SetupError(
            f"SUMO needs {', '.join(missing)} (on Debian: {' '.join(packages)}).\n"
            "Install them with this system's package manager, then run `make setup` again."
        )
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    by_hand = (
        f"SUMO needs {', '.join(missing)}. Run this, then `make setup` again:\n"
        f"    {write_as_root(f'apt-get update && {shlex.join(install)}')}"
    )
    privilege = find_privilege()
    if privilege is None:
        raise SetupError(by_hand)
    print(f"Installing {' '.join(packages)} with apt", flush=True)
    quiet = [*privilege, "env", "DEBIAN_FRONTEND=noninteractive"]
    for command in (["apt-get", "update", "--quiet"], install):
        if subprocess.run([*quiet, *command]).returncode != 0:
            raise SetupError(f"apt-get failed. {by_hand}")
    left = find_missing_libraries()
    if left:
        raise SetupError(
            f"apt-get installed {' '.join(packages)}, yet {', '.join(left)} is missing"
        )


def compute_fingerprint() -> str:
    """Return a digest of all that decides what is installed, and of where."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for path in (ROOT / "pyproject.toml", LOCK):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def install_packages() -> None:
    """Build `.venv` when it is not there and bring it to the locked versions."""
    fingerprint = compute_fingerprint()
    python = VENV / "bin" / "python"
    if python.exists() and READY.exists() and READY.read_text().strip() == fingerprint:
        return
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)])
        if made.returncode != 0:
            shutil.rmtree(VENV, ignore_errors=True)  # half a venv would pass for a whole one
            install = write_as_root("apt-get install --yes python3-venv")
            raise SetupError(f"python3 has no venv. On Debian:\n    {install}")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
    if subprocess.run(
        [*pip, "--constraint", str(LOCK), "--editable", ".[dev,forecast]"], cwd=ROOT
    ).returncode:
        raise SetupError("pip could not install the packages; its message is above")
    READY.write_text(fingerprint + "\n")


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 - the interpreter here is the person's own
        print(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 1
    try:
        install_libraries()
        install_packages()
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
