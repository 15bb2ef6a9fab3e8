"""An image to run on the local target, and small clients of it."""

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tiny_bases import put_image

from lading.local.process import identity
from lading.local.state import Layout
from lading.oci.image import RUNTIME_LABEL
from lading.oci.layer import plan_layer
from lading.oci.layout import Layout as ImageLayout
from lading.results import LocalEndpoint
from lading.wait import Deadline, poll

ROOT = "/apis/serving.knative.dev/v1/namespaces/default"

APP = """
import json, os, signal, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/exit":
            os._exit(7)
        if url.path == "/slow":
            time.sleep(float(parse_qs(url.query)["seconds"][0]))
        if url.path == "/stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (b"one", b"two"):
                self.wfile.write(b"%x\\r\\n%b\\r\\n" % (len(piece), piece))
                self.wfile.flush()
                time.sleep(0.3)
            self.wfile.write(b"0\\r\\n\\r\\n")
            return
        self.reply()
    def do_POST(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(received=len(body))
    def reply(self, **more):
        body = {"revision": os.environ["K_REVISION"], "value": os.environ.get("VALUE"), "pid": os.getpid(),
                "headers": {k.lower(): v for k, v in self.headers.items()}, "names": sorted(os.environ), **more}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *args):
        pass

print("starting", os.environ["K_REVISION"], flush=True)
if os.environ.get("SLOW_END"):
    def end(*_):
        print("ending", flush=True)
        time.sleep(float(os.environ["SLOW_END"]))
        os._exit(0)
    signal.signal(signal.SIGTERM, end)
if os.environ.get("FAIL"):
    sys.exit("the model is out of order")
if os.environ.get("FAIL_IF") and os.path.exists(os.environ["FAIL_IF"]):
    sys.exit("no longer able to start")
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def make_image(layout: Layout, scratch: Path, *, runtime: str = "host", note: str = "") -> str:
    """A tiny image whose server says which revision it is; with another ``note`` it is another image."""
    files = scratch / "files"
    files.mkdir(parents=True, exist_ok=True)
    (files / "app.py").write_text(APP)
    layer = plan_layer(files, "app")
    config = {
        "architecture": "unknown",
        "os": "unknown",
        "config": {
            "Entrypoint": ["python3", "app/app.py"],
            "Env": ["VALUE=image"],
            "Labels": {RUNTIME_LABEL: runtime, "note": note},
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
    }
    digest = put_image(ImageLayout(layout.images, "lading.local/tiny"), config, layer)
    return f"lading.local/tiny@{digest}"


@dataclass
class Local:
    """A running target, and how tests speak to it."""

    state: Path
    endpoint: LocalEndpoint
    image: str

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Send a request to the API as its owner; headers given here replace the usual ones."""
        usual = {"Authorization": f"Bearer {self.endpoint.token}", "Content-Type": "application/json"}
        return send(self.endpoint.url, method, path, body, {**usual, **headers})

    def service(self, name: str, suffix: str = "", *, traffic: list[dict[str, Any]] | None = None, **env: str) -> Any:
        """A service object; ``suffix`` names its revision."""
        container = {"image": self.image, "env": [{"name": k, "value": v} for k, v in env.items()]}
        template: dict[str, Any] = {"spec": {"containers": [container]}}
        if suffix:
            template["metadata"] = {"name": f"{name}-{suffix}"}
        body: dict[str, Any] = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"template": template},
        }
        if traffic is not None:
            body["spec"]["traffic"] = traffic
        return body

    def apply(self, body: Any) -> Any:
        """Create or replace a service and wait until it is ready; return it."""
        name = body["metadata"]["name"]
        status, _ = self.call("GET", f"{ROOT}/services/{name}")
        method, path = ("POST", "services") if status == 404 else ("PUT", f"services/{name}")
        status, answer = self.call(method, f"{ROOT}/{path}", body)
        assert status in (200, 201), answer
        return self.settled(name)

    def settled(self, name: str, ready: str = "True") -> Any:
        """The service, once its Ready condition about the current generation is ``ready``."""

        def probe() -> Any:
            _, body = self.call("GET", f"{ROOT}/services/{name}")
            status = body.get("status", {})
            if status.get("observedGeneration") != body.get("metadata", {}).get("generation"):
                return None
            return body if condition(body)["status"] == ready else None

        return poll(probe, deadline=Deadline.after(20), what=f"{name} to have Ready={ready}")


def condition(body: Any, kind: str = "Ready") -> Any:
    """A condition of an object; an empty one while there is none."""
    found = (c for c in body.get("status", {}).get("conditions", []) if c["type"] == kind)
    return next(found, {"status": "", "message": ""})


def send(url: str, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, Any]:
    """One request on a connection of its own; the status and the parsed answer."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    try:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content, headers or {})
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None
    finally:
        connection.close()


def ask(url: str, path: str = "/") -> Any:
    """What a revision says of itself."""
    status, body = send(url, "GET", path)
    assert status == 200, body
    return body


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    return identity(pid) is None
