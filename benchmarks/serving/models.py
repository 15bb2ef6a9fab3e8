"""The models that are served, built once and kept in a cache."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving import build_models

ROOT = Path(__file__).parents[2]
ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def saved_model(name: str, cache: Path) -> Path:
    """A SavedModel of ``build_models``; its place in the cache names what it was built by."""
    source = hashlib.sha256(Path(build_models.__file__).read_bytes()).hexdigest()[:12]
    place = cache / "models" / f"{name}-{source}"
    if not place.is_dir():
        print(f"building the model {name} into {place} …", file=sys.stderr)
        fresh = place.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        _python("benchmarks.serving.build_models", name, str(fresh / "1"))
        fresh.rename(place)
    return place / "1"


def converted(model: Path, to: Path) -> Path:
    """The model with what ``lading convert`` makes for LiteRT."""
    if not to.is_dir():
        print(f"converting {model} …", file=sys.stderr)
        _python("lading", "convert", str(model), "--out", str(to))
    return to


def answers(model: Path, rows: Sequence[Any]) -> list[Any]:
    """What TensorFlow computes, in a process of its own."""
    found: list[Any] = json.loads(_python("benchmarks.serving.engine", "answers", str(model), rows=rows))
    return found


def rates(model: Path, engine: str, rows: Sequence[Any], *, seconds: float) -> dict[str, dict[str, float]]:
    """``engine.rates``: predictions without HTTP, by number of threads, in a process of its own."""
    words = ("benchmarks.serving.engine", "rate", str(model), engine, str(seconds))
    found: dict[str, dict[str, float]] = json.loads(_python(*words, rows=rows))
    return found


def _python(module: str, *words: str, rows: Sequence[Any] = ()) -> str:
    command = [sys.executable, "-m", module, *words]
    environ = {"TF_CPP_MIN_LOG_LEVEL": "2", **ENVIRON}
    done = subprocess.run(
        command, input=json.dumps(rows), env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout
