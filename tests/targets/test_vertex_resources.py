"""The artifacts by which the Vertex AI console links model and endpoint: the component as KFP runs it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.vertex_registry import NUMBER
from kfp import dsl, local
from places import Releases
from vertex_place import VertexPlace

from components.vertex_resources import vertex_resources
from lading.errors import InvalidInput
from lading.targets.base import Target
from lading.values import to_json
from lading.vertex_resources import vertex_resources as find

pytestmark = pytest.mark.filterwarnings("ignore")  # of kfp.local


@pytest.fixture
def place(tmp_path: Path) -> Iterator[VertexPlace]:
    made = VertexPlace(tmp_path / "vertex")
    yield made
    made.stop()


def test_the_outputs_are_what_the_console_links(
    place: VertexPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in place.environ.items():
        monkeypatch.setenv(name, value)
    at = Releases(place)
    released = at.release(at.image(), "r1")
    written = tmp_path / "candidate.json"
    written.write_text(to_json(released))

    @dsl.pipeline(name="link")
    def link() -> None:
        candidate = dsl.importer(artifact_uri=str(written), artifact_class=dsl.Artifact)
        vertex_resources(candidate=candidate.output).set_caching_options(False)

    out = tmp_path / "out"
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(out), raise_on_error=True)
    link()
    (result,) = out.rglob("executor_output.json")
    artifacts = {name: one["artifacts"][0] for name, one in json.loads(result.read_text())["artifacts"].items()}
    where = f"projects/{NUMBER}/locations/europe-west4"
    assert artifacts["model"]["metadata"]["resourceName"] == f"{where}/models/{at.service}@1"
    assert artifacts["endpoint"]["metadata"]["resourceName"] == f"{where}/endpoints/{at.service}"
    assert artifacts["endpoint"]["uri"] == f"{place.server.url}/v1/{where}/endpoints/{at.service}"
    kinds = vertex_resources.component_spec.outputs or {}
    assert kinds["model"].type == "google.VertexModel@0.0.1"
    assert kinds["endpoint"].type == "google.VertexEndpoint@0.0.1"


def test_other_targets_have_no_such_things(place: VertexPlace) -> None:
    at = Releases(place)
    elsewhere: Target = object()  # type: ignore[assignment]
    candidate = replace(at.deploy(at.image()), target="local:")
    with pytest.raises(InvalidInput, match="received one on local:"):
        find(candidate, target=elsewhere, deadline=at.deadline)
