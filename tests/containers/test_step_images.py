"""The small step image without Docker: from the locks, unpacked by umoci, and run in bubblewrap as KFP runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from engines import build_context, need, ran, run

ROOT = Path(__file__).parent.parent.parent
COMPRESSED_MB = 65
pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

# As KFP's compiled components begin.
AS_KFP = """
program_path=$(mktemp -d)
printf "%s" "$0" > "$program_path/ephemeral_component.py"
_KFP_RUNTIME=true python3 "$program_path/ephemeral_component.py"
"""
CLIENTS = """
import kfp.dsl.executor_main
import cryptography.hazmat.primitives.asymmetric.ec, jinja2, kubernetes.client, kubernetes.config, yaml
from backports import zstd
from google.cloud import storage
from google.cloud.aiplatform_v1 import (
    EndpointServiceClient, JobServiceClient, MetadataServiceClient, ModelServiceClient, PipelineServiceClient
)
from google.cloud.devtools.cloudbuild_v1 import CloudBuildClient
print("all there")
"""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with the image."""
    need("mmdebstrap")
    folder = tmp_path_factory.mktemp("steps")
    checkout = build_context(ROOT, folder)
    words = [sys.executable, "-m", "containers.assembly"]
    base, to = f"oci:{folder}/images:base-shell", f"oci:{folder}/images:steps"
    ran(run(*words, "base", "--shell", "--to", base, cwd=checkout))
    ran(run(*words, "steps", "--base", base, "--to", to, cwd=checkout, timeout=900))
    return folder / "images"


@pytest.fixture(scope="module")
def root(layout: Path) -> Path:
    """Its files."""
    need("umoci")
    ran(run("umoci", "unpack", "--rootless", "--image", f"{layout}:steps", layout.parent / "unpacked"))
    return layout.parent / "unpacked" / "rootfs"


def contained(root: Path, *words: str, program: str = "") -> "subprocess.CompletedProcess[str]":
    """Run in the image, whose root cannot be written, without a network and as nobody; ``program`` is its ``$0``."""
    need("bwrap")
    settings = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": "/opt/lading/lib", "HOME": "/tmp"}
    environ = [word for name, value in settings.items() for word in ("--setenv", name, value)]
    return run("bwrap", "--ro-bind", root, "/", "--tmpfs", "/tmp", "--tmpfs", "/gcs", "--proc", "/proc", "--dev",
               "/dev", "--unshare-all", "--uid", "65532", "--gid", "65532", "--clearenv", *environ,
               "sh", "-ec", *words, program)  # fmt: skip


def test_it_is_small(layout: Path) -> None:
    need("skopeo")
    manifest = json.loads(ran(run("skopeo", "inspect", "--raw", f"oci:{layout}:steps")))
    assert sum(layer["size"] for layer in manifest["layers"]) < COMPRESSED_MB * 1e6


def test_it_starts_as_kfp_starts_a_step_and_has_every_client(root: Path) -> None:
    assert ran(contained(root, AS_KFP, program=CLIENTS)) == "all there"


def test_where_kfp_brings_artifacts_everybody_may_write(root: Path) -> None:
    assert {name: (root / name).stat().st_mode & 0o7777 for name in ("gcs", "minio", "s3")} == {
        "gcs": 0o1777, "minio": 0o1777, "s3": 0o1777,
    }  # fmt: skip


def test_its_verbs_scan_and_package(root: Path) -> None:
    words = r"""
    mkdir /tmp/model && printf '\010\001\022\002\022\000' > /tmp/model/saved_model.pb
    python3 -m lading scan /tmp/model --report /tmp/scan.json > /tmp/words
    python3 -m lading package /tmp/model --to lading.local/taxi --scan-report /tmp/scan.json
    """
    assert ran(contained(root, words)).startswith("lading.local/taxi@sha256:")
