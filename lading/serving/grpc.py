"""The gRPC server: its port, threads, deadlines and codes. The only module that imports the gRPC library."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import grpc

from lading.errors import DeadlineExceeded, EngineError, LadingError
from lading.predict.effort import Stopwatch
from lading.serving import grpc_oip, grpc_tfs
from lading.serving.config import ServeConfig
from lading.serving.errors import Code, code_of
from lading.serving.gate import Gate
from lading.serving.grpc_calls import Method, read_request
from lading.serving.grpc_health import CHECK, REQUEST, WATCH, Health
from lading.serving.log import log
from lading.serving.models import Models
from lading.serving.pace import Pace
from lading.serving.records import Asked, Records

MOST_TEXT = 1024
"""Characters of an error's text, then ``...TRUNCATED``: tensorflow_serving/model_servers/grpc_status_util.cc."""

_LIGHT_CALLS = 16
"""So many calls that run no model find a thread even when every prediction waits."""
_WATCHES = 16
"""So many health watches run at once; each keeps a thread."""


class GrpcServer:
    """A gRPC server that accepts calls.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, server: grpc.Server, health: Health, port: int) -> None:
        self.port = port
        self._server = server
        self._health = health

    def stop(self, grace_seconds: float) -> None:
        """Refuse new calls at once, let running ones end, and return when they have, or when the time is over."""
        self._health.stop()
        self._server.stop(grace_seconds).wait()


def start_grpc(models: Models, config: ServeConfig, records: Records, gate: Gate) -> GrpcServer:
    """Serve TensorFlow Serving's gRPC API, the Open Inference Protocol and the standard health service.

    Args:
        models: Loaded.
        config: Its ``grpc_port`` must not be None.
        records: Where calls that run a model are written down.
        gate: Runs the models; the same for all protocols, so that their work is bounded together.

    Raises:
        EngineError: the port is in use, or cannot be listened on.
    """
    health = Health(models.is_ready)
    table = {**grpc_tfs.methods(models, most_bytes=config.max_body_bytes), **grpc_oip.methods(models)}
    calls = _Calls(table, config, records=records, gate=gate, models=models)
    # A call that waits for the gate holds a thread here. Threads are made when they are needed.
    most_calls = gate.most_calls + _LIGHT_CALLS + _WATCHES
    server = grpc.server(
        ThreadPoolExecutor(most_calls, thread_name_prefix="grpc"),
        handlers=(_Handlers(calls, health),),
        options=(
            ("grpc.so_reuseport", 0),  # two servers would share a port without a word
            ("grpc.max_receive_message_length", config.max_body_bytes),
            ("grpc.max_send_message_length", -1),
        ),
        maximum_concurrent_rpcs=most_calls,
    )
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        port = server.add_insecure_port(f"{host}:{config.grpc_port}")
    except RuntimeError as error:
        raise EngineError(
            f"cannot listen for gRPC on port {config.grpc_port} of {config.host}: is it in use by another process? "
            "Stop that one, or choose another port with --grpc-port"
        ) from error
    server.start()
    return GrpcServer(server, health, port)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # the library has no types
    """Finds the handler of a path. Messages are bytes to the library: they are read where errors are answered."""

    def __init__(self, calls: "_Calls", health: Health) -> None:
        self._handlers = {
            path: grpc.unary_unary_rpc_method_handler(calls.handler(path, method))
            for path, method in (*calls.table.items(), (CHECK, Method(REQUEST, health.check)))
        }
        self._handlers[WATCH] = grpc.unary_stream_rpc_method_handler(_watcher(health))

    def service(self, details: Any) -> Any:
        return self._handlers.get(details.method)


class _Calls:
    """Answers calls with one request and one answer."""

    def __init__(
        self,
        table: Mapping[str, Method],
        config: ServeConfig,
        *,
        records: Records,
        gate: Gate,
        models: Models,
    ) -> None:
        self.table = table
        self._config = config
        self._records = records
        self._gate = gate
        self._pace = Pace(models)
        self._said = tuple(config.said.items())

    def handler(self, path: str, method: Method) -> Callable[[bytes, Any], bytes]:
        """What the library calls for a path, in a thread of its own."""

        def handle(data: bytes, context: Any) -> bytes:
            if self._said:
                context.set_trailing_metadata(self._said)
            started = time.perf_counter()
            asked, answer = Asked(""), b""
            code, text = Code.OK, ""
            try:
                request = read_request(method.request, data)
                if method.model_of is None:
                    return _answer(method, request)
                asked = method.model_of(request)
                kind = f"{path} {asked.model}"
                answer = self._run(lambda: _answer(method, request), kind, size=len(data), context=context)
                return answer
            except LadingError as error:
                code, text = code_of(error), str(error)
            except Exception as error:
                # The last line of defence: the client learns that it failed, the log says why, the server lives on.
                log("request failed", severity="ERROR", method=path, error=repr(error))
                code, text = Code.INTERNAL, "internal error; the server's log says more"
            finally:
                if method.model_of is not None:
                    self._records.called(
                        path,
                        asked,
                        headers=lambda name: _metadata(context, name),
                        request=data,
                        response=answer,
                        code=code,
                        error=text,
                        seconds=time.perf_counter() - started,
                    )
            context.abort(grpc.StatusCode[code.name], _cut(text))
            raise AssertionError("abort raises")

        return handle

    def _run(self, call: Callable[[], bytes], kind: str, *, size: int, context: Any) -> bytes:
        def timed() -> bytes:
            cost = Stopwatch()
            answer = call()
            self._pace.record(kind, cost.seconds())
            return answer

        return timed() if self._pace.is_quick(kind, size) else self._in_gate(timed, size, context)

    def _in_gate(self, call: Callable[[], bytes], size: int, context: Any) -> bytes:
        left = context.time_remaining()
        seconds = max(0.0, self._config.timeout_seconds if left is None else min(left, self._config.timeout_seconds))
        future: Future[bytes] = self._gate.submit(call, size)
        context.add_callback(future.cancel)  # the client went away: a call that still waits is not run
        try:
            return future.result(seconds)
        except FutureTimeout as error:
            future.cancel()
            raise DeadlineExceeded(f"the prediction was not made within {seconds:.3g} s") from error
        except CancelledError as error:
            raise EngineError("the call was cancelled", code="CANCELLED") from error


def _answer(method: Method, request: Any) -> bytes:
    return bytes(method.call(request).SerializeToString())


def _metadata(context: Any, name: str) -> str | None:
    """The first value of a name in a call's metadata, which is text unless the name ends in ``-bin``."""
    return next((value for key, value in context.invocation_metadata() if key == name), None)


def _watcher(health: Health) -> Callable[[bytes, Any], Iterator[bytes]]:
    places = threading.BoundedSemaphore(_WATCHES)

    def watch(data: bytes, context: Any) -> Iterator[bytes]:
        if not places.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_WATCHES} health watches run already; use Check")
        try:
            gone = threading.Event()
            if context.add_callback(gone.set):
                for response in health.watch(read_request(REQUEST, data), gone):
                    yield response.SerializeToString()
        except LadingError as error:
            context.abort(grpc.StatusCode[code_of(error).name], _cut(str(error)))
        finally:
            places.release()

    return watch


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}...TRUNCATED"
