"""Who we are to a Kubernetes cluster: a context of a kubeconfig, or the service account of the pod that we run in.

The kubernetes package reads the kubeconfig: client certificates, bearer tokens, exec plugins, OIDC and several files
in ``KUBECONFIG`` are its business. What is sent goes through ``lading.http`` all the same, with its deadlines,
retries and errors.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from lading.errors import AccessDenied, InvalidInput
from lading.http import Client, Session
from lading.targets.advice import Advice, ExplainedClient

CONTEXT_VARIABLE = "LADING_KUBE_CONTEXT"
"""Names a context of the kubeconfig; without it the current one counts."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token. Source: Kubernetes, "Accessing the Kubernetes API from a Pod"."""


def cluster_client(environ: Mapping[str, str], *, advice: Advice, service_account: Path = SERVICE_ACCOUNT) -> Client:
    """A client of the API server; nothing is sent to it yet, but an exec plugin of the kubeconfig may run.

    Args:
        environ: ``KUBECONFIG`` (files, separated by colons), else ``~/.kube/config`` below ``HOME``;
            ``LADING_KUBE_CONTEXT``; inside a cluster ``KUBERNETES_SERVICE_HOST`` and ``_PORT``.
        advice: What to do about errors.
        service_account: Directory of the pod's token.

    Raises:
        InvalidInput: there is no kubeconfig, it cannot be read, or it lacks the context.
        AccessDenied: its exec plugin gives no credentials.
    """
    files = environ.get("KUBECONFIG") or str(Path(environ.get("HOME") or Path.home()) / ".kube" / "config")
    if any(Path(file).is_file() for file in files.split(":")):
        configuration = _from_kubeconfig(files, environ.get(CONTEXT_VARIABLE, ""))
    elif environ.get("KUBERNETES_SERVICE_HOST"):
        configuration = _from_pod(environ, service_account)
    else:
        raise InvalidInput(
            f"no cluster: expected a kubeconfig at {files} (KUBECONFIG), or to run in a pod; "
            "the cluster's provider has a command that writes one"
        )
    return ExplainedClient(configuration.host, session=_ClusterSession(configuration), advice=advice)


def _from_kubeconfig(files: str, context: str) -> Any:
    config, loaded = _library()
    try:
        contexts, users, current = _read(files)
        if (context or current) not in contexts:
            wanted = f"context {context!r} ({CONTEXT_VARIABLE})" if context else f"its current context {current!r}"
            raise InvalidInput(
                f"the kubeconfig {files} lacks {wanted}; it has: {', '.join(contexts) or 'none'}. "
                f"`kubectl config use-context NAME` or {CONTEXT_VARIABLE} chooses"
            )
        # Named always: of several files the first one's current context counts, the library takes the last one's.
        config.load_kube_config(files, context=context or current, client_configuration=loaded)
    except config.ConfigException as error:
        raise InvalidInput(
            f"the kubeconfig {files} cannot be used: {error}; `kubectl config view` shows what it says"
        ) from error
    user = users.get(contexts[context or current].get("user", ""), {})
    if "exec" in user and not loaded.api_key and not loaded.cert_file:
        # The library logs why, and goes on as nobody.
        raise AccessDenied(
            f"the exec plugin of context {context or current} in {files} gave no credentials: "
            f"run {user['exec'].get('command')} by hand, or log in with the provider's tool",
            status=401,
        )
    return loaded


def _read(files: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Contexts and users by name, and the current context: the first to say something counts.

    Source: Kubernetes, "Organizing Cluster Access Using kubeconfig Files", merging.
    """
    import yaml

    contexts: dict[str, Any] = {}
    users: dict[str, Any] = {}
    current = ""
    for file in filter(None, files.split(":")):
        path = Path(file).expanduser()
        if not path.is_file():
            continue
        try:
            body = yaml.safe_load(path.read_text()) or {}
            for one in body.get("contexts") or []:
                contexts.setdefault(one["name"], one.get("context") or {})
            for one in body.get("users") or []:
                users.setdefault(one["name"], one.get("user") or {})
            current = current or body.get("current-context") or ""
        except (yaml.YAMLError, AttributeError, KeyError, TypeError, OSError) as error:
            raise InvalidInput(f"{path} is no kubeconfig: {error}") from error
    return contexts, users, current


def _from_pod(environ: Mapping[str, str], service_account: Path) -> Any:
    config, loaded = _library()
    files = {"token_filename": service_account / "token", "cert_filename": service_account / "ca.crt"}
    try:
        loader = config.incluster_config.InClusterConfigLoader(**files, environ=environ)
        loader.load_and_set(loaded)
    except config.ConfigException as error:
        raise InvalidInput(
            f"the pod's service account in {service_account} cannot be used: {error}; "
            "see automountServiceAccountToken of the pod"
        ) from error
    return loaded


def _library() -> tuple[Any, Any]:
    """The package's module that loads, and an empty configuration."""
    try:
        from kubernetes import client, config  # type: ignore[import-untyped]
    except ImportError as error:
        raise InvalidInput("clusters need the kubernetes package: pip install 'lading[kubernetes]'") from error
    return config, client.Configuration()


class _ClusterSession(Session):
    """Sends requests as a loaded configuration says, with the token that is good at the time."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration
        self._session = requests.Session()
        self._session.trust_env = False  # else requests takes a password from ~/.netrc, or another CA
        if configuration.proxy:
            self._session.proxies = {"http": configuration.proxy, "https": configuration.proxy}
        self._session.verify = configuration.ssl_ca_cert or True if configuration.verify_ssl else False
        if configuration.cert_file:
            self._session.cert = (configuration.cert_file, configuration.key_file)

    @property
    def request(self) -> Callable[..., requests.Response]:
        """See ``Session.request``."""
        return self._request

    def _request(self, method: str, url: str, *, headers: Mapping[str, str], **options: Any) -> requests.Response:
        # Asked each time: tokens of exec plugins and of pods grow old and are renewed here.
        token = self._configuration.get_api_key_with_prefix("authorization")
        known = {"Authorization": token} if token else {}
        return self._session.request(method, url, headers={**known, **headers}, **options)
