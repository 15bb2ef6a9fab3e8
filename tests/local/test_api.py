"""What the API lets in and what it refuses."""

import http.client
import json
from urllib.parse import urlsplit

import pytest
from tiny_target import ROOT, Local

from lading.local.selectors import select


@pytest.fixture
def local(shared: Local) -> Local:
    return shared


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": ""}, 401),
        ({"Host": "evil.example:80"}, 403),
        ({"Origin": "http://evil.example"}, 403),
    ],
)
def test_only_the_owner_on_this_machine_is_let_in(local: Local, headers: dict[str, str], status: int) -> None:
    code, body = local.call("GET", f"{ROOT}/services", **headers)

    assert code == status
    assert (body["kind"], body["status"], body["code"]) == ("Status", "Failure", status)
    assert local.endpoint.token not in body["message"]


def test_the_token_can_be_read_by_its_owner_only(local: Local) -> None:
    assert (local.state / "endpoint.json").stat().st_mode & 0o777 == 0o600
    assert local.state.stat().st_mode & 0o777 == 0o700


def test_an_outdated_write_is_a_conflict(local: Local) -> None:
    first = local.apply(local.service("shop", "a"))
    newer = {**first, "spec": local.service("shop", "b")["spec"]}
    assert local.call("PUT", f"{ROOT}/services/shop", newer)[0] == 200

    code, body = local.call("PUT", f"{ROOT}/services/shop", first)
    assert (code, body["reason"]) == (409, "Conflict")
    code, body = local.call("POST", f"{ROOT}/services", local.service("shop"))
    assert (code, body["reason"]) == (409, "AlreadyExists")


def test_a_ready_service_keeps_its_version(local: Local) -> None:
    version = local.apply(local.service("shop"))["metadata"]["resourceVersion"]

    assert local.settled("shop")["metadata"]["resourceVersion"] == version


@pytest.mark.parametrize(
    ("traffic", "words"),
    [
        ([{"latestRevision": True, "percent": 90}], "sum to 100, received 90"),
        ([{"revisionName": "shop-none", "percent": 100}], "no revision 'shop-none'"),
        ([{"latestRevision": True, "percent": 50, "tag": "x"}] * 2, "x is on another line"),
    ],
)
def test_a_wrong_split_is_refused_and_nothing_is_stored(local: Local, traffic: list[object], words: str) -> None:
    code, body = local.call("POST", f"{ROOT}/services", local.service("shop", traffic=traffic))  # type: ignore[arg-type]

    assert code == 422
    assert words in body["message"]
    assert local.call("GET", f"{ROOT}/services/shop")[0] == 404


def test_an_image_by_tag_is_refused(local: Local) -> None:
    local.image = "lading.local/tiny:latest"

    assert "by digest" in local.call("POST", f"{ROOT}/services", local.service("shop"))[1]["message"]


def test_a_revision_never_changes(local: Local) -> None:
    local.apply(local.service("shop", "a"))

    code, body = local.call("PUT", f"{ROOT}/services/shop", local.service("shop", "a", VALUE="other"))
    assert code == 422
    assert "shop-a exists with another template" in body["message"]


def test_a_merge_patch_changes_what_it_names(local: Local) -> None:
    local.apply(local.service("shop", "a"))
    patch = {"metadata": {"annotations": {"note": "1"}}}

    code, body = local.call("PATCH", f"{ROOT}/services/shop", patch, **{"Content-Type": "application/merge-patch+json"})
    assert (code, body["metadata"]["annotations"]["note"], body["metadata"]["generation"]) == (200, "1", 1)
    assert local.call("PATCH", f"{ROOT}/services/shop", patch)[0] == 415


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("stage=a", ["one"]),
        ("stage in (a, b)", ["one", "two"]),
        ("stage!=a", ["three", "two"]),
        ("stage", ["one", "two"]),
        ("!stage", ["three"]),
        ("stage notin (a),stage", ["two"]),
    ],
)
def test_labels_select(selector: str, names: list[str]) -> None:
    labels = {"one": {"stage": "a"}, "two": {"stage": "b"}, "three": {}}
    items = [{"metadata": {"name": name, "namespace": "default", "labels": of}} for name, of in labels.items()]

    assert sorted(i["metadata"]["name"] for i in select(items, labels=selector, fields="")) == names
    assert [i["metadata"]["name"] for i in select(items, labels="", fields="metadata.name=two")] == ["two"]


def test_a_selector_that_cannot_be_read_is_refused(local: Local) -> None:
    code, body = local.call("GET", f"{ROOT}/services?labelSelector=a%20%3E%201")

    assert (code, "selector such as" in body["message"]) == (422, True)


def test_a_watch_tells_every_change_since_a_version(local: Local) -> None:
    version = local.call("GET", f"{ROOT}/services")[1]["metadata"]["resourceVersion"]
    local.apply(local.service("shop", "a"))
    local.call("DELETE", f"{ROOT}/services/shop")
    connection = http.client.HTTPConnection(urlsplit(local.endpoint.url).netloc, timeout=20)
    path = f"{ROOT}/services?watch=1&resourceVersion={version}&timeoutSeconds=1"
    connection.request("GET", path, headers={"Authorization": f"Bearer {local.endpoint.token}"})
    events = [json.loads(line) for line in connection.getresponse().read().splitlines()]
    connection.close()

    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1]) == ("ADDED", "DELETED")
    assert set(kinds[1:-1]) == {"MODIFIED"}
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(versions)


def test_a_watch_from_a_version_that_is_forgotten_is_told_to_list_anew(local: Local) -> None:
    code, body = local.call("GET", f"{ROOT}/services?watch=1&resourceVersion=5")

    assert (code, body["reason"]) == (410, "Expired")


def test_it_is_a_proxy_to_itself_only(local: Local) -> None:
    for place, code in (("http://local-run.lading.local", 200), ("http://example.com", 403)):
        assert local.call("GET", f"{place}{ROOT}/services")[0] == code
    assert local.call("GET", f"http://local-run.lading.local{ROOT}/services", Authorization="Bearer no")[0] == 401
