"""The web application of a batch service: takes requests, and tells what became of them."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from urllib.parse import parse_qs

from lading import buckets
from lading.batch.service import embedded
from lading.batch.service.access import NotAllowed
from lading.batch.service.config import ServiceConfig
from lading.batch.service.embedded import NoClient
from lading.batch.service.memory import TooLarge, run_bytes
from lading.batch.service.metrics import render
from lading.batch.service.models import Models, look_up
from lading.batch.service.openapi import document
from lading.batch.service.request import BatchRequest, check_access, parse_request
from lading.batch.service.routes import Route, find_route
from lading.batch.service.runs import Run, Runs, State
from lading.batch.service.views import EVENTS, events, view
from lading.errors import AccessDenied, Conflict, InvalidInput, LadingError, RemoteError, StorageError
from lading.serving.answers import Answer, as_json, refusal
from lading.serving.errors import CONTENT_TOO_LARGE, METHOD_NOT_ALLOWED, Code, code_of
from lading.serving.exchange import ClientGone, Exchange
from lading.serving.exposition import CONTENT_TYPE
from lading.serving.log import AccessLog, log, request_context

MOST_BODY_BYTES = 4 << 20
"""Some ten thousand inputs."""
BODY_SECONDS = 60.0
_LOOKERS = 8
"""So many requests are looked up in storage at a time."""

_CODES: Mapping[type[LadingError], Code] = {
    NotAllowed: Code.PERMISSION_DENIED,
    AccessDenied: Code.PERMISSION_DENIED,
    Conflict: Code.ALREADY_EXISTS,
    RemoteError: Code.UNAVAILABLE,
    StorageError: Code.UNAVAILABLE,
}


class App:
    """Answers requests; used in the event loop only.

    Attributes:
        leaving: Set when the service takes no more runs.
    """

    def __init__(self, config: ServiceConfig, runs: Runs, models: Models) -> None:
        self.leaving = asyncio.Event()
        self._config, self._runs, self._models = config, runs, models
        self._access = AccessLog(config.access_log)
        # Threads of its own, so that no other use of the event loop's holds requests up.
        self._lookers = ThreadPoolExecutor(_LOOKERS, thread_name_prefix="batch-look")

    def answer_at_once(self, exchange: Exchange) -> Answer | None:
        """The answer to a request that is complete, if making it takes no time; else None."""
        route = find_route(exchange.method, exchange.path)
        if route.verb in ("create", "embedded", "events"):
            return None
        started = time.perf_counter()
        answer = self._guard(route, exchange)
        self._note(exchange, answer, time.perf_counter() - started)
        return answer

    async def answer(self, exchange: Exchange) -> None:
        """Answer any request, by ``exchange.send`` or ``exchange.stream``."""
        started = time.perf_counter()
        route = find_route(exchange.method, exchange.path)
        try:
            if route.verb == "events":
                answer = await self._stream(route, exchange)
            elif route.verb == "create":
                answer = await self._create(exchange)
            elif route.verb == "embedded":
                answer = await self._embedded(exchange)
            else:
                answer = self._guard(route, exchange)
        except LadingError as error:
            answer = failure(error)
        except Exception as error:
            answer = _internal(exchange, error)
        exchange.send(answer)  # does nothing behind a stream
        self._note(exchange, answer, time.perf_counter() - started)

    def _guard(self, route: Route, exchange: Exchange) -> Answer:
        try:
            return self._plain(route, exchange)
        except LadingError as error:
            return failure(error)
        except Exception as error:
            return _internal(exchange, error)

    def _plain(self, route: Route, exchange: Exchange) -> Answer:
        if not route.verb:
            return _no_route(route, exchange)
        if route.verb == "live" or (route.verb == "ready" and not self.leaving.is_set()):
            return as_json({route.verb: True})
        if route.verb == "ready":
            return as_json({"ready": False}, Code.UNAVAILABLE)
        if route.verb == "metrics":
            page = render(self._runs, self._models, revision=self._config.revision)
            return Answer(page, content_type=CONTENT_TYPE)
        if route.verb == "openapi":
            return as_json(document())
        if route.verb == "list":
            return as_json({"batches": [view(run, whole=False) for run in self._listed(exchange.path)]})
        run = self._runs.get(route.id)
        if route.verb == "cancel":
            self._runs.cancel(run)
        answer = as_json(view(run))
        answer.status = 202 if route.verb == "cancel" and not run.state.is_final else 200
        return answer

    def _listed(self, path: str) -> list[Run]:
        wanted = parse_qs(path.partition("?")[2]).get("state", [])
        if unknown := set(wanted) - set(State):
            raise InvalidInput(f"no such state: {', '.join(sorted(unknown))} (there are: {', '.join(State)})")
        return [run for run in self._runs.all() if not wanted or run.state in wanted]

    async def _stream(self, route: Route, exchange: Exchange) -> Answer:
        run = self._runs.get(route.id)
        said = (("cache-control", "no-store"), ("x-accel-buffering", "no"))
        answer = Answer(b"", content_type=EVENTS, headers=said)
        async with aclosing(events(run)) as pieces:
            await exchange.stream(answer, pieces)
        return answer

    async def _create(self, exchange: Exchange) -> Answer:
        body = await _read(exchange)
        request = parse_request(body, max_line_bytes=self._config.max_line_bytes)
        run = await self._accept(request, exchange, key=exchange.headers.get("idempotency-key", ""))
        answer = as_json(view(run))
        answer.status = 202
        answer.headers = (("location", f"/v1/batches/{run.id}"),)
        return answer

    async def _embedded(self, exchange: Exchange) -> Answer:
        try:
            request = embedded.parse_query(exchange.path, max_line_bytes=self._config.max_line_bytes)
            run = await self._accept(request, exchange)
        except LadingError as error:
            log("batch request refused", severity="WARNING", error=str(error), path=exchange.path)
            return embedded.refusal(error)
        # Not wrap_future itself: a caller that is cancelled must not cancel what others wait for.
        await asyncio.shield(asyncio.wrap_future(run.done))
        return embedded.answer(run)

    async def _accept(self, request: BatchRequest, exchange: Exchange, *, key: str = "") -> Run:
        check_access(request, self._config.access)
        known = self._runs.known(request, key)
        if known is not None:
            return known
        self._runs.check()
        context = request_context(exchange.headers.get, project=self._config.trace_project)

        def submit() -> Run:
            if request.embedded:
                _need_client(request.model)
            model = look_up(request.model, environ=self._config.environ)
            size = run_bytes(request.job.options, self._config.threads)
            return self._runs.submit(Run(request, model, size, key=key, context=context))

        return await asyncio.get_running_loop().run_in_executor(self._lookers, submit)

    def _note(self, exchange: Exchange, answer: Answer, seconds: float) -> None:
        # A run takes as long as it takes: no request is slow here.
        if self._access.wants(answer.status, 0.0):
            error = answer.body.decode(errors="replace") if answer.status >= 500 else ""
            self._access.write(
                request_context(exchange.headers.get, project=self._config.trace_project),
                method=exchange.method,
                path=exchange.path,
                status=answer.status,
                seconds=seconds,
                sizes=(0, len(answer.body)),
                error=error,
            )


def failure(error: LadingError) -> Answer:
    """The answer that tells an error."""
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), code_of(error))
    answer = refusal(code, str(error).encode("utf-8", "replace").decode())
    if isinstance(error, TooLarge):
        answer.status = CONTENT_TOO_LARGE
    if code is Code.UNAVAILABLE:
        answer.headers = (("retry-after", str(embedded.RETRY_AFTER_SECONDS)),)
    return answer


async def _read(exchange: Exchange) -> bytes:
    """The body of a request.

    Raises:
        TooLarge: it is too long.
        InvalidInput: it did not come.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in exchange:
                body += part
                if len(body) > MOST_BODY_BYTES:
                    raise TooLarge(f"expected a body of at most {MOST_BODY_BYTES} bytes: name directories or patterns")
    except TimeoutError as error:
        raise InvalidInput(f"the body did not arrive within {BODY_SECONDS:g} s") from error
    except ClientGone as error:  # nobody reads this
        raise InvalidInput("the body ended early") from error
    return bytes(body)


def _need_client(uri: str) -> None:
    try:
        with buckets.opened(buckets.split(uri)[0], uri):
            pass
    except LadingError as error:
        raise NoClient(str(error)) from error


def _no_route(route: Route, exchange: Exchange) -> Answer:
    if not route.allowed:
        return refusal(Code.NOT_FOUND, f"nothing is at {exchange.path.partition('?')[0]}: see /openapi.json")
    answer = refusal(Code.UNIMPLEMENTED, f"expected {' or '.join(route.allowed)}, received {exchange.method}")
    answer.status = METHOD_NOT_ALLOWED
    answer.headers = (("allow", ", ".join(route.allowed)),)
    return answer


def _internal(exchange: Exchange, error: Exception) -> Answer:
    log("request failed", severity="ERROR", method=exchange.method, path=exchange.path, error=repr(error))
    return refusal(Code.INTERNAL, "internal error; the service's log says more")
