"""The verdict on an image: what is right passes, and nothing that was tampered with does."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from soon import soon
from tiny_image import write_image

from lading.cli import main
from lading.errors import NotFound
from lading.flows.statements import attach_statements
from lading.oci.attach import Artifact, attach, attached_to, read_artifact
from lading.oci.image import INDEX_TYPE, canonical_json, digest_of
from lading.oci.layout import Layout
from lading.oci.store import Manifest
from lading.provenance import Build
from lading.results import VerifyReport
from lading.sign import sign_image
from lading.signing.bundle import (
    BUNDLE_TYPE,
    PREDICATE_ANNOTATION,
    PROVENANCE_PREDICATE,
    SBOM_PREDICATE,
    SIGNATURE_PREDICATE,
    Statement,
    seal,
)
from lading.signing.keys import PemSigner, PublicKey, load_signer
from lading.signing.simple import attach_simple_signature
from lading.values import from_json
from lading.verify import verify_image

OTHER = {"models/taxi/3/saved_model.pb": b"another model"}


@pytest.fixture
def store(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "images")


def release(store: Layout, signer: PemSigner, *, layers: Any = None, tag: str = "v1") -> str:
    """An image with everything that `lading package` can attach."""
    digest = write_image(store, layers, tag=tag) if layers else write_image(store, tag=tag)
    attach_statements(store, digest, sbom=True, build=Build("gs://m/taxi"), signer=signer, deadline=soon())
    return digest


def verdict(store: Layout, digest: str, key: PublicKey, **options: Any) -> dict[str, str]:
    """For each check ``passed`` or what came."""
    report = verify_image(store, digest, key, deadline=soon(), **options)
    assert report.passed == all(check.passed for check in report.checks)
    return {check.name: "passed" if check.passed else check.received for check in report.checks}


PASSED = dict.fromkeys(("signature", "sbom", "provenance", "blobs"), "passed")


@pytest.mark.parametrize("deep", [False, True])
def test_an_image_with_everything_passes(store: Layout, ours: PemSigner, deep: bool) -> None:
    assert verdict(store, release(store, ours), ours.public, deep=deep) == PASSED


def test_an_image_without_anything_does_not(store: Layout, ours: PemSigner) -> None:
    digest = write_image(store)
    nothing = "nothing is attached"
    assert verdict(store, digest, ours.public) == {
        "signature": nothing,
        "sbom": nothing,
        "provenance": nothing,
        "blobs": "passed",
    }


def test_unsigned_statements_do_not_count(store: Layout, ours: PemSigner) -> None:
    digest = write_image(store)
    attach_statements(store, digest, sbom=True, build=Build("gs://m"), deadline=soon())
    sign_image(store, digest, ours, deadline=soon())
    found = verdict(store, digest, ours.public)
    assert (found["signature"], found["sbom"], found["provenance"]) == ("passed", *["nothing is attached"] * 2)
    assert verdict(store, digest, ours.public, kinds=["signature"])["signature"] == "passed"


def test_the_wrong_key_does_not_pass(store: Layout, ours: PemSigner, theirs: PemSigner) -> None:
    found = verdict(store, release(store, ours), theirs.public)
    assert all("another key" in found[name] for name in ("signature", "sbom", "provenance"))


def test_signatures_of_others_do_no_harm(store: Layout, ours: PemSigner, theirs: PemSigner) -> None:
    digest = release(store, theirs)
    assert verdict(store, digest, ours.public)["signature"] != "passed"
    release(store, ours)
    attach(store, digest, [Artifact(BUNDLE_TYPE, b"{not json"), Artifact(BUNDLE_TYPE, b"[" * 50_000)], deadline=soon())
    assert verdict(store, digest, ours.public) == PASSED
    assert verdict(store, digest, theirs.public) == PASSED


def test_another_images_signature_and_statements_do_not_pass(store: Layout, ours: PemSigner) -> None:
    """Replayed: everything that was attached to one image, copied to another."""
    right = release(store, ours)
    wrong = write_image(store, [OTHER], tag="v2")
    for one in attached_to(store, right, deadline=soon()):
        content = read_artifact(store, one, deadline=soon())
        attach(store, wrong, [Artifact(one.artifact_type, content, one.annotations)], deadline=soon())
    signatures = store.manifest(f"{right.replace(':', '-')}.sig", deadline=soon())
    store.write_manifest(signatures, tag=f"{wrong.replace(':', '-')}.sig", deadline=soon())
    found = verdict(store, wrong, ours.public)
    assert found["signature"] == f"it is the signature of {right}"
    assert right in found["sbom"]
    assert right in found["provenance"]


def altered_payload(bundle: dict[str, Any]) -> None:
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["more"] = "than was signed"
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(canonical_json(statement)).decode()


def altered_signature(bundle: dict[str, Any]) -> None:
    raw = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    raw[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(raw).decode()


def no_signature(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] = []


def other_payload_type(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "application/json"


def message_signature(bundle: dict[str, Any]) -> None:
    bundle["messageSignature"] = bundle.pop("dsseEnvelope")


def nonsense(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"] = {"payload": 7, "payloadType": [], "signatures": "x"}


@pytest.mark.parametrize(
    "alter", [altered_payload, altered_signature, no_signature, other_payload_type, message_signature, nonsense]
)
@pytest.mark.parametrize("predicate", [SBOM_PREDICATE, PROVENANCE_PREDICATE, SIGNATURE_PREDICATE])
def test_an_altered_statement_does_not_pass(
    store: Layout, ours: PemSigner, alter: Callable[[dict[str, Any]], None], predicate: str
) -> None:
    digest = write_image(store)
    bundle = json.loads(
        seal(Statement(digest, "taxi", predicate, {"bomFormat": "CycloneDX"}), ours, deadline=soon()).content
    )
    alter(bundle)
    annotations = {PREDICATE_ANNOTATION: predicate}
    attach(store, digest, [Artifact(BUNDLE_TYPE, canonical_json(bundle), annotations)], deadline=soon())
    found = verdict(store, digest, ours.public)
    assert not [name for name, came in found.items() if came == "passed" and name != "blobs"]


def test_a_statement_of_one_kind_is_not_taken_for_another(store: Layout, ours: PemSigner) -> None:
    """The annotation says "signature"; what was signed is an SBOM."""
    digest = write_image(store)
    sealed = seal(Statement(digest, "taxi", SBOM_PREDICATE, {"bomFormat": "CycloneDX"}), ours, deadline=soon())
    lying = Artifact(BUNDLE_TYPE, sealed.content, {PREDICATE_ANNOTATION: SIGNATURE_PREDICATE})
    attach(store, digest, [lying], deadline=soon())
    found = verdict(store, digest, ours.public)
    assert (found["signature"], found["sbom"]) == ("nothing is attached", "passed")


@pytest.mark.parametrize(
    ("predicate", "words"),
    [
        ({}, "not a provenance"),
        ({"buildDefinition": [], "runDetails": 7}, "not a provenance"),
        (
            {
                "buildDefinition": {"resolvedDependencies": [{"name": "model", "digest": {"sha256": "0" * 64}}]},
                "runDetails": {"builder": {"id": "x"}},
            },
            "another model",
        ),
    ],
)
def test_a_provenance_of_something_else_does_not_pass(
    store: Layout, ours: PemSigner, predicate: dict[str, Any], words: str
) -> None:
    digest = write_image(store)
    sealed = seal(Statement(digest, "taxi", PROVENANCE_PREDICATE, predicate), ours, deadline=soon())
    attach(store, digest, [sealed], deadline=soon())
    assert words in verdict(store, digest, ours.public)["provenance"]


def test_cosign_2s_signature_alone_is_enough(store: Layout, ours: PemSigner, theirs: PemSigner) -> None:
    digest = write_image(store)
    attach_simple_signature(store, digest, ours, deadline=soon())
    assert verdict(store, digest, ours.public)["signature"] == "passed"
    assert "another key" in verdict(store, digest, theirs.public)["signature"]


def blob_path(store: Layout, digest: str, which: str) -> Path:
    body = json.loads(store.manifest(digest, deadline=soon()).content)
    return store.path_of((body["config"] if which == "config" else body["layers"][-1])["digest"])


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("which", ["config", "layer"])
def test_a_missing_blob_does_not_pass(store: Layout, ours: PemSigner, which: str, deep: bool) -> None:
    digest = release(store, ours)
    blob_path(store, digest, which).unlink()
    assert "missing" in verdict(store, digest, ours.public, deep=deep)["blobs"]


def test_a_damaged_layer_does_not_pass_when_it_is_read(store: Layout, ours: PemSigner) -> None:
    digest = release(store, ours)
    path = blob_path(store, digest, "layer")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert verdict(store, digest, ours.public) == PASSED
    assert "damaged" in verdict(store, digest, ours.public, deep=True)["blobs"]


def test_a_layer_that_unpacks_to_something_else_does_not_pass(store: Layout, ours: PemSigner) -> None:
    digest = release(store, ours)
    body = json.loads(store.manifest(digest, deadline=soon()).content)
    body["layers"].reverse()
    content = canonical_json(body)
    swapped = Manifest(content, body["mediaType"], digest_of(content))
    store.write_manifest(swapped, deadline=soon())
    assert "does not unpack to" in verdict(store, swapped.digest, ours.public, deep=True)["blobs"]


def test_a_model_that_is_not_the_one_of_the_provenance(store: Layout, ours: PemSigner) -> None:
    right, wrong = release(store, ours), write_image(store, [OTHER], tag="v2")
    body = next(
        json.loads(base64.b64decode(json.loads(read_artifact(store, one, deadline=soon()))["dsseEnvelope"]["payload"]))
        for one in attached_to(store, right, artifact_type=BUNDLE_TYPE, deadline=soon())
        if one.annotations[PREDICATE_ANNOTATION] == PROVENANCE_PREDICATE
    )
    sealed = seal(Statement(wrong, "taxi", PROVENANCE_PREDICATE, body["predicate"]), ours, deadline=soon())
    attach(store, wrong, [sealed], deadline=soon())
    assert verdict(store, wrong, ours.public)["provenance"] == "it names another model than the image holds"


def test_an_index_is_verified_with_all_its_images(store: Layout, ours: PemSigner) -> None:
    images = [write_image(store), write_image(store, [OTHER], tag="v2")]
    entries = [store.manifest(image, deadline=soon()).descriptor.to_dict() for image in images]
    content = canonical_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})
    index = Manifest(content, INDEX_TYPE, digest_of(content))
    store.write_manifest(index, tag="all", deadline=soon())
    sign_image(store, index.digest, ours, deadline=soon())
    assert verdict(store, index.digest, ours.public, kinds=["signature"], deep=True) == {
        "signature": "passed",
        "blobs": "passed",
    }
    blob_path(store, images[1], "layer").unlink()
    assert "missing" in verdict(store, index.digest, ours.public, kinds=["signature"])["blobs"]


def test_an_image_that_is_not_there(store: Layout, ours: PemSigner) -> None:
    write_image(store)
    with pytest.raises(NotFound):
        verify_image(store, f"sha256:{'0' * 64}", ours.public, deadline=soon())


def test_the_command_exits_by_the_verdict(
    store: Layout, ours: PemSigner, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release(store, ours)
    image = f"oci:{store.directory}:v1"
    assert main(["verify", image, "--key", str(keys / "ours.pub"), "--deep"]) == 0
    assert "signature   passed" in capsys.readouterr().out
    assert main(["verify", image, "--key", str(keys / "theirs.pub"), "--json"]) == 1
    report = from_json(capsys.readouterr().out, VerifyReport)
    assert not report.passed
    assert report.image.startswith("oci:")
    assert "@sha256:" in report.image
    assert main(["verify", image, "--key", str(keys / "ours.pem")]) == 2
    assert main(["verify", image, "--key", str(keys / "ours.pub"), "--require", "smell"]) == 2
    assert main(["verify", image, "--key", str(keys / "ours.pub"), "--require", ""]) == 2
    assert main(["verify", f"oci:{store.directory}:v9", "--key", str(keys / "ours.pub")]) == 3


def test_a_signer_from_a_file_is_the_one_that_verifies(keys: Path, ours: PemSigner) -> None:
    assert load_signer(str(keys / "ours.pem"), environ={}, deadline=soon()).public == ours.public
