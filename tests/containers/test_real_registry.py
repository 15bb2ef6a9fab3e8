"""Debian's docker-registry, which is the distribution project's: open, with passwords, with tokens, over a bad line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from debian_registry import HTPASSWD, Running, home_with, need, running
from fakes.fault_proxy import FaultProxy
from fakes.token_server import ISSUER, SERVICE, TokenServer
from sample_images import Sample, complete, sample_image, sample_index, write
from soon import soon

from lading.errors import AccessDenied, LadingError, NotFound
from lading.oci.archive import Archive
from lading.oci.attach import Artifact, attach, attached_to
from lading.oci.copy import Moved, copy_image
from lading.oci.layout import Layout
from lading.oci.registry import Registry, resolve_image
from lading.push import push_image

pytestmark = pytest.mark.containers


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "registry") as made:
        yield made


def at(host: str, name: str, environ: dict[str, str] | None = None) -> Registry:
    return Registry(host, name, environ=environ or {"HOME": "/nonexistent"}, writable=True)


def skopeo(*words: object) -> str:
    need("skopeo")
    done = subprocess.run(["skopeo", *map(str, words)], capture_output=True, text=True, check=False, timeout=60)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_skopeo_reads_and_copies_what_was_pushed(registry: Running, tmp_path: Path, docker: bool) -> None:
    image = sample_image(docker=docker)
    write(image, at(registry.host, "team/taxi"), tag="v1")
    name = f"{registry.host}/team/taxi"
    found = resolve_image(f"{name}:v1", environ={"HOME": str(tmp_path)}, deadline=soon())
    assert found == f"{name}@{image.manifest.digest}"
    with pytest.raises(NotFound):
        resolve_image(f"{name}:v2", environ={"HOME": str(tmp_path)}, deadline=soon())
    there = f"docker://{registry.host}/team/taxi:v1"
    told = json.loads(skopeo("inspect", "--tls-verify=false", there))
    assert told["Digest"] == image.manifest.digest
    assert told["Layers"] == [blob.descriptor.digest for blob in image.blobs[1:]]
    skopeo("copy", "--src-tls-verify=false", "--preserve-digests", there, f"dir:{tmp_path}/pulled")
    assert (tmp_path / "pulled" / "manifest.json").read_bytes() == image.manifest.content


def test_skopeo_reads_layouts_and_archives(tmp_path: Path) -> None:
    image = sample_image()
    write(image, Layout(tmp_path / "layout"), tag="v1")
    write(image, Archive(tmp_path / "taxi.tar"), tag="v1")
    for number, place in enumerate((f"oci:{tmp_path}/layout:v1", f"oci-archive:{tmp_path}/taxi.tar:v1")):
        assert json.loads(skopeo("inspect", place))["Digest"] == image.manifest.digest
        skopeo("copy", "--preserve-digests", place, f"dir:{tmp_path}/{number}")
        assert (tmp_path / str(number) / "manifest.json").read_bytes() == image.manifest.content
    skopeo("copy", f"docker-archive:{tmp_path}/taxi.tar:taxi:v1", f"dir:{tmp_path}/docker")
    assert json.loads((tmp_path / "docker" / "manifest.json").read_text())["layers"]


def test_we_read_what_skopeo_writes(registry: Running, tmp_path: Path) -> None:
    image = sample_image()
    write(image, Layout(tmp_path / "origin"), tag="v1")
    skopeo("copy", "--preserve-digests", f"oci:{tmp_path}/origin:v1", f"oci:{tmp_path}/layout:v1")
    skopeo("copy", "--preserve-digests", f"oci:{tmp_path}/origin:v1", f"oci-archive:{tmp_path}/taxi.tar:v1")
    for source in (f"oci:{tmp_path}/layout", f"oci:{tmp_path}/layout:v1", f"archive:{tmp_path}/taxi.tar"):
        to = f"{registry.host}/team/taxi"
        pushed = push_image(source, f"{to}:v1", environ={"HOME": str(tmp_path)}, deadline=soon())
        assert pushed.image == f"{to}@{image.manifest.digest}"
    assert complete(at(registry.host, "team/taxi"), "v1") == image.digests


def test_docker_loads_an_archive(tmp_path: Path) -> None:
    need("docker")
    image = sample_image(seed=77)
    write(image, Archive(tmp_path / "lading-test-archive.tar"))
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.fail("Docker's daemon does not answer: start dockerd")
    try:
        command = ["docker", "load", "--input", str(tmp_path / "lading-test-archive.tar")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.stdout == "Loaded image: lading-test-archive:latest\n", done.stderr
        command = ["docker", "image", "inspect", "--format", "{{.Id}}", "lading-test-archive:latest"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert found == image.blobs[0].descriptor.digest
    finally:
        subprocess.run(["docker", "image", "rm", "lading-test-archive:latest"], capture_output=True, check=False)


def test_a_base_is_mounted_and_none_of_its_bytes_move(registry: Running) -> None:
    image = sample_image(sizes=(100_000, 2_000_000))
    base, taxi = at(registry.host, "team/base"), at(registry.host, "team/taxi")
    write(image, base, tag="v1")
    uploads = len([one for one in registry.requests("PUT") if "/blobs/uploads/" in one[0]])
    _, moved = copy_image(base, taxi, image.manifest, tag="v1", deadline=soon())
    size = sum(blob.descriptor.size for blob in image.blobs)
    assert moved == Moved(sent=0, found=size)
    assert len([one for one in registry.requests("PUT") if "/blobs/uploads/" in one[0]]) == uploads
    mounts = [code for path, code in registry.requests("POST") if "mount=" in path and "/team/taxi/" in path]
    assert mounts == [201] * 3
    assert not [path for path, _ in registry.requests("GET") if "/blobs/" in path]
    assert complete(taxi, "v1") == image.digests
    copy_image(base, taxi, image.manifest, tag="v2", deadline=soon())
    assert len([one for one in registry.requests("POST") if "mount=" in one[0]]) == 3  # it is there


def test_indexes_of_both_kinds_are_taken(registry: Running, tmp_path: Path) -> None:
    for docker in (False, True):
        index, origin = sample_index(docker=docker), Layout(tmp_path / str(docker))
        write(index, origin)
        taxi = at(registry.host, "team/taxi")
        copy_image(origin, taxi, index.manifest, tag="v1", deadline=soon())
        assert complete(taxi, "v1") == index.digests
        raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{registry.host}/team/taxi:v1")
        assert raw.encode() == index.manifest.content


def test_what_is_attached_is_copied(registry: Running, tmp_path: Path) -> None:
    image, taxi = sample_image(), at(registry.host, "team/taxi")
    write(image, taxi, tag="v1")
    attach(taxi, image.manifest.digest, [Artifact("application/vnd.cyclonedx+json", b"{}")], deadline=soon())
    environ = {"HOME": str(tmp_path)}
    for source, to in (
        (f"{registry.host}/team/taxi:v1", f"archive:{tmp_path}/taxi.tar"),
        (f"archive:{tmp_path}/taxi.tar", f"{registry.host}/team/other:v1"),
    ):
        assert push_image(source, to, environ=environ, deadline=soon()).statements == 1
    (sbom,) = attached_to(at(registry.host, "team/other"), image.manifest.digest, deadline=soon())
    assert sbom.artifact_type == "application/vnd.cyclonedx+json"


def test_with_passwords(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    with running(tmp_path / "r", f"auth:\n  htpasswd:\n    realm: test\n    path: {tmp_path}/htpasswd\n") as registry:
        image = sample_image()
        good = home_with(tmp_path / "good", registry.host, "user:secret")
        write(image, at(registry.host, "team/base", good), tag="v1")
        copy_image(
            at(registry.host, "team/base", good), at(registry.host, "team/taxi", good), image.manifest, deadline=soon()
        )
        assert complete(at(registry.host, "team/taxi", good), image.manifest.digest) == image.digests
        bad = home_with(tmp_path / "bad", registry.host, "user:hunter2")
        for environ, who in ((bad, "user user"), ({"HOME": "/nonexistent"}, "an anonymous user")):
            with pytest.raises(
                AccessDenied, match=f"{who} may not push to it.*`docker login {registry.host}`"
            ) as caught:
                write(image, at(registry.host, "team/taxi", environ))
            assert "hunter2" not in str(caught.value)


def test_with_tokens_that_it_checks(tmp_path: Path) -> None:
    tokens = TokenServer({"user": "secret"}, forbidden={"team/secret"})
    certificate = tokens.write_certificate(tmp_path / "certificate.pem")
    auth = (
        f"auth:\n  token:\n    realm: {tokens.realm}\n    service: {SERVICE}\n    issuer: {ISSUER}\n"
        f"    rootcertbundle: {certificate}\n"
    )
    try:
        with running(tmp_path / "r", auth) as registry:
            image = sample_image(sizes=(1000,) * 6)
            environ = home_with(tmp_path / "home", registry.host, "user:secret")
            base, taxi = at(registry.host, "team/base", environ), at(registry.host, "team/taxi", environ)
            write(image, base, tag="v1")
            before = len(tokens.asked)
            _, moved = copy_image(base, taxi, image.manifest, tag="v1", deadline=soon())
            assert moved.sent == 0  # mounted: the token was good for both repositories
            assert tokens.asked[before:] == [["repository:team/base:pull", "repository:team/taxi:pull,push"]]
            assert complete(at(registry.host, "team/taxi"), "v1") == image.digests  # anybody may pull
            with pytest.raises(AccessDenied, match="user user may not push"):
                write(image, at(registry.host, "team/secret", environ))
            with pytest.raises(AccessDenied, match="an anonymous user may not push"):
                write(image, at(registry.host, "team/taxi2"))
            wrong = home_with(tmp_path / "wrong", registry.host, "user:hunter2")
            with pytest.raises(AccessDenied, match="gives user user no token") as caught:
                write(image, at(registry.host, "team/taxi", wrong))
            assert "hunter2" not in str(caught.value)
    finally:
        tokens.close()


LARGE = """
import hashlib, random, sys
from typing import cast, BinaryIO
from lading.oci.copy import copy_blobs
from lading.oci.image import Descriptor
from lading.oci.pieces import PieceReader
from lading.oci.registry import Registry, resolve_image
from lading.oci.store import Blob
from lading.wait import Deadline
piece, count = random.Random(1).randbytes(1 << 20), 500
hashed = hashlib.sha256()
for _ in range(count):
    hashed.update(piece)
large = Descriptor("application/vnd.oci.image.layer.v1.tar", f"sha256:{hashed.hexdigest()}", count << 20)
blob = Blob(large, lambda: cast(BinaryIO, PieceReader(iter([piece] * count))))
one, two = (Registry(host, "team/taxi", environ={"HOME": "/nonexistent"}, writable=True) for host in sys.argv[1:3])
deadline = Deadline.after(120)
print(copy_blobs(None, one, extra=[blob], deadline=deadline).sent)
print(copy_blobs(one, two, [large], deadline=deadline).sent)
# Not ru_maxrss, in which what the process was before exec counts: the pytest that started it.
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_blob(registry: Running, tmp_path: Path) -> None:
    with running(tmp_path / "other") as other:
        command = [sys.executable, "-c", LARGE, registry.host, other.host]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert not done.returncode, done.stderr
    pushed, copied, mebibytes = map(int, done.stdout.split())
    assert pushed == copied == 500 << 20
    assert mebibytes < 100
    shutil.rmtree(tmp_path / "other")


def push_through(proxy: FaultProxy, tag: str, image: Sample) -> bool:
    """Push over a bad line; whether that worked."""
    try:
        write(image, at(proxy.host, "team/taxi"), tag=tag, seconds=60)
    except LadingError:
        return False
    return True


def test_a_hundred_pushes_over_a_bad_line(registry: Running) -> None:
    proxy = FaultProxy(registry.host, seed=100, faulty=0.3)
    images = {f"v{seed}": sample_image(seed, sizes=(3000, 1_500_000)) for seed in range(100)}
    try:
        with ThreadPoolExecutor(6) as pool:
            went = list(pool.map(lambda one: push_through(proxy, *one), images.items()))
    finally:
        proxy.close()
    pushed = {tag for tag, well in zip(images, went, strict=True) if well}
    taxi = at(registry.host, "team/taxi")
    listed = requests.get(f"http://{registry.host}/v2/team/taxi/tags/list?n=1000", timeout=10).json()["tags"]
    assert set(listed) >= pushed
    for tag in listed:  # also one whose answer was lost
        assert complete(taxi, tag) == images[tag].digests
    assert len(pushed) >= 98, proxy.met
    assert all(proxy.met[fault] > 5 for fault in ("cut request", "cut answer", "lose answer", "429", "500", "503"))
    told = skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/team/taxi:{listed[0]}")
    assert json.loads(told)["Digest"] == images[listed[0]].manifest.digest
