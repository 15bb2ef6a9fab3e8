"""What to do about errors of the API server of a plain cluster."""

from lading.errors import LadingError, NotFound
from lading.targets.advice import Advice, cluster_advice


def kubernetes_advice(namespace: str) -> Advice:
    """About errors of the API server; docs/targets.md has the role that lading needs."""

    def advise(method: str, error: LadingError) -> str:
        # The URL has the word, too, whatever was not found.
        if isinstance(error, NotFound) and f'namespaces "{namespace}" not found' in str(error):
            return f"`kubectl create namespace {namespace}`"
        role = f"docs/targets.md has the role that it needs; `kubectl auth can-i --list -n {namespace}` what there is"
        return cluster_advice(error, role=role)

    return advise
