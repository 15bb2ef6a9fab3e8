"""``vertex:`` keeps the contract of a target, through google-cloud-aiplatform and google-auth as they are."""

from collections.abc import Iterator

import pytest
from contract import TargetContract
from vertex_place import VertexPlace

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VertexPlace]:
    made = VertexPlace(tmp_path_factory.mktemp("vertex"))
    yield made
    made.stop()


class TestVertex(TargetContract):
    says_why = "Model server exited unexpectedly"  # the rest is in Cloud Logging
