"""A container image with a Python of its own, copied from this machine: no registry, no Docker, a few megabytes."""

import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

from tiny_bases import put_image

from lading.oci.image import LAYER_TYPE, Descriptor, digest_of
from lading.oci.layer import Layer
from lading.oci.store import Blob, Store

APP = """
import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def error(path):
    try:
        open(path, "w").close()
    except OSError as why:
        return why.strerror

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            print("slow", flush=True)
            time.sleep(1.5)
        body = {"uid": os.getuid(), "gid": os.getgid(), "root": error("/new"), "tmp": error("/tmp/new"),
                "removed": os.path.exists("/opt/removed"), "kept": os.path.exists("/opt/kept"),
                "mode": os.stat("/opt/kept").st_mode & 0o7777, "link": os.path.realpath("/link"),
                "env": dict(os.environ), "directory": os.getcwd(),
                "processes": sum(name.isdigit() for name in os.listdir("/proc"))}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *args):
        pass

class Server(ThreadingHTTPServer):
    daemon_threads = False

def end(*_):
    print("ending", flush=True)
    import threading
    threading.Thread(target=server.shutdown).start()

signal.signal(signal.SIGTERM, end)
server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
server.serve_forever()
server.server_close()
print("ended", flush=True)
"""

_COLLECT = """
import sys, http.server, json, signal, threading, encodings.idna, encodings.latin_1, encodings.ascii, email.parser
print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)), sep="\\n")
"""


def _output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def _files() -> set[Path]:
    """The interpreter, the modules that the app imports, and the libraries of both, where they lie on this machine."""
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    found = {python, *map(Path, _output(str(python), "-I", "-S", "-c", _COLLECT).split())}
    for binary in [path for path in found if path == python or ".so" in path.name]:
        found |= {Path(name) for name in re.findall(r"(/\S+) \(0x", _output("ldd", str(binary)))}
    return found


def layer(add: "dict[str, bytes | Path | str]", *, modes: dict[str, int] | None = None) -> Layer:
    """A layer: bytes and files by their names; a text is where a symbolic link leads."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=1) as tar:
        for name, content in add.items():
            entry = tarfile.TarInfo(name)
            entry.mode = (modes or {}).get(name, 0o755)
            data = b""
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            else:
                data = content.read_bytes() if isinstance(content, Path) else content
                entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return as_layer(made.getvalue())


def as_layer(content: bytes) -> Layer:
    descriptor = Descriptor(LAYER_TYPE, digest_of(content), len(content))
    return Layer(Blob(descriptor, lambda: io.BytesIO(content)), digest_of(content + b"diff"))


def put_container(store: Store, *, user: str = "", entrypoint: tuple[str, ...] = ("python3", "/app.py")) -> str:
    """Write the image; its digest."""
    files = _files()
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    layers = [
        layer({str(path).lstrip("/"): path for path in sorted(files)}),
        layer({"app.py": APP.encode(), "opt/removed": b"x", "opt/kept": b"y"}, modes={"opt/kept": 0o4640}),
        layer({"opt/.wh.removed": b"", "usr/bin/python3": str(python), "link": "opt/kept"})
        if str(python) != "/usr/bin/python3"
        else layer({"opt/.wh.removed": b"", "link": "opt/kept"}),
    ]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "Env": ["GREETING=image"], "User": user, "WorkingDir": "/opt"},
        "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
    }
    return put_image(store, config, *layers)
