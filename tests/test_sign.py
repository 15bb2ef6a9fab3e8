"""Signatures, read back as other tools read them; openssl is the judge."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fakes.kms_server import KmsServer
from fakes.registry import FakeRegistry
from soon import soon
from tiny_image import BASE, make_key, write_image

from lading.cli import main
from lading.errors import NotFound
from lading.oci.layout import Layout
from lading.oci.registry import Registry
from lading.oci.store import Store
from lading.sign import sign_image
from lading.signing.keys import load_signer

REPOSITORY = "team/taxi"


@pytest.fixture
def image(registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path))
    store = Registry(registry.host, REPOSITORY, environ={"HOME": str(tmp_path)}, writable=True)
    return f"{registry.host}/{REPOSITORY}@{write_image(store)}"


def manifest(registry: FakeRegistry, reference: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(registry.manifests[REPOSITORY, reference])
    return body


def blob(registry: FakeRegistry, digest: str) -> bytes:
    return registry.blobs[digest]


def openssl_verifies(public: Path, signature: bytes, message: bytes) -> bool:
    (public.parent / "signature").write_bytes(signature)
    (public.parent / "message").write_bytes(message)
    words = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", public.parent / "signature"]
    return subprocess.run([*words, public.parent / "message"], capture_output=True, check=False).returncode == 0


def test_openssl_verifies_the_signature_where_cosign_2_looks_for_it(
    registry: FakeRegistry, image: str, tmp_path: Path
) -> None:
    private, public = make_key(tmp_path)
    _, other = make_key(tmp_path, "other")
    assert main(["sign", image, "--key", str(private)]) == 0
    digest = image.partition("@")[2]
    body = manifest(registry, f"{digest.replace(':', '-')}.sig")
    (layer,) = body["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    signature = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"])
    payload = blob(registry, layer["digest"])
    assert openssl_verifies(public, signature, payload)
    assert not openssl_verifies(other, signature, payload)
    critical = json.loads(payload)["critical"]
    assert critical == {
        "identity": {"docker-reference": f"{registry.host}/{REPOSITORY}"},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    config = json.loads(blob(registry, body["config"]["digest"]))
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]


def test_openssl_verifies_the_envelope_where_cosign_3_looks_for_it(
    registry: FakeRegistry, image: str, tmp_path: Path
) -> None:
    registry.lists_referrers = True
    private, public = make_key(tmp_path)
    assert main(["sign", image, "--key", str(private)]) == 0
    digest = image.partition("@")[2]
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    (found,) = [body for body in map(json.loads, registry.manifests.values()) if body.get("artifactType") == kind][:1]
    assert found["subject"]["digest"] == digest
    assert found["annotations"] == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
    }
    bundle = json.loads(blob(registry, found["layers"][0]["digest"]))
    envelope = bundle["dsseEnvelope"]
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    assert openssl_verifies(public, base64.b64decode(envelope["signatures"][0]["sig"]), signed)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["subject"][0]["digest"] == {"sha256": digest.removeprefix("sha256:")}
    assert (statement["predicateType"], statement["predicate"]) == ("https://sigstore.dev/cosign/sign/v1", {})
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", public, "-outform", "DER"], capture_output=True, check=True
    )
    told = subprocess.run(["openssl", "dgst", "-sha256", "-binary"], input=der.stdout, capture_output=True, check=True)
    assert bundle["verificationMaterial"]["publicKey"]["hint"] == base64.b64encode(told.stdout).decode()


@pytest.mark.parametrize("place", ["layout", "image store"])
def test_images_on_this_machine_are_signed_too(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    private, _ = make_key(tmp_path)
    if place == "layout":
        store, name = Layout(tmp_path / "images"), f"oci:{tmp_path / 'images'}:v1"
        write_image(store)
    else:
        store = Layout(tmp_path / "state" / "lading" / "local" / "images", "lading.local/taxi")
        name = f"lading.local/taxi@{write_image(store)}"
    assert main(["sign", name, "--key", str(private), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signed"] is True


def test_signing_again_adds_nothing_and_another_key_is_added(tmp_path: Path) -> None:
    store = Layout(tmp_path / "images")
    digest = write_image(store)
    one, two = (load_signer(str(make_key(tmp_path, name)[0]), environ={}, deadline=soon()) for name in ("one", "two"))
    assert sign_image(store, digest, one, deadline=soon()).signed
    before = contents(store)
    assert not sign_image(store, digest, one, deadline=soon()).signed
    assert contents(store) == before
    assert sign_image(store, digest, two, deadline=soon()).signed
    assert not sign_image(store, digest, one, deadline=soon()).signed
    signatures = json.loads(store.manifest(f"{digest.replace(':', '-')}.sig", deadline=soon()).content)["layers"]
    assert len(signatures) == 2


def contents(store: Layout) -> set[str]:
    return {path.name for path in (store.directory / "blobs" / "sha256").iterdir()}


def test_a_key_of_cloud_kms_signs(registry: FakeRegistry, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = KmsServer()
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", server.url)
    try:
        name = f"gcpkms://{server.make_key()}"
        assert main(["sign", image, "--key", name]) == 0
        assert main(["verify", image, "--key", name, "--require", "signature"]) == 0
    finally:
        server.stop()


def test_an_image_that_is_not_there_is_not_signed(tmp_path: Path) -> None:
    store: Store = Layout(tmp_path / "images")
    write_image(store)
    signer = load_signer(str(make_key(tmp_path)[0]), environ={}, deadline=soon())
    with pytest.raises(NotFound):
        sign_image(store, f"sha256:{'0' * 64}", signer, deadline=soon())


def test_a_tag_is_signed_as_what_it_names(image: str, registry: FakeRegistry, tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    tagged = f"{image.partition('@')[0]}:v1"
    assert main(["sign", tagged, "--key", str(private)]) == 0
    assert main(["verify", image, "--key", str(public), "--require", "signature"]) == 0
    assert main(["verify", tagged, "--key", str(public), "--require", "signature"]) == 0


@pytest.mark.parametrize("place", ["registry", "layout", "image store"])
def test_package_attaches_and_signs_what_it_made(
    registry: FakeRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    private, public = make_key(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"graph")
    base = Layout(tmp_path / "base")
    write_image(base, [BASE], labels={"dev.lading.runtime": "lading", "dev.lading.engine": "tensorflow"})
    to = {
        "registry": f"{registry.host}/{REPOSITORY}:v1",
        "layout": f"oci:{tmp_path / 'out'}",
        "image store": "lading.local/taxi",
    }
    words = [
        "package",
        str(tmp_path / "model"),
        "--to",
        to[place],
        "--sbom",
        "--provenance",
        "--sign-key",
        str(private),
    ]
    if place != "image store":
        words += ["--base", f"oci:{base.directory}:v1", "--name", "taxi"]
    assert main(words) == 0
    image = capsys.readouterr().out.strip()
    assert main(["verify", image, "--key", str(public), "--deep"]) == 0
    assert main(words) == 0
    assert capsys.readouterr().out.strip().endswith(image)


def test_what_cannot_be_attached_is_told_before_an_image_is_made(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"graph")
    for words in (
        ["--to", f"archive:{tmp_path / 'image.tar'}", "--sbom"],
        ["--to", f"oci:{tmp_path / 'out'}", "--sign-key", str(tmp_path / "nowhere")],
    ):
        assert main(["package", str(tmp_path / "model"), *words]) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
