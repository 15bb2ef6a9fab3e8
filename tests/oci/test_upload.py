"""Pushes against a registry on loopback that refuses, forgets and breaks off."""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from fakes.fault_proxy import FaultProxy
from fakes.registry import FakeRegistry
from sample_images import Sample, blob_of, complete, sample_image, write
from soon import soon

from lading.errors import (
    AccessDenied,
    LadingError,
    NotFound,
    QuotaExceeded,
    RemoteError,
    ServiceUnreachable,
    StorageError,
)
from lading.oci.copy import copy_image
from lading.oci.registry import Registry
from lading.oci.store import Blob, Manifest


def opened(registry: FakeRegistry, home: Path, name: str = "team/taxi") -> Registry:
    return Registry(registry.host, name, environ={"HOME": str(home)}, writable=True)


def logged_in(home: Path, host: str, login: str = "user:secret") -> None:
    (home / ".docker").mkdir(exist_ok=True)
    auths = {host: {"auth": base64.b64encode(login.encode()).decode()}}
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": auths}))


@pytest.mark.parametrize("auth", ["", "basic", "bearer", "either"])
def test_an_image_is_pushed_and_whole(registry: FakeRegistry, tmp_path: Path, auth: str) -> None:
    registry.auth = auth
    logged_in(tmp_path, registry.host)
    image = sample_image()
    write(image, opened(registry, tmp_path), tag="v1")
    assert complete(opened(registry, tmp_path), "v1") == image.digests
    assert complete(opened(registry, tmp_path), image.manifest.digest) == image.digests


def test_one_token_is_asked_for_however_many_threads_push(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = "bearer"
    logged_in(tmp_path, registry.host)
    image, origin = sample_image(sizes=(100,) * 8), opened(registry, tmp_path, "team/base")
    write(image, origin)
    asked = len(registry.tokens)
    copy_image(origin, opened(registry, tmp_path), image.manifest, tag="v1", deadline=soon())
    (scopes,) = list(registry.tokens.values())[asked:]
    assert scopes == {"repository:team/base:pull", "repository:team/taxi:pull,push"}
    assert {digest for _, digest in registry.mounted} == image.digests


def test_what_is_there_is_not_sent_again(registry: FakeRegistry, tmp_path: Path) -> None:
    write(sample_image(), opened(registry, tmp_path), tag="v1")
    sent = list(registry.uploaded)
    write(sample_image(), opened(registry, tmp_path), tag="v2")
    assert registry.uploaded == sent
    assert registry.tags("team/taxi") == {"v1", "v2"}


def test_a_blob_of_another_repository_is_mounted(registry: FakeRegistry, tmp_path: Path) -> None:
    base, taxi = opened(registry, tmp_path, "team/base"), opened(registry, tmp_path)
    write(sample_image(), base)
    sent = list(registry.uploaded)
    for blob in sample_image().blobs:
        assert taxi.take_blob(blob.descriptor, base, deadline=soon())
    assert registry.uploaded == sent
    assert {name for name, _ in registry.mounted} == {"team/taxi"}


def test_an_unwilling_registry_gets_the_bytes_in_the_upload_that_it_opened(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.mounts = False
    blob, taxi, base = sample_image().blobs[1], opened(registry, tmp_path), opened(registry, tmp_path, "team/base")
    base.write_blob(blob, deadline=soon())
    assert not taxi.take_blob(blob.descriptor, base, deadline=soon())
    taxi.write_blob(blob, deadline=soon())
    assert registry.has("team/taxi", blob.descriptor.digest)
    assert registry.requests.count("POST /v2/team/taxi/blobs/uploads/") == 1


def test_a_token_service_that_refuses_the_base_gives_a_token_for_the_rest(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.auth, registry.ungranted = "bearer", {"team/base"}
    logged_in(tmp_path, registry.host)
    blob, taxi = sample_image().blobs[1], opened(registry, tmp_path)
    registry.put_blob(blob.open().read(), "team/base")
    assert not taxi.take_blob(blob.descriptor, opened(registry, tmp_path, "team/base"), deadline=soon())
    taxi.write_blob(blob, deadline=soon())
    assert registry.has("team/taxi", blob.descriptor.digest)


@pytest.mark.parametrize(
    "breaking", [["cut"], ["500"], ["503"], ["429"], ["lost"], ["forgotten"], ["cut", "502", "forgotten", "cut"]]
)
def test_an_upload_that_breaks_begins_anew(registry: FakeRegistry, tmp_path: Path, breaking: list[str]) -> None:
    registry.breaking = list(breaking)
    blob = blob_of(bytes(range(256)) * 20_000)
    opened(registry, tmp_path).write_blob(blob, deadline=soon())
    assert registry.blobs[blob.descriptor.digest] == blob.open().read()
    posts = sum(one.startswith("POST") for one in registry.requests)
    assert posts == (1 if breaking == ["lost"] else len(breaking) + 1)  # what has arrived is not sent again


def test_a_token_that_runs_out_meanwhile_is_renewed(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth, registry.breaking = "bearer", ["expired"]
    logged_in(tmp_path, registry.host)
    blob = blob_of(b"weights" * 1000)
    opened(registry, tmp_path).write_blob(blob, deadline=soon())
    assert registry.has("team/taxi", blob.descriptor.digest)


def test_a_registry_that_never_takes_it_is_given_up(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.breaking = ["cut"] * 50
    with pytest.raises(ServiceUnreachable, match="no connection"):
        opened(registry, tmp_path).write_blob(blob_of(b"weights" * 1000), deadline=soon())
    assert len(registry.breaking) == 44
    registry.breaking = ["500"] * 50
    with pytest.raises(RemoteError, match="stumbled"):
        opened(registry, tmp_path).write_blob(blob_of(b"weights" * 1000), deadline=soon(1))
    assert not registry.blobs


def test_an_empty_blob_is_pushed(registry: FakeRegistry, tmp_path: Path) -> None:
    opened(registry, tmp_path).write_blob(blob_of(b""), deadline=soon())
    assert registry.blobs[blob_of(b"").descriptor.digest] == b""


def test_an_upload_at_another_host_does_not_get_our_login(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.auth = "basic"
    logged_in(tmp_path, registry.host)
    elsewhere = FakeRegistry()
    try:
        registry.uploads_at = f"http://{elsewhere.host}"
        blob = blob_of(b"weights")
        opened(registry, tmp_path).write_blob(blob, deadline=soon())
        assert blob.descriptor.digest in elsewhere.blobs
        assert set(elsewhere.authorizations) == {""}
    finally:
        elsewhere.close()
    registry.uploads_at = "http://uploads.example.org"
    with pytest.raises(RemoteError, match=r"on to uploads\.example\.org, unencrypted"):
        opened(registry, tmp_path).write_blob(blob_of(b"others"), deadline=soon())


@pytest.mark.parametrize(
    ("refusal", "kind", "says"),
    [
        ((401, "authentication required"), AccessDenied, r"user user may not push to it .*`docker login 127"),
        ((403, "denied"), AccessDenied, r"team/taxi: user user may not push to it .*403 denied.*`docker login 127"),
        ((404, "name unknown"), NotFound, r"has no such repository .*name unknown.* Create it first"),
        ((429, "slow down"), QuotaExceeded, r"a limit of the registry is reached .*slow down.* Try again later"),
        ((413, "too large"), RemoteError, r"takes no blob of this size"),
    ],
)
def test_a_refusal_says_what_to_do(
    registry: FakeRegistry, tmp_path: Path, refusal: tuple[int, str], kind: type[LadingError], says: str
) -> None:
    registry.auth, registry.refuses_uploads = "basic", refusal
    logged_in(tmp_path, registry.host)
    with pytest.raises(kind, match=says) as caught:
        opened(registry, tmp_path).write_blob(blob_of(b"weights"), deadline=soon(0.5))
    assert "secret" not in str(caught.value)


def test_a_wrong_password_is_tried_once_however_many_threads_push(registry: FakeRegistry, tmp_path: Path) -> None:
    image, base = sample_image(sizes=(100,) * 8), opened(registry, tmp_path, "team/base")
    write(image, base)
    registry.auth = "bearer"
    logged_in(tmp_path, registry.host, "user:hunter2")
    taxi = opened(registry, tmp_path)
    other = FakeRegistry()
    try:
        origin = opened(other, tmp_path)
        write(image, origin)
        with pytest.raises(AccessDenied, match="gives user user no token") as caught:
            copy_image(origin, taxi, image.manifest, tag="v1", deadline=soon())
    finally:
        other.close()
    assert "hunter2" not in str(caught.value)
    assert sum(one == "GET /token" for one in registry.requests) == 1  # wrong passwords can lock an account


def test_no_message_shows_the_address_of_an_upload(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.breaking = ["400"]
    with pytest.raises(RemoteError, match="400") as caught:
        opened(registry, tmp_path).write_blob(blob_of(b"weights"), deadline=soon())
    assert "secret-state" not in str(caught.value)


@pytest.mark.parametrize("content", [b"weight", b"weights!", b"WEIGHTS"])
def test_a_blob_that_changed_meanwhile_is_not_taken(registry: FakeRegistry, tmp_path: Path, content: bytes) -> None:
    blob = Blob(blob_of(b"weights").descriptor, lambda: io.BytesIO(content))
    with pytest.raises((StorageError, RemoteError), match=r"change meanwhile|other bytes"):
        opened(registry, tmp_path).write_blob(blob, deadline=soon())
    assert not registry.blobs


def test_a_blob_that_cannot_be_read_says_so(registry: FakeRegistry, tmp_path: Path) -> None:
    def gone() -> BinaryIO:
        return (tmp_path / "weights").open("rb")

    with pytest.raises(StorageError, match=r"cannot be read: .*weights"):
        opened(registry, tmp_path).write_blob(Blob(blob_of(b"weights").descriptor, gone), deadline=soon())


def test_a_manifest_whose_blobs_are_missing_is_refused(registry: FakeRegistry, tmp_path: Path) -> None:
    image = sample_image()
    with pytest.raises(RemoteError, match="no sha256:"):
        opened(registry, tmp_path).write_manifest(image.manifest, tag="v1", deadline=soon())
    assert not registry.tags("team/taxi")


def test_referrers_are_those_that_the_registry_lists(registry: FakeRegistry, tmp_path: Path) -> None:
    image, taxi = sample_image(), opened(registry, tmp_path)
    write(image, taxi, tag="v1")
    assert taxi.referrers(image.manifest.digest, deadline=soon()) is None
    registry.lists_referrers = True
    assert taxi.referrers(image.manifest.digest, deadline=soon()) == []
    body = {**json.loads(image.manifest.content), "subject": image.manifest.descriptor.to_dict()}
    digest = registry.put("team/taxi", "statement", body)
    registry.manifests["team/taxi", digest] = registry.manifests["team/taxi", "statement"]
    found = taxi.referrers(image.manifest.digest, deadline=soon())
    assert found is not None
    assert [one["digest"] for one in found] == [digest]


def push_through(proxy: FaultProxy, image: Sample, home: Path, tag: str) -> bool:
    """Push over a bad line; whether that worked."""
    there = Registry(proxy.host, "team/taxi", environ={"HOME": str(home)}, writable=True)
    try:
        write(image, there, tag=tag, seconds=20)
    except LadingError:
        return False
    return True


def test_over_a_bad_line_an_image_is_whole_or_not_there(registry: FakeRegistry, tmp_path: Path) -> None:
    proxy = FaultProxy(registry.host, seed=20, faulty=0.3)
    registry.auth = "bearer"
    logged_in(tmp_path, proxy.host)
    registry.realm = f"http://{proxy.host}/token"
    try:
        images = {f"v{seed}": sample_image(seed, sizes=(200, 1_000_000)) for seed in range(20)}
        with ThreadPoolExecutor(5) as pool:
            went = list(pool.map(lambda one: push_through(proxy, one[1], tmp_path, one[0]), images.items()))
        pushed = {tag for tag, well in zip(images, went, strict=True) if well}
    finally:
        proxy.close()
    logged_in(tmp_path, registry.host)
    registry.realm = ""
    assert registry.tags("team/taxi") >= pushed
    for tag in registry.tags("team/taxi"):  # also the one whose answer was lost
        assert complete(opened(registry, tmp_path), tag) == images[tag].digests
    assert len(pushed) >= 19, proxy.met
    assert sum(proxy.met[fault] for fault in proxy.met if fault) > 20


def test_a_manifest_that_the_registry_stores_otherwise_is_an_error(registry: FakeRegistry, tmp_path: Path) -> None:
    image, taxi = sample_image(), opened(registry, tmp_path)
    write(image, taxi)
    other = Manifest(image.manifest.content, image.manifest.media_type, "sha256:" + "0" * 64)
    with pytest.raises(RemoteError, match="and says it is"):
        taxi.write_manifest(other, tag="v1", deadline=soon())
