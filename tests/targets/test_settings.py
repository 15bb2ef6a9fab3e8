"""What users write as settings, and what each platform of the Knative family makes of it."""

import copy
from typing import Any

import pytest
from places import VALUES

from lading.errors import InvalidInput
from lading.targets.knative.dialects import CloudRun, Dialect, Knative, Local
from lading.targets.knative.objects import revision_name
from lading.targets.settings import Settings

IMAGE = "example.com/tiny@sha256:" + "0" * 64
ALL = Settings(**{name: value for name, value in VALUES.items() if name != "machine_type"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "expected settings as a JSON object"),
        ("[]", "expected settings as a JSON object"),
        ('{"memroy": "1Gi"}', "unknown setting 'memroy' (known: concurrency, cpu,"),
        ('{"env": {"A": 1}}', 'env: expected an object of strings, received {"A": 1}'),
        ('{"env": {"A B": "1"}}', "env: expected an object of strings"),
        ('{"secrets": {"A": "token"}}', 'secrets: expected an object such as {"TOKEN": "SECRET:VERSION"}'),
        ('{"cpu": "many"}', 'cpu: expected processors such as "2" or "500m"'),
        ('{"cpu": true}', "cpu: expected processors"),
        ('{"memory": "1 GB"}', 'memory: expected memory such as "512Mi" or "2Gi"'),
        ('{"concurrency": 0}', "concurrency: expected a whole number of at least 1"),
        ('{"min_instances": 1.5}', "min_instances: expected a whole number of at least 0"),
        ('{"cpu_boost": "yes"}', "cpu_boost: expected true or false"),
        ('{"execution_environment": "gen3"}', "execution_environment: expected gen1 or gen2"),
        ('{"ingress": "some"}', "ingress: expected all or internal or internal-and-cloud-load-balancing"),
        ('{"startup_seconds": 0}', "startup_seconds: expected a whole number of at least 1"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Settings.parse(text)
    assert words in str(caught.value)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidInput, match=r"unknown setting 'a'.*; cpu: .*; labels: "):
        Settings.parse('{"a": 1, "cpu": "x", "labels": []}')


def test_kfp_turns_integers_into_floats() -> None:
    read = Settings.parse('{"cpu": 2.0, "concurrency": 80.0, "timeout_seconds": 60.0}')
    assert read == Settings(cpu="2", concurrency=80, timeout_seconds=60)


def test_only_what_differs_from_the_default_is_given() -> None:
    assert Settings.parse('{"min_instances": 0, "startup_seconds": 60, "memory": "1Gi"}').given() == {"memory"}


def template(dialect: Dialect, **settings: Any) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
    """The annotations, the specification and the container of a template."""
    made = dialect.template(IMAGE, Settings(**settings))
    (container,) = made["spec"]["containers"]
    return made["metadata"]["annotations"], made["spec"], container


def test_without_settings_nothing_is_said_but_how_readiness_is_seen() -> None:
    ready = {"httpGet": {"path": "/v2/health/ready"}}
    deadline = {"serving.knative.dev/progress-deadline": "60s"}
    plain = {"image": IMAGE, "env": []}
    assert template(Local())[::2] == (deadline, {**plain, "readinessProbe": ready})
    assert template(Knative())[::2] == (deadline, {**plain, "readinessProbe": ready})
    probe = {**ready, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 60}
    assert template(CloudRun())[::2] == ({}, {**plain, "startupProbe": probe})
    for dialect in (Local(), Knative(), CloudRun()):
        assert set(template(dialect)[1]) == {"containers"}


@pytest.mark.parametrize("dialect", [Local(), Knative(), CloudRun()], ids=lambda made: type(made).__name__)
def test_a_template_that_was_changed_changes_no_other(dialect: Dialect) -> None:
    before = copy.deepcopy(dialect.template(IMAGE, Settings()))
    changed = dialect.template(IMAGE, Settings())
    (container,) = changed["spec"]["containers"]
    for probe in ("readinessProbe", "startupProbe"):
        container.get(probe, {}).get("httpGet", {})["port"] = 8080
    assert dialect.template(IMAGE, Settings()) == before


def test_knative_has_its_own_words() -> None:
    made = Knative().template(IMAGE, ALL)
    assert made["metadata"]["annotations"] == {
        "serving.knative.dev/progress-deadline": "90s",
        "autoscaling.knative.dev/min-scale": "1",
        "autoscaling.knative.dev/max-scale": "3",
    }
    size = {"cpu": "2", "memory": "1Gi"}
    assert made["spec"]["containers"][0]["resources"] == {"requests": size, "limits": size}
    marks = Knative().marks(ALL)
    assert marks.annotations == {}
    assert marks.labels == {"team": "search", "networking.knative.dev/visibility": "cluster-local"}


def test_knative_has_no_load_balancer_of_google_cloud() -> None:
    with pytest.raises(InvalidInput, match="Knative has all and internal, received internal-and-cloud-load-balancing"):
        Knative().marks(Settings(ingress="internal-and-cloud-load-balancing"))


@pytest.mark.parametrize("dialect", [Local(), Knative(), CloudRun()], ids=lambda d: type(d).__name__)
def test_settings_of_revisions_make_another_name_and_those_of_the_service_do_not(dialect: Dialect) -> None:
    def name(**settings: Any) -> str:
        return revision_name("tiny", dialect.template(IMAGE, Settings(**settings)))

    of_service = {"labels", "ingress"} | ({"min_instances"} if isinstance(dialect, CloudRun) else set())
    for setting in dialect.capabilities.settings:
        same = name(**{setting: VALUES[setting]}) == name()
        assert same == (setting in of_service), setting


@pytest.mark.parametrize("dialect", [Local(), Knative(), CloudRun()], ids=lambda d: type(d).__name__)
def test_annotations_of_templates_are_those_that_it_says(dialect: Dialect) -> None:
    written = dialect.template(IMAGE, ALL)["metadata"]["annotations"]
    assert set(written) <= dialect.annotations
