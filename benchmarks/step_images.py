"""Compressed size of each step image (the sum of its layers), and how long one takes to import what runs a step.

python benchmarks/step_images.py [RUNS]      (after `make images`, `make images-assembled`, or both)

Of what Docker has, layers are compressed by gzip 6 here, as a registry stores them; in the layout ``build/images`` they
are as they will be sent. ``docker run`` is timed from its start to its end.
"""

import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from pathlib import Path

from lading.errors import NotFound
from lading.flows.publish import step_images
from lading.oci.assemble import read_base
from lading.oci.layout import Layout
from lading.wait import Deadline

LAYOUT = Path(__file__).parent.parent / "build" / "images"
BASE = "lading-base"


def in_docker(image: str) -> bool:
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return not done.returncode


def compressed_megabytes(image: str) -> float:
    """Sum of the layers of an image that Docker has, each compressed as a registry stores it."""
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "image.tar"
        subprocess.run(["docker", "save", "-o", saved, image], check=True)
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


def assembled_layers(tag: str) -> list[float]:
    """Layers of an image in the layout, bottom to top, in MB; none where it was not assembled."""
    try:
        base = read_base(Layout(LAYOUT), tag, deadline=Deadline.after(20))
    except NotFound:
        return []
    return [layer.size / 1e6 for layer in base.image.layers]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    images = step_images()
    if in_docker(BASE):
        print(f"built by Docker; {BASE} has {compressed_megabytes(BASE):.0f} MB:")
        for image in filter(in_docker, images):
            size, start = compressed_megabytes(image), start_seconds(image, runs)
            print(f"  {image}: {size:.0f} MB compressed, {start:.2f} s to start")
    if LAYOUT.is_dir():
        print("assembled without Docker:")
        for tag in ("base-shell", *(image.partition(":")[0].removeprefix("lading/") for image in images)):
            if layers := assembled_layers(tag):
                print(f"  {tag}: {sum(layers):.0f} MB compressed, by layer {', '.join(f'{mb:.1f}' for mb in layers)}")


if __name__ == "__main__":
    main()
