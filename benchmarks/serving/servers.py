"""The servers that are measured: how each is started, and which form of request it takes."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

APPS = Path(__file__).parent / "apps"
V1_PATH, V2_PATH = "/v1/models/m:predict", "/v2/models/m/infer"


@dataclass(frozen=True)
class Server:
    """A server of one model, called ``m``, in one process with one worker.

    ``command`` and ``environ`` may hold ``{model}``, ``{port}``, ``{port2}``, ``{port3}`` (free ports), ``{answer}`` (a
    file with a right answer), ``{scratch}`` (a folder) and ``{bin}`` (of the server's virtual environment).
    """

    name: str
    command: tuple[str, ...]
    path: str = V1_PATH
    form: Literal["v1", "v2", "binary"] = "v1"
    """Of requests: TensorFlow Serving's JSON (``instances``), the Open Inference Protocol's, or that one's binary."""
    environment: str = ""
    """Its list in ``requirements/``; empty for the environment that the benchmark runs in."""
    environ: Mapping[str, str] = field(default_factory=dict)
    directory: Path = APPS
    engine: str = "tensorflow"
    """What computes; ``litert`` takes what ``lading convert`` makes of the SavedModel."""


ECHO_GRANIAN = Server("echo-granian", ("{bin}/python", "echo_granian.py", "{port}", "{answer}"), environment="granian")
PEER_ENVIRON = {"MODEL": "{model}", "PYTHONPATH": str(APPS), "TF_CPP_MIN_LOG_LEVEL": "2"}
UVICORN = ("--host", "127.0.0.1", "--port", "{port}", "--no-access-log")
KSERVE = (
    *("--model_name", "m", "--http_port", "{port}", "--enable_grpc", "false"),
    *("--enable_latency_logging", "false", "--log_config_file", "kserve_log.json"),
)
PEERS = {
    server.name: server
    for server in (
        Server(
            "fastapi",
            ("{bin}/uvicorn", "fastapi_plain:app", *UVICORN),
            environment="fastapi",
            environ=PEER_ENVIRON,
        ),
        Server(
            "fastapi-tuned",
            ("{bin}/uvicorn", "fastapi_tuned:app", *UVICORN),
            environment="fastapi",
            environ=PEER_ENVIRON,
        ),
        Server(
            "kserve",
            ("{bin}/python", "kserve_server.py", *KSERVE),
            environment="kserve",
            environ=PEER_ENVIRON,
        ),
        Server(
            "mlserver",
            ("{bin}/mlserver", "start", "."),
            path=V2_PATH,
            form="v2",
            environment="mlserver",
            environ={
                **PEER_ENVIRON,
                "MLSERVER_MODEL_URI": "{model}",
                "MLSERVER_HOST": "127.0.0.1",
                "MLSERVER_HTTP_PORT": "{port}",
                "MLSERVER_GRPC_PORT": "{port2}",
                "MLSERVER_METRICS_PORT": "{port3}",
                "MLSERVER_METRICS_DIR": "{scratch}",
                "MLSERVER_ENVIRONMENTS_DIR": "{scratch}",
                "MLSERVER_DEBUG": "false",
                # In the server's own process, which is faster: a worker process gets each request through a queue.
                "MLSERVER_PARALLEL_WORKERS": "0",
            },
            directory=APPS / "mlserver",
        ),
    )
}


def echo(python: str = sys.executable) -> Server:
    """The echo limit; ``python`` is of an environment that has lading."""
    return Server("echo", (python, "echo.py", "{port}", "{answer}"))


def lading(engine: str, *, binary: bool = False, batching: bool = False, python: str = sys.executable) -> Server:
    """``lading serve`` with an engine, its port in the environment as Cloud Run, Knative and Vertex AI give it.

    Args:
        engine: ``litert`` or ``tensorflow``.
        binary: Ask it in the binary form.
        batching: Whether it puts requests together.
        python: Of an environment that has lading.
    """
    words = ("--batching",) if batching else ()
    return Server(
        f"lading-{engine}-batching" if batching else f"lading-{engine}",
        (python, "-m", "lading", "serve", "m={model}", "--engine", engine, "--host", "127.0.0.1", *words),
        path=V2_PATH if binary else V1_PATH,
        form="binary" if binary else "v1",
        environ={"PORT": "{port}"},
        engine=engine,
    )
