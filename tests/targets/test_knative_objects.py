"""What is written for the Knative Serving API, held against the published schema that its revisions extend."""

import pytest
from places import VALUES

from lading.releases import TrafficTarget
from lading.targets.base import Phase, Rollout
from lading.targets.knative.dialects import CloudRun, Dialect, Knative, Local
from lading.targets.knative.objects import candidate_traffic, pinned
from lading.targets.settings import Settings

IMAGE = f"registry.example/taxi@sha256:{'a' * 64}"
# Knative Serving API specification v1, "RevisionSpec" and "TrafficTarget": a PodSpec, and these.
OF_REVISIONS = {"containerConcurrency", "timeoutSeconds"}
OF_TRAFFIC = {"revisionName", "latestRevision", "percent", "tag"}


@pytest.mark.parametrize("dialect", [Knative(), CloudRun(), Local()], ids=lambda made: type(made).__name__)
@pytest.mark.parametrize("full", [False, True], ids=["defaults", "every setting"])
def test_templates_are_valid_by_the_published_schema(dialect: Dialect, full: bool) -> None:
    import kubernetes_validate

    given = {name: VALUES[name] for name in dialect.capabilities.settings} if full else {}
    template = dialect.template(IMAGE, Settings(**given))
    assert template.keys() <= {"metadata", "spec"}
    annotations = template.get("metadata", {}).get("annotations", {})
    assert all(isinstance(value, str) for value in annotations.values())
    spec = {name: value for name, value in template["spec"].items() if name not in OF_REVISIONS}
    (container,) = spec["containers"]
    # The platform gives it a name, and its only port to the probes that name none.
    whole = {**spec, "containers": [{"name": "user-container", **container}]}
    for probe in ("readinessProbe", "startupProbe"):
        if probe in container:
            container[probe]["httpGet"].setdefault("port", 8080)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "taxi"}, "spec": whole}
    kubernetes_validate.validate(pod, "1.30", strict=True)
    written = {name for name in OF_REVISIONS if name in template["spec"]}
    assert all(isinstance(template["spec"][name], int) for name in written)
    assert written == (OF_REVISIONS if full else set())


def test_lines_of_traffic_have_the_fields_of_the_specification() -> None:
    before = (TrafficTarget("taxi-1", 75), TrafficTarget("taxi-2", 25))
    lines = candidate_traffic(Rollout("r", before, (), Phase.CANDIDATE, 0.0), "taxi-3")
    lines += candidate_traffic(Rollout("r", (), (), Phase.CANDIDATE, 0.0), "")
    lines += [pinned(TrafficTarget("taxi-1", 100, tag="candidate"))]
    for line in lines:
        assert line.keys() <= OF_TRAFFIC
        assert isinstance(line.get("percent", 0), int)
        assert ("revisionName" in line) is not line.get("latestRevision", False)
