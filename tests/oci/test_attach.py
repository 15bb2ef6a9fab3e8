"""What is attached to an image: in registries that list it, in those that do not, and in layouts."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.registry import FakeRegistry
from soon import soon
from tiny_image import write_image

from lading.errors import AccessDenied, Conflict, NotFound, RemoteError
from lading.oci import attach as module
from lading.oci.attach import Artifact, attach, attached_to, change_tag, read_artifact, referrers_tag
from lading.oci.image import INDEX_TYPE, canonical_json, digest_of
from lading.oci.layout import Layout
from lading.oci.registry import Registry
from lading.oci.store import Manifest, Store
from lading.wait import Deadline

NOTE = Artifact("application/vnd.example+json", b'{"says": "hello"}', {"about": "greetings"})


def opened(registry: FakeRegistry, home: Path) -> Registry:
    return Registry(registry.host, "team/taxi", environ={"HOME": str(home)}, writable=True)


@pytest.fixture(params=["lists", "tag scheme", "layout", "image store"])
def store(request: pytest.FixtureRequest, registry: FakeRegistry, tmp_path: Path) -> Store:
    if request.param == "layout":
        return Layout(tmp_path / "images")
    if request.param == "image store":
        return Layout(tmp_path / "images", "lading.local/taxi")
    registry.lists_referrers = request.param == "lists"
    return opened(registry, tmp_path)


def test_what_is_attached_is_found_and_read(store: Store) -> None:
    image, other = write_image(store), write_image(store, [{"models/taxi/3/x": "y"}], tag="v2")
    (digest,) = attach(store, image, [NOTE], deadline=soon())
    (found,) = attached_to(store, image, deadline=soon())
    assert (found.digest, found.artifact_type, found.annotations) == (digest, NOTE.media_type, NOTE.annotations)
    assert read_artifact(store, found, deadline=soon()) == NOTE.content
    assert attached_to(store, other, deadline=soon()) == []
    assert attached_to(store, image, artifact_type="application/other", deadline=soon()) == []


def test_attaching_again_changes_nothing_and_more_is_added(store: Store) -> None:
    image = write_image(store)
    first = attach(store, image, [NOTE], deadline=soon())
    assert attach(store, image, [NOTE], deadline=soon()) == first
    second = attach(store, image, [Artifact("application/x", b"1"), Artifact("application/x", b"2")], deadline=soon())
    assert {one.digest for one in attached_to(store, image, deadline=soon())} == {*first, *second}
    assert store.manifest("v1", deadline=soon()).digest == image


def test_the_manifest_names_its_subject_as_the_specification_has_it(registry: FakeRegistry, tmp_path: Path) -> None:
    store = opened(registry, tmp_path)
    image = write_image(store)
    (digest,) = attach(store, image, [NOTE], deadline=soon())
    body = json.loads(registry.manifests["team/taxi", digest])
    raw = registry.manifests["team/taxi", image]
    assert body["subject"] == {"mediaType": json.loads(raw)["mediaType"], "digest": image, "size": len(raw)}
    assert body["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    index = json.loads(registry.manifests["team/taxi", referrers_tag(image)])
    assert (index["mediaType"], index["manifests"][0]["artifactType"]) == (INDEX_TYPE, NOTE.media_type)


def test_a_registry_that_lists_referrers_gets_no_tag(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.lists_referrers = True
    store = opened(registry, tmp_path)
    attach(store, write_image(store), [NOTE], deadline=soon())
    assert registry.tags("team/taxi") == {"v1"}


def test_what_was_attached_before_the_registry_listed_referrers_is_found(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    store = opened(registry, tmp_path)
    image = write_image(store)
    attach(store, image, [NOTE], deadline=soon())
    registry.lists_referrers = True
    attach(store, image, [Artifact("application/x", b"later")], deadline=soon())
    assert {one.artifact_type for one in attached_to(store, image, deadline=soon())} == {
        NOTE.media_type,
        "application/x",
    }


def test_attaching_at_the_same_time_loses_nothing(registry: FakeRegistry, tmp_path: Path) -> None:
    image = write_image(opened(registry, tmp_path))
    digests: list[str] = []

    def work(number: int) -> None:
        note = Artifact("application/x", str(number).encode())
        digests.extend(attach(opened(registry, tmp_path), image, [note], deadline=soon(30)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 8
    assert {one.digest for one in attached_to(opened(registry, tmp_path), image, deadline=soon())} == set(digests)


class Overwritten(Layout):
    """A layout whose tag another writer, who read it before, writes back so many times."""

    times = 1

    def write_manifest(self, manifest: Manifest, *, tag: str = "", part: bool = False, deadline: Deadline) -> None:
        super().write_manifest(manifest, tag=tag, part=part, deadline=deadline)
        if tag.startswith("sha256-") and self.times:
            self.times -= 1
            content = canonical_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []})
            stale = Manifest(content, INDEX_TYPE, digest_of(content))
            super().write_manifest(stale, tag=tag, deadline=deadline)


def test_an_entry_that_was_overwritten_is_added_anew(tmp_path: Path) -> None:
    store = Overwritten(tmp_path)
    image = write_image(store)
    attach(store, image, [NOTE], deadline=soon())
    assert len(attached_to(store, image, deadline=soon())) == 1


def test_a_tag_that_is_never_left_alone_ends_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 0.01)
    store = Overwritten(tmp_path)
    store.times = 10_000
    image = write_image(store)
    started = time.monotonic()
    with pytest.raises(Conflict, match="another writer keeps replacing it"):
        attach(store, image, [NOTE], deadline=soon(0.3))
    assert time.monotonic() - started < 20


def test_an_image_that_is_not_there(store: Store) -> None:
    write_image(store)
    with pytest.raises(NotFound):
        attach(store, f"sha256:{'0' * 64}", [NOTE], deadline=soon())


def test_who_may_not_write_is_told(registry: FakeRegistry, tmp_path: Path) -> None:
    store = opened(registry, tmp_path)
    image = write_image(store)
    registry.refuses_uploads = (403, "read only")
    with pytest.raises(AccessDenied):
        attach(store, image, [NOTE], deadline=soon())


def test_a_tag_that_is_something_else_is_not_overwritten(tmp_path: Path) -> None:
    store = Layout(tmp_path)
    image = write_image(store)
    write_image(store, [{"models/taxi/3/x": "y"}], tag=referrers_tag(image))
    with pytest.raises(RemoteError, match="expected a list of referrers"):
        attach(store, image, [NOTE], deadline=soon())


def test_a_huge_artifact_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Layout(tmp_path)
    image = write_image(store)
    attach(store, image, [Artifact("application/x", bytes(100_000))], deadline=soon())
    (found,) = attached_to(store, image, deadline=soon())
    monkeypatch.setattr(module, "MAX_ARTIFACT_BYTES", 50_000)
    with pytest.raises(RemoteError, match="not an artifact"):
        read_artifact(store, found, deadline=soon())


def test_other_entries_of_the_list_are_kept_as_they_are(tmp_path: Path) -> None:
    store = Layout(tmp_path)
    image = write_image(store)
    theirs: dict[str, Any] = {
        "mediaType": "x/y",
        "digest": f"sha256:{'1' * 64}",
        "size": 3,
        "platform": {"os": "plan9"},
    }

    def with_theirs(known: Manifest | None) -> Manifest | None:
        if known:
            return None
        content = canonical_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [theirs]})
        return Manifest(content, INDEX_TYPE, digest_of(content))

    change_tag(store, referrers_tag(image), with_theirs, deadline=soon())
    attach(store, image, [NOTE], deadline=soon())
    index = json.loads(store.manifest(referrers_tag(image), deadline=soon()).content)
    assert theirs in index["manifests"]
    assert len(index["manifests"]) == 2
