"""How unmodified gcloud and kubectl are pointed at the local target.

gcloud puts the region in front of the host of Cloud Run's API (``local-run.lading.local``), which no resolver knows:
so the local target is its proxy, and takes requests whose first line names a host. kubectl sends a user's token over
TLS only; what it sends to a proxy it takes from the proxy's URL: so the local target is its proxy too. Sources:
``gcloud topic configurations``; Kubernetes, "Organizing Cluster Access Using kubeconfig Files" (``proxy-url``).
"""

import json
from pathlib import Path
from urllib.parse import urlsplit

from lading.files import storage_errors, write_atomic
from lading.local.cloud_run import HOST, REGION
from lading.local.state import DEFAULT_NAMESPACE, Layout
from lading.results import LocalEndpoint

USER = "lading"
"""Who kubectl says that it is, with the token as the password."""
_NAME = "lading-local"


def write_access(layout: Layout, endpoint: LocalEndpoint) -> None:
    """Write the kubeconfig, and gcloud's token; only the owner can read them.

    Raises:
        StorageError: they cannot be written.
    """
    place = urlsplit(endpoint.url)
    proxy = f"http://{USER}:{endpoint.token}@{place.netloc}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": {"server": f"http://kubernetes.{HOST}", "proxy-url": proxy}}],
        "users": [{"name": _NAME, "user": {}}],
        "contexts": [
            {"name": _NAME, "context": {"cluster": _NAME, "user": _NAME, "namespace": DEFAULT_NAMESPACE}},
        ],
        "current-context": _NAME,
    }
    write_atomic(_kubeconfig(layout), json.dumps(config, indent=1), mode=0o600)  # JSON is YAML too
    write_atomic(_token(layout), endpoint.token, mode=0o600)
    with storage_errors(layout.access):
        layout.access.chmod(0o700)
        (layout.access / "gcloud").mkdir(exist_ok=True)


def variables(layout: Layout, endpoint: LocalEndpoint) -> dict[str, str]:
    """The environment in which kubectl and gcloud talk to the local target.

    The project of gcloud is the namespace that lading itself deploys to. Its configuration directory is one of the
    target's own, so that neither an account nor a setting of the user's goes along.
    """
    port = urlsplit(endpoint.url).port
    return {
        "KUBECONFIG": str(_kubeconfig(layout)),
        "CLOUDSDK_CONFIG": str(layout.access / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": DEFAULT_NAMESPACE,
        "CLOUDSDK_RUN_REGION": REGION,
        "CLOUDSDK_RUN_PLATFORM": "managed",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(_token(layout)),
        "CLOUDSDK_PROXY_TYPE": "http_no_tunnel",
        "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
        "CLOUDSDK_PROXY_PORT": str(port),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"http://run.{HOST}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE": f"http://serviceusage.{HOST}/",
        "CLOUDSDK_CORE_SHOULD_PROMPT_TO_ENABLE_API": "false",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
    }


def _kubeconfig(layout: Layout) -> Path:
    return layout.access / "kubeconfig"


def _token(layout: Layout) -> Path:
    return layout.access / "token"
