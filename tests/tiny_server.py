"""A stand-in for the serving process, in the standard library: starts at once, answers one number.

``make_image`` packs it as a host-runtime image, so that tests of deploying need no TensorFlow. It speaks what a smoke
test asks: readiness, predict, and the headers that name the revision and the model.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

NUMBERS = count(1)
AFTER = int(os.environ.get("FAULTS_AFTER", "0"))
"""So many predictions are right before the faults begin that the environment asks for.

``FAULTS_FOR`` names a field of the request: others have no faults. ``EXITS``: instead of an answer it ends.
``NOT_READY``: it never says that it is ready.
"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-lading-revision", os.environ["K_REVISION"])
        self.send_header("x-lading-model", os.environ["LADING_MODEL_DIFF_ID"])
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.reply(503 if "NOT_READY" in os.environ else 200, {"ready": "NOT_READY" not in os.environ})

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = next(NUMBERS)
        answer = json.loads(Path("answer.json").read_text())
        faulty = number > AFTER and os.environ.get("FAULTS_FOR", "") in ("", *sent)
        if faulty and "EXITS" in os.environ:
            os._exit(3)
        time.sleep(float(os.environ.get("SLOW_SECONDS", "0")) if faulty else 0)
        if faulty and "ERROR_EVERY" in os.environ and not number % int(os.environ["ERROR_EVERY"]):
            answer = "error"
        if faulty and "WRONG_ANSWER" in os.environ:
            answer = float(os.environ["WRONG_ANSWER"])
        if answer == "error":
            return self.reply(int(os.environ.get("ERROR_STATUS", "500")), {"error": "out of order"})
        body = {"predictions": [answer for _ in sent["instances"]]} if "instances" in sent else {"outputs": [[answer]]}
        if sent.get("parameters", {}).get("identity"):  # behind Vertex AI, which hands no headers on
            names = {"x-lading-revision": "K_REVISION", "x-lading-model": "LADING_MODEL_DIFF_ID"}
            body["metadata"] = {header: os.environ[name] for header, name in names.items()}
        self.reply(200, body)

    def log_message(self, *args: object) -> None:
        pass


def make_image(store: object, scratch: Path, *, answer: object, label: str = "") -> tuple[str, str]:
    """An image whose model answers ``answer``; an answer of ``"exit"`` makes one that ends as it starts.

    Returns:
        The image by digest, and the model's diff-id.
    """
    from tiny_bases import put_image

    from lading.oci.image import MODEL_DIFF_ID_LABEL, MODEL_PATH_LABEL, RUNTIME_LABEL
    from lading.oci.layer import plan_layer
    from lading.oci.layout import Layout

    files = scratch / "files"
    files.mkdir(parents=True)
    (files / "app.py").write_text(Path(__file__).read_text())
    (files / "answer.json").write_text(json.dumps(answer))
    layer = plan_layer(files, "models/tiny/1")
    config = {
        "architecture": "unknown",
        "os": "unknown",
        "config": {
            "Entrypoint": ["python3", "models/tiny/1/app.py", label],
            "Env": [f"LADING_MODEL_DIFF_ID={layer.diff_id}"],
            "Labels": {RUNTIME_LABEL: "host", MODEL_DIFF_ID_LABEL: layer.diff_id, MODEL_PATH_LABEL: "models/tiny/1"},
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
    }
    repository = Layout(store.directory, "lading.local/tiny")  # type: ignore[attr-defined]
    return f"{repository.repository}@{put_image(repository, config, layer)}", layer.diff_id


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    if json.loads(Path("answer.json").read_text()) == "exit" or Path(os.environ.get("EXIT_IF", "/nowhere")).exists():
        sys.exit("the model is out of order")
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
