"""``local:`` keeps the contract of a target."""

from collections.abc import Iterator

import pytest
from contract import TargetContract
from local_place import LocalPlace


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlace]:
    made = LocalPlace(tmp_path_factory.mktemp("local"))
    yield made
    made.stop()


class TestLocal(TargetContract):
    pass
