"""The REST API of Vertex AI's endpoints (and of its models), for the real google-cloud-aiplatform; images really run.

https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
"""

import json
import random
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fakes.served_image import ServedImage
from fakes.service import Raw, Refused
from fakes.vertex_registry import NUMBER, PARENT, PROJECT, TYPE, ModelRegistryService, check_labels, now

_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
           409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}  # fmt: skip
_MACHINES = {"n1-standard-2", "n1-standard-4"}


class VertexServingServer(ModelRegistryService):
    """Endpoints beside the registry; deployed models are processes.

    ``quota``: so many replicas may be deployed. ``etag_status``: of the answer to a write with an old etag.
    ``cut_after``: counts down with every write; the one that makes it 0 is carried out and answered 500.
    ``slow_deployments``: seconds that deploying a model takes, beside the start of its process.
    """

    def __init__(self, images: Path, scratch: Path) -> None:
        self.images, self.scratch = images, scratch
        self.running: dict[str, ServedImage] = {}
        self.quota, self.etag_status, self.cut_after, self.slow_deployments = 100, 409, 0, 0.0
        self.writes = 0
        super().__init__()
        endpoint = rf"{PARENT}/endpoints/([^/:]+)"
        self.routes += [
            ("POST", f"{PARENT}/endpoints", self.create_endpoint),
            ("GET", f"{PARENT}/endpoints", self.list_endpoints),
            ("GET", endpoint, lambda parent, id, query, body: self.endpoint(parent, id)),
            ("PATCH", endpoint, self.update_endpoint),
            ("DELETE", endpoint, self.delete_endpoint),
            ("POST", f"{endpoint}:deployModel", self.deploy),
            ("POST", f"{endpoint}:undeployModel", self.undeploy),
            ("POST", f"{endpoint}:predict", self.predict),
            ("POST", f"{endpoint}:rawPredict", self.raw_predict),
        ]

    def close(self) -> None:
        self.stop()
        for served in self.running.values():
            served.end()

    def error(self, code: int, message: str) -> Any:
        return {"error": {"code": code, "message": message, "status": _STATUS.get(code, "INTERNAL")}}

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        # Names are answered with the number of the project, as Vertex does.
        path = unquote(path).replace(f"/projects/{PROJECT}/", f"/projects/{NUMBER}/")
        answer = super().handle(method, path, query, body)
        if method != "GET" and not path.lower().endswith("predict"):
            self.writes += 1
            if self.cut_after:
                self.cut_after -= 1
                if not self.cut_after:
                    raise Refused(500, "Internal error encountered.")
        return answer

    def deployed(self, service: str) -> list[str]:
        """The revisions that an endpoint of this id has, with and without traffic."""
        found = [e for name, e in self.endpoints.items() if name.endswith(f"/endpoints/{service}")]
        return sorted(one["displayName"] for endpoint in found for one in endpoint["deployedModels"])

    def endpoint(self, parent: str, id: str) -> dict[str, Any]:
        name = f"{parent}/endpoints/{id}"
        if name not in self.endpoints:
            raise Refused(404, f"The Endpoint does not exist: {name}")
        return self.endpoints[name]

    def create_endpoint(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        id = query.get("endpointId") or str(next(self.numbers))
        name = f"{parent}/endpoints/{id}"
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,9}", id):
            raise Refused(400, f"Invalid endpoint id: {id}.")
        if name in self.endpoints:
            raise Refused(409, f"Endpoint {name} already exists.")
        check_labels(body)

        def work() -> Any:
            self.endpoints[name] = {**body, "name": name, "deployedModels": [], "trafficSplit": {},
                                    "createTime": now(), "etag": self.etag()}  # fmt: skip
            return {"@type": f"{TYPE}Endpoint", "name": name}

        return self.start_operation(name, work)

    def etag(self) -> str:
        return f"etag-{next(self.numbers)}"

    def list_endpoints(self, parent: str, query: dict[str, str], body: Any) -> Any:
        wanted = re.fullmatch(r'display_name="([^"]*)"', query["filter"])
        if not wanted:
            raise Refused(400, f"Invalid filter {query['filter']}.")
        found = [one for one in self.endpoints.values() if one["displayName"] == wanted[1]]
        return {"endpoints": found} if found else {}

    def update_endpoint(self, parent: str, id: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        endpoint = self.endpoint(parent, id)
        if body.get("etag") not in (None, "", endpoint["etag"]):
            raise Refused(self.etag_status, "The etag does not match the current etag of the Endpoint.")
        changes = {field: body.get(field, {}) for field in query["updateMask"].split(",")}
        if not changes.keys() <= {"description", "trafficSplit", "labels", "displayName"}:
            raise Refused(400, f"Fields that cannot be updated: {sorted(changes)}.")
        if "trafficSplit" in changes:
            self.check_split(endpoint, changes["trafficSplit"])
        check_labels(changes)
        endpoint.update(changes, etag=self.etag())
        return endpoint

    def check_split(self, endpoint: dict[str, Any], split: dict[str, int], *more: str) -> None:
        known = {one["id"] for one in endpoint["deployedModels"]} | set(more)
        if unknown := split.keys() - known:
            raise Refused(400, f"Traffic split has DeployedModel ids that do not exist: {sorted(unknown)}.")
        if split and sum(split.values()) != 100:
            raise Refused(400, "The traffic percentages must add up to 100.")

    def delete_endpoint(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        endpoint = self.endpoint(parent, id)
        if endpoint["deployedModels"]:
            raise Refused(400, f"The Endpoint {endpoint['name']} has deployed models; undeploy them first.")
        return self.start_operation(endpoint["name"], lambda: self.gone(self.endpoints, endpoint["name"]))

    def deploy(self, parent: str, id: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        endpoint, given, split = self.endpoint(parent, id), body["deployedModel"], body.get("trafficSplit", {})
        model = self.version(given["model"])
        resources = given["dedicatedResources"]
        least, most = resources["minReplicaCount"], resources.get("maxReplicaCount", 0)
        if resources["machineSpec"]["machineType"] not in _MACHINES or least < 1 or most < least:
            raise Refused(400, f"Invalid dedicated resources: {resources}.")
        self.check_split(endpoint, split, "0")
        number = str(next(self.numbers))

        def work() -> Any:
            time.sleep(self.slow_deployments)
            used = sum(one["dedicatedResources"]["minReplicaCount"]
                       for each in self.endpoints.values() for one in each["deployedModels"])  # fmt: skip
            if used + least > self.quota:
                raise Refused(429, "The following quotas are exceeded: CustomModelServingCPUsPerProjectPerRegion")
            spec = model["containerSpec"]
            served = self.serve(spec, number)
            if not served.wait_until_healthy():
                raise Refused(400, "Model server exited unexpectedly. Model server logs can be found at "
                                   "https://console.cloud.google.com/logs/viewer")  # fmt: skip
            name, _, version = model["name"].partition("@")
            made = {**given, "id": number, "model": name, "modelVersionId": version, "createTime": now()}
            with self.lock:
                self.running[number] = served
                endpoint["deployedModels"].append(made)
                if split:
                    endpoint["trafficSplit"] = {number if key == "0" else key: share for key, share in split.items()}
                endpoint["etag"] = self.etag()
            return {"@type": f"{TYPE}DeployModelResponse", "deployedModel": made}

        return self.start_operation(endpoint["name"], work)

    def serve(self, spec: dict[str, Any], number: str) -> ServedImage:
        """A process; two deployed models of one version share it here, which saves the tests half of their time."""
        with self.lock:
            found = [served for served in self.running.values() if served.spec == spec]
        return found[0] if found else ServedImage(self.images, self.scratch / number, spec)

    def undeploy(self, parent: str, id: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        endpoint, number = self.endpoint(parent, id), body["deployedModelId"]
        if number not in [one["id"] for one in endpoint["deployedModels"]]:
            raise Refused(404, f"The DeployedModel {number} does not exist.")
        if endpoint["trafficSplit"].get(number) and len(endpoint["deployedModels"]) > 1:
            raise Refused(400, f"The DeployedModel {number} has traffic.")

        def work() -> Any:
            with self.lock:
                endpoint["deployedModels"] = [one for one in endpoint["deployedModels"] if one["id"] != number]
                endpoint["trafficSplit"].pop(number, None)
                endpoint["etag"] = self.etag()
            served = self.running.pop(number)
            if served not in self.running.values():
                served.end()
            return {"@type": f"{TYPE}UndeployModelResponse"}

        return self.start_operation(endpoint["name"], work)

    def chosen(self, parent: str, id: str) -> dict[str, Any]:
        endpoint = self.endpoint(parent, id)
        split = endpoint["trafficSplit"]
        if not split:
            raise Refused(400, f"Endpoint {endpoint['name']} has no deployed model that takes traffic.")
        (number,) = random.choices(list(split), weights=list(split.values()))
        return next(one for one in endpoint["deployedModels"] if one["id"] == number)

    def raw_predict(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        one = self.chosen(parent, id)
        code, content, kind = self.running[one["id"]].predict(body)
        # The server's own headers are not handed on, the documented ones of the API are added.
        return Raw(code, content, {"Content-Type": kind, "X-Vertex-AI-Endpoint-Id": id,
                                   "X-Vertex-AI-Deployed-Model-Id": one["id"]})  # fmt: skip

    def predict(self, parent: str, id: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        one = self.chosen(parent, id)
        if not body.get("instances") or body.keys() - {"instances", "parameters"}:
            raise Refused(400, "Expected instances, and perhaps parameters.")
        code, content, _ = self.running[one["id"]].predict(body)
        if code != 200:
            raise Refused(code, content.decode())
        return {**json.loads(content), "deployedModelId": one["id"], "model": one["model"],
                "modelVersionId": one["modelVersionId"]}  # fmt: skip
