"""Small images for tests of transport: real tars in gzip, real configurations, any platform, any media types."""

import gzip
import hashlib
import io
import json
import random
import tarfile
from dataclasses import dataclass

from lading.oci.image import (
    CONFIG_TYPE,
    DOCKER_CONFIG_TYPE,
    DOCKER_LIST_TYPE,
    DOCKER_MANIFEST_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    canonical_json,
    digest_of,
)
from lading.oci.store import Blob, Manifest, Store
from lading.wait import Deadline


@dataclass(frozen=True)
class Sample:
    """An image that is nowhere yet."""

    manifest: Manifest
    blobs: tuple[Blob, ...]
    parts: tuple["Sample", ...] = ()
    """The images of an index."""

    @property
    def digests(self) -> set[str]:
        return {blob.descriptor.digest for blob in self.blobs}.union(*(part.digests for part in self.parts))


def sample_image(
    seed: int = 1, *, sizes: tuple[int, ...] = (5000, 60_000), architecture: str = "amd64", docker: bool = False
) -> Sample:
    """An image with one layer for each size, in bytes; the same arguments give the same image."""
    tars = [
        _tar(f"layer-{place}", random.Random(seed * 1000 + place).randbytes(size)) for place, size in enumerate(sizes)
    ]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
    }
    layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else LAYER_TYPE
    layers = [blob_of(gzip.compress(tar, 1, mtime=0), layer_type) for tar in tars]
    described = blob_of(canonical_json(config), DOCKER_CONFIG_TYPE if docker else CONFIG_TYPE)
    media_type = DOCKER_MANIFEST_TYPE if docker else MANIFEST_TYPE
    content = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": described.descriptor.to_dict(),
            "layers": [layer.descriptor.to_dict() for layer in layers],
        }
    )
    return Sample(Manifest(content, media_type, digest_of(content)), (described, *layers))


def sample_index(*, docker: bool = False) -> Sample:
    """An index with an image for amd64 and one for arm64, which share their first layer."""
    parts = tuple(sample_image(3, architecture=name, docker=docker) for name in ("amd64", "arm64"))
    entries = [
        {**part.manifest.descriptor.to_dict(), "platform": {"os": "linux", "architecture": name}}
        for part, name in zip(parts, ("amd64", "arm64"), strict=True)
    ]
    media_type = DOCKER_LIST_TYPE if docker else INDEX_TYPE
    content = canonical_json({"schemaVersion": 2, "mediaType": media_type, "manifests": entries})
    return Sample(Manifest(content, media_type, digest_of(content)), (), parts)


def blob_of(content: bytes, media_type: str = LAYER_TYPE) -> Blob:
    return Blob(Descriptor(media_type, digest_of(content), len(content)), lambda: io.BytesIO(content))


def write(sample: Sample, store: Store, *, tag: str = "", part: bool = False, seconds: float = 30) -> None:
    """Write an image to a place, piece by piece."""
    deadline = Deadline.after(seconds)
    for one in sample.parts:
        write(one, store, part=True, seconds=seconds)
    for blob in sample.blobs:
        store.write_blob(blob, deadline=deadline)
    store.write_manifest(sample.manifest, tag=tag, part=part, deadline=deadline)


def complete(store: Store, tag_or_digest: str, *, seconds: float = 30) -> set[str]:
    """Read an image as a stranger would, check every byte, and give the digests of its blobs."""
    deadline = Deadline.after(seconds)
    manifest = store.manifest(tag_or_digest, deadline=deadline)
    assert digest_of(manifest.content) == manifest.digest
    body = json.loads(manifest.content)
    found: set[str] = set()
    for named in body.get("manifests", ()):
        found |= complete(store, named["digest"], seconds=seconds)
    for named in [*([body["config"]] if "config" in body else []), *body.get("layers", ())]:
        content = b"".join(store.blob(named["digest"], deadline=deadline))
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == named["digest"]
        assert len(content) == named["size"]
        found.add(named["digest"])
    return found


def _tar(name: str, content: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return written.getvalue()
