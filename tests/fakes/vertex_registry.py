"""Models and operations of the fake Vertex AI: see ``vertex_serving_server``.

https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models
"""

import itertools
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fakes.service import JsonService, Refused

PROJECT, NUMBER = "demo-project", "401977096985"
PARENT = r"/(?:v1|ui)/(projects/[^/]+/locations/[^/]+)"
TYPE = "type.googleapis.com/google.cloud.aiplatform.v1."
_CODES = {400: 9, 403: 7, 404: 5, 429: 8}  # google.rpc.Code
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")


class ModelRegistryService(JsonService):
    """Versions of models, and operations that take ``delay`` seconds beside their work; in memory."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, dict[str, Any]]] = {}
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.delay = 0.02
        self.numbers = itertools.count(4569671626)
        super().__init__()
        model = rf"{PARENT}/models/([^/:@]+)"
        self.routes = [
            ("POST", f"{PARENT}/models:upload", self.upload),
            ("GET", f"{model}:listVersions", self.list_versions),
            ("POST", f"{model}@([^/:]+):mergeVersionAliases", self.merge_aliases),
            ("DELETE", f"{model}@([^/:]+):deleteVersion", self.delete_version),
            ("DELETE", model, self.delete_model),
            ("GET", rf"{PARENT}/endpoints/([^/:]+)/operations", self.list_operations),
            ("GET", rf"{PARENT}/((?:models|endpoints)/[^/]+)/operations/(\d+)", self.operation),
        ]

    def upload(self, parent: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        given = body["model"]
        if not re.fullmatch(r".+@sha256:[0-9a-f]{64}", given["containerSpec"]["imageUri"]):
            raise Refused(400, f"{given['containerSpec']['imageUri']} is not an image.")
        check_labels(given)
        for alias in given.get("versionAliases", []):
            if not re.fullmatch(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]", alias):
                raise Refused(400, f"Invalid version alias {alias}.")
        if "parentModel" in body:
            id = body["parentModel"].rpartition("/")[2]
            self.known_model(f"{parent}/models/{id}")
        else:
            id = body.get("modelId") or str(next(self.numbers))
            if f"{parent}/models/{id}" in self.models:
                raise Refused(409, f"Model {parent}/models/{id} already exists.")
        name = f"{parent}/models/{id}"

        def work() -> Any:
            versions = self.models.setdefault(name, {})
            number = str(max(map(int, versions), default=0) + 1)
            aliases = {*given.get("versionAliases", []), *(() if versions else ("default",))}
            self.move(versions, aliases)
            versions[number] = {**given, "name": f"{name}@{number}", "versionId": number,
                                "versionAliases": sorted(aliases), "versionCreateTime": now()}  # fmt: skip
            return {"@type": f"{TYPE}UploadModelResponse", "model": name, "modelVersionId": number}

        return self.start_operation(name, work)

    def known_model(self, name: str) -> dict[str, dict[str, Any]]:
        if name not in self.models:
            raise Refused(404, f"The Model does not exist: {name}")
        return self.models[name]

    def move(self, versions: dict[str, dict[str, Any]], aliases: set[str]) -> None:
        for version in versions.values():
            version["versionAliases"] = [alias for alias in version["versionAliases"] if alias not in aliases]

    def list_versions(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        every = list(self.known_model(f"{parent}/models/{id}").values())
        first, size = int(query.get("pageToken") or 0), 2  # small pages, so that they are followed
        more = {"nextPageToken": str(first + size)} if len(every) > first + size else {}
        return {"models": every[first : first + size], **more}

    def version(self, name: str) -> dict[str, Any]:
        name, _, version = name.partition("@")
        name = name.replace(f"projects/{PROJECT}/", f"projects/{NUMBER}/")
        for number, found in self.known_model(name).items():
            if version == number or (version or "default") in found["versionAliases"]:
                return found
        raise Refused(404, f"The Model does not exist: {name}@{version}")

    def merge_aliases(self, parent: str, id: str, number: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        versions, found = self.models[f"{parent}/models/{id}"], self.version(f"{parent}/models/{id}@{number}")
        aliases = set(body["versionAliases"])
        self.move(versions, aliases)
        found["versionAliases"] = sorted({*found["versionAliases"], *aliases})
        return found

    def delete_version(self, parent: str, id: str, number: str, query: dict[str, str], body: Any) -> Any:
        name = f"{parent}/models/{id}"
        if "default" in self.version(f"{name}@{number}")["versionAliases"]:
            raise Refused(400, "The default version of a model cannot be deleted.")
        self.check_undeployed(name, number)
        return self.start_operation(name, lambda: self.gone(self.models[name], number))

    def delete_model(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        name = f"{parent}/models/{id}"
        self.known_model(name)
        self.check_undeployed(name)
        return self.start_operation(name, lambda: self.gone(self.models, name))

    def check_undeployed(self, name: str, number: str = "") -> None:
        for endpoint in self.endpoints.values():
            for one in endpoint["deployedModels"]:
                if one["model"] == name and number in ("", one["modelVersionId"]):
                    raise Refused(400, f"The Model {name} is deployed at {endpoint['name']}; undeploy it first.")

    def gone(self, things: dict[str, Any], name: str) -> Any:
        things.pop(name, None)
        return {"@type": "type.googleapis.com/google.protobuf.Empty"}

    def start_operation(self, resource: str, work: Callable[[], Any]) -> dict[str, Any]:
        name = f"{resource}/operations/{next(self.numbers)}"
        found: dict[str, Any] = {"name": name, "done": False}
        self.operations[name] = found

        def run() -> None:
            time.sleep(self.delay)
            try:
                found["response"] = work()
            except Refused as error:
                found["error"] = {"code": _CODES[error.code], "message": str(error)}
            found["done"] = True

        threading.Thread(target=run, daemon=True).start()
        return dict(found)

    def operation(self, parent: str, resource: str, id: str, query: dict[str, str], body: Any) -> Any:
        name = f"{parent}/{resource}/operations/{id}"
        if name not in self.operations:
            raise Refused(404, f"{name} is not found.")
        return dict(self.operations[name])

    def list_operations(self, parent: str, id: str, query: dict[str, str], body: Any) -> Any:
        start = f"{parent}/endpoints/{id}/operations/"
        found = [dict(one) for name, one in self.operations.items() if name.startswith(start)]
        return {"operations": found} if found else {}


def check_labels(body: dict[str, Any]) -> None:
    for name, value in body.get("labels", {}).items():
        if not _LABEL.fullmatch(name) or not _LABEL.fullmatch(value):
            raise Refused(400, f"Invalid label {name}: {value}.")


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
