"""Fixtures that more than one folder uses."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.registry import FakeRegistry

TESTS = Path(__file__).parent


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry of images on loopback, empty, that asks for no login."""
    made = FakeRegistry()
    yield made
    made.close()


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A directory that the first of several pytest processes (``pytest -n``) makes for all."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            directory.mkdir(exist_ok=True)
            make(directory)
            done.touch()
    return directory


def _run(*words: str | Path) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=200, check=False)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def _runner(script: str) -> Callable[[Path], None]:
    def make(to: Path) -> None:
        _run(TESTS / script, to)

    return make


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``build_models.py``, built in a process of its own: pytest never imports tensorflow."""
    return made_once(tmp_path_factory, "saved-models", _runner("build_models.py"))


@pytest.fixture(scope="session")
def mlp_model(saved_models: Path) -> Path:
    """``image`` float32 [N, 28, 28] to ``softmax`` float32 [N, 10], with 32 golden requests. Do not alter."""
    return saved_models / "mlp"


@pytest.fixture(scope="session")
def mixed_model(saved_models: Path) -> Path:
    """Signatures with every kind of type, several inputs, strings; see ``build_models.py``. Do not alter."""
    return saved_models / "mixed"


@pytest.fixture(scope="session")
def scale_versions(saved_models: Path) -> Path:
    """Versions 1, 2, 3 of a model: ``x`` float32 [N] to ``y``, times the version's number. Do not alter."""
    return saved_models / "scale"


@pytest.fixture(scope="session")
def examples_model(saved_models: Path) -> Path:
    """Signatures that take serialized examples; see ``build_models.py``. Do not alter."""
    return saved_models / "examples"


@pytest.fixture(scope="session")
def fixed_model(saved_models: Path) -> Path:
    """``x`` float32 [4, 2] to ``sum`` [4]; and ``total``, whose output has no batch axis. Do not alter."""
    return saved_models / "fixed"


@pytest.fixture(scope="session")
def half_plus_two_model(saved_models: Path) -> Path:
    """TensorFlow Serving's toy model: y = x / 2 + 2, and signatures that take examples. Do not alter."""
    return saved_models / "half_plus_two"


@pytest.fixture(scope="session")
def training_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the runs of ``train_models.py``, and their stderr in ``log``. Do not alter."""

    def train(to: Path) -> None:
        (to / "log").write_text(_run(TESTS / "train_models.py", to))

    return made_once(tmp_path_factory, "training-runs", train)


@pytest.fixture(scope="session")
def litert_model(mlp_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``mlp_model`` with its conversion for LiteRT. Do not alter."""

    def convert(to: Path) -> None:
        _run("-m", "lading", "convert", str(mlp_model), "--out", str(to / "mlp"))

    return made_once(tmp_path_factory, "litert", convert) / "mlp"


@pytest.fixture(scope="session")
def convertible_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``convertible_models.py``, not converted yet. Do not alter."""
    return made_once(tmp_path_factory, "convertible-models", _runner("convertible_models.py"))


@pytest.fixture(scope="session")
def scan_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``scan_models.py``, some of which do what they should not. Do not alter."""
    return made_once(tmp_path_factory, "scan-models", _runner("scan_models.py"))
