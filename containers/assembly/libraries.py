"""The files of an image above its base: locked wheels, lading, bytecode. What the Dockerfile does with RUN."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

from lading.errors import InvalidInput, LadingError

ROOT = Path(__file__).parent.parent.parent
"""The checkout."""
PREPARE = ROOT / "containers" / "serving" / "prepare.py"
LIBRARIES = "opt/lading/lib"
"""Where libraries lie in an image, relative to its root."""

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_GLIBC = range(28, 16, -1)  # 2.28 is older than that of any base of today: Debian 10, RHEL 8


def install_libraries(lock: Path, into: Path, *, version: str, architecture: str) -> None:
    """Unpack the locked wheels for an image of any architecture; hashes are checked, nothing is run or built.

    Args:
        lock: Requirements with hashes.
        into: The root of the image's files.
        version: Of the image's Python: ``3.12``.
        architecture: As OCI calls it.

    Raises:
        InvalidInput: there are no wheels for the architecture.
        LadingError: pip cannot get them.
    """
    if architecture not in _MACHINES:
        raise InvalidInput(f"expected a base for linux/{' or linux/'.join(_MACHINES)}, found one for {architecture}")
    machine = _MACHINES[architecture]
    chosen = into / "requirements.txt"
    chosen.write_text(requirements_for(lock, version, machine))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC] + [f"manylinux2014_{machine}"]
    _pip("install", "--no-compile", "--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp",
         f"--python-version={version}", *(f"--platform={name}" for name in platforms),
         "--target", into / LIBRARIES, "-r", chosen)  # fmt: skip
    chosen.unlink()


def install_source(lock: Path, into: Path, scratch: Path) -> None:
    """Install what comes as a source, is for every platform, and is built on this machine: kfp.

    Args:
        lock: Requirements with hashes.
        into: The root of the image's files.
        scratch: Where the wheels may lie meanwhile.

    Raises:
        LadingError: pip cannot get or build it.
    """
    _pip("wheel", "--no-deps", "--require-hashes", "-w", scratch, "-r", lock)
    names = [line.partition("==")[0] for line in lock.read_text().splitlines() if "==" in line]
    _pip("install", "--no-compile", "--no-deps", "--no-index", "--find-links", scratch,
         "--target", into / LIBRARIES, *names)  # fmt: skip


def install_lading(into: Path, scratch: Path) -> None:
    """Install this checkout of lading.

    Args:
        into: The root of the image's files.
        scratch: Where its wheel may lie meanwhile.

    Raises:
        LadingError: hatchling is missing, or fails.
    """
    _pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", scratch, ROOT)
    # By its name: of a wheel by its path pip would note the path.
    _pip("install", "--no-compile", "--no-deps", "--no-index", "--find-links", scratch,
         "--target", into / LIBRARIES, "lading")  # fmt: skip
    for tool in (into / LIBRARIES / "bin").iterdir():
        tool.unlink()
    (into / LIBRARIES / "bin").rmdir()


def prepare(python: str, *words: object) -> None:
    """Run ``containers/serving/prepare.py`` as the Dockerfile does, with a Python of the image's version.

    Raises:
        LadingError: it fails.
    """
    _run([python, str(PREPARE), *map(str, words)])


def requirements_for(lock: Path, version: str, machine: str) -> str:
    """The requirements that hold in the image, without their conditions: pip would judge them by this machine.

    Args:
        lock: Requirements with hashes, as uv writes them.
        version: Of the image's Python: ``3.12``.
        machine: As the kernel calls it: ``aarch64``.
    """
    environment = {
        "implementation_name": "cpython",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{version}.0",
        "python_version": version,
        "sys_platform": "linux",
    }
    lines = []
    for entry in lock.read_text().replace(" \\\n    --hash=", " --hash=").splitlines():
        text, *hashes = entry.split(" --hash=")
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            lines.append(" --hash=".join([f"{requirement.name}{requirement.specifier}", *hashes]))
    return "\n".join(lines)


def _pip(*words: object) -> None:
    _run([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LadingError(f"{' '.join(command[:4])} … failed: {(done.stderr or done.stdout).strip()[-2000:]}")
