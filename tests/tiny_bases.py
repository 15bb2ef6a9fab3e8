"""Base images of a few bytes, in any store, as OCI and as Docker write them."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from soon import soon

from lading.oci.image import (
    CONFIG_TYPE,
    DOCKER_CONFIG_TYPE,
    DOCKER_LIST_TYPE,
    DOCKER_MANIFEST_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    digest_of,
)
from lading.oci.layer import Entry, Layer, plan_entries
from lading.oci.store import Blob, Manifest, Store

CREATED = "2025-03-01T12:00:00Z"
LADING = {"dev.lading.runtime": "lading", "dev.lading.engine": "tensorflow"}


def base_layers(platform: str = "linux/amd64") -> list[Layer]:
    """Two layers; the second differs by platform."""
    return [
        plan_entries([Entry("etc/os-release", b"ID=tiny\n")]),
        plan_entries([Entry("opt/lading/lib/server", platform.encode() * 5000, executable=True)]),
    ]


def base_config(
    layers: Sequence[Layer], platform: str, labels: Mapping[str, str], run: Mapping[str, Any]
) -> dict[str, Any]:
    os_name, architecture = platform.split("/")
    return {
        "os": os_name,
        "architecture": architecture,
        "created": CREATED,
        "config": {
            "Entrypoint": ["python3", "-m", "lading"],
            "Cmd": ["--help"],
            "Env": ["PATH=/usr/bin", "PYTHONPATH=/opt/lading/lib"],
            "User": "65532:65532",
            "Labels": dict(labels),
            **run,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [
            {"created": CREATED, "created_by": "ADD rootfs"},
            {"created": CREATED, "created_by": "ENV x", "empty_layer": True},
            {"created": CREATED, "created_by": "COPY lib"},
        ],
    }


def put_base(
    store: Store,
    *,
    platform: str = "linux/amd64",
    labels: Mapping[str, str] = LADING,
    docker: bool = False,
    tag: str = "",
    part: bool = False,
    run: Mapping[str, Any] | None = None,
    **config: Any,
) -> str:
    """Write a base and return its digest; ``run`` and ``config`` go into its configuration."""
    layers = base_layers(platform)
    body = {**base_config(layers, platform, labels, run or {}), **config}
    content = json.dumps({key: value for key, value in body.items() if value is not None}).encode()
    for layer in layers:
        store.write_blob(layer.blob, deadline=soon())
    configuration = put_bytes(store, content, DOCKER_CONFIG_TYPE if docker else CONFIG_TYPE)
    layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else layers[0].descriptor.media_type
    kind = DOCKER_MANIFEST_TYPE if docker else MANIFEST_TYPE
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": configuration.to_dict(),
        "layers": [{**layer.descriptor.to_dict(), "mediaType": layer_type} for layer in layers],
    }
    return put_manifest(store, manifest, kind, tag=tag, part=part)


def put_image(store: Store, config: Mapping[str, Any], *layers: Layer, tag: str = "") -> str:
    """Write an image of these layers and this configuration, bottom to top; its digest."""
    for layer in layers:
        store.write_blob(layer.blob, deadline=soon())
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": put_bytes(store, json.dumps(config).encode(), CONFIG_TYPE).to_dict(),
        "layers": [layer.descriptor.to_dict() for layer in layers],
    }
    return put_manifest(store, manifest, MANIFEST_TYPE, tag=tag)


def put_index(store: Store, platforms: Mapping[str, str], *, docker: bool = False, tag: str = "") -> str:
    """Write an index of images (digests by platform), with a statement beside them as BuildKit writes it."""
    entries = []
    for platform, digest in {**platforms, "unknown/unknown": next(iter(platforms.values()))}.items():
        os_name, architecture, *variant = platform.split("/")
        there = {"os": os_name, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        content = store.manifest(digest, deadline=soon()).content
        kind = DOCKER_MANIFEST_TYPE if docker else MANIFEST_TYPE
        entries.append({"mediaType": kind, "digest": digest, "size": len(content), "platform": there})
    kind = DOCKER_LIST_TYPE if docker else INDEX_TYPE
    return put_manifest(store, {"schemaVersion": 2, "mediaType": kind, "manifests": entries}, kind, tag=tag)


def put_manifest(store: Store, body: object, kind: str, *, tag: str = "", part: bool = False) -> str:
    content = json.dumps(body).encode()
    manifest = Manifest(content, kind, digest_of(content))
    store.write_manifest(manifest, tag=tag, part=part, deadline=soon())
    return manifest.digest


def put_bytes(store: Store, content: bytes, media_type: str) -> Descriptor:
    """Write a blob that is known as a whole."""
    descriptor = Descriptor(media_type, digest_of(content), len(content))
    store.write_blob(Blob(descriptor, lambda: io.BytesIO(content)), deadline=soon())
    return descriptor
