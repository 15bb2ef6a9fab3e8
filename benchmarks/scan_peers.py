"""What `lading scan` finds beside modelscan, on the same models, and how long both take.

.venv/bin/python benchmarks/scan_peers.py [--keep DIR] [--only NAME]

Installs modelscan and TensorFlow into an environment of their own (DIR, else a temporary one): needs a package index.
"""

import argparse
import importlib.metadata
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lading.predict.protos import message

ROOT = Path(__file__).parent.parent
PEER = "modelscan==0.8.8"
RUNS = 3
_RUN = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def build(directory: Path) -> list[Path]:
    """The models of the tests, and some that no program of TensorFlow writes."""
    subprocess.run(
        [sys.executable, ROOT / "tests" / "scan_models.py", directory], check=True, capture_output=True, timeout=300
    )
    text = directory / "pbtxt"
    text.mkdir()
    (text / "saved_model.pbtxt").write_text(
        'saved_model_schema_version: 1 meta_graphs { graph_def { node { name: "w" op: "WriteFile" } } }'
    )
    escape = directory / "asset_escape"
    shutil.copytree(directory / "vocabulary", escape)
    content = (escape / "saved_model.pb").read_bytes()
    (escape / "saved_model.pb").write_bytes(content.replace(b"\x12\x09words.txt", b"\x12\x09../../x.y"))  # as long
    linked = directory / "symlink"
    shutil.copytree(directory / "keras", linked)
    (linked / "assets.extra").mkdir()
    (linked / "assets.extra" / "hosts").symlink_to("/etc/hosts")
    custom = directory / "custom_op"
    shutil.copytree(directory / "print_to_log", custom)
    content = (custom / "saved_model.pb").read_bytes()
    (custom / "saved_model.pb").write_bytes(content.replace(b"\x07PrintV2", b"\x07MyOwnOp"))
    write_large(directory / "mobilenet", directory / "large")
    return sorted(path for path in directory.iterdir() if path.is_dir())


def write_large(source: Path, target: Path) -> None:
    """A model with the functions of another one, many times: 100,000 operations."""
    saved = message("tensorflow.SavedModel").FromString((source / "saved_model.pb").read_bytes())
    library = saved.meta_graphs[0].graph_def.library
    functions = list(library.function)
    for number in range(1, 16):
        for function in functions:
            library.function.add().CopyFrom(function)
            library.function[-1].signature.name = f"{function.signature.name}_{number}"
    target.mkdir()
    (target / "saved_model.pb").write_bytes(saved.SerializeToString())


def environment(directory: Path) -> Path:
    """The peer's interpreter."""
    python = directory / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        version = importlib.metadata.version("tensorflow-cpu")
        subprocess.run([python, "-m", "pip", "install", "-q", PEER, f"tensorflow-cpu=={version}"], check=True)
    return python


def measure(command: list[str | Path]) -> tuple[int, float, int, str]:
    """Exit code, seconds (median) and peak of resident MB of a command, and what it printed."""
    seconds, peak = [], 0
    for _ in range(RUNS):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", _RUN, *command], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        peak = max(peak, int(done.stderr.split()[-1]) // 1024)
    return done.returncode, statistics.median(seconds), peak, done.stdout


def ours(model: Path) -> tuple[str, float, int]:
    code, seconds, peak, text = measure([sys.executable, "-m", "lading", "scan", model, "--json"])
    findings = json.loads(text)["findings"] if code in (0, 1) else []
    said = ", ".join(sorted({f"{f['severity']} {f['rule']}" for f in findings})) or "clean"
    return f"exit {code}: {said}", seconds, peak


def theirs(python: Path, model: Path) -> tuple[str, float, int]:
    code, seconds, peak, text = measure([python.parent / "modelscan", "-p", model, "-r", "json"])
    try:
        text = text.replace("\n", "")  # it breaks lines, also inside of strings
        report = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except ValueError:
        return f"exit {code}: no report", seconds, peak
    said = ", ".join(sorted({f"{i['severity'].lower()} {i.get('operator', '')}" for i in report["issues"]})) or "clean"
    errors = f", {len(report['errors'])} errors" if report.get("errors") else ""
    return f"exit {code}: {said}{errors}", seconds, peak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="the peer's environment, made if it is not there")
    parser.add_argument("--only", metavar="NAME", help="this model alone")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        python = environment(args.keep or Path(scratch) / "venv")
        (Path(scratch) / "models").mkdir()
        print(f"| model | lading scan | s | MB | {PEER} | s | MB |\n|---|---|---|---|---|---|---|")
        for model in build(Path(scratch) / "models"):
            if args.only not in (None, model.name):
                continue
            mine, seconds, peak = ours(model)
            peer, peer_seconds, peer_peak = theirs(python, model)
            print(
                f"| {model.name} | {mine} | {seconds:.2f} | {peak} | {peer} | {peer_seconds:.1f} | {peer_peak} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
