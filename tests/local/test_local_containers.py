"""Container images on the local target, in each engine."""

import shutil
import subprocess
import threading
from collections.abc import Callable

import pytest
from container_image import put_container
from fakes.registry import FakeRegistry
from tiny_target import Local, ask, condition

from lading.local import engines
from lading.local.state import Layout
from lading.oci.connect import open_place
from lading.oci.copy import copy_image
from lading.oci.layout import Layout as Repository
from lading.wait import Deadline, poll


def use(local: Local, engine: str) -> Local:
    """Have the target use this engine, and an image that needs one."""
    if engine == "bwrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    engines.ask_for(Layout(local.state), engine)
    digest = put_container(Repository(Layout(local.state).images, "lading.local/contained"))
    local.image = f"lading.local/contained@{digest}"
    return local


def runs_behind_walls(local: Local) -> None:
    answer = ask(local.apply(local.service("shop", "a", VALUE="own"))["status"]["url"])

    assert (answer["uid"], answer["gid"]) == (65532, 65532)
    assert "Read-only" in answer["root"]
    assert answer["tmp"] is None
    assert (answer["removed"], answer["kept"]) == (False, True)
    assert answer["mode"] == 0o640
    assert answer["link"] == answer["directory"] + "/kept" == "/opt/kept"
    assert answer["processes"] <= 4
    env = answer["env"]
    assert (env["GREETING"], env["VALUE"], env["K_REVISION"]) == ("image", "own", "shop-a")
    assert "VIRTUAL_ENV" not in env


def ends_after_what_it_answers(local: Local) -> None:
    url = local.apply(local.service("shop", "a"))["status"]["url"]
    log = local.state / "logs" / "shop-a.log"
    answers = []
    slow = threading.Thread(target=lambda: answers.append(ask(url, "/slow")))
    slow.start()
    poll(lambda: "slow" in log.read_text() or None, deadline=Deadline.after(10), what="the request to arrive")
    local.call("DELETE", "/apis/serving.knative.dev/v1/namespaces/default/services/shop")
    slow.join()

    assert answers[0]["uid"] == 65532
    poll(lambda: "ended" in log.read_text() or None, deadline=Deadline.after(10), what="the container to be ended")


def says_why_it_failed(local: Local) -> None:
    body = local.service("shop", "a")
    body["spec"]["template"]["spec"]["containers"][0]["command"] = ["python3", "-c", "raise SystemExit('no model')"]
    local.call("POST", "/apis/serving.knative.dev/v1/namespaces/default/services", body)

    message = condition(local.settled("shop", "False"))["message"]
    assert "exited with code 1" in message
    assert "no model" in message


@pytest.mark.parametrize("check", [runs_behind_walls, ends_after_what_it_answers, says_why_it_failed])
def test_bwrap(local: Local, check: Callable[[Local], None]) -> None:
    check(use(local, "bwrap"))


@pytest.mark.containers
@pytest.mark.parametrize("engine", ["runc", "docker"])
@pytest.mark.parametrize("check", [runs_behind_walls, ends_after_what_it_answers, says_why_it_failed])
def test_other_engines(local: Local, check: Callable[[Local], None], engine: str) -> None:
    check(use(local, engine))
    if engine == "docker":  # what docker was given goes with the last revision
        (mark,) = Layout(local.state).docker_images.iterdir()
        local.call("DELETE", "/apis/serving.knative.dev/v1/namespaces/default/services/shop")
        engines.drop_images(Layout(local.state), frozenset())
        assert not mark.exists()
        listed = subprocess.run(
            ["docker", "images", "-q", f"lading-local:{mark.name}"], capture_output=True, check=True
        )
        assert not listed.stdout


def test_without_an_engine_a_container_image_is_refused_in_words(
    begin: Callable[[], Local], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        changed.setenv("PATH", "/nonexistent")
        local = begin()
    digest = put_container(Repository(Layout(local.state).images, "lading.local/contained"))
    host, local.image = local.image, f"lading.local/contained@{digest}"
    local.call("POST", "/apis/serving.knative.dev/v1/namespaces/default/services", local.service("shop"))

    assert "bwrap, runc or docker" in condition(local.settled("shop", "False"))["message"]
    assert not list((local.state / "rootfs").iterdir())
    local.image = host
    assert ask(local.apply(local.service("shop"))["status"]["url"])["value"] == "image"


def test_an_image_of_a_registry_is_fetched(local: Local) -> None:
    use(local, "bwrap")
    digest = local.image.partition("@")[2]
    store = Repository(Layout(local.state).images, "lading.local/contained")
    registry = FakeRegistry()
    try:
        to = open_place(f"{registry.host}/models/shop", environ={}, writable=True).store
        deadline = Deadline.after(30)
        copy_image(store, to, store.manifest(digest, deadline=deadline), deadline=deadline)
        shutil.rmtree(Layout(local.state).images)
        local.image = f"{registry.host}/models/shop@{digest}"
        assert ask(local.apply(local.service("shop"))["status"]["url"])["uid"] == 65532
    finally:
        registry.close()
