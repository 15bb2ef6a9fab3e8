"""Unmodified gcloud against the local target. Where it is not installed, these fail."""

import json
from collections import Counter
from collections.abc import Callable

import pytest
from tiny_target import Local, ask

Run = Callable[..., str]


@pytest.fixture(scope="module")
def gcloud(shell: Run) -> Run:
    def run(*words: str, fails: bool = False) -> str:
        return shell("gcloud", "run", *words, "--quiet", fails=fails)

    return run


@pytest.fixture(scope="module")
def url(target: Local, gcloud: Run) -> str:
    """A service that gcloud deployed."""
    said = gcloud("deploy", "shop", "--image", target.image, "--set-env-vars", "VALUE=one", "--concurrency", "4")
    assert "has been deployed and is serving" in said
    found: str = describe(gcloud)["status"]["url"]
    return found


def describe(gcloud: Run) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(gcloud("services", "describe", "shop", "--format", "json"))
    return found


def test_a_candidate_gets_a_share_after_it_was_asked_by_its_tag(target: Local, gcloud: Run, url: str) -> None:
    assert ask(url)["value"] == "one"
    words = ("--no-traffic", "--tag", "canary", "--revision-suffix", "v2", "--update-env-vars", "VALUE=two")
    said = gcloud("deploy", "shop", "--image", target.image, *words)
    tag_url = next(word for word in said.split() if word.startswith("http://127.0.0.1:"))

    assert ask(tag_url)["revision"] == "shop-v2"
    assert {ask(url)["value"] for _ in range(8)} == {"one"}
    said = gcloud("services", "update-traffic", "shop", "--to-tags", "canary=25")
    assert "25% shop-v2" in said
    assert Counter(ask(url)["value"] for _ in range(40)) == {"one": 30, "two": 10}
    rows = json.loads(gcloud("revisions", "list", "--service", "shop", "--format", "json"))
    assert {row["metadata"]["name"] for row in rows} >= {"shop-v2"}


def test_a_bad_revision_is_said_in_words_and_takes_no_traffic(target: Local, gcloud: Run, url: str) -> None:
    gcloud("services", "update-traffic", "shop", "--to-latest")
    before = ask(url)["revision"]

    said = gcloud("deploy", "shop", "--image", target.image, "--update-env-vars", "FAIL=1", fails=True)
    assert "the model is out of order" in said
    assert ask(url)["revision"] == before


@pytest.mark.slow
def test_a_policy_is_kept_and_read_back(gcloud: Run, url: str) -> None:
    member = ("--member", "allUsers", "--role", "roles/run.invoker")
    gcloud("services", "add-iam-policy-binding", "shop", *member)

    assert "allUsers" in gcloud("services", "get-iam-policy", "shop")
    gcloud("services", "remove-iam-policy-binding", "shop", *member)
    assert "allUsers" not in gcloud("services", "get-iam-policy", "shop")


def test_services_are_listed_and_deleted(gcloud: Run, url: str) -> None:
    assert url in gcloud("services", "list")
    gcloud("services", "delete", "shop")

    assert "shop" not in gcloud("services", "list")
