"""Pods whose containers are processes on this machine, kept as a kubelet keeps them."""

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lading.errors import NotFound
from lading.local import ports
from lading.oci.image import Image
from lading.oci.layer import unpack
from lading.oci.layout import ImageStore
from lading.values import ImageRef
from lading.wait import Deadline

SPEED = 20
"""Times in pods run so much faster than told."""


class Kubelet:
    """Where pods run. ``images``: the image store, which stands for every registry. ``unschedulable``: why none may."""

    def __init__(self, images: Path, directory: Path, secret: Callable[[str], dict[str, str] | None]) -> None:
        self.images, self.directory, self.secret = images, directory, secret
        self._pulling = threading.Lock()
        self.pods: dict[str, Pod] = {}
        self.unschedulable = ""

    def unpacked(self, reference: str) -> tuple[Path, Image]:
        """Pull an image."""
        store, ref = ImageStore(self.images), ImageRef.parse(reference)
        image = store.read(ref)
        root = self.directory / ref.digest.replace(":", "-")
        with self._pulling:
            if not root.is_dir():
                root.mkdir()
                for layer in image.layers:
                    unpack(store.path_of(layer.digest), root)
        return root, image

    def run(self, name: str, labels: dict[str, str], spec: dict[str, Any]) -> "Pod":
        pod = Pod(self, name, labels, spec)
        self.pods[name] = pod
        pod.thread.start()
        return pod

    def close(self) -> None:
        for pod in list(self.pods.values()):
            pod.end(now=True)
        for pod in list(self.pods.values()):
            pod.thread.join(15)


class Pod:
    """One pod, in a thread of its own."""

    def __init__(self, kubelet: Kubelet, name: str, labels: dict[str, str], spec: dict[str, Any]) -> None:
        self.kubelet, self.name, self.labels, self.spec = kubelet, name, labels, spec
        self.container = spec["containers"][0]
        self.created = time.time()
        self.port, self.restarts, self.exit_code = 0, 0, None
        self.ready = self.running = self.gone = self.ran = False
        self.waiting: tuple[str, str] | None = ("ContainerCreating", "")
        self.unschedulable = kubelet.unschedulable
        self.ending, self.at_once = threading.Event(), False
        self.log = kubelet.directory / f"{name}.log"
        self.previous_log = kubelet.directory / f"{name}.previous.log"
        self.thread = threading.Thread(target=self._main, name=f"pod {name}", daemon=True)

    def end(self, *, now: bool = False) -> None:
        self.at_once = self.at_once or now
        self.ready = False
        self.ending.set()

    def kill(self) -> None:
        """As when the container runs out of memory."""
        if self.running:
            self._end(0)

    def _main(self) -> None:
        while self.unschedulable and not self.ending.wait(0.02):
            self.unschedulable = self.kubelet.unschedulable
        while not self.ending.is_set():
            try:
                self._process = self._start()
            except _Waits as error:
                self.waiting = (error.reason, str(error))
                self.ending.wait(0.1)
                continue
            self.running, self.ran, self.waiting = True, True, None
            self._watch()
            self.running = self.ready = False
            if self.ending.is_set():
                break
            self.restarts += 1
            self.waiting = ("CrashLoopBackOff", f"back-off 10s restarting failed container={self.container['name']}")
            self.log.replace(self.previous_log)
            self.ending.wait(min(0.1 * 2**self.restarts, 5))
        self.ready, self.gone = False, True

    def _start(self) -> "subprocess.Popen[bytes]":
        env: dict[str, str] = {}
        for item in self.container.get("env", []):
            source = item.get("valueFrom", {}).get("secretKeyRef")
            value = item.get("value", "")
            if source:
                secret = self.kubelet.secret(source["name"])
                if secret is None:
                    raise _Waits("CreateContainerConfigError", f'secret "{source["name"]}" not found')
                if source["key"] not in secret:
                    raise _Waits("CreateContainerConfigError", f"couldn't find key {source['key']} in Secret")
                value = secret[source["key"]]
            env[item["name"]] = value
        try:
            root, image = self.kubelet.unpacked(self.container["image"])
        except NotFound as error:
            raise _Waits("ImagePullBackOff", f'Back-off pulling image "{self.container["image"]}"') from error
        self.port = ports.pick()  # each pod has an address of its own; here they share one
        command = [sys.executable if word == "python3" else word for word in image.command]
        with self.log.open("ab") as output:
            return subprocess.Popen(
                command, cwd=root, env={**image.env, **env, "PORT": str(self.port)}, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def _watch(self) -> None:
        """Probe until the process has ended."""
        limit = Deadline.after(self._seconds("startupProbe"))
        started, misses, next_look = False, 0, 0.0
        while self._process.poll() is None:
            if self.ending.is_set():
                self._stop()
                return
            if not started:
                started = self.ready = self._probe("startupProbe")
                if limit.passed and not started:
                    self._end(0.2)
            elif time.monotonic() > next_look:
                next_look = time.monotonic() + 0.2
                self.ready = self._probe("readinessProbe") and not self.ending.is_set()
                misses = 0 if self._probe("livenessProbe") else misses + 1
                if misses >= self.container["livenessProbe"]["failureThreshold"]:
                    self._end(0.2)
            self.ending.wait(0.02)
        self.exit_code = self._process.returncode

    def _stop(self) -> None:
        sleep = self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if not self.at_once:
            time.sleep(sleep / SPEED)
        self._end(0.1 if self.at_once else self.spec["terminationGracePeriodSeconds"] - sleep)

    def _end(self, seconds: float) -> None:
        """SIGTERM, and SIGKILL if it takes longer."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._process.kill()
        self._process.wait()

    def _seconds(self, probe: str) -> float:
        found = self.container.get(probe, {})
        return float(found.get("failureThreshold", 3) * found.get("periodSeconds", 10))

    def _probe(self, probe: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", self.container[probe]["httpGet"]["path"])
            status = connection.getresponse().status
            connection.close()
            return 200 <= status < 400
        connection.close()
        return False


class _Waits(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
