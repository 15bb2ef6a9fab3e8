"""A model on a base, into a registry: lading beside docker, buildah, skopeo with umoci, and the least that is possible.

python benchmarks/packaging.py [--megabytes 29 500] [--rounds 3] [--base lading-base] [--without docker buildah umoci]

Needs Debian's docker-registry, docker.io, buildah, skopeo and umoci, and root (buildah's overlay). The base is an image
that docker has (`make base` makes lading-base); it is put into the registry first, and all but lading and the floor
have it on their disk as well. Each round has new weights and a new repository, which every way fills once ("new") and
then once more with the same model ("again"). The floor reads and hashes the weights once and sends them once, in the
way that every registry takes: one PUT, which names the digest.

Figures are medians of wall time in seconds. `lading` is the call as a pipeline step makes it, `lading, tar` with
`--compression none`; `lading command` is the command with the start of Python. The registry is on loopback, without
TLS, on the same processors.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "containers"))

from engines import registry  # noqa: E402

LIBRARY = """
import json, os, re, sys, time
from pathlib import Path
import lading.oci.registry
from lading.package import package_image
begin = time.perf_counter()
image = package_image(
    sys.argv[1], sys.argv[3], base=sys.argv[2], name="model", compression=sys.argv[4], environ={}
).image
seconds = time.perf_counter() - begin
memory = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps({"seconds": seconds, "megabytes": memory / 1024}))
"""

FLOOR = """
import hashlib, http.client, json, sys, time
from pathlib import Path
from urllib.parse import urlsplit
begin = time.perf_counter()
file, (host, _, name) = Path(sys.argv[1]), sys.argv[2].partition("/")
with file.open("rb") as opened:
    digest = hashlib.file_digest(opened, "sha256").hexdigest()
connection = http.client.HTTPConnection(host, blocksize=1 << 20)
def ask(method, url, status, **options):
    connection.request(method, url, **options)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == status, answer.status
    return answer.headers["Location"]
there = urlsplit(ask("POST", f"/v2/{name}/blobs/uploads/", 202, headers={"Content-Length": "0"}))
headers = {"Content-Length": str(file.stat().st_size), "Content-Type": "application/octet-stream"}
with file.open("rb") as opened:
    ask("PUT", f"{there.path}?{there.query}&digest=sha256:{digest}", 201, body=opened, headers=headers)
print(json.dumps({"seconds": time.perf_counter() - begin, "megabytes": 0}))
"""


@dataclass
class World:
    """Where everything is."""

    folder: Path
    host: str

    @property
    def base(self) -> str:
        return f"{self.host}/base:v1"

    @property
    def weights(self) -> Path:
        return self.folder / "model" / "variables" / "variables.data-00000-of-00001"

    def new_model(self, megabytes: float) -> None:
        self.weights.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / "model" / "saved_model.pb").write_bytes(os.urandom(100_000))
        with self.weights.open("wb") as file:
            for _ in range(int(megabytes)):
                file.write(os.urandom(1_000_000))


def run(*words: object) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def by_library(world: World, name: str, compression: str = "stored") -> tuple[float, float]:
    to = f"{world.host}/{name}-{compression}:v1"
    told = json.loads(run(sys.executable, "-c", LIBRARY, world.folder / "model", world.base, to, compression))
    return told["seconds"], told["megabytes"]


def by_floor(world: World, name: str) -> tuple[float, float]:
    told = json.loads(run(sys.executable, "-c", FLOOR, world.weights, f"{world.host}/{name}-floor"))
    return told["seconds"], 0


def timed(work: Callable[[World, str], None]) -> Callable[[World, str], tuple[float, float]]:
    def measure(world: World, name: str) -> tuple[float, float]:
        begin = time.perf_counter()
        work(world, name)
        return time.perf_counter() - begin, 0

    return measure


@timed
def by_command(world: World, name: str) -> None:
    to = f"{world.host}/{name}-command:v1"
    words = ("package", world.folder / "model", "--base", world.base, "--to", to, "--name", "model")
    run(sys.executable, "-m", "lading", *words)


@timed
def by_docker(world: World, name: str) -> None:
    image = f"{world.host}/{name}-docker:v1"
    (world.folder / "Dockerfile").write_text(f'FROM {world.base}\nCOPY model /models/model/1\nCMD ["serve"]\n')
    (world.folder / ".dockerignore").write_text("*\n!model\n")
    run("docker", "build", "--quiet", "--tag", image, world.folder)
    run("docker", "push", "--quiet", image)


def buildah(world: World, *words: object) -> str:
    return run("buildah", "--root", world.folder / "buildah", "--runroot", world.folder / "buildah-run", *words)


@timed
def by_buildah(world: World, name: str) -> None:
    image = f"{world.host}/{name}-buildah:v1"
    container = buildah(world, "from", "--pull-never", "--tls-verify=false", world.base).strip()
    buildah(world, "copy", "--quiet", container, world.folder / "model", "/models/model/1")
    buildah(world, "config", "--cmd", "serve", container)
    buildah(world, "commit", "--quiet", "--rm", container, image)
    buildah(world, "push", "--quiet", "--tls-verify=false", image)


@timed
def by_umoci(world: World, name: str) -> None:
    layout, tag = world.folder / "layout", name.replace("/", "-")
    run("umoci", "insert", "--image", f"{layout}:base", "--tag", tag, world.folder / "model", "/models/model/1")
    run("umoci", "config", "--image", f"{layout}:{tag}", "--config.cmd", "serve")
    to = f"docker://{world.host}/{name}-umoci:v1"
    run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:{tag}", to)


WAYS: dict[str, Callable[[World, str], tuple[float, float]]] = {
    "floor": by_floor,
    "lading": by_library,
    "lading, tar": partial(by_library, compression="none"),
    "lading command": by_command,
    "docker": by_docker,
    "buildah": by_buildah,
    "umoci": by_umoci,
}


def prepare(world: World, base: str, ways: list[str]) -> None:
    """Put the base into the registry, with the label that says which server is in it, and onto each builder's disk."""
    label = f"FROM {base}\nLABEL dev.lading.runtime=lading dev.lading.engine=tensorflow\n"
    subprocess.run(["docker", "build", "--quiet", "-t", world.base, "-"], input=label, text=True, check=True)
    run("docker", "push", "--quiet", world.base)
    if "buildah" in ways:
        buildah(world, "pull", "--quiet", "--tls-verify=false", world.base)
    if "umoci" in ways:
        layout = world.folder / "layout"
        run("skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{world.base}", f"oci:{layout}:base")


def clean(world: World, name: str) -> None:
    """What a round left on the disks of builders, so that the next one finds them as this one did."""
    subprocess.run(["docker", "rmi", "--force", f"{world.host}/{name}-docker:v1"], capture_output=True, check=False)
    layout = world.folder / "layout"
    if layout.exists():
        subprocess.run(
            ["umoci", "rm", "--image", f"{layout}:{name.replace('/', '-')}"], capture_output=True, check=False
        )
        run("umoci", "gc", "--layout", layout)


def measure(world: World, ways: list[str], megabytes: float, rounds: int) -> None:
    new: dict[str, list[float]] = {way: [] for way in ways}
    again: dict[str, list[float]] = {way: [] for way in ways if way != "floor"}
    memory = 0.0
    for number in range(rounds):
        world.new_model(megabytes)
        name = f"round/{megabytes:g}-{number}"
        # Another way begins each round, since the first one may have to read the weights from disk.
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            seconds, peak = WAYS[way](world, name)
            new[way].append(seconds)
            memory = max(memory, peak)
            if way in again:
                again[way].append(WAYS[way](world, name)[0])
        clean(world, name)
    print(f"\n{megabytes:g} MB, {rounds} rounds; peak memory of lading {memory:.0f} MiB")
    print(f"{'':16}{'new':>8}{'÷ lading':>10}{'again':>8}{'÷ lading':>10}")
    ours, same = statistics.median(new["lading"]), statistics.median(again["lading"])
    for way in ways:
        first = statistics.median(new[way])
        line = f"{way:16}{first:8.2f}{first / ours:10.2f}"
        if way in again:
            second = statistics.median(again[way])
            line += f"{second:8.2f}{second / same:10.2f}"
        print(line)
    for way in ("lading", "lading, tar") if "floor" in ways else ():
        print(f"{way} takes {statistics.median(new[way]) / statistics.median(new['floor']):.2f} × the floor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[29, 500])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base", default="lading-base")
    parser.add_argument("--without", nargs="*", default=[])
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    ways = [way for way in WAYS if way not in args.without]
    folder = Path(tempfile.mkdtemp(prefix="lading-bench-"))
    try:
        (folder / "registry").mkdir()
        with registry(folder / "registry") as host:
            world = World(folder, host)
            prepare(world, args.base, ways)
            for megabytes in args.megabytes:
                measure(world, ways, megabytes, args.rounds)
            subprocess.run(["docker", "rmi", "--force", world.base], capture_output=True, check=False)
    finally:
        if (folder / "buildah").exists():
            words = ["buildah", "--root", folder / "buildah", "--runroot", folder / "buildah-run", "rm", "--all"]
            subprocess.run(words, capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
