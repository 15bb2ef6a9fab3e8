"""Images of a few small files, written to any store, and keys to sign them with."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lading.oci.image import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, Descriptor, canonical_json, digest_of
from lading.oci.store import Blob, Manifest, Store
from lading.wait import Deadline

PYTHON_METADATA = b"""Metadata-Version: 2.4
Name: Flask_Login
Version: 1.2.0+local
License-Expression: MIT AND (Apache-2.0 OR BSD-2-Clause)

# A page that is not a header
Name: other
"""
DPKG_STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: libraries
 Package: not-a-field

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: libstdc++6
Status: install ok installed
Architecture: amd64
Version: 1:12.2.0-14~x
"""
OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: LGPL-2.1+

Files: x
License: GPL-2+ with exception

License: LGPL-2.1+
 text
"""
BASE: dict[str, bytes | str] = {
    "var/lib/dpkg/status": DPKG_STATUS,
    "var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2025a-0\nArchitecture: all\n",
    "var/lib/dpkg/status.d/tzdata.md5sums": "0 x\n",
    "usr/lib/os-release": OS_RELEASE,
    "usr/share/doc/libc6/copyright": COPYRIGHT,
    "opt/lading/lib/flask_login-1.2.0.dist-info/METADATA": PYTHON_METADATA,
    "opt/lading/lib/old-1.0.dist-info/METADATA": "Name: old\nVersion: 1.0\nLicense: BSD\n",
    "opt/lading/lib/lading-0.1.0.dist-info/METADATA": "Name: lading\nVersion: 0.1.0\n"
    "Classifier: License :: OSI Approved :: Apache Software License\nClassifier: License :: OSI Approved\n",
}
MODEL: dict[str, bytes | str] = {
    "models/taxi/3/saved_model.pb": b"graph",
    "models/taxi/3/variables/data": bytes(range(256)) * 9000,
    "models/taxi/3/assets.extra/lading/model.json": json.dumps(
        {
            "kind": "ModelFacts",
            "version": 1,
            "recipe": "fashion_mnist",
            "recipe_sha256": "a" * 64,
            "hyperparameters": {},
            "class_names": ["a", "b"],
            "versions": {"tensorflow": "2.19.0"},
        }
    ),
}


def gzipped(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)


def layer(files: Mapping[str, bytes | str], pack: Callable[[bytes], bytes] = gzipped) -> tuple[bytes, str]:
    """The bytes of a layer and its diff-id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    raw = buffer.getvalue()
    return pack(raw), digest_of(raw)


def write_image(
    store: Store,
    layers: Sequence[Mapping[str, bytes | str]] = (BASE, MODEL),
    *,
    tag: str = "v1",
    pack: Callable[[bytes], bytes] = gzipped,
    labels: Mapping[str, str] | None = None,
) -> str:
    """Write an image whose last layer is the model, unless it has other labels than such images have; its digest."""
    deadline, descriptors, diff_ids = Deadline.after(30), [], []
    for files in layers:
        content, diff_id = layer(files, pack)
        descriptors.append(write_blob(store, content, LAYER_TYPE, deadline))
        diff_ids.append(diff_id)
    usual = {"dev.lading.model.diff-id": diff_ids[-1], "dev.lading.model.path": "models/taxi/3"}
    usual["org.opencontainers.image.base.digest"] = f"sha256:{'b' * 64}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": usual if labels is None else labels, "Env": ["PYTHON_VERSION=3.12.7"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    described = write_blob(store, canonical_json(config), CONFIG_TYPE, deadline)
    body = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": described.to_dict()}
    content = canonical_json({**body, "layers": [one.to_dict() for one in descriptors]})
    manifest = Manifest(content, MANIFEST_TYPE, digest_of(content))
    store.write_manifest(manifest, tag=tag, deadline=deadline)
    return manifest.digest


def write_blob(store: Store, content: bytes, media_type: str, deadline: Deadline) -> Descriptor:
    described = Descriptor(media_type, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
    store.write_blob(Blob(described, lambda: io.BytesIO(content)), deadline=deadline)
    return described


def make_key(directory: Path, name: str = "key", *, password: str = "", curve: str = "P-256") -> tuple[Path, Path]:
    """A private and a public key, made by openssl as the documents say."""
    private, public = directory / f"{name}.pem", directory / f"{name}.pub"
    hidden = ["-aes256", "-pass", f"pass:{password}"] if password else []
    made = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", *hidden]
    subprocess.run([*made, "-out", private], check=True, capture_output=True)
    given = ["-passin", f"pass:{password}"] if password else []
    subprocess.run(["openssl", "pkey", "-in", private, *given, "-pubout", "-out", public], check=True)
    return private, public
