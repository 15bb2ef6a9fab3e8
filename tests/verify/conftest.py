"""Keys of ours and of somebody else."""

from pathlib import Path

import pytest
from tiny_image import make_key

from lading.signing.keys import PemSigner


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        make_key(directory, name)
    return directory


@pytest.fixture
def ours(keys: Path) -> PemSigner:
    return PemSigner.parse((keys / "ours.pem").read_bytes(), "ours")


@pytest.fixture
def theirs(keys: Path) -> PemSigner:
    return PemSigner.parse((keys / "theirs.pem").read_bytes(), "theirs")
