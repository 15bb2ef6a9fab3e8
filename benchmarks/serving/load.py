"""Load over HTTP, by wrk: https://github.com/wg/wrk."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.serving import processes
from benchmarks.serving.processes import Record
from benchmarks.serving.running import Running, ServerFailedError

CONNECTIONS = 16
WARM_UP_SECONDS = 2
SCRIPT = r"""
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\n@{"answers":%d,"seconds":%.6f,"p50":%.1f,"p99":%.1f,"errors":%d}\n',
    summary.requests - e.status, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def require_wrk() -> None:
    """End with a clear message if wrk is not there."""
    if shutil.which("wrk") is None:
        sys.exit("wrk, which makes the load, is not on the PATH. On Debian or Ubuntu: apt-get install wrk")


def measure(running: Running, *, seconds: int) -> Record:
    """A window of load after a warm-up.

    Returns:
        ``rate``: right answers in a second (status below 400); ``p50_ms``, ``p99_ms``; ``errors``: refused or broken
        connections, time-outs, and answers with a status of 400 and more; ``wrong``: what is wrong with the answer to
        one more request afterwards, or None; ``server_cores``, ``wrk_cores``, ``other_cores``: processors that the
        server, the load and everything else used.

    Raises:
        ServerFailedError: wrk reported nothing.
    """
    _wrk(running, WARM_UP_SECONDS)
    return processes.least_disturbed(lambda: _window(running, seconds))


def _window(running: Running, seconds: int) -> Record:
    others, pids = processes.Others(), running.pids()
    before = processes.cpu_seconds(pids)
    said, wrk = _wrk(running, seconds)
    server = processes.cpu_seconds(pids) - before
    return {
        "rate": said["answers"] / said["seconds"],
        "p50_ms": said["p50"] / 1000,
        "p99_ms": said["p99"] / 1000,
        "errors": int(said["errors"]),
        "wrong": running.problem(),
        "server_cores": server / said["seconds"],
        "wrk_cores": wrk / said["seconds"],
        "other_cores": others.cores(server),
    }


def _wrk(running: Running, seconds: int) -> tuple[dict[str, float], float]:
    """What wrk reports, and the processor time it took. One thread: two would take the server's processor."""
    with tempfile.TemporaryDirectory(prefix="lading-bench-") as folder:
        script, content = Path(folder) / "post.lua", Path(folder) / "body"
        script.write_text(SCRIPT)
        content.write_bytes(running.content)
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        for name, value in running.headers.items():
            command += ["-H", f"{name}: {value}"]
        before = processes.ended_cpu_seconds()
        environ = {**os.environ, "BODY": str(content)}
        done = subprocess.run([*command, running.url], env=environ, capture_output=True, text=True, check=False)
        used = processes.ended_cpu_seconds() - before
    found = re.search(r"^@(\{.*\})$", done.stdout, re.M)
    if found is None:
        raise ServerFailedError(f"{running.server.name}: wrk reported nothing: {(done.stderr or done.stdout)[-500:]}")
    return json.loads(found[1]), used
