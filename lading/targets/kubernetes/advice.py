"""What to do about errors of the API server of a plain cluster."""

from lading.errors import AccessDenied, LadingError, NotFound, QuotaExceeded, ServiceUnreachable
from lading.targets.advice import Advice


def kubernetes_advice(namespace: str) -> Advice:
    """About errors of the API server; docs/targets.md has the role that lading needs."""

    def advise(method: str, error: LadingError) -> str:
        if isinstance(error, NotFound) and "namespaces" in str(error):
            return f"`kubectl create namespace {namespace}`"
        if isinstance(error, ServiceUnreachable):
            return "is it the right context? `kubectl config get-contexts`, `kubectl cluster-info`"
        if isinstance(error, QuotaExceeded):
            return "the API server is busy, or its limit for you is reached: try again later"
        if not isinstance(error, AccessDenied):
            return ""
        if error.status == 401:
            return "the cluster does not know who asks: log in again with the provider's tool (`kubectl auth whoami`)"
        return f"docs/targets.md has the role that it needs; `kubectl auth can-i --list -n {namespace}` what there is"

    return advise
