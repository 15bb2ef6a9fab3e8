"""OCI image layouts: as a place for images, and as the image store of this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sample_images import blob_of, complete, sample_image, sample_index, write
from soon import soon
from tiny_bases import put_image

from lading.errors import InvalidReference, NotFound, StorageError
from lading.oci.image import MODEL_DIFF_ID_LABEL, Descriptor
from lading.oci.layer import plan_layer
from lading.oci.layout import ImageStore, Layout
from lading.oci.store import Blob
from lading.values import ImageRef


def entries(directory: Path) -> list[dict[str, object]]:
    return json.loads((directory / "index.json").read_text())["manifests"]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    image, there = sample_image(), Layout(tmp_path / "a")
    write(image, there, tag="v1")
    again = Layout(tmp_path / "a")
    assert again.repository == f"oci:{tmp_path}/a"
    assert again.manifest("v1", deadline=soon()) == image.manifest
    assert complete(again, image.manifest.digest) == image.digests
    assert all(again.has_blob(digest, deadline=soon()) for digest in image.digests)
    assert json.loads((tmp_path / "a" / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = entries(tmp_path / "a")
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "v1"}


def test_a_tag_moves_and_without_one_the_only_image_is_meant(tmp_path: Path) -> None:
    there, one, two = Layout(tmp_path), sample_image(1), sample_image(2)
    write(one, there, tag="v1")
    assert there.manifest("", deadline=soon()) == one.manifest
    write(two, there, tag="v1")
    assert there.manifest("v1", deadline=soon()) == two.manifest
    assert len(entries(tmp_path)) == 1
    write(one, there)
    with pytest.raises(NotFound, match=f"no tag latest; it has v1, .*{one.manifest.digest}"):
        there.manifest("", deadline=soon())
    write(one, there, tag="latest")
    assert there.manifest("", deadline=soon()) == one.manifest
    with pytest.raises(NotFound, match="no tag v9"):
        there.manifest("v9", deadline=soon())


def test_the_images_of_an_index_are_not_listed_by_themselves(tmp_path: Path) -> None:
    index, there = sample_index(), Layout(tmp_path)
    write(index, there)
    assert [entry["digest"] for entry in entries(tmp_path)] == [index.manifest.digest]
    assert complete(there, "") == index.digests


def test_a_statement_about_an_image_is_not_the_image(tmp_path: Path) -> None:
    image, there = sample_image(), Layout(tmp_path)
    write(image, there)
    write(sample_image(2), there, tag=image.manifest.digest.replace(":", "-") + ".sig")
    assert there.manifest("", deadline=soon()) == image.manifest


def test_repositories_of_this_machine_share_blobs_and_not_tags(tmp_path: Path) -> None:
    taxi, tips = Layout(tmp_path, "lading.local/taxi"), Layout(tmp_path, "lading.local/tips")
    write(sample_image(1), taxi, tag="v1")
    write(sample_image(2), tips)
    assert taxi.manifest("v1", deadline=soon()) == taxi.manifest("", deadline=soon()) == sample_image(1).manifest
    assert tips.manifest("", deadline=soon()) == sample_image(2).manifest
    with pytest.raises(NotFound, match=r"lading\.local/tips has no tag v1"):
        tips.manifest("v1", deadline=soon())
    layer = sample_image(1).blobs[0].descriptor
    assert tips.take_blob(layer, taxi, deadline=soon())
    assert not tips.take_blob(layer, Layout(tmp_path / "other"), deadline=soon())


@pytest.mark.parametrize("content", [b"weight", b"weights!", b"WEIGHTS"])
def test_other_bytes_are_not_taken(tmp_path: Path, content: bytes) -> None:
    there = Layout(tmp_path)
    with pytest.raises(StorageError, match=r"expected .* read"):
        there.write_blob(Blob(blob_of(b"weights").descriptor, blob_of(content).open), deadline=soon())
    assert not list((tmp_path / "blobs" / "sha256").iterdir())


def test_a_damaged_layout_is_noticed(tmp_path: Path) -> None:
    image, there = sample_image(), Layout(tmp_path)
    write(image, there)
    layer = image.blobs[1].descriptor.digest
    there.path_of(layer).write_bytes(b"other")
    with pytest.raises(StorageError, match="has other bytes: remove it"):
        list(there.blob(layer, deadline=soon()))
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(StorageError, match=r"index\.json: expected the index"):
        there.manifest("v1", deadline=soon())
    with pytest.raises(NotFound, match="is not there"):
        list(there.blob("sha256:" + "0" * 64, deadline=soon()))


def test_a_file_outside_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(InvalidReference, match="expected a digest"):
        Layout(tmp_path).path_of("sha256:../../../etc/passwd")
    body = {"mediaType": "a/b", "digest": "sha256:../../etc/passwd", "size": 1}
    with pytest.raises(InvalidReference, match="SHA-256"):
        Descriptor.from_dict(body)


def test_the_image_store_says_how_an_image_runs(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "weights").write_bytes(b"weights")
    store = ImageStore(tmp_path / "images")
    layer = plan_layer(tmp_path / "files", "models/taxi/1")
    config = {
        "config": {"Cmd": ["serve"], "Labels": {MODEL_DIFF_ID_LABEL: layer.diff_id}},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
    }
    repository = Layout(store.directory, "lading.local/taxi")
    image = store.read(ImageRef(repository.repository, put_image(repository, config, layer)))
    assert image.command == ("serve",)
    assert image.layer_of(image.model_diff_id) == layer.descriptor
    assert store.path_of(layer.descriptor.digest).stat().st_size == layer.descriptor.size
    assert complete(repository, "")


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="`lading package` puts it there"):
        ImageStore(tmp_path).read(ImageRef("lading.local/taxi", "sha256:" + "0" * 64))


FILL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lading.oci.archive import Archive
from lading.oci.layout import Layout
from sample_images import sample_image, write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
made = Archive(Path(sys.argv[3])) if sys.argv[2] == "archive" else Layout(Path(sys.argv[3]))
write(sample_image(sizes=(300_000,)), made)
"""


@pytest.mark.parametrize("kind", ["layout", "archive"])
def test_a_full_disk_makes_no_image_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    there = tmp_path / "place"
    tests = Path(__file__).parent.parent
    words = [sys.executable, "-c", FILL, str(tests), kind, str(there)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    assert "StorageError: no space left while writing" in done.stderr
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    if kind == "layout":  # the configuration came first, and is whole
        assert [path.name for path in left] == [sample_image(sizes=(300_000,)).blobs[0].descriptor.digest[7:]]
    else:
        assert left == []
