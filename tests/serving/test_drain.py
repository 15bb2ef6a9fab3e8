"""``lading serve`` as a process: what a signal does to requests, connections and loads."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from model_places import until
from raw_http import MIXED, Connection, head, request
from served import Served, serving

from lading.predict.protos import message

QUICK = "/v1/models/quick:predict"
ROWS = {"instances": [1.0, 2.0]}
LONG = 10_000_000
"""Rounds that nobody waits for."""


def spin(rounds: int) -> dict[str, Any]:
    return {"signature_name": "spin", "inputs": rounds}


def rounds_of(served: Served, seconds: float) -> int:
    """So many rounds take about so long, alone."""
    served.post(MIXED, spin(1))  # the first costs more
    started = time.monotonic()
    served.post(MIXED, spin(2000))
    return int(2000 * seconds / (time.monotonic() - started))


def running(served: Served, count: int) -> None:
    until(lambda: served.metric("lading_predictions_running") >= count)


class Load:
    """Clients in threads, until they are told to stop or their server is gone; keeps what came of each request."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.stopped = threading.Event()
        self.answered: list[tuple[float, int, Any]] = []
        """When it was sent, the status, the body."""
        self.unanswered: list[tuple[float, str]] = []

    def keep_alive(self, path: str, body: Any, pause: float = 0.0) -> None:
        """One request after the other, on one connection for as long as it is kept."""
        while not self.stopped.is_set():
            try:
                connection = Connection(self.served.port)
            except ConnectionRefusedError:
                return
            with connection:
                while self._ask(connection, [request(body, path)]):
                    self.stopped.wait(pause)

    def chunked(self) -> None:
        """One body in small pieces, over a second."""
        text = json.dumps(ROWS).encode()
        pieces = [text[at : at + 3] for at in range(0, len(text), 3)] + [b""]
        chunks = [f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces]
        with Connection(self.served.port) as connection:
            self._ask(connection, [head(QUICK, transfer_encoding="chunked"), *chunks], pause=0.1)

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()

    def _ask(self, connection: Connection, parts: list[bytes], pause: float = 0.0) -> bool:
        """Whether the connection is kept."""
        sent = time.monotonic()
        try:
            for part in parts:
                connection.send(part)
                time.sleep(pause)
            answer = connection.answer()
        except ConnectionError as error:
            self.unanswered.append((sent, repr(error)))
            return False
        self.answered.append((sent, answer.status, json.loads(answer.content)))  # type: ignore[attr-defined]
        return not answer.will_close and not self.stopped.is_set()


def predict_request(signature: str, name: str, value: Any) -> bytes:
    made = message("tensorflow.serving.PredictRequest")(model_spec={"name": "mixed", "signature_name": signature})
    made.inputs[name].CopyFrom(value)
    return bytes(made.SerializeToString())


def spin_over_grpc(rounds: int) -> bytes:
    return predict_request("spin", "rounds", message("tensorflow.TensorProto")(dtype=9, int64_val=[rounds]))


@pytest.mark.parametrize("words", [(), ("--batching",)])
def test_no_request_that_was_accepted_is_lost(words: tuple[str, ...], mixed_model: Path, scale_versions: Path) -> None:
    models = (f"quick={scale_versions / '3'}", f"mixed={mixed_model}")
    with serving(*models, "--port", "0", "--grpc-port", "0", "--drain", "60", *words) as served:
        channel = grpc.insecure_channel(f"127.0.0.1:{served.logged('listening for gRPC')['port']}")
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for _ in range(20):
            served.post(QUICK, ROWS)  # so that it is known for quick, and answered beside the slow ones
        rounds = rounds_of(served, 1.2)
        with ThreadPoolExecutor(16) as pool, channel, Load(served) as load:
            clients = [pool.submit(load.keep_alive, QUICK, ROWS) for _ in range(6)]
            clients += [pool.submit(load.keep_alive, QUICK, ROWS, pause=0.03) for _ in range(2)]
            clients += [pool.submit(load.keep_alive, MIXED, spin(rounds)) for _ in range(2)]
            calls = [call.future(spin_over_grpc(rounds), timeout=100) for _ in range(2)]
            running(served, 3)
            clients += [pool.submit(load.chunked) for _ in range(2)]
            time.sleep(0.3)
            signalled = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            served.process.send_signal(signal.SIGTERM)  # once more changes nothing
            assert served.process.wait(60) == 0
            load.stopped.set()
            for client in clients:
                client.result()
            assert [rounds_in(each.result()) for each in calls] == [rounds, rounds]
        assert [status for _, status, _ in load.answered if status != 200] == []
        bodies = [body for _, _, body in load.answered]
        assert bodies.count({"outputs": rounds}) >= 2
        assert bodies.count({"predictions": [3.0, 6.0]}) + bodies.count({"outputs": rounds}) == len(bodies) > 20
        # A connection may be closed between two requests; what was sent before the signal is answered.
        assert [error for sent, error in load.unanswered if sent <= signalled] == []
        assert served.lines[-1]["message"] == "stopped"


def rounds_in(response: bytes) -> int:
    found = message("tensorflow.serving.PredictResponse").FromString(response)
    return int(found.outputs["rounds"].int64_val[0])


def test_while_the_last_request_is_answered_nobody_else_is_let_in(mixed_model: Path) -> None:
    with serving(f"mixed={mixed_model}", "--port", "0", "--grpc-port", "off", "--drain", "60") as served:
        rounds = rounds_of(served, 1.5)
        connections = (Connection(served.port) for _ in range(3))
        with next(connections) as idle, next(connections) as busy, next(connections) as fresh:
            assert not idle.ask(request(spin(1))).will_close
            busy.send(request(spin(rounds)) + request(spin(2)))
            running(served, 1)
            served.process.send_signal(signal.SIGTERM)
            # Closed, and not reset: what the client sends next was not read.
            assert idle.socket.recv(1) == fresh.socket.recv(1) == b""
            with pytest.raises(ConnectionRefusedError):
                Connection(served.port)
            answers = b""
            while part := busy.socket.recv(65536):
                answers += part
            assert answers.count(b"HTTP/1.1 200 OK") == 2, "what was read is answered, also the second"
            assert b"connection: close" in answers
        assert served.process.wait(30) == 0


def test_what_takes_longer_than_the_grace_period_is_abandoned(mixed_model: Path) -> None:
    with serving(f"mixed={mixed_model}", "--port", "0", "--grpc-port", "0", "--drain", "1") as served:
        text = "x" * 4_000_000
        port = served.logged("listening for gRPC")["port"]
        with (
            Connection(served.port) as computing,
            Connection(served.port) as uploading,
            Connection(served.port, receive_buffer=4096) as reading,
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            reading.send(request({"signature_name": "same", "inputs": text}))
            until(lambda: served.metric(":tensorflow:serving:request_count") >= 1)
            computing.send(request(spin(LONG)))
            uploading.send(head(content_length="1000") + b"{")
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict").future(spin_over_grpc(LONG))
            running(served, 2)
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(20) == 0
            for connection in (computing, uploading):
                with pytest.raises(ConnectionError):
                    connection.answer()
            assert call.exception() is not None
        assert served.logged("requests abandoned")["requests"] >= 2


def test_an_answer_that_nobody_reads_does_not_keep_the_server(mixed_model: Path) -> None:
    with serving(f"mixed={mixed_model}", "--port", "0", "--grpc-port", "off", "--drain", "0.5") as served:
        with Connection(served.port, receive_buffer=4096) as reading:
            reading.send(request({"signature_name": "same", "inputs": "x" * 8_000_000}))
            until(lambda: served.metric(":tensorflow:serving:request_count") >= 1)
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(20) == 0
        assert served.logged("requests abandoned")["requests"] == 1


def test_a_prediction_whose_time_was_over_does_not_keep_the_server(mixed_model: Path) -> None:
    words = (f"mixed={mixed_model}", "--port", "0", "--grpc-port", "off", "--drain", "60", "--timeout", "0.3")
    with serving(*words) as served:
        assert served.post(MIXED, spin(LONG)).status_code == 504
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(20) == 0


def test_a_second_interrupt_breaks_the_draining_off(mixed_model: Path) -> None:
    with serving(f"mixed={mixed_model}", "--port", "0", "--grpc-port", "off", "--drain", "60") as served:
        with Connection(served.port) as computing:
            computing.send(request(spin(LONG)))
            running(served, 1)
            served.process.send_signal(signal.SIGINT)
            served.logged("draining")
            served.process.send_signal(signal.SIGINT)
            assert served.process.wait(20) == 0
        assert served.logged("requests abandoned")["requests"] == 1


# Each pause is a start of the server: by default two for each signal.
@pytest.mark.parametrize(
    ("number", "pauses"),
    [
        pytest.param(signal.SIGTERM, (0.0, 0.12), id="SIGTERM"),
        pytest.param(signal.SIGINT, (0.06, 0.25), id="SIGINT"),
        pytest.param(signal.SIGTERM, (0.06, 0.25), id="SIGTERM-more", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, (0.0, 0.12), id="SIGINT-more", marks=pytest.mark.slow),
    ],
)
def test_a_signal_while_models_load_ends_the_process(
    saved_models: Path, number: signal.Signals, pauses: tuple[float, ...]
) -> None:
    words = [f"{name}={saved_models / name}" for name in ("mixed", "mlp", "examples")]
    command = [sys.executable, "-m", "lading", "serve", *words, "--port", "0", "--grpc-port", "off"]
    for pause in pauses:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
        with process:
            try:
                assert process.stderr is not None
                assert any('"starting"' in line for line in process.stderr)  # TensorFlow may have said something
                time.sleep(pause)
                process.send_signal(number)
                time.sleep(pause / 4)
                process.send_signal(number)
                _, said = process.communicate(timeout=30)
            finally:
                process.kill()
        assert (process.returncode, "Traceback" in said) == (0, False), said
        messages = [json.loads(line)["message"] for line in said.splitlines() if line.startswith("{")]
        # With the second Ctrl-C after the models were there, which takes a moment only, it ends at once.
        assert {"stopped", "draining"} & set(messages), said
