"""What the images are built from agrees with the rest: versions, locks, tags. The images: ``test_images.py``."""

import re
from pathlib import Path

import pytest

from lading import __version__
from lading.flows.publish import step_images

ROOT = Path(__file__).parent.parent.parent
LOCKS = sorted((ROOT / "containers").rglob("*.lock"))
DOCKERFILES = sorted((ROOT / "containers").rglob("Dockerfile"))


def pins(lock: Path) -> set[tuple[str, str]]:
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_a_lock_has_hashes_and_no_host_and_what_the_tests_run_with(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(lock)) > 0
    assert all("--hash=sha256:" in entry for entry in entries)
    assert pins(lock) <= pins(ROOT / "requirements.lock")


def test_each_image_has_a_dockerfile_that_builds_this_version() -> None:
    assert [path.parent.name for path in DOCKERFILES] == [re.split("[/:]", image)[1] for image in step_images()]
    for path in DOCKERFILES:
        text = path.read_text()
        assert f"ARG VERSION={__version__}\n" in text
        assert f'title="lading/{path.parent.name}"' in text
        assert f"-t {step_images()[DOCKERFILES.index(path)]} ." in text


def test_make_gives_the_tags_that_pipelines_name() -> None:
    (tag,) = re.findall(r"^IMAGE_TAG := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {image.partition(":")[2] for image in step_images()} == {tag}


def test_the_small_image_locks_no_tensorflow_and_no_kubernetes() -> None:
    locked = {name for name, _ in pins(ROOT / "containers" / "steps" / "requirements.lock")}
    assert "requests" in locked
    assert not {"tensorflow-cpu", "tensorflow", "numpy", "kubernetes", "kfp"} & locked
