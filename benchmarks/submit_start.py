"""``lading compile`` of everything, and ``lading submit --no-wait`` beside the import of the client library it uses.

python benchmarks/submit_start.py [RUNS]

Both backends are the servers of tests/fakes on loopback; the pipeline's images are in a registry there. The figure of
``submit`` is the whole command less the import of the client in a process of its own, medians of one run.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from fakes.kfp_server import KfpServer  # noqa: E402
from fakes.registry import FakeRegistry  # noqa: E402
from fakes.storage_server import Storage  # noqa: E402
from fakes.vertex_server import VertexServer  # noqa: E402


def seconds(command: list[str], environ: dict[str, str], runs: int) -> float:
    """Median wall time of a command."""
    times = []
    for _ in range(runs):
        begin = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, env=environ, timeout=120)
        times.append(time.monotonic() - begin)
    return statistics.median(times)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    root = Path(tempfile.mkdtemp(prefix="lading-bench-"))
    registry, storage = FakeRegistry(), Storage()
    storage.buckets["bucket"] = {}
    for name in ("steps", "steps-train"):
        registry.put(f"team/{name}", "0.1.0-python3.12")
    environ = {**os.environ, "HOME": str(root), "STORAGE_EMULATOR_HOST": storage.url, "GOOGLE_CLOUD_PROJECT": "p"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    kfp, vertex = KfpServer(root / "kfp", environ), VertexServer(root / "vertex", environ)
    environ["CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"] = vertex.url
    lading = [sys.executable, "-m", "lading"]
    print(f"compile, all: {seconds([*lading, 'compile', '--out', str(root / 'out')], environ, runs):.2f} s")
    submit = ["submit", "release", "--no-wait", "--skip", "target", "--images", f"{registry.host}/team",
              "--set", "data=/nowhere", "--skip", "data", "--pipeline-root", "gs://bucket/root"]  # fmt: skip
    try:
        for to, module in (
            (f"kfp:{kfp.url}", "kfp"),
            ("vertex:p/us-central1", "google.cloud.aiplatform_v1"),
            ("vertex:p/us-central1", "google.cloud.aiplatform"),
        ):
            imported = seconds([sys.executable, "-c", f"import {module}"], environ, runs)
            sent = seconds([*lading, *submit, "--to", to], environ, runs)
            print(f"submit --no-wait to {to.partition(':')[0]}: {sent:.2f} s; import {module}: {imported:.2f} s; "
                  f"difference {sent - imported:.2f} s")  # fmt: skip
    finally:
        for server in (kfp, vertex, registry, storage):
            server.close()


if __name__ == "__main__":
    main()
