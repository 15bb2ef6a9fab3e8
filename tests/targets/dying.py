"""Steps that are killed between two writes."""

from typing import Any

import requests


class Killed(BaseException):
    """Ends a step, as SIGKILL does."""


class DyingSession:
    """Sends so many writes, and one more, and dies before its answer."""

    def __init__(self, writes: int) -> None:
        self.left, self.real = writes, requests.Session()

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        writes = method in ("POST", "PUT", "PATCH", "DELETE") and "dryRun" not in options.get("params", {})
        answer = self.real.request(method, url, **options)
        if writes and not self.left:
            raise Killed
        self.left -= writes
        return answer
