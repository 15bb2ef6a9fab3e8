"""Compressed size of each base for serving, and the time from `docker run` to the first right answer of a model on it.

python benchmarks/serving_image.py [RUNS] [LAYOUT]     (after `make images-assembled`, whose layout is oci:build/images)

The model is an MLP for pictures of 28 × 28 pixels, as Fashion-MNIST has them. A container has a root that cannot be
written, 512 MiB and no capabilities. `docker run` itself is reported beside: its time to run `python3 -c pass`.
"""

import argparse
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lading.oci.assemble import Base, read_base
from lading.oci.connect import open_place
from lading.package import package_image
from lading.values import GoldenRequest
from lading.wait import Deadline

ROOT = Path(__file__).parent.parent
GOALS = {"litert": (65, 0.4), "tensorflow": (230, 0.8)}
"""Most megabytes, most seconds."""
FLAGS = ["--rm", "--network=host", "--read-only", "--memory=512m", "--cap-drop=ALL", "--tmpfs=/tmp",
         "--security-opt=no-new-privileges"]  # fmt: skip


def build_models(folder: Path) -> dict[str, Path]:
    """The model for each engine."""
    built = folder / "models"
    subprocess.run([sys.executable, ROOT / "tests/build_models.py", built], check=True, capture_output=True)
    command = [sys.executable, "-m", "lading", "convert", built / "mlp", "--out", folder / "litert"]
    subprocess.run(command, check=True, capture_output=True)
    return {"litert": folder / "litert", "tensorflow": built / "mlp"}


def load(model: Path, base: str, engine: str, folder: Path) -> str:
    """Put the model on its base and load it into Docker, which names it after the file."""
    name = f"lading-bench-{engine}"
    archive = folder / f"{name}.tar"
    package_image(model, f"archive:{archive}", base=base, name="fashion", environ={})
    subprocess.run(["docker", "load", "--quiet", "--input", archive], check=True, capture_output=True)
    archive.unlink()
    return name


def first_answer_seconds(image: str, golden: GoldenRequest) -> float:
    """From the start of `docker run` to the first answer, which must be right."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    body = json.dumps({"inputs": golden.request})
    (expected,) = golden.response.values()
    begin = time.monotonic()
    container = subprocess.Popen(
        ["docker", "run", "--name", image, *FLAGS, "--env", f"PORT={port}", image], stderr=subprocess.DEVNULL
    )
    try:
        while True:
            if container.poll() is not None or time.monotonic() - begin > 60:
                raise SystemExit(f"{image} does not answer")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("POST", "/v1/models/fashion:predict", body)
                answer = connection.getresponse()
                text = answer.read()
                break
            except OSError:
                time.sleep(0.002)
        seconds = time.monotonic() - begin
        answers = json.loads(text)["outputs"]
        if answer.status != 200 or any(
            abs(got - wanted) > 1e-3 for got, wanted in zip(answers[0], expected[0], strict=True)
        ):
            raise SystemExit(f"{image}: wrong answer {text!r}")
        return seconds
    finally:
        subprocess.run(["docker", "rm", "--force", image], check=False, capture_output=True)
        container.wait()


def docker_run_seconds(image: str) -> float:
    """Of a container that starts Python and ends."""
    begin = time.monotonic()
    command = ["docker", "run", *FLAGS, "--entrypoint=python3", image, "-I", "-S", "-c", "pass"]
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - begin


def base_of(place: str) -> Base:
    opened = open_place(place, environ={})
    return read_base(opened.store, opened.wanted, deadline=Deadline.after(60))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=int, default=7)
    parser.add_argument("layout", nargs="?", default="oci:build/images")
    args = parser.parse_args()
    runs, layout = args.runs, args.layout
    with tempfile.TemporaryDirectory(prefix="lading-bench-") as scratch:
        models = build_models(Path(scratch))
        for engine, (most_megabytes, most_seconds) in GOALS.items():
            place = f"{layout}:serving-{engine}"
            megabytes = sum(layer.size for layer in base_of(place).image.layers) / 1e6
            image = load(models[engine], place, engine, Path(scratch))
            lines = (models[engine] / "assets.extra/lading/golden.jsonl").read_text()
            golden = GoldenRequest.read_all(lines)[0]
            first_answer_seconds(image, golden)  # fills the page cache
            times = [first_answer_seconds(image, golden) for _ in range(runs)]
            alone = statistics.median(docker_run_seconds(image) for _ in range(runs))
            subprocess.run(["docker", "rmi", image], check=True, capture_output=True)
            print(
                f"{engine}: {megabytes:.1f} MB compressed (goal {most_megabytes}), first right answer after "
                f"{statistics.median(times):.2f} s (goal {most_seconds}; {min(times):.2f} to {max(times):.2f}), "
                f"of which docker run takes {alone:.2f} s"
            )


if __name__ == "__main__":
    main()
