"""Old revisions, and what is unpacked for them, do not pile up."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_target import ROOT, Local, ask, gone, make_image

from lading.local.collecting import KEPT_REVISIONS, superfluous
from lading.local.state import Layout
from lading.wait import Deadline, poll


def revision(number: int) -> dict[str, object]:
    created = f"2026-01-01T00:00:{number:02}Z"
    return {"metadata": {"name": f"shop-{number}", "creationTimestamp": created, "resourceVersion": "1"}}


def test_what_traffic_tags_and_releases_name_stays_and_so_do_the_newest() -> None:
    service = {
        "metadata": {
            "annotations": {
                "lading.dev/rollout": json.dumps({"id": "x", "from": [["shop-1", 100]], "to": [["shop-2", 100]]}),
                "lading.dev/history": json.dumps([[1.5, "x", [["shop-3", 100]], "because"]]),
            }
        },
        "spec": {"template": {}, "traffic": [{"revisionName": "shop-4", "percent": 0, "tag": "old"}]},
        "status": {"latestReadyRevisionName": "shop-5", "traffic": [{"revisionName": "shop-6", "percent": 100}]},
    }

    found = superfluous(service, [revision(number) for number in range(KEPT_REVISIONS + 10)])
    assert sorted(r["metadata"]["name"] for r in found) == ["shop-0", "shop-7", "shop-8", "shop-9"]


def test_a_revision_that_is_deleted_ends_and_leaves_nothing_unpacked(local: Local, tmp_path: Path) -> None:
    other = make_image(Layout(local.state), tmp_path / "other", runtime="host", note="another")
    first = local.apply(local.service("shop", "a", traffic=[{"latestRevision": True, "percent": 100, "tag": "a"}]))
    pid = ask(first["status"]["url"])["pid"]
    local.image = other
    local.apply(local.service("shop", "b"))
    assert len(list((local.state / "rootfs").iterdir())) == 2

    assert local.call("DELETE", f"{ROOT}/revisions/shop-b")[0] == 409
    assert local.call("DELETE", f"{ROOT}/revisions/shop-a")[0] == 200
    poll(lambda: gone(pid) or None, deadline=Deadline.after(10), what="the process to be stopped")
    local.apply(local.service("shop", "c"))
    local.call("DELETE", f"{ROOT}/revisions/shop-b")
    poll(
        lambda: len(list((local.state / "rootfs").iterdir())) == 1 or None,
        deadline=Deadline.after(10),
        what="what was unpacked to be removed",
    )
    assert ask(local.settled("shop")["status"]["url"])["revision"] == "shop-c"


@pytest.mark.slow
def test_old_revisions_go_with_their_logs(local: Local) -> None:
    for number in range(KEPT_REVISIONS + 3):
        local.apply(local.service("shop", f"v{number}", VALUE=str(number)))

    names = {r["metadata"]["name"] for r in local.call("GET", f"{ROOT}/revisions")[1]["items"]}
    assert len(names) == KEPT_REVISIONS + 1
    assert "shop-v0" not in names
    assert not (local.state / "logs" / "shop-v0.log").exists()


def test_an_image_that_was_removed_by_hand_is_unpacked_again(local: Local) -> None:
    local.apply(local.service("shop", "a"))
    shutil.rmtree(local.state / "rootfs")
    (local.state / "rootfs").mkdir()

    assert ask(local.apply(local.service("shop", "b"))["status"]["url"])["revision"] == "shop-b"
