"""``lading serve`` as platforms run it: another user, a file system that is read-only but for /tmp, no home."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from served import serving

from lading.predict.protos import message


def sandbox(*readable: Path) -> Sequence[str]:
    """The command that runs another one in such a place; what is below /tmp is there if it is named.

    The network is the machine's own: the test asks the server over it.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    # A clone of the project may lie below /tmp, too.
    ours = [path for path in (Path(sys.prefix), Path(__file__).parents[2]) if path.is_relative_to("/tmp")]
    binds = [word for path in (*readable, *ours) for word in ("--ro-bind", str(path), str(path))]
    command = [
        *(bwrap, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", *binds),
        *("--unshare-user", "--unshare-pid", "--as-pid-1", "--uid", "65532", "--gid", "65532", "--die-with-parent"),
        *("--unsetenv", "HOME", "--setenv", "TMPDIR", "/tmp"),
    ]
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        pytest.skip(f"bubblewrap cannot make a user namespace here: {done.stderr.strip()}")
    return command


@pytest.mark.parametrize("engine", ["tensorflow", "litert"])
def test_it_serves_without_rights(mlp_model: Path, litert_model: Path, engine: str) -> None:
    model = litert_model if engine == "litert" else mlp_model
    words = (f"m={model}", "--engine", engine, "--port", "0", "--grpc-port", "0")
    with serving(*words, prefix=sandbox(model)) as served:
        image = [[0.5] * 28] * 28
        (row,) = served.post("/v1/models/m:predict", {"instances": [image]}).json()["predictions"]
        assert sum(row) == pytest.approx(1, abs=1e-5)
        # What is not imported before it is needed works too.
        assert served.get("/openapi.json").json()["openapi"] == "3.1.0"
        assert "process_resident_memory_bytes" in served.get("/metrics").text
        with grpc.insecure_channel(f"127.0.0.1:{served.logged('listening for gRPC')['port']}") as channel:
            asked = channel.unary_unary("/inference.GRPCInferenceService/ServerReady")(b"", timeout=30)
        assert message("inference.ServerReadyResponse").FromString(asked).ready
        (server,) = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
        os.kill(int(server), signal.SIGTERM)
        assert served.process.wait(30) == 0
        assert served.lines[-1]["message"] == "stopped"


def test_nothing_can_be_written_there_but_below_tmp(mlp_model: Path) -> None:
    script = f"id -u; touch /usr/x || touch {mlp_model}/x || touch /var/tmp/x || touch /tmp/x && ls /tmp && echo $HOME-"
    done = subprocess.run(
        [*sandbox(mlp_model), "sh", "-c", script], capture_output=True, text=True, check=False, timeout=30
    )
    uid, *names, home = done.stdout.split()
    assert (uid, home) == ("65532", "-")
    assert "x" in names
    assert done.stderr.count("Read-only file system") == 3
