"""Models in buckets, through the real client, against a local server of Cloud Storage's API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.storage_server import Storage
from model_places import factor, logged, serving, settings, states

from lading.errors import EngineError
from lading.serving.config import ModelConfig
from lading.serving.models import Models


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    server = Storage()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    yield server
    server.close()


def upload(server: Storage, source: Path, to: str) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            server.put("models", f"{to}/{path.relative_to(source)}", path.read_bytes())


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


def test_a_version_base_in_a_bucket(bucket: Storage, scale_versions: Path, temporary: Path) -> None:
    upload(bucket, scale_versions / "1", "scale/1")
    upload(bucket, scale_versions / "2", "scale/0002")
    bucket.put("models", "scale-old/9/saved_model.pb", b"")
    config = ModelConfig("m", "gs://models/scale/")
    with serving(settings(config), remote_poll_seconds=0) as models:
        assert (factor(models), states(models)) == (2.0, {2: "AVAILABLE"})
        # A version that is being uploaded is waited for; then it replaces the old, whose copy is removed.
        bucket.put("models", "scale/3/variables/variables.index", b"")
        models.look()
        assert (factor(models), states(models)[3]) == (2.0, "START")
        upload(bucket, scale_versions / "3", "scale/3")
        models.look()
        assert (factor(models), states(models)) == (3.0, {3: "AVAILABLE", 2: "END"})
        assert [path.parent.name for path in temporary.rglob("saved_model.pb")] == ["3"]
    assert list(temporary.iterdir()) == []


def test_one_model_in_a_bucket_as_vertex_names_it(bucket: Storage, scale_versions: Path, temporary: Path) -> None:
    upload(bucket, scale_versions / "2", "artifacts/model")
    with serving(settings(ModelConfig("m", "gs://models/artifacts/model"))) as models:
        assert (factor(models), states(models)) == (2.0, {1: "AVAILABLE"})


def test_a_bucket_that_cannot_be_read_stops_nothing_that_serves(
    bucket: Storage, scale_versions: Path, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(bucket, scale_versions / "1", "scale/1")
    with serving(settings(ModelConfig("m", "gs://models/scale")), remote_poll_seconds=0) as models:
        bucket.denied.add("models")
        models.look()
        models.look()
        assert factor(models) == 1.0
        errors = [line["message"] for line in logged(capsys) if line["severity"] == "ERROR"]
        assert errors == ["base path not read"], "said once"
        bucket.denied.clear()
        bucket.buckets["models"].clear()
        models.look()
        assert factor(models) == 1.0, "an empty bucket is no order to unload"


def test_names_in_a_bucket_that_lead_out_are_refused(bucket: Storage, scale_versions: Path, temporary: Path) -> None:
    upload(bucket, scale_versions / "1", "scale/1")
    bucket.put("models", "scale/1/../../../evil", b"")
    models = Models(settings(ModelConfig("m", "gs://models/scale")))
    with pytest.raises(EngineError, match=r"name leads out of it: gs://models/scale/1/\.\./\.\./\.\./evil"):
        models.load()
    assert list(temporary.iterdir()) == []


def test_a_model_that_fails_leaves_no_copy(bucket: Storage, scale_versions: Path, temporary: Path) -> None:
    upload(bucket, scale_versions / "1", "scale/1")
    bucket.put("models", "scale/1/saved_model.pb", b"not a model")
    models = Models(settings(ModelConfig("m", "gs://models/scale")))
    with pytest.raises(EngineError, match="cannot serve the model m"):
        models.load()
    assert list(temporary.iterdir()) == []
