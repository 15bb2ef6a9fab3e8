"""The local target: how soon a new revision answers, and the target after it was killed; what the router costs; and
whether a rollout loses a request.

    python benchmarks/local_target.py [--rounds N] [--kills N] [--windows N] [--seconds S] [--rollouts N]

Needs wrk. Prints one JSON object; the machine should have nothing else to do.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests")]

from tiny_bases import put_image  # noqa: E402
from tiny_target import Local, ask, send  # noqa: E402

from lading.local import lifecycle  # noqa: E402
from lading.local.locks import holder  # noqa: E402
from lading.local.state import Layout  # noqa: E402
from lading.local.supervisor import STEADY_SECONDS  # noqa: E402
from lading.oci.image import RUNTIME_LABEL  # noqa: E402
from lading.oci.layer import Entry, plan_entries  # noqa: E402
from lading.oci.layout import Layout as Repository  # noqa: E402
from lading.wait import Deadline  # noqa: E402

# The cheapest server there is, so that what is measured is the router.
APP = b"""
import asyncio, json, os, time
class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""
    def data_received(self, data):
        self.data += data
        while b"\\r\\n\\r\\n" in self.data:
            head, self.data = self.data.split(b"\\r\\n\\r\\n", 1)
            self.transport.write(ANSWER)
            if b"close" in head.lower():
                self.transport.close()
async def main():
    global ANSWER
    body = json.dumps({"revision": os.environ["K_REVISION"], "listening": time.time()}).encode()
    ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (len(body), body)
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()
asyncio.run(main())
"""


def put_app(layout: Layout) -> str:
    layer = plan_entries([Entry("app.py", APP)])
    config = {
        "architecture": "unknown",
        "os": "unknown",
        "config": {"Entrypoint": ["python3", "app.py"], "Labels": {RUNTIME_LABEL: "host"}},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
    }
    return f"lading.local/bench@{put_image(Repository(layout.images, 'lading.local/bench'), config, layer)}"


def new_revisions(local: Local, rounds: int) -> dict[str, float]:
    """Seconds from sending a new template to its answer at the service's URL, and the part that is not the server's."""
    total, beyond = [], []
    for number in range(rounds):
        began = time.time()
        service = local.apply(local.service("shop", f"r{number}", VALUE=str(number)))
        answer = ask(service["status"]["url"])
        total.append(time.time() - began)
        assert answer["revision"] == f"shop-r{number}"
        beyond.append(total[-1] - own_start(number))
    return {"apply_to_answer_p50_s": statistics.median(total), "beyond_the_server_p50_s": statistics.median(beyond)}


def own_start(number: int) -> float:
    """Seconds that the server needs by itself, outside of the target."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "app.py").write_bytes(APP)
        port = 30100 + number
        began = time.time()
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=folder, env={**os.environ, "PORT": str(port), "K_REVISION": "own"}
        )
        try:
            while True:
                try:
                    ask(f"http://127.0.0.1:{port}")
                    return time.time() - began
                except ConnectionError:
                    time.sleep(0.002)
        finally:
            process.kill()
            process.wait()


def kills(local: Local, count: int) -> dict[str, float]:
    """Seconds from SIGKILL to the target's server until a service answers again."""
    url, lock, seconds = local.settled("shop")["status"]["url"], Layout(local.state).server_lock, []
    for _ in range(count):
        time.sleep(STEADY_SECONDS + 0.5)  # one that dies sooner is not started again at once
        server = holder(lock)
        assert server
        began = time.monotonic()
        os.kill(server, signal.SIGKILL)
        while not answers(url):
            time.sleep(0.002)
        seconds.append(time.monotonic() - began)
    return {"back_after_kill_p50_s": statistics.median(seconds), "back_after_kill_max_s": max(seconds)}


def answers(url: str) -> bool:
    try:
        return bool(ask(url))
    except (OSError, HTTPException):
        return False


def wrk(url: str, *, connections: int, seconds: int) -> dict[str, float]:
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    number, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", printed).groups()  # type: ignore[union-attr]
    rate = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    assert rate
    assert "Non-2xx" not in printed, printed
    return {"p50_ms": float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit], "rps": float(rate[1])}


def router(local: Local, windows: int, seconds: int) -> dict[str, float]:
    """Medians over windows; each has all three measurements, so that what else the machine does falls on all."""
    url = local.settled("shop")["status"]["url"]
    (record,) = [json.loads(path.read_text()) for path in (local.state / "processes").glob("*.json")]
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(windows):
        direct = wrk(f"http://127.0.0.1:{record['port']}", connections=1, seconds=seconds)
        one = wrk(url, connections=1, seconds=seconds)
        found["router_adds_p50_ms"].append(one["p50_ms"] - direct["p50_ms"])
        found["router_rps_1_connection"].append(one["rps"])
        found["router_rps_32_connections"].append(wrk(url, connections=32, seconds=seconds)["rps"])
        found["without_router_rps_1_connection"].append(direct["rps"])
    return {name: statistics.median(values) for name, values in found.items()}


def rollouts(local: Local, count: int, rate: float) -> dict[str, float]:
    """Promotions and rollbacks, each in steps, under load."""
    revisions = [local.service("shop", suffix, VALUE=suffix) for suffix in ("even", "odd")]
    for body in revisions:
        url = local.apply(body)["status"]["url"]
    load = Load(url, rate)
    with load:
        for number in range(count):
            old, new = f"shop-{('odd', 'even')[number % 2]}", f"shop-{('even', 'odd')[number % 2]}"
            for percent in (0, 5, 25, 100) if number % 4 < 2 else (5, 25, 0):
                lines = [{"revisionName": old, "percent": 100 - percent}]
                lines.append({"revisionName": new, "percent": percent, "tag": "candidate"})
                local.apply({**revisions[0], "spec": {**revisions[0]["spec"], "traffic": lines}})
    return {"rollouts": count, "requests": load.sent, "failed": load.failed, "rate": load.sent / load.seconds}


class Load:
    """Requests at a rate, on connections of their own, as long as the block lasts."""

    def __init__(self, url: str, rate: float, *, threads: int = 4) -> None:
        self.sent = self.failed = 0
        self.seconds = 0.0
        self._url, self._pause = url, threads / rate
        self._over, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> "Load":
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.monotonic() - self._began

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            due += self._pause
            try:
                good = send(self._url, "POST", "/", b"{}")[0] == 200
            except (OSError, ValueError):
                good = False
            with self._lock:
                self.sent += 1
                self.failed += not good
            time.sleep(max(0.0, due - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of a measurement of the router in one window")
    parser.add_argument("--rollouts", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "local"
        try:
            endpoint = lifecycle.start(state, deadline=Deadline.after(30))
            local = Local(state, endpoint, put_app(Layout(state)))
            assert urlsplit(endpoint.url).port
            found = new_revisions(local, args.rounds)
            time.sleep(2)  # until the process before the last has ended
            found |= router(local, args.windows, args.seconds)
            found |= kills(local, args.kills)
            found |= rollouts(local, args.rollouts, args.rate)
        finally:
            lifecycle.stop(state, deadline=Deadline.after(60))
    print(json.dumps({name: round(value, 4) for name, value in found.items()}, indent=1))


if __name__ == "__main__":
    main()
