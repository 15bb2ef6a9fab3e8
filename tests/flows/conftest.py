"""What the tests of whole runs share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ship.py``, compiled."""
    out = tmp_path_factory.mktemp("pipelines") / "ship.yaml"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, Path(__file__).parent / "ship.py", out], check=True, env=environ, timeout=60)
    return out
