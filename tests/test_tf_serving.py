"""The entry point of the runtime tf-serving, run by a POSIX shell with a stand-in for the server."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lading import runtimes
from lading.wait import Deadline, poll

SCRIPT = Path(runtimes.__file__).parent / "entry_points" / "tf_serving.sh"

SERVER = """#!{python}
import os, signal, sys, time
with open(os.environ["RECORD"], "w") as file:
    print(os.getpid(), *sys.argv[1:], sep="\\n", end="", file=file)
os.rename(os.environ["RECORD"], os.environ["RECORD"] + ".whole")
if "WAIT" in os.environ:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    time.sleep(60)
"""


class World:
    """A container's surroundings: the server on the PATH, and a directory for temporary files."""

    def __init__(self, root: Path) -> None:
        self.tmp, self.record, self.bin = root / "tmp", root / "record", root / "bin"
        self.tmp.mkdir()
        self.bin.mkdir()
        server = self.bin / "tensorflow_model_server"
        server.write_text(SERVER.format(python=sys.executable))
        server.chmod(0o755)

    def start(self, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        known = {"PATH": f"{self.bin}:/usr/bin:/bin", "TMPDIR": str(self.tmp), "RECORD": str(self.record)}
        command = ["dash", str(SCRIPT), *arguments]
        return subprocess.Popen(command, env={**known, **environ}, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str, **environ: str) -> tuple[int, str, dict[str, str]]:
        """Exit code, standard error, and the flags that the server got: as with its own parser, the last counts."""
        process = self.start(*arguments, **environ)
        _, error = process.communicate(timeout=20)
        return process.returncode, error, self.flags()

    def flags(self) -> dict[str, str]:
        whole = Path(f"{self.record}.whole")
        if not whole.exists():
            return {}
        words = whole.read_text().split("\n")[1:]
        assert all(word.startswith("--") and "=" in word for word in words), words
        return dict(word.removeprefix("--").split("=", 1) for word in words)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.tmp.chmod(0o755)


def test_by_itself_it_serves_as_tensorflow_servings_image_does(world: World) -> None:
    code, error, flags = world.run(MODEL_NAME="taxi")
    assert (code, error) == (0, "")
    files = {name: flags.pop(f"{name}_file") for name in ("monitoring_config", "batching_parameters")}
    assert flags == {
        "port": "8500",
        "rest_api_port": "8501",
        "model_name": "taxi",
        "model_base_path": "/models/taxi",
        "enable_batching": "true",
    }
    monitoring = Path(files["monitoring_config"])
    assert monitoring.read_text() == 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n'
    batching = Path(files["batching_parameters"]).read_text()
    assert "max_execution_batch_size { value: 128 }" in batching
    assert "enable_large_batch_splitting { value: true }" in batching
    assert stat.S_IMODE(monitoring.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("environ", "http", "grpc"),
    [
        ({"PORT": "8080"}, "8080", "8500"),
        ({"PORT": "8500"}, "8500", "8501"),
        ({"PORT": "9000", "AIP_HTTP_PORT": "8080"}, "8080", "8500"),
        ({"PORT": "8080", "LADING_GRPC_PORT": "9000"}, "8080", "9000"),
        # What some versions of tensorflow/serving have in their configuration.
        ({"PORT": "8500", "GRPC_PORT": "8500"}, "8500", "8501"),
    ],
)
def test_ports(world: World, environ: dict[str, str], http: str, grpc: str) -> None:
    code, _, flags = world.run(**environ)
    assert (code, flags["rest_api_port"], flags["port"]) == (0, http, grpc)


def test_grpc_can_be_off(world: World) -> None:
    code, _, flags = world.run(LADING_GRPC_PORT="off")
    assert (code, flags["port"]) == (0, "0")
    # The server refuses to start without any gRPC.
    assert Path(flags["grpc_socket_path"]).parent.parent == world.tmp


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"PORT": "80a"}, "PORT is '80a', expected a port from 1 to 65535"),
        ({"PORT": "0"}, "PORT is '0', expected a port"),
        ({"PORT": "65536"}, "PORT is '65536', expected a port"),
        ({"PORT": "-1"}, "PORT is '-1', expected a port"),
        ({"LADING_GRPC_PORT": "x"}, "LADING_GRPC_PORT is 'x', expected a port"),
        ({"PORT": "9", "LADING_GRPC_PORT": "9"}, "are both 9, expected two ports, or LADING_GRPC_PORT=off"),
        ({"LADING_MAX_BATCH_SIZE": "many"}, "are numbers"),
    ],
)
def test_what_cannot_be_is_said(world: World, environ: dict[str, str], message: str) -> None:
    code, error, flags = world.run(**environ)
    assert code == 2
    assert message in error
    assert not flags


def test_batching_can_be_tuned_and_off(world: World) -> None:
    _, _, flags = world.run(LADING_MAX_BATCH_SIZE="32", LADING_BATCH_TIMEOUT_MICROS="500")
    text = Path(flags["batching_parameters_file"]).read_text()
    assert "max_execution_batch_size { value: 32 }" in text
    assert "batch_timeout_micros { value: 500 }" in text
    _, _, flags = world.run(LADING_BATCHING="off")
    assert not {"enable_batching", "batching_parameters_file"} & flags.keys()
    assert "monitoring_config_file" in flags


def test_without_a_place_to_write_it_still_serves(world: World) -> None:
    code, error, flags = world.run(PORT="8080", TMPDIR="/nowhere")
    assert (code, error) == (0, "tf-serving: /nowhere cannot be written: no metrics, and batches by default settings\n")
    assert flags["rest_api_port"] == "8080"
    assert flags["enable_batching"] == "true"
    assert not {"monitoring_config_file", "batching_parameters_file"} & flags.keys()
    code, error, _ = world.run(LADING_GRPC_PORT="off", TMPDIR="/nowhere")
    assert (code, "mount one at /tmp" in error) == (2, True)


def test_arguments_come_last_and_keep_their_spaces(world: World) -> None:
    process = world.start("--model_name=a b", "--enable_batching=false")
    process.communicate(timeout=20)
    assert Path(f"{world.record}.whole").read_text().split("\n")[-2:] == ["--model_name=a b", "--enable_batching=false"]


def test_signals_arrive(world: World) -> None:
    process = world.start(WAIT="1")
    poll(lambda: world.flags() or None, deadline=Deadline.after(20), what="the server to start")
    assert Path(f"{world.record}.whole").read_text().split("\n")[0] == str(process.pid)  # exec: the same process
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 7


def test_every_flag_is_one_of_the_server(world: World) -> None:
    """Against the flags of tensorflow_serving/model_servers/main.cc as of July 2026."""
    known = {"port", "grpc_socket_path", "rest_api_port", "enable_batching", "batching_parameters_file"}
    known |= {"model_name", "model_base_path", "monitoring_config_file"}
    for environ in ({}, {"LADING_GRPC_PORT": "off"}):
        _, _, flags = world.run(**environ)
        assert flags.keys() <= known
