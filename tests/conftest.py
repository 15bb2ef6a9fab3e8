"""Fixtures that more than one folder uses."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``build_models.py``, built in a process of its own: pytest never imports tensorflow."""
    directory = tmp_path_factory.mktemp("saved-models")
    subprocess.run([sys.executable, TESTS / "build_models.py", directory], check=True, capture_output=True, timeout=200)
    return directory


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
def half_plus_two_model(saved_models: Path) -> Path:
    """TensorFlow Serving's toy model: y = x / 2 + 2, and signatures that take examples. Do not alter."""
    return saved_models / "half_plus_two"


@pytest.fixture(scope="session")
def training_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the runs of ``train_models.py``, and their stderr in ``log``. Do not alter."""
    directory = tmp_path_factory.mktemp("training-runs")
    command = [sys.executable, TESTS / "train_models.py", directory]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert not done.returncode, done.stderr
    (directory / "log").write_text(done.stdout + done.stderr)
    return directory


@pytest.fixture(scope="session")
def litert_model(mlp_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``mlp_model`` with its conversion for LiteRT. Do not alter."""
    directory = tmp_path_factory.mktemp("litert") / "mlp"
    command = [sys.executable, "-m", "lading", "convert", str(mlp_model), "--out", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert not done.returncode, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="session")
def convertible_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``convertible_models.py``, not converted yet. Do not alter."""
    directory = tmp_path_factory.mktemp("convertible-models")
    command = [sys.executable, TESTS / "convertible_models.py", directory]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert not done.returncode, done.stderr
    return directory
