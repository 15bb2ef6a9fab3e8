"""The split of a service by weights, where the cluster has the Gateway API.

Source: https://gateway-api.sigs.k8s.io/reference/spec/ (``gateway.networking.k8s.io/v1``).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lading.errors import InvalidInput, LadingError, NotFound
from lading.http import Client
from lading.releases import TrafficTarget
from lading.targets.kubernetes.api import GATEWAY, HTTP_ROUTE, Cluster, Object
from lading.targets.kubernetes.objects import Scale
from lading.wait import Deadline, poll

VARIABLE, DOMAIN_VARIABLE = "LADING_GATEWAY", "LADING_GATEWAY_DOMAIN"
_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_GATEWAY = re.compile(rf"({_LABEL})/({_LABEL}(?:\.{_LABEL})*)")
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True)
class GatewayName:
    """The Gateway that traffic comes through."""

    namespace: str
    name: str
    domain: str = ""
    """Services are ``SERVICE.NAMESPACE.domain``; empty: that of the Gateway's first ``*.domain`` listener."""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "GatewayName | None":
        """From the variables ``LADING_GATEWAY=NAMESPACE/NAME`` and ``LADING_GATEWAY_DOMAIN``; None without the first.

        Raises:
            InvalidInput: they are malformed.
        """
        given, domain = environ.get(VARIABLE, ""), environ.get(DOMAIN_VARIABLE, "")
        if not given:
            return None
        found = _GATEWAY.fullmatch(given)
        if not found:
            raise InvalidInput(f"{VARIABLE}: expected NAMESPACE/NAME of a Gateway, received {given!r}")
        if domain and not _DOMAIN.fullmatch(domain):
            raise InvalidInput(f"{DOMAIN_VARIABLE}: expected a domain such as example.com, received {domain!r}")
        return cls(found[1], found[2], domain)


class RouteFront:
    """An HTTPRoute whose weights are the split.

    Args:
        cluster: Where it is.
        gateway: What it is attached to.
    """

    kind = HTTP_ROUTE
    by_pods = False

    def __init__(self, cluster: Cluster, gateway: GatewayName) -> None:
        self._cluster, self._gateway = cluster, gateway
        self._found: Object | None = None

    def new(self, service: str, *, deadline: Deadline) -> Object:
        """See ``Front.new``."""
        parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
        return {
            "parentRefs": [{**parent, "namespace": self._gateway.namespace, "name": self._gateway.name}],
            "hostnames": [self._host(service, deadline)],
        }

    def spec(self, service: str, split: tuple[TrafficTarget, ...]) -> Object:
        """See ``Front.spec``."""
        if not split:
            return {}
        backends = [{"name": line.revision, "port": 80, "weight": line.percent} for line in split]
        return {"rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": backends}]}

    def split(self, body: Object, deployments: Mapping[str, Object]) -> tuple[TrafficTarget, ...]:
        """See ``Front.split``."""
        rules = body["spec"].get("rules") or [{}]
        backends = rules[0].get("backendRefs") or []
        return tuple(TrafficTarget(one["name"], one.get("weight", 1)) for one in backends)

    def pods(
        self, split: tuple[TrafficTarget, ...], scales: Mapping[str, Scale], *, serving: int
    ) -> dict[str, int] | None:
        """See ``Front.pods``."""
        return None

    def holds_all_pods(self, split: tuple[TrafficTarget, ...]) -> bool:
        """See ``Front.holds_all_pods``."""
        return False

    def mark(self, body: Object) -> str:
        """See ``Front.mark``."""
        return json.dumps(body["spec"].get("rules"), sort_keys=True)

    def wait_in_force(self, body: Object, pods: Mapping[str, int], *, deadline: Deadline) -> None:
        """See ``Front.wait_in_force``.

        Raises:
            LadingError: the Gateway does not take the route, or finds no backend.
        """
        name, generation = body["metadata"]["name"], body["metadata"]["generation"]

        def probe() -> bool | None:
            found = self._cluster.read(HTTP_ROUTE, name, deadline=deadline)
            if found is None:
                raise NotFound(f"HTTPRoute {name} was deleted while its traffic was being moved")
            conditions = [one for one in self._conditions(found) if one.get("observedGeneration", 0) >= generation]
            for one in conditions:
                if one["type"] in ("Accepted", "ResolvedRefs") and one["status"] == "False":
                    raise LadingError(
                        f"HTTPRoute {name}: {one['reason']}: {one['message']} "
                        f"(Gateway {self._gateway.namespace}/{self._gateway.name})"
                    )
            taken = {one["type"] for one in conditions if one["status"] == "True"}
            return True if {"Accepted", "ResolvedRefs"} <= taken else None

        poll(probe, deadline=deadline, what=f"the Gateway to take HTTPRoute {name}")

    def url(self, service: str, *, deadline: Deadline) -> str:
        """See ``Front.url``."""
        scheme, port = self._listener(deadline)
        usual = {"http": 80, "https": 443}[scheme]
        return f"{scheme}://{self._host(service, deadline)}" + ("" if port == usual else f":{port}")

    def client(self, service: str, *, deadline: Deadline) -> Client:
        """See ``Front.client``."""
        scheme, port = self._listener(deadline)
        addresses = self._read(deadline).get("status", {}).get("addresses") or []
        if scheme == "https" or not addresses:
            return Client(self.url(service, deadline=deadline))
        # The name need not be known to this machine's DNS.
        host = self._host(service, deadline)
        return Client(f"http://{addresses[0]['value']}:{port}", headers={"Host": host})

    def _host(self, service: str, deadline: Deadline) -> str:
        domain = self._gateway.domain
        if not domain:
            names = [one.get("hostname", "") for one in self._read(deadline)["spec"]["listeners"]]
            domain = next((name[2:] for name in names if name.startswith("*.")), "")
        if not domain:
            raise InvalidInput(
                f"Gateway {self._gateway.namespace}/{self._gateway.name} has no listener for *.DOMAIN: say which "
                f"domain its services have in {DOMAIN_VARIABLE}"
            )
        return f"{service}.{self._cluster.namespace}.{domain}"

    def _listener(self, deadline: Deadline) -> tuple[str, int]:
        """Scheme and port of the listener that clients should use: one with TLS before one without."""
        listeners = self._read(deadline)["spec"]["listeners"]
        found = {one["protocol"]: one["port"] for one in reversed(listeners)}
        for protocol in ("HTTPS", "HTTP"):
            if protocol in found:
                return protocol.lower(), found[protocol]
        raise InvalidInput(f"Gateway {self._gateway.namespace}/{self._gateway.name} listens to neither HTTP nor HTTPS")

    def _read(self, deadline: Deadline) -> Object:
        if self._found is None:
            name, namespace = self._gateway.name, self._gateway.namespace
            self._found = self._cluster.read(GATEWAY, name, namespace=namespace, deadline=deadline)
        if self._found is None:
            raise NotFound(
                f"no Gateway {self._gateway.namespace}/{self._gateway.name} (from {VARIABLE}), or the cluster lacks "
                "the Gateway API v1"
            )
        return self._found

    def _conditions(self, body: Object) -> list[Object]:
        """What this Gateway says of a route."""
        found: list[Object] = []
        for parent in body.get("status", {}).get("parents", []):
            reference = parent["parentRef"]
            own = reference.get("namespace", body["metadata"]["namespace"]), reference["name"]
            if own == (self._gateway.namespace, self._gateway.name):
                found += parent.get("conditions", [])
        return found
