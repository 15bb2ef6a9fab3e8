"""Unmodified kubectl against the local target. Where it is not installed, these fail."""

import json
from collections.abc import Callable, Iterator

import pytest
from tiny_target import Local, ask

Run = Callable[..., str]


@pytest.fixture
def manifest(target: Local, shell: Run) -> Iterator[Callable[..., str]]:
    """A service as a document; deleted afterwards."""

    def make(**env: str) -> str:
        body = target.service("shop", **env)
        body["spec"]["template"]["spec"]["containerConcurrency"] = 4
        return json.dumps(body)

    yield make
    shell("kubectl", "delete", "ksvc", "--all", "--timeout=30s")


def test_apply_wait_get_patch_and_delete(shell: Run, manifest: Callable[..., str]) -> None:
    assert "created" in shell("kubectl", "apply", "-f", "-", stdin=manifest(VALUE="1"))
    shell("kubectl", "wait", "ksvc/shop", "--for=condition=Ready", "--timeout=20s")
    url = shell("kubectl", "get", "ksvc", "shop", "-o", "jsonpath={.status.url}")
    assert ask(url)["value"] == "1"
    head, row = shell("kubectl", "get", "ksvc").splitlines()
    assert head.split() == ["NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON"]
    assert row.split() == ["shop", url, "shop-00001", "shop-00001", "True"]

    shell("kubectl", "apply", "-f", "-", stdin=manifest(VALUE="1"))
    assert shell("kubectl", "get", "ksvc", "shop", "-o", "jsonpath={.metadata.generation}") == "1"
    assert "configured" in shell("kubectl", "apply", "-f", "-", stdin=manifest(VALUE="2"))
    newest = "--for=jsonpath={.status.latestReadyRevisionName}=shop-00002"
    shell("kubectl", "wait", "ksvc/shop", newest, "--timeout=20s")
    assert ask(url)["value"] == "2"
    assert "shop-00001" in shell("kubectl", "get", "revisions", "-l", "serving.knative.dev/service=shop")

    pinned = json.dumps({"spec": {"traffic": [{"revisionName": "shop-00001", "percent": 100}]}})
    shell("kubectl", "patch", "ksvc", "shop", "--type", "merge", "-p", pinned)
    shell("kubectl", "wait", "ksvc/shop", "--for=jsonpath={.status.traffic[0].revisionName}=shop-00001")
    assert ask(url)["value"] == "1"
    assert "deleted" in shell("kubectl", "delete", "ksvc", "shop")
    assert "No resources found" in shell("kubectl", "get", "ksvc")


def test_a_dry_run_stores_nothing(shell: Run, manifest: Callable[..., str]) -> None:
    assert "dry run" in shell("kubectl", "apply", "--dry-run=server", "-f", "-", stdin=manifest())
    assert "No resources found" in shell("kubectl", "get", "ksvc")
    shell("kubectl", "apply", "-f", "-", stdin=manifest(VALUE="1"))

    assert "dry run" in shell("kubectl", "apply", "--dry-run=server", "-f", "-", stdin=manifest(VALUE="2"))
    assert '"2"' not in shell("kubectl", "get", "ksvc", "shop", "-o", "yaml")


def test_server_side_apply_and_json_patches_are_refused_in_words(shell: Run, manifest: Callable[..., str]) -> None:
    said = shell("kubectl", "apply", "--server-side", "-f", "-", stdin=manifest(), fails=True)
    assert "not found" in said or "merge-patch" in said
    shell("kubectl", "apply", "-f", "-", stdin=manifest())

    assert "merge-patch" in shell("kubectl", "apply", "--server-side", "-f", "-", stdin=manifest(), fails=True)
    patch = '[{"op": "remove", "path": "/spec/traffic"}]'
    assert "merge-patch" in shell("kubectl", "patch", "ksvc", "shop", "--type", "json", "-p", patch, fails=True)


def test_the_kubeconfig_is_the_owners_only(target: Local, shell: Run) -> None:
    files = [path for path in (target.state / "access").iterdir() if path.is_file()]

    assert {path.name for path in files} == {"kubeconfig", "token"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
