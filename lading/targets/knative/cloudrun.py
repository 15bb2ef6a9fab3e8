"""Cloud Run, through its Admin API v1, which is the Knative Serving API.

Source: https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services; IAM: ``projects.locations.services``.
"""

from collections.abc import Mapping
from typing import Any

from lading.errors import Conflict, NotFound
from lading.releases import TrafficTarget
from lading.targets.advice import ExplainedClient
from lading.targets.door import Door, HttpDoor
from lading.targets.google_login import GoogleSession
from lading.targets.identity import IdTokens, IdTokenSession, id_token_advice
from lading.targets.knative.advice import cloud_run_advice
from lading.targets.knative.dialects import CloudRun
from lading.targets.knative.target import KnativeTarget
from lading.wait import Deadline

ENDPOINT_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN"
"""gcloud's own: where the API is. Given, it counts for every region as it stands."""
INVOKER, EVERYONE = "roles/run.invoker", "allUsers"
_POLICY_VERSION = 3  # as conditions of bindings need it; source: IAM, "Policy"
_AGAIN_SECONDS = 0.2


class CloudRunTarget(KnativeTarget):
    """A ``Target`` on one project and region.

    Args:
        project: Google Cloud project.
        region: For instance ``europe-west4``.
        environ: Says who we are (``google_login``, ``identity``) and, for tests, where the API is.
    """

    def __init__(self, project: str, region: str, *, environ: Mapping[str, str]) -> None:
        session, advice = GoogleSession(environ), cloud_run_advice(project, region)
        override = environ.get(ENDPOINT_VARIABLE, "")
        # Services are asked for in their region, their policies at the API's own address, as gcloud does it.
        regional = ExplainedClient(override or f"https://{region}-run.googleapis.com", session=session, advice=advice)
        super().__init__(regional, project, dialect=CloudRun())
        self._policies = ExplainedClient(override or "https://run.googleapis.com", session=session, advice=advice)
        self._services = f"/v1/projects/{project}/locations/{region}/services"
        self._tokens = IdTokens(environ)

    def door(self, service: str, line: TrafficTarget | None, *, url: str, model: str) -> Door:
        """See ``Target.door``."""
        session = IdTokenSession(self._tokens, url)
        where = line.url if line else url
        return HttpDoor(ExplainedClient(where, session=session, advice=id_token_advice), model)

    def set_public(self, service: str, public: bool, *, deadline: Deadline) -> None:
        """See ``Target.set_public``.

        Raises:
            NotFound: there is no such service.
        """
        while True:
            policy = self._policy(service, deadline)
            if _is_public(policy) == public:
                return
            body = {"policy": _with_everyone(policy, public)}
            try:
                self._policies.request("POST", f"{self._services}/{service}:setIamPolicy", json=body, deadline=deadline)
            except Conflict:
                # Somebody else changed the policy since it was read: its etag says so.
                if deadline.passed:
                    raise
                deadline.sleep(_AGAIN_SECONDS)

    def _policy(self, service: str, deadline: Deadline) -> dict[str, Any]:
        try:
            answer = self._policies.request(
                "GET",
                f"{self._services}/{service}:getIamPolicy",
                params={"options.requestedPolicyVersion": _POLICY_VERSION},
                deadline=deadline,
            )
        except NotFound as error:
            raise NotFound(f"no service {service} to open or to close: {error}") from error
        policy: dict[str, Any] = answer.json()
        return policy


def _is_public(policy: Mapping[str, Any]) -> bool:
    return any(_opens(binding) for binding in policy.get("bindings", []))


def _opens(binding: Mapping[str, Any]) -> bool:
    """Whether a binding lets everyone in, without conditions."""
    return binding["role"] == INVOKER and EVERYONE in binding.get("members", []) and not binding.get("condition")


def _with_everyone(policy: Mapping[str, Any], public: bool) -> dict[str, Any]:
    """A policy that lets everyone in, or no longer; every other binding and the etag stay."""
    bindings = [dict(binding) for binding in policy.get("bindings", [])]
    if public:
        bindings.append({"role": INVOKER, "members": [EVERYONE]})
    else:
        for binding in filter(_opens, bindings):
            binding["members"] = [member for member in binding["members"] if member != EVERYONE]
    kept = [binding for binding in bindings if binding["members"]]
    return {**policy, "version": _POLICY_VERSION, "bindings": kept}
