"""``lading serve`` as a process, for tests that ask it over HTTP and gRPC."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from listening import Listening, listening


class Served(Listening):
    """A running server."""

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.post(self.url + path, data=data, timeout=60, **options)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=10)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=10, **options)

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels; 0 while nothing was counted."""
        lines = [line for line in self.get("/metrics").text.splitlines() if line.startswith((name + "{", name + " "))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


@contextmanager
def serving(*words: str, prefix: Sequence[str] = (), **environ: str) -> Iterator[Served]:
    """A server that listens; ``prefix`` comes before its command."""
    with listening("serve", *words, prefix=prefix, **environ) as found:
        yield Served(found.process, found.port, found.lines)
