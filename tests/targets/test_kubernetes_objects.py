"""What is rendered for Kubernetes keeps to the published schemas, and what the pods are allowed is little."""

import random
from typing import Any

import pytest
from fakes.kubernetes_controllers import restricted
from fakes.kubernetes_schema import patch_problems, schema_of, type_problems

from lading.errors import InvalidInput
from lading.http import Client
from lading.releases import TrafficTarget
from lading.targets.kubernetes.api import DEPLOYMENT, Cluster
from lading.targets.kubernetes.objects import GRACE_SECONDS, PRE_STOP_SECONDS, Scale, around, revision_of
from lading.targets.kubernetes.replicas import pods_for, split_of
from lading.targets.kubernetes.routes import GatewayName, RouteFront
from lading.targets.settings import Settings
from lading.wait import Deadline

IMAGE = f"registry.example/taxi@sha256:{'a' * 64}"
FULL = Settings(
    env={"LOG": "1"}, secrets={"TOKEN": "token:key"}, cpu="2", memory="1.5G", min_instances=2, max_instances=5,
    service_account="runner", labels={"team": "search"}, startup_seconds=90,
)  # fmt: skip


@pytest.mark.parametrize("settings", [Settings(), FULL], ids=["defaults", "every setting"])
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_every_object_is_valid_by_the_published_schemas(settings: Settings, version: str) -> None:
    import kubernetes_validate

    revision = revision_of("taxi", IMAGE, settings)
    live = {**revision.deployment, "metadata": {**revision.deployment["metadata"], "uid": "1-2"}}
    rendered = [(DEPLOYMENT, revision.deployment), *around(live, revision.scale)]
    for kind, body in rendered:
        whole = {"apiVersion": kind.api_version, "kind": kind.name, **body}
        kubernetes_validate.validate(whole, version, strict=True)
    assert len(rendered) == (4 if settings.max_instances else 3)


def test_a_route_is_valid_by_the_published_schema() -> None:
    front = RouteFront(Cluster(Client("http://127.0.0.1:1"), "models"), GatewayName("infra", "web", "example.com"))
    split = (TrafficTarget("taxi-1", 95), TrafficTarget("taxi-2", 5))
    spec = {**front.new("taxi", deadline=Deadline.after(1)), **front.spec("taxi", split)}
    body = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "taxi"},
        "spec": spec,
    }
    assert not patch_problems(body, schema_of("HTTPRoute"))
    assert not type_problems(body, schema_of("HTTPRoute"))
    assert spec["hostnames"] == ["taxi.models.example.com"]
    assert front.split(body, {}) == split


def test_pods_may_do_little_and_end_no_request_early() -> None:
    pod = revision_of("taxi", IMAGE, FULL).deployment["spec"]["template"]["spec"]
    assert not restricted(pod)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsUser"] == 65532
    container = pod["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "1.5G"},
        "limits": {"cpu": "2", "memory": "1.5G"},
    }
    assert [container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")] == [
        "/v2/health/ready", "/v2/health/ready", "/v2/health/live",
    ]  # fmt: skip
    from lading.serving.config import DRAIN_SECONDS

    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == PRE_STOP_SECONDS
    assert pod["terminationGracePeriodSeconds"] == GRACE_SECONDS >= PRE_STOP_SECONDS + DRAIN_SECONDS


def test_what_makes_another_revision() -> None:
    name = revision_of("taxi", IMAGE, FULL).name
    assert name == revision_of("taxi", IMAGE, FULL).name
    assert name.startswith("taxi-")
    other = IMAGE.replace("a", "b")
    assert revision_of("taxi", other, FULL).name != name
    changed: dict[str, Any] = {
        "env": {}, "secrets": {}, "cpu": "1", "memory": "2G", "max_instances": 6, "service_account": "x",
        "startup_seconds": 91,
    }  # fmt: skip
    names = {revision_of("taxi", IMAGE, _with(setting, value)).name for setting, value in changed.items()}
    assert len(names | {name}) == len(changed) + 1
    for setting, value in {"min_instances": 1, "labels": {}}.items():
        assert revision_of("taxi", IMAGE, _with(setting, value)).name == name


def test_a_thousand_bytes_are_spelt_as_the_api_wants_it() -> None:
    resources = revision_of("taxi", IMAGE, Settings(memory="900000K")).deployment["spec"]["template"]["spec"]
    assert resources["containers"][0]["resources"]["limits"] == {"memory": "900000k"}


@pytest.mark.parametrize(
    ("percent", "most", "serving", "expected"),
    [
        (50, 10, 0, (1, 1)),
        (25, 10, 0, (1, 3)),
        (10, 10, 0, (1, 9)),
        (5, 20, 0, (1, 18)),
        (12, 10, 0, (1, 7)),
        (50, 10, 7, (4, 4)),
        (33, 2, 0, (1, 2)),
        (97, 100, 0, (28, 1)),
    ],
)
def test_pods_that_make_a_split(percent: int, most: int, serving: int, expected: tuple[int, int]) -> None:
    split = (TrafficTarget("new", percent), TrafficTarget("old", 100 - percent))
    scales = dict.fromkeys(("new", "old"), Scale(1, most, False))
    pods = pods_for(split, scales, serving=serving)
    assert (pods["new"], pods["old"]) == expected
    assert split_of(pods, split) == split


def test_every_split_that_is_made_is_read_back_and_every_one_that_is_read_can_be_made_again() -> None:
    source = random.Random(1)
    for percent in range(1, 100):
        split = (TrafficTarget("b", percent), TrafficTarget("a", 100 - percent))
        scales = dict.fromkeys("ab", Scale(1, 100, False))
        assert split_of(pods_for(split, scales, serving=0), split) == split
        pods = {"a": source.randint(1, 10), "b": source.randint(1, 10)}
        found = split_of(pods)
        assert sum(line.percent for line in found) == 100
        assert split_of(pods_for(found, dict.fromkeys("ab", Scale(1, 10, False)), serving=0), found) == found


def test_pods_that_somebody_else_changed_are_told_as_they_are() -> None:
    written = (TrafficTarget("new", 50), TrafficTarget("old", 50))
    assert split_of({"new": 1, "old": 3}, written) == (TrafficTarget("new", 25), TrafficTarget("old", 75))
    assert split_of({"new": 0, "old": 3}, written) == (TrafficTarget("old", 100),)
    assert split_of({}, written) == ()


@pytest.mark.parametrize("percents", [(50, 25, 25), (97, 3)])
def test_splits_that_pods_cannot_make(percents: tuple[int, ...]) -> None:
    split = tuple(TrafficTarget(f"r{place}", percent) for place, percent in enumerate(percents))
    with pytest.raises(InvalidInput, match="LADING_GATEWAY"):
        pods_for(split, {line.revision: Scale(1, 10, False) for line in split}, serving=0)


def _with(setting: str, value: Any) -> Settings:
    from dataclasses import replace

    return replace(FULL, **{setting: value})
