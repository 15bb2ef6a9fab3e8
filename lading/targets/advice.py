"""What to do about an error of a platform: its own words stay, and the way out is added."""

from collections.abc import Callable
from typing import Any

from lading.errors import AccessDenied, LadingError, QuotaExceeded, RemoteError, ServiceUnreachable
from lading.http import Client
from lading.wait import Deadline

Advice = Callable[[str, LadingError], str]
"""From a method and the error that it led to, to what to do; empty when there is nothing to add."""


def cluster_advice(error: LadingError, *, role: str) -> str:
    """What to do about an error of the API server of any cluster.

    Args:
        error: What it said.
        role: What to do for who is known to it, and may not.
    """
    if isinstance(error, ServiceUnreachable):
        return "is it the right context? `kubectl config get-contexts`, `kubectl cluster-info`"
    if isinstance(error, QuotaExceeded):
        return "the API server is busy, or its limit for you is reached: try again later"
    if not isinstance(error, AccessDenied):
        return ""
    if error.status == 401:
        return "the cluster does not know who asks: log in again with the provider's tool (`kubectl auth whoami`)"
    return role


class ExplainedClient(Client):
    """A client whose errors say what to do.

    Args:
        base_url: See ``Client``.
        advice: What to do.
        options: See ``Client``.
    """

    def __init__(self, base_url: str = "", *, advice: Advice, **options: Any) -> None:
        super().__init__(base_url, **options)
        self._advice = advice

    def below(self, path: str) -> "ExplainedClient":
        """See ``Client.below``."""
        return ExplainedClient(self.base_url + path, advice=self._advice, session=self._session, headers=self._headers)

    def request(self, method: str, path: str, *, deadline: Deadline, **options: Any) -> Any:
        """See ``Client.request``."""
        try:
            return super().request(method, path, deadline=deadline, **options)
        except LadingError as error:
            advice = self._advice(method, error)
            if not advice:
                raise
            words = f"{error}: {advice}"
            raise type(error)(words, **({"status": error.status} if isinstance(error, RemoteError) else {})) from error
