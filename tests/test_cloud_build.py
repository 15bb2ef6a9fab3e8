"""Cloud Build through Google's own client, against a server of its API that really looks at what was sent."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.cloud_build_server import CloudBuildServer
from fakes.storage_server import Storage

from lading.cli import main
from lading.cloud_build import BuildRequest, BuiltImage, build_image
from lading.errors import (
    AccessDenied,
    DeadlineExceeded,
    InvalidInput,
    InvalidReference,
    NotFound,
    QuotaExceeded,
    RemoteError,
    ServiceUnreachable,
)
from lading.wait import Deadline, poll

REPOSITORY = "europe-docker.pkg.dev/p/r/taxi"


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    server = Storage(buckets={"staging": {}})
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    yield server
    server.close()


@pytest.fixture
def server(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudBuildServer]:
    made = CloudBuildServer(storage)
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBUILD", made.url)
    yield made
    made.stop()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "main.py").write_text("serve()")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    os.link(folder / "run.sh", folder / "run-too.sh")
    (folder / "Dockerfile").write_text("FROM python\nCOPY app /app\nCOPY model /models/taxi/1\n")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "model" / "variables" / "data").write_bytes(b"weights")
    return tmp_path / "model"


def request(source: Path | str, **changes: Any) -> BuildRequest:
    return BuildRequest(
        **{"source": str(source), "repository": REPOSITORY, "project": "p", "staging": "gs://staging/x/", **changes}
    )


def build(
    server: CloudBuildServer, request: BuildRequest, model: Path | None, *, seconds: float = 20, **environ: str
) -> BuiltImage:
    given = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBUILD": server.url, **environ}
    return build_image(request, model, environ=given, deadline=Deadline.after(seconds), most_seconds=0.05)


def test_an_image_is_built_from_a_directory_and_a_model(
    server: CloudBuildServer, storage: Storage, source: Path, model: Path
) -> None:
    built = build(server, request(source), model)
    sent = server.builds[built.build_id]
    assert built.image == f"{REPOSITORY}@{sent['results']['images'][0]['digest']}"
    assert built.log_url.startswith("https://console.cloud.google.com/cloud-build/builds/")
    assert server.files[built.build_id] == {
        "Dockerfile": (source / "Dockerfile").read_bytes(),
        "app/main.py": b"serve()",
        "run.sh": b"#!/bin/sh\n",
        "run-too.sh": b"#!/bin/sh\n",
        "model/saved_model.pb": b"graph",
        "model/variables/data": b"weights",
    }
    (step,) = sent["steps"]
    assert step["name"] == "gcr.io/cloud-builders/docker"
    assert step["args"][:2] == ["build", "--tag"]
    assert sent["images"] == [step["args"][2]]
    assert sent["images"][0].startswith(f"{REPOSITORY}:source-")
    assert (sent["logsBucket"], sent["timeout"]) == ("gs://staging/x/log", "1800s")


def test_the_same_files_are_sent_once(server: CloudBuildServer, storage: Storage, source: Path, model: Path) -> None:
    first = build(server, request(source), model)
    os.utime(source / "Dockerfile", (1, 1))
    before = storage.generation
    second = build(server, request(source), model)
    assert first.build_id != second.build_id
    assert first.image == second.image
    sources = [name for name in storage.buckets["staging"] if "/source/" in name]
    assert len(sources) == 1
    assert storage.generation == before + 1  # the log of the second build
    (model / "variables" / "data").write_bytes(b"other weights")
    assert build(server, request(source), model).image != first.image


def test_settings_reach_the_build(server: CloudBuildServer, source: Path, model: Path) -> None:
    changes = {
        "region": "europe-west4",
        "build_args": {"NAME": "taxi", "PRICE": "$5"},
        "machine_type": "E2_HIGHCPU_8",
        "service_account": "builder@p.iam.gserviceaccount.com",
        "timeout_seconds": 77,
    }
    built = build(server, request(source, **changes), model)
    sent = server.builds[built.build_id]
    assert sent["name"] == f"projects/p/locations/europe-west4/builds/{built.build_id}"
    assert sent["steps"][0]["args"][-5:] == ["--build-arg", "NAME=taxi", "--build-arg", "PRICE=$$5", "."]
    assert sent["options"]["machineType"] in ("E2_HIGHCPU_8", 5)
    assert sent["serviceAccount"] == "projects/p/serviceAccounts/builder@p.iam.gserviceaccount.com"
    assert sent["timeout"] == "77s"


def test_a_source_in_a_bucket_and_no_model(server: CloudBuildServer, storage: Storage) -> None:
    storage.put("code", "serving/docker/Dockerfile", b"FROM x\nCOPY app.py /\n")
    storage.put("code", "serving/app.py", b"serve()")
    built = build(server, request("gs://code/serving", dockerfile="docker/Dockerfile"), None)
    assert set(server.files[built.build_id]) == {"docker/Dockerfile", "app.py"}


def test_a_build_that_fails_tells_how_its_log_ends(server: CloudBuildServer, source: Path, model: Path) -> None:
    (source / "Dockerfile").write_text("FROM python\nCOPY nothing /app\n")
    with pytest.raises(RemoteError, match="ended as FAILURE: Build step failure") as told:
        build(server, request(source), model)
    assert "  COPY failed: no source files nothing" in str(told.value)
    assert "gs://staging/x/log/log-" in str(told.value)


def test_a_log_that_cannot_be_read_does_not_hide_the_failure(
    server: CloudBuildServer, storage: Storage, source: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "log", lambda build, lines: None)
    server.breaks = True
    with pytest.raises(RemoteError, match=r"Build step failure.*\n.*its log is at https://console"):
        build(server, request(source), model)


def test_an_image_that_was_not_pushed(server: CloudBuildServer, source: Path, model: Path) -> None:
    server.vanishes = True
    with pytest.raises(RemoteError, match=f"succeeded, and did not push {REPOSITORY}:source-"):
        build(server, request(source), model)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (400, InvalidInput, "Cloud Build refuses what was sent"),
        (401, AccessDenied, "gcloud auth application-default login"),
        (403, AccessDenied, "roles/cloudbuild.builds.editor"),
        (404, NotFound, "no such project or region"),
        (429, QuotaExceeded, "A quota is used up"),
        (503, ServiceUnreachable, "slow down"),
        (500, RemoteError, "slow down"),
    ],
)
def test_refusals_say_what_to_do(
    server: CloudBuildServer, source: Path, model: Path, code: int, kind: type[Exception], words: str
) -> None:
    server.failures = [(code, "slow down")]
    with pytest.raises(kind, match=words):
        build(server, request(source), model)
    assert server.builds == {}


def test_a_service_that_stumbles_while_it_builds_is_asked_again(
    server: CloudBuildServer, source: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = server.create

    def then_stumble(*args: Any, **options: Any) -> Any:
        server.failures = [(503, "away"), (429, "slow down")]
        return create(*args, **options)

    server.routes[0] = (*server.routes[0][:2], then_stumble)
    assert build(server, request(source), model).image.startswith(f"{REPOSITORY}@sha256:")


def test_a_service_that_is_away(server: CloudBuildServer, source: Path, model: Path) -> None:
    server.stop()
    with pytest.raises(ServiceUnreachable, match="does not answer"):
        build(server, request(source), model, seconds=3)


def test_a_token_is_sent(server: CloudBuildServer, source: Path, model: Path) -> None:
    server.token = "secret"
    assert build(server, request(source), model, CLOUDSDK_AUTH_ACCESS_TOKEN="secret").image
    with pytest.raises(AccessDenied, match="gcloud auth"):
        build(server, request(source), model)


def test_a_build_that_takes_too_long_is_cancelled(server: CloudBuildServer, source: Path, model: Path) -> None:
    server.stuck = True
    with pytest.raises(DeadlineExceeded, match="gave up waiting for build"):
        build(server, request(source), model, seconds=1.5)
    assert [one["status"] for one in server.builds.values()] == ["CANCELLED"]


def test_an_interrupted_command_cancels_its_build(server: CloudBuildServer, source: Path, model: Path) -> None:
    server.stuck = True
    words = [
        "cloud-build",
        source,
        "--model",
        model,
        "--to",
        REPOSITORY,
        "--project",
        "p",
        "--staging",
        "gs://staging/x",
    ]
    process = subprocess.Popen([sys.executable, "-m", "lading", *words], stderr=subprocess.PIPE, text=True)
    poll(lambda: "WORKING" in [b["status"] for b in list(server.builds.values())] or None,
         deadline=Deadline.after(30), what="the build")  # fmt: skip
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert [one["status"] for one in server.builds.values()] == ["CANCELLED"]
    assert "cancelled" in said


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"staging": "/tmp/x"}, InvalidReference, "expected gs://BUCKET/PREFIX"),
        ({"repository": f"{REPOSITORY}:v1"}, InvalidReference, "without a tag"),
        ({"repository": "Not A Repository"}, InvalidReference, "expected an image"),
        ({"dockerfile": "../Dockerfile"}, InvalidInput, "in the source"),
        ({"dockerfile": "Missing"}, InvalidInput, "expected a directory with Missing"),
        ({"source": "/nowhere"}, NotFound, "no directory at /nowhere"),
        ({"machine_type": "HUGE"}, InvalidInput, "E2_HIGHCPU_8"),
        ({"staging": "gs://nowhere/x"}, NotFound, "no bucket nowhere"),
    ],
)
def test_what_cannot_be_built_is_told_before_anything_is_started(
    server: CloudBuildServer, source: Path, model: Path, changes: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        build(server, request(**{"source": source, **changes}), model)
    assert server.builds == {}


def test_something_in_the_place_of_the_model_is_refused(server: CloudBuildServer, source: Path, model: Path) -> None:
    (source / "model").mkdir()
    with pytest.raises(InvalidInput, match="where the model goes"):
        build(server, request(source), model)


def test_the_command_prints_the_image(
    server: CloudBuildServer, source: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["cloud-build", str(source), "--model", str(model), "--to", REPOSITORY, "--project", "p"]
    words += ["--staging", "gs://staging/x", "--build-arg", "A=b=c"]
    assert main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    sent = server.builds[printed["build_id"]]
    assert printed["image"].startswith(f"{REPOSITORY}@sha256:")
    assert "A=b=c" in sent["steps"][0]["args"]
    assert main([*words, "--build-arg", "A"]) == 2


def test_the_component_returns_the_digest(server: CloudBuildServer, source: Path, model: Path) -> None:
    from kfp import dsl

    from components.package_with_cloud_build import package_with_cloud_build

    before = signal.getsignal(signal.SIGTERM)
    try:
        image, build_id = package_with_cloud_build.python_func(
            dsl.Model(uri=str(model)), str(source), REPOSITORY, "p", "gs://staging/x", build_args={"A": "b"}
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert image == f"{REPOSITORY}@{server.builds[build_id]['results']['images'][0]['digest']}"
