"""What the tests of batch prediction share."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from batch_server import BatchServer, batch_service, put_tree
from fakes.storage_server import Storage

from lading.batch.model import OpenModel, open_model

if TYPE_CHECKING:
    from storage_places import Emulator


@pytest.fixture(scope="session")
def mlp(mlp_model: Path) -> Iterator[OpenModel]:
    """``mlp_model``, loaded."""
    with open_model(str(mlp_model), environ={}) as opened:
        yield opened


@pytest.fixture(scope="session")
def emulator() -> "Iterator[Emulator]":
    """Another server of Cloud Storage; a place that is opened in it leaves it empty."""
    from storage_places import open_emulator  # which Beam's environment has not

    with open_emulator() as started:
        yield started


@pytest.fixture(scope="session")
def storage(mlp_model: Path, scale_versions: Path) -> Iterator[Storage]:
    """What ``service`` reads and writes; ``gs://models`` has ``mlp`` and ``scale/1``. Each test has its own buckets."""
    made = Storage()
    put_tree(made, mlp_model, "mlp")
    put_tree(made, scale_versions / "1", "scale/1")
    yield made
    made.close()


@pytest.fixture(scope="session")
def service(storage: Storage) -> Iterator[BatchServer]:
    """A service that up to four runs work in."""
    with batch_service("--max-runs", "4", STORAGE_EMULATOR_HOST=storage.url) as made:
        yield made
