"""`lading push`, as it is typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.registry import FakeRegistry
from sample_images import complete, sample_image, sample_index, write

from lading.oci.archive import Archive
from lading.oci.attach import Artifact, attach, attached_to
from lading.oci.layout import Layout
from lading.oci.registry import Registry
from lading.oci.store import Store
from lading.wait import Deadline


def lading(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lading", *words]
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environ, cwd=home)


def at(registry: FakeRegistry, name: str) -> Registry:
    return Registry(registry.host, name, environ={"HOME": "/nonexistent"}, writable=True)


@pytest.mark.parametrize("kind", ["archive:taxi.tar", "oci:taxi", "oci:taxi:v1"])
def test_an_archive_or_layout_goes_to_a_registry(registry: FakeRegistry, tmp_path: Path, kind: str) -> None:
    image = sample_image()
    store: Store = Archive(tmp_path / "taxi.tar") if kind.startswith("archive") else Layout(tmp_path / "taxi")
    write(image, store, tag="v1" if kind.endswith("v1") else "")
    to = f"{registry.host}/team/taxi"
    done = lading(tmp_path, "push", kind, "--to", f"{to}:v7")
    assert (done.stdout, done.stderr) == (f"{to}@{image.manifest.digest}\n", "")
    assert complete(at(registry, "team/taxi"), "v7") == image.digests
    done = lading(tmp_path, "push", kind, "--to", to, "--json")
    told = json.loads(done.stdout)
    assert (told["image"], told["sent_bytes"]) == (f"{to}@{image.manifest.digest}", 0)
    assert registry.tags("team/taxi") == {"v7"}


def test_what_is_attached_crosses_the_air_gap(registry: FakeRegistry, tmp_path: Path) -> None:
    image, deadline = sample_image(), Deadline.after(30)
    origin = at(registry, "team/origin")
    write(image, origin, tag="v1")
    attach(origin, image.manifest.digest, [Artifact("application/vnd.cyclonedx+json", b"{}")], deadline=deadline)
    signature = image.manifest.digest.replace(":", "-") + ".sig"
    write(sample_image(2), origin, tag=signature)
    done = lading(tmp_path, "push", f"{registry.host}/team/origin:v1", "--to", "archive:taxi.tar", "--json")
    assert json.loads(done.stdout)["statements"] == 2, done.stderr
    for lists_referrers in (False, True):
        there = FakeRegistry(lists_referrers=lists_referrers)
        try:
            done = lading(tmp_path, "push", "archive:taxi.tar", "--to", f"{there.host}/team/taxi:v1")
            assert done.stdout == f"{there.host}/team/taxi@{image.manifest.digest}\n", done.stderr
            taxi = at(there, "team/taxi")
            (sbom,) = attached_to(taxi, image.manifest.digest, deadline=deadline)
            assert sbom.artifact_type == "application/vnd.cyclonedx+json"
            assert complete(taxi, sbom.digest)
            assert complete(taxi, signature) == sample_image(2).digests
        finally:
            there.close()


def test_one_platform_of_several(registry: FakeRegistry, tmp_path: Path) -> None:
    index = sample_index()
    write(index, Layout(tmp_path / "taxi"))
    to = f"{registry.host}/team/taxi"
    done = lading(tmp_path, "push", "oci:taxi", "--to", to, "--platform", "linux/arm64")
    assert done.stdout == f"{to}@{index.parts[1].manifest.digest}\n"
    done = lading(tmp_path, "push", "oci:taxi", "--to", to)
    assert done.stdout == f"{to}@{index.manifest.digest}\n"
    assert complete(at(registry, "team/taxi"), index.manifest.digest) == index.digests


def test_errors_say_what_to_do(registry: FakeRegistry, tmp_path: Path) -> None:
    to = f"{registry.host}/team/taxi"
    done = lading(tmp_path, "push", "oci:nothing", "--to", to)
    assert (done.returncode, done.stderr) == (3, "lading: oci:nothing has no tag latest; it has no image\n")
    done = lading(tmp_path, "push", "archive:nothing", "--to", to)
    assert (done.returncode, done.stderr) == (3, "lading: archive:nothing: there is no such file\n")
    done = lading(tmp_path, "push", to, "--to", to)
    assert done.returncode == 2
    assert "expected two places" in done.stderr
    write(sample_image(), Layout(tmp_path / "taxi"))
    registry.auth = "basic"
    done = lading(tmp_path, "push", "oci:taxi", "--to", to)
    assert done.returncode == 3
    assert "an anonymous user may not" in done.stderr
    assert f"`docker login {registry.host}`" in done.stderr
