"""Changed copies of the models that do what they should not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lading.predict.protos import message


@pytest.fixture
def altered(scan_models: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies a model and changes its SavedModel message."""

    def alter(change: Callable[[Any], None], name: str = "print_to_log") -> Path:
        copy = tmp_path / "altered"
        shutil.copytree(scan_models / name, copy, dirs_exist_ok=True)
        saved = message("tensorflow.SavedModel").FromString((copy / "saved_model.pb").read_bytes())
        change(saved)
        (copy / "saved_model.pb").write_bytes(saved.SerializeToString())
        return copy

    return alter
