import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lading.errors import InvalidModel, InvalidReference, NotFound
from lading.oci.layout import ImageStore
from lading.package import package_image
from lading.values import ImageRef


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "model" / "variables" / "data").write_bytes(b"weights")
    return tmp_path / "model"


def test_a_packaged_image_is_a_valid_layout(tmp_path: Path, model: Path) -> None:
    store = ImageStore(tmp_path / "images")
    made = package_image(model, "lading.local/taxi", store=store)
    ref = ImageRef.parse(made.image)
    assert json.loads((store.directory / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((store.directory / "index.json").read_text())["manifests"]
    assert entry["digest"] == ref.digest
    for blob in (store.directory / "blobs" / "sha256").iterdir():
        assert blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()
    assert not list((store.directory / "scratch").iterdir())


def test_an_image_says_how_it_runs_and_which_model_is_inside(tmp_path: Path, model: Path) -> None:
    store = ImageStore(tmp_path / "images")
    made = package_image(model, "lading.local/taxi", store=store)
    image = store.read(ImageRef.parse(made.image))
    assert image.host_runtime
    assert image.command == ("python3", "-m", "lading", "serve", "taxi=models/taxi")
    assert image.env["LADING_MODEL_DIFF_ID"] == image.model_diff_id == made.model_diff_id
    layer = image.layer_of(made.model_diff_id)
    assert layer is not None
    assert (layer.size, image.model_path) == (made.model_bytes, "models/taxi/1")


def test_the_same_model_is_the_same_image(tmp_path: Path, model: Path) -> None:
    one = package_image(model, "lading.local/taxi", store=ImageStore(tmp_path / "one"))
    two = package_image(model, "lading.local/taxi", store=ImageStore(tmp_path / "two"))
    assert one == two
    (model / "variables" / "data").write_bytes(b"other weights")
    assert package_image(model, "lading.local/taxi", store=ImageStore(tmp_path / "one")).image != one.image


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="`lading package` puts it there"):
        ImageStore(tmp_path).read(ImageRef("lading.local/taxi", "sha256:" + "0" * 64))


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"expected a SavedModel .* received"):
        package_image(tmp_path, "lading.local/taxi", store=ImageStore(tmp_path / "images"))
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize("repository", ["taxi", "lading.local/", "lading.local/a/b", "lading.local/ü b", "ghcr.io/a/b"])
def test_a_repository_elsewhere_is_refused(tmp_path: Path, model: Path, repository: str) -> None:
    with pytest.raises(InvalidReference, match=r"expected a repository such as lading.local/taxi"):
        package_image(model, repository, store=ImageStore(tmp_path / "images"))


FILL = """
import resource, signal, sys
from pathlib import Path
from lading.oci.layout import ImageStore
from lading.package import package_image
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
package_image(Path(sys.argv[1]), "lading.local/taxi", store=ImageStore(Path(sys.argv[2])))
"""


def test_a_full_disk_makes_no_image_and_leaves_nothing(tmp_path: Path, model: Path) -> None:
    (model / "variables" / "data").write_bytes(os.urandom(300_000))
    store = tmp_path / "images"
    words = [sys.executable, "-c", FILL, str(model), str(store)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "StorageError: no space left while writing" in done.stderr
    assert not (store / "blobs").exists()
    assert not list((store / "scratch").iterdir())
