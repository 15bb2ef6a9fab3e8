"""Compressed size of each step image (its layers, gzip level 6), and the time that Docker takes to run Python in it.

python benchmarks/step_images.py [RUNS]      (after `make images`)
"""

import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from pathlib import Path

from lading.flows.publish import step_images


def compressed_megabytes(image: str, folder: Path) -> float:
    """Sum of the layers of an image, each compressed as a registry stores it."""
    saved = folder / "image.tar"
    subprocess.run(["docker", "save", "-o", saved, image], check=True)
    total = 0
    with tarfile.open(saved) as archive:
        for entry in archive:
            if entry.isreg() and (entry.name.endswith("layer.tar") or entry.name.startswith("blobs/sha256/")):
                squeeze, content = zlib.compressobj(6, zlib.DEFLATED, 31), archive.extractfile(entry)
                assert content is not None
                while block := content.read(1 << 20):
                    total += len(squeeze.compress(block))
                total += len(squeeze.flush())
    return total / 1e6


def start_seconds(image: str, runs: int) -> float:
    """Median time of a container that imports what runs a KFP step, and ends."""
    command = ["docker", "run", "--rm", "--network=none", "-e", "_KFP_RUNTIME=true", image]
    times = []
    for _ in range(runs):
        begin = time.monotonic()
        subprocess.run([*command, "python3", "-c", "import kfp.dsl.executor_main, lading"], check=True)
        times.append(time.monotonic() - begin)
    return statistics.median(times)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for image in step_images():
        with tempfile.TemporaryDirectory() as folder:
            size = compressed_megabytes(image, Path(folder))
        print(f"{image}: {size:.0f} MB compressed, {start_seconds(image, runs):.2f} s to start")


if __name__ == "__main__":
    main()
