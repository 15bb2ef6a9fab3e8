"""A cluster in a directory of its own, whose pods are processes on this machine."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from fakes.kubernetes_gateway import GatewayServer
from fakes.kubernetes_server import KubernetesServer
from places import Releases
from tiny_server import make_image

from lading.oci.layout import ImageStore
from lading.targets.base import Target
from lading.targets.connect import connect
from lading.wait import poll


class KubernetesPlace:
    """See ``places.Place``; ``gateway``: with the Gateway API, and a Gateway that splits by weight."""

    target_name = "kubernetes:models"

    def __init__(self, root: Path, *, gateway: bool = False) -> None:
        self._images_at, self._scratch = root / "images", root / "scratch"
        (root / "pods").mkdir()
        self.server = KubernetesServer(self._images_at, root / "pods", gateway_api=gateway)
        self.server.put("secrets", "token", {"stringData": {"1": "secret"}})
        self.gateway = GatewayServer(self.server) if gateway else None
        self.environ = {"KUBECONFIG": str(self.server.kubeconfig(root / "kubeconfig")), "HOME": str(root)}
        if gateway:
            self.environ["LADING_GATEWAY"] = "infra/web"
        self.target: Target = connect(self.target_name, environ=self.environ)
        self._images: dict[tuple[str, str], tuple[str, str]] = {}

    def make_image(self, answer: object, label: str = "") -> tuple[str, str]:
        key = (repr(answer), label)
        if key not in self._images:
            scratch = self._scratch / str(len(self._images))
            self._images[key] = make_image(ImageStore(self._images_at), scratch, answer=answer, label=label)
        return self._images[key]

    def stop(self) -> None:
        if self.gateway:
            self.gateway.close()
        self.server.close()


@contextmanager
def releases(cluster: KubernetesPlace) -> Iterator[Releases]:
    """A service of a test's own on a cluster, which is as it was afterwards."""
    made = Releases(cluster, seconds=30)
    yield made
    server = cluster.server
    server.quota, server.kubelet.unschedulable, server.minor, server.before_write = 100, "", "30", None
    server.token, server.lag_seconds = "token", 0.0
    server.forbidden.clear()
    made.target = cluster.target
    made.target.delete(made.service, deadline=made.deadline)


def server_of(at: Releases) -> KubernetesServer:
    assert isinstance(at.place, KubernetesPlace)
    return at.place.server


def the(at: Releases, plural: str, name: str) -> Any:
    return next(one for one in server_of(at).all(plural) if one["metadata"]["name"] == name)


def patch(at: Releases, plural: str, name: str, patch: Mapping[str, Any]) -> None:
    """What `kubectl edit` does."""
    server = server_of(at)
    body = the(at, plural, name)
    path = {"services": "/api/v1", "deployments": "/apis/apps/v1"}[plural]
    assert body
    answer = requests.patch(
        f"{server.url}{path}/namespaces/models/{plural}/{name}?fieldManager=kubectl-edit", data=json.dumps(patch),
        headers={"Authorization": f"Bearer {server.token}", "Content-Type": "application/merge-patch+json"}, timeout=10,
    )  # fmt: skip
    assert answer.ok, answer.text


def scale(at: Releases, revision: str, pods: int) -> None:
    """What an autoscaler does."""
    patch(at, "deployments", revision, {"spec": {"replicas": pods}})
    poll(
        lambda: len(server_of(at).endpoints(revision)) == pods or None,
        deadline=at.deadline,
        what="the pods to be ready",
    )
