"""A container of a deployed model, as a process: an image of the host runtime, run the way Vertex AI runs one."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

from lading.errors import LadingError
from lading.local.state import Layout
from lading.oci.image import Image
from lading.oci.layer import unpack
from lading.oci.layout import ImageStore
from lading.values import ImageRef


class ServedImage:
    """Runs at once. ``spec``: a ``ModelContainerSpec`` as JSON."""

    def __init__(self, images: Path, scratch: Path, spec: dict[str, Any]) -> None:
        self.spec = spec
        scratch.mkdir(parents=True)
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        try:
            image, root = _unpacked(Layout(images).images, spec["imageUri"], scratch / "root")
        except LadingError:
            return
        # Vertex has the port that the image names; here every process needs one of its own.
        routes = {"AIP_HEALTH_ROUTE": spec["healthRoute"], "AIP_PREDICT_ROUTE": spec["predictRoute"]}
        own = {one["name"]: one["value"] for one in spec.get("env", [])}
        ports = {"PORT": str(port), "AIP_HTTP_PORT": str(port)}
        env = {"PATH": os.environ["PATH"], **image.env, **own, **ports, **routes}
        command = [sys.executable, *image.command[1:]]  # the Python of this machine: images for tests have none
        with (scratch / "log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=root, env=env, stdout=log, stderr=log)

    def wait_until_healthy(self, seconds: float = 30.0) -> bool:
        """Whether the health route says 200 before the process ends."""
        until = time.monotonic() + seconds
        while self.process is not None and self.process.poll() is None and time.monotonic() < until:
            try:
                if requests.get(self.url + self.spec["healthRoute"], timeout=10).status_code == 200:
                    return True
            except requests.ConnectionError:
                time.sleep(0.02)
        self.end()
        return False

    def predict(self, body: Any) -> tuple[int, bytes, str]:
        """Status, body and content type of the answer at the predict route."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = requests.post(
            self.url + self.spec["predictRoute"], content, headers={"Content-Type": "application/json"}, timeout=30
        )
        return answer.status_code, answer.content, answer.headers["Content-Type"]

    def end(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def _unpacked(store: Path, reference: str, root: Path) -> tuple[Image, Path]:
    images = ImageStore(store)
    image = images.read(ImageRef.parse(reference))
    root.mkdir()
    for layer in image.layers:
        unpack(images.path_of(layer.digest), root)
    return image, root
