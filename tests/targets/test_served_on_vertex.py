"""A packaged model on lading's own server, behind Vertex AI."""

from pathlib import Path

import pytest
from fakes.vertex_registry import PROJECT
from places import Releases
from vertex_place import VertexPlace

from lading.package import package_image
from lading.promote import promote_candidate
from lading.smoke import smoke_test
from lading.targets.base import candidate_door
from lading.targets.vertex.door import predict_json
from lading.values import GoldenRequest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_a_model_on_our_server_is_released_by_its_golden_requests(mlp_model: Path, tmp_path: Path) -> None:
    place = VertexPlace(tmp_path / "lading" / "local")
    try:
        packaged = package_image(mlp_model, "lading.local/mlp", environ={"XDG_STATE_HOME": str(tmp_path)})
        at = Releases(place)
        candidate = at.deploy((packaged.image, packaged.model_diff_id))
        golden = GoldenRequest.read_all((mlp_model / "assets.extra/lading/golden.jsonl").read_text())
        door = candidate_door(at.target, candidate)
        report = smoke_test(candidate, golden, door=door, max_median_milliseconds=10_000, deadline=at.deadline)
        assert report.passed, report.checks
        promote_candidate(candidate, report, target=at.target, deadline=at.deadline)
        instances = golden[0].request["image"]
        (found,) = predict_json(PROJECT, at.service, instances, region="europe-west4", environ=place.environ)
        assert found == pytest.approx(golden[0].response["softmax"][0], rel=1e-3, abs=1e-5)
    finally:
        place.stop()
