"""Step images without Docker, the small one and that of batch prediction: from the locks, unpacked by umoci, and run in
bubblewrap as KFP runs them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engines import build_context, need, ran, run

ROOT = Path(__file__).parent.parent.parent
COMPRESSED_MB = {"steps": 65, "batch": 280}
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


BATCH = """
import kfp.dsl.executor_main
import lading.batch.service.routes
import pyarrow.parquet
from pathlib import Path
from google.cloud import storage
from lading.predict.engines.litert import Interpreters
from lading.predict.engines.tensorflow import Session
print("all there")
"""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with the images."""
    need("mmdebstrap")
    folder = tmp_path_factory.mktemp("steps")
    checkout = build_context(ROOT, folder)
    words = [sys.executable, "-m", "containers.assembly"]
    base = f"oci:{folder}/images:base-shell"
    ran(run(*words, "base", "--shell", "--to", base, cwd=checkout))
    for name in COMPRESSED_MB:
        ran(run(*words, name, "--base", base, "--to", f"oci:{folder}/images:{name}", cwd=checkout, timeout=900))
    return folder / "images"


def unpacked(layout: Path, name: str) -> Path:
    """The files of an image."""
    need("umoci")
    to = layout.parent / name
    if not to.exists():
        ran(run("umoci", "unpack", "--rootless", "--image", f"{layout}:{name}", to))
    return to / "rootfs"


@pytest.fixture(scope="module")
def root(layout: Path) -> Path:
    """The files of the small image."""
    return unpacked(layout, "steps")


def contained(
    root: Path, *words: str, program: str = "", mounts: tuple[object, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run in the image, whose root cannot be written, without a network and as nobody; ``program`` is its ``$0``."""
    need("bwrap")
    settings = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": "/opt/lading/lib", "HOME": "/tmp"}
    environ = [word for name, value in settings.items() for word in ("--setenv", name, value)]
    return run("bwrap", "--ro-bind", root, "/", "--tmpfs", "/tmp", "--tmpfs", "/gcs", *mounts, "--proc", "/proc",
               "--dev", "/dev", "--unshare-all", "--uid", "65532", "--gid", "65532", "--clearenv", *environ,
               "sh", "-ec", *words, program)  # fmt: skip


@pytest.mark.parametrize("name", COMPRESSED_MB)
def test_it_is_small(name: str, layout: Path) -> None:
    need("skopeo")
    manifest = json.loads(ran(run("skopeo", "inspect", "--raw", f"oci:{layout}:{name}")))
    assert sum(layer["size"] for layer in manifest["layers"]) < COMPRESSED_MB[name] * 1e6


@pytest.mark.parametrize(("name", "program"), [("steps", CLIENTS), ("batch", BATCH)])
def test_it_starts_as_kfp_starts_a_step_and_has_what_its_steps_import(name: str, program: str, layout: Path) -> None:
    assert ran(contained(unpacked(layout, name), AS_KFP, program=program)) == "all there"


def test_the_batch_image_predicts_parquet(layout: Path, mlp_model: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((3, 28, 28), np.float32)
    pq.write_table(pa.table({"image": [image.tolist() for image in images]}), tmp_path / "rows.parquet")
    words = ("python3 -m lading batch --model /tmp/model --input /tmp/rows/rows.parquet --output /tmp/out "
             "--output-format parquet >&2 && ls /tmp/out")  # fmt: skip
    here = ("--ro-bind", mlp_model, "/tmp/model", "--ro-bind", tmp_path, "/tmp/rows")
    said = ran(contained(unpacked(layout, "batch"), words, mounts=here))
    assert any(name.endswith(".parquet") for name in said.split()), said


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
