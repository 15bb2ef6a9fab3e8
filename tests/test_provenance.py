"""Provenance: SLSA v1, of this image, with what it was made of."""

import json
from pathlib import Path
from typing import Any

import pytest
from soon import soon
from tiny_image import MODEL, make_key, write_image

from lading import __version__
from lading.flows.statements import attach_statements
from lading.oci.attach import attached_to, read_artifact
from lading.oci.image import digest_of
from lading.oci.layout import Layout
from lading.provenance import BUILD_TYPE, PIPELINE_BUILDER, Build
from lading.signing.bundle import PAYLOAD_TYPE, PROVENANCE_PREDICATE
from lading.signing.found import find_statements
from lading.signing.keys import load_signer

BUILD = Build(
    model="gs://bucket/models/taxi",
    base="europe-docker.pkg.dev/p/r/serving:litert",
    resolved_base=f"europe-docker.pkg.dev/p/r/serving@sha256:{'b' * 64}",
    runtime="lading",
    platform="linux/amd64",
    inputs={"gs://bucket/data/train.tfrecord": "c" * 64},
    source="https://example.com/team/taxi",
    revision="d" * 40,
    builder=PIPELINE_BUILDER,
    invocation="release-1234",
    finished="2026-11-21T12:00:00Z",
)


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images")


def unsigned(store: Layout, digest: str) -> dict[str, Any]:
    (found,) = attached_to(store, digest, artifact_type=PAYLOAD_TYPE, deadline=soon())
    body: dict[str, Any] = json.loads(read_artifact(store, found, deadline=soon()))
    return body


def test_it_is_an_in_toto_statement_with_the_predicate_of_slsa(store: Layout) -> None:
    digest = write_image(store)
    attach_statements(store, digest, build=BUILD, deadline=soon())
    statement = unsigned(store, digest)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"] == [{"name": store.repository, "digest": {"sha256": digest.removeprefix("sha256:")}}]
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    assert definition["buildType"] == BUILD_TYPE
    assert definition["externalParameters"] == {
        "model": BUILD.model,
        "base": BUILD.base,
        "runtime": "lading",
        "platform": "linux/amd64",
    }
    assert run == {
        "builder": {"id": PIPELINE_BUILDER, "version": {"lading": __version__}},
        "metadata": {"invocationId": "release-1234", "finishedOn": "2026-11-21T12:00:00Z"},
    }


def test_it_names_what_the_image_was_made_of(store: Layout) -> None:
    digest = write_image(store)
    attach_statements(store, digest, build=BUILD, deadline=soon())
    found = {
        one["name"]: one for one in unsigned(store, digest)["predicate"]["buildDefinition"]["resolvedDependencies"]
    }
    assert found["base"] == {
        "name": "base",
        "uri": "pkg:oci/serving?repository_url=europe-docker.pkg.dev%2Fp%2Fr%2Fserving",
        "digest": {"sha256": "b" * 64},
    }
    assert found["model"]["uri"] == BUILD.model
    for name, content in MODEL.items():
        raw = content.encode() if isinstance(content, str) else content
        path = name.removeprefix("models/taxi/3/")
        assert found[f"model/{path}"]["digest"] == {"sha256": digest_of(raw).removeprefix("sha256:")}
    assert found["recipe"]["digest"] == {"sha256": "a" * 64}
    assert found["input"] == {"name": "input", "uri": "gs://bucket/data/train.tfrecord", "digest": {"sha256": "c" * 64}}
    assert found["source"] == {
        "name": "source",
        "uri": "git+https://example.com/team/taxi",
        "digest": {"gitCommit": "d" * 40},
    }


def test_what_is_not_known_is_left_out(store: Layout) -> None:
    digest = write_image(store)
    attach_statements(store, digest, build=Build("model"), deadline=soon())
    predicate = unsigned(store, digest)["predicate"]
    assert predicate["buildDefinition"]["externalParameters"] == {"model": "model", "base": "host"}
    assert predicate["runDetails"]["metadata"] == {}
    names = {one["name"] for one in predicate["buildDefinition"]["resolvedDependencies"]}
    assert not names & {"source", "input"}
    # The image's own label says what is below it.
    assert "base" in names


def test_a_step_that_runs_again_does_not_state_it_twice(store: Layout, tmp_path: Path) -> None:
    digest = write_image(store)
    signer = load_signer(str(make_key(tmp_path)[0]), environ={}, deadline=soon())
    for finished in ("2026-11-21T12:00:00Z", "2026-11-21T12:05:00Z"):
        build = Build("gs://m", invocation="release-1", finished=finished)
        attach_statements(store, digest, sbom=True, build=build, signer=signer, deadline=soon())
    found = find_statements(store, digest, signer.public, deadline=soon())
    (statement,) = found.of_type(PROVENANCE_PREDICATE)
    assert statement.predicate["runDetails"]["metadata"]["finishedOn"] == "2026-11-21T12:00:00Z"
    assert len(found.statements) == 3
    attach_statements(store, digest, build=Build("gs://m", invocation="release-2"), signer=signer, deadline=soon())
    found = find_statements(store, digest, signer.public, deadline=soon())
    assert len(found.of_type(PROVENANCE_PREDICATE)) == 2
