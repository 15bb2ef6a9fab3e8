"""Bundles as sigstore's own library for Node judges them: @sigstore/bundle and @sigstore/verify, from npm."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from engines import ran, registry, run
from tiny_image import make_key, write_image

from lading.cli import main
from lading.flows.statements import attach_statements
from lading.oci.attach import attached_to, read_artifact
from lading.oci.layout import Layout
from lading.oci.registry import Registry
from lading.provenance import Build
from lading.signing.bundle import BUNDLE_TYPE
from lading.signing.keys import load_signer
from lading.wait import Deadline

pytestmark = pytest.mark.containers

SCRIPT = Path(__file__).parent / "verify_bundle.cjs"
PACKAGES = ("@sigstore/bundle@4.0.0", "@sigstore/verify@3.1.1")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with sigstore's packages."""
    assert shutil.which("npm"), "this test needs Node and npm"
    directory = tmp_path_factory.mktemp("sigstore")
    (directory / "package.json").write_text("{}")
    words = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert not done.returncode, done.stderr
    return directory


@pytest.fixture
def bundles(tmp_path: Path) -> dict[str, Path]:
    """The bundles of a signed image with statements, by the type of their predicates."""
    store, deadline = Layout(tmp_path / "images"), Deadline.after(60)
    digest = write_image(store)
    for name in ("ours", "theirs"):
        make_key(tmp_path, name)
    signer = load_signer(str(tmp_path / "ours.pem"), environ={}, deadline=deadline)
    attach_statements(store, digest, sbom=True, build=Build("gs://m/taxi"), signer=signer, deadline=deadline)
    found = {}
    for one in attached_to(store, digest, artifact_type=BUNDLE_TYPE, deadline=deadline):
        name = one.annotations["dev.sigstore.bundle.predicateType"]
        found[name] = tmp_path / f"{len(found)}.json"
        found[name].write_bytes(read_artifact(store, one, deadline=deadline))
    return found


def verify(modules: Path, bundle: Path, key: str, *options: str) -> subprocess.CompletedProcess[str]:
    words = ["node", SCRIPT, bundle, bundle.parent / f"{key}.pub", modules, *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_sigstore_verifies_every_bundle(modules: Path, bundles: dict[str, Path]) -> None:
    assert set(bundles) == {
        "https://sigstore.dev/cosign/sign/v1",
        "https://cyclonedx.org/bom",
        "https://slsa.dev/provenance/v1",
    }
    for kind, bundle in bundles.items():
        done = verify(modules, bundle, "ours")
        assert not done.returncode, done.stderr
        assert json.loads(done.stdout)["predicateType"] == kind


def test_sigstore_refuses_another_key(modules: Path, bundles: dict[str, Path]) -> None:
    for bundle in bundles.values():
        done = verify(modules, bundle, "theirs", "--any-hint")
        assert done.returncode
        assert "signature verification failed" in done.stderr


def test_sigstore_refuses_what_was_altered(modules: Path, bundles: dict[str, Path]) -> None:
    for bundle in bundles.values():
        body = json.loads(bundle.read_text())
        statement = json.loads(base64.b64decode(body["dsseEnvelope"]["payload"]))
        statement["subject"][0]["digest"]["sha256"] = "0" * 64
        body["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        bundle.write_text(json.dumps(body))
        done = verify(modules, bundle, "ours")
        assert done.returncode
        assert "signature verification failed" in done.stderr


def test_a_real_registry_keeps_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Debian's registry lists no referrers; skopeo reads the signatures where cosign 2 looks for them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    private, public = make_key(tmp_path)
    with registry(tmp_path) as host:
        store = Registry(host, "team/taxi", environ={"HOME": str(tmp_path)}, writable=True)
        digest, deadline = write_image(store), Deadline.after(60)
        signer = load_signer(str(private), environ={}, deadline=deadline)
        attach_statements(store, digest, sbom=True, build=Build("gs://m/taxi"), signer=signer, deadline=deadline)
        assert main(["verify", f"{host}/team/taxi:v1", "--key", str(public), "--deep"]) == 0, capsys.readouterr().out
        signatures = f"docker://{host}/team/taxi:{digest.replace(':', '-')}.sig"
        raw = json.loads(ran(run("skopeo", "inspect", "--tls-verify=false", "--raw", signatures)))
        assert raw["layers"][0]["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
        assert ran(run("skopeo", "inspect", "--tls-verify=false", signatures))
