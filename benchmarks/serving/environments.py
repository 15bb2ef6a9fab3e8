"""A virtual environment for each peer, made from the pinned lists in ``requirements/``.

The lists were resolved for Python 3.11 to 3.13 (docs/benchmarks.md says how) and are complete, so nothing is resolved
here. They hold no host names: pip's own settings say where packages come from.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
STAMP = "made-from"
"""A file in each environment that says what it was made from; written last, so a half-made one is made again."""


def make_environment(name: str, folder: Path) -> Path:
    """Make the environment of a peer, unless it is there.

    Args:
        name: Of a file in ``requirements/``, without its ending.
        folder: Where environments go.

    Returns:
        Its ``bin`` folder.
    """
    requirements, place = REQUIREMENTS / f"{name}.txt", folder / name
    stamp = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if not (place / STAMP).is_file() or (place / STAMP).read_text() != stamp:
        print(f"installing {name} into {place} …", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        _run([sys.executable, "-m", "venv", *(["--without-pip"] if _uv() else []), str(place)])
        # Bytecode is compiled now: a server that compiles TensorFlow's Python at its start needs seconds more.
        python = str(place / "bin" / "python")
        if uv := _uv():
            _run(
                [uv, "pip", "install", "-q", "--compile-bytecode", "--no-deps", "--python", python, "-r", requirements]
            )
        else:
            _run([python, "-m", "pip", "install", "-q", "--compile", "--no-deps", "-r", requirements])
        (place / STAMP).write_text(stamp)
    return place / "bin"


def _uv() -> str | None:
    """uv, which is faster than pip, if it is there."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def _run(command: list[str | Path]) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, env=environ, check=True)
