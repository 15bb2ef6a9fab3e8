"""What is in an image, and how it is called."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from fakes.registry import FakeRegistry
from fakes.storage_server import Storage
from packaged_images import ENVIRON, base_in, lading, read, unpacked
from soon import soon
from tiny_bases import LADING

from lading.errors import InvalidInput, InvalidModel, InvalidReference
from lading.oci.assemble import read_base
from lading.oci.connect import open_place
from lading.oci.layout import ImageStore
from lading.package import package_image
from lading.results import PackagedImage
from lading.values import ImageRef, ModelDigests, from_json


def test_an_image_says_how_it_runs_and_which_model_is_inside(
    registry: FakeRegistry, model: Path, tmp_path: Path
) -> None:
    base = base_in(registry)
    made = package_image(model, f"{registry.host}/models/taxi:v1", base=base, environ=ENVIRON)
    image = read(made.image).image
    assert image.command == ("python3", "-m", "lading", "serve", "taxi=/models/taxi")
    assert image.env == {
        "PATH": "/usr/bin",
        "PYTHONPATH": "/opt/lading/lib",
        "LADING_MODEL_DIFF_ID": made.model_diff_id,
        "LADING_MODEL_DIGESTS": "/opt/lading/model/digests.json",
    }
    assert image.labels == {
        **LADING,
        "dev.lading.model.diff-id": made.model_diff_id,
        "dev.lading.model.path": "models/taxi/1",
        "org.opencontainers.image.base.digest": ImageRef.parse(base).digest,
    }
    assert image.config["config"]["User"] == "65532:65532"
    assert image.config["rootfs"]["diff_ids"][-1] == made.model_diff_id
    assert (made.base, made.runtime, made.model_bytes) == (base, "lading", image.layers[-1].size)
    assert registry.tags("models/taxi") == {"v1"}
    root = unpacked(made.image, -1, tmp_path / "top")
    assert (root / "models/taxi/1/variables/data").read_bytes() == b"weights" * 20_000


@pytest.mark.parametrize("host", [False, True])
def test_the_digests_of_the_models_files_lie_in_a_layer_of_their_own(
    registry: FakeRegistry, model: Path, tmp_path: Path, host: bool
) -> None:
    environ = {**ENVIRON, "XDG_STATE_HOME": str(tmp_path / "state")}
    to, base = ("lading.local/taxi", "host") if host else (f"oci:{tmp_path / 'taxi'}", base_in(registry))
    made = package_image(model, to, base=base, environ=environ)
    place = open_place(made.image, environ=environ)
    found = read_base(place.store, place.wanted, deadline=soon())
    blob = b"".join(found.store.blob(found.image.layers[-2].digest, deadline=soon()))
    (tmp_path / "layer").write_bytes(blob)
    with tarfile.open(tmp_path / "layer") as tar:
        names = [entry.name for entry in tar if entry.isfile()]
        assert names == ["opt/lading/model/digests.json"]
        content = tar.extractfile(names[0])
        assert content
        digests = from_json(content.read(), ModelDigests)
    # An image for this machine is unpacked somewhere, so that its paths are relative.
    assert digests.root == ("models/taxi/1" if host else "/models/taxi/1")
    assert found.image.env["LADING_MODEL_DIGESTS"] == ("" if host else "/") + names[0]
    for name, digest in digests.files.items():
        content_ = (model / name).read_bytes()
        assert (digest.size, digest.sha256) == (len(content_), hashlib.sha256(content_).hexdigest())
    assert list(digests.files) == ["saved_model.pb", "variables/data"]


def test_an_archive_is_replaced_by_the_next_one(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    base, to = base_in(registry), f"archive:{tmp_path / 'taxi.tar'}"
    package_image(model, to, base=base, environ=ENVIRON)
    size = (tmp_path / "taxi.tar").stat().st_size
    (model / "variables" / "data").write_bytes(b"retrain" * 20_000)
    package_image(model, to, base=base, environ=ENVIRON)
    assert (tmp_path / "taxi.tar").stat().st_size == size


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("oci:{0}/Taxi-2:v1", "Taxi-2"),
        ("oci:{0}/a.b", "a.b"),
        ("archive:{0}/taxi.tar", "taxi"),
        ("lading.local/x:v1", "x"),
    ],
)
def test_the_model_is_called_like_its_place(
    model: Path, registry: FakeRegistry, tmp_path: Path, to: str, name: str
) -> None:
    environ = {**ENVIRON, "XDG_STATE_HOME": str(tmp_path)}
    made = package_image(model, to.format(tmp_path), base=base_in(registry), environ=environ)
    place = open_place(made.image, environ=environ)
    assert read_base(place.store, place.wanted, deadline=soon()).image.model_path == f"models/{name}/1"
    named = package_image(model, to.format(tmp_path), base=base_in(registry), name="other", environ=environ)
    place = open_place(named.image, environ=environ)
    assert read_base(place.store, place.wanted, deadline=soon()).image.command[-1] == "other=/models/other"
    with pytest.raises(InvalidInput, match=r"expected a name for the model .*--name"):
        package_image(model, to.format(tmp_path), base="host", name="a/b", environ=environ)


def test_the_newest_of_several_versions(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi"
    versions = tmp_path / "versions"
    for number in ("9", "10"):
        (versions / number).mkdir(parents=True)
        (versions / number / "saved_model.pb").write_text(number)
    (versions / "notes").mkdir()
    made = package_image(versions, to, base=base, environ=ENVIRON)
    root = unpacked(made.image, -1, tmp_path / "top")
    assert [str(path.relative_to(root)) for path in root.rglob("*.pb")] == ["models/taxi/10/saved_model.pb"]
    single = package_image(versions / "9", to, base=base, environ=ENVIRON)
    assert read(single.image).image.model_path == "models/taxi/1"
    (versions / "11").mkdir()
    with pytest.raises(InvalidModel, match=r"versions/11, the highest version of .* has no saved_model\.pb"):
        package_image(versions, to, base=base, environ=ENVIRON)


def test_a_model_in_a_bucket(
    registry: FakeRegistry, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)  # the switch of google-cloud-storage itself
    try:
        for file in model.rglob("*"):
            if file.is_file():
                storage.put("b", f"taxi/7/{file.relative_to(model)}", file.read_bytes())
        base, to = base_in(registry), f"{registry.host}/models/taxi"
        made = package_image("gs://b/taxi", to, base=base, environ=ENVIRON)
        assert read(made.image).image.model_path == "models/taxi/7"
        here = package_image(model, to, base=base, environ=ENVIRON)
        there = package_image("gs://b/taxi/7", to, base=base, environ=ENVIRON)
        assert here.image == there.image
        with pytest.raises(InvalidModel, match=r"expected a SavedModel .*received gs://b/none"):
            package_image("gs://b/none", to, base=base, environ=ENVIRON)
    finally:
        storage.close()


def test_an_image_for_this_machine_is_in_its_store_and_holds_nothing_else(model: Path, tmp_path: Path) -> None:
    environ = {**ENVIRON, "XDG_STATE_HOME": str(tmp_path / "state")}
    made = package_image(model, "lading.local/taxi", environ=environ)
    directory = tmp_path / "state" / "lading" / "local" / "images"
    assert json.loads((directory / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    image = ImageStore(directory).read(ImageRef.parse(made.image))
    assert image.host_runtime
    assert image.command == ("python3", "-m", "lading", "serve", "taxi=models/taxi")
    assert image.env["LADING_MODEL_DIFF_ID"] == image.model_diff_id == made.model_diff_id
    layer = image.layer_of(made.model_diff_id)
    assert layer is not None
    assert (layer.size, image.model_path, made.base) == (made.model_bytes, "models/taxi/1", "")
    # No container engine takes it, rather than fail inside.
    assert (image.config["os"], image.config["architecture"]) == ("unknown", "unknown")
    for blob in (directory / "blobs" / "sha256").iterdir():
        assert blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()


FILL = """
import resource, signal, sys
from lading.package import package_image
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
package_image(sys.argv[1], "lading.local/taxi", environ={"XDG_STATE_HOME": sys.argv[2]})
"""


def test_a_full_disk_makes_no_image_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    (model / "variables" / "data").write_bytes(os.urandom(300_000))
    words = [sys.executable, "-c", FILL, str(model), str(tmp_path / "state")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "StorageError: no space left while writing" in done.stderr
    there = tmp_path / "state" / "lading" / "local" / "images"
    assert not (there / "index.json").exists()
    # What was whole before may stay, by its digest; nothing half-written does.
    for blob in (there / "blobs" / "sha256").iterdir():
        assert blob.name == hashlib.sha256(blob.read_bytes()).hexdigest()


def test_what_the_host_runtime_cannot(model: Path) -> None:
    for to in ("taxi", "ghcr.io/a/taxi", "oci:dir"):
        with pytest.raises(InvalidReference, match=r"expected a repository such as lading\.local/taxi"):
            package_image(model, to, environ=ENVIRON)
    with pytest.raises(InvalidInput, match="expected --base with the runtime tf-serving"):
        package_image(model, "lading.local/taxi", runtime="tf-serving", environ=ENVIRON)
    with pytest.raises(InvalidInput, match="expected the runtime lading or tf-serving, received 'x'"):
        package_image(model, "lading.local/taxi", base="b", runtime="x", environ=ENVIRON)


def test_compression_is_another_image_of_the_same_model(registry: FakeRegistry, model: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi"
    one = package_image(model, to, base=base, environ=ENVIRON)
    two = package_image(model, to, base=base, compression="gzip", environ=ENVIRON)
    assert one.model_diff_id == two.model_diff_id
    assert two.model_bytes < one.model_bytes / 10
    plain = package_image(model, to, base=base, compression="none", environ=ENVIRON)
    assert plain.model_diff_id == one.model_diff_id
    assert len({one.image, two.image, plain.image}) == 3


def test_the_command_prints_the_image_and_nothing_else(registry: FakeRegistry, model: Path, tmp_path: Path) -> None:
    base, to = base_in(registry), f"{registry.host}/models/taxi:v1"
    done = lading(str(model), "--base", base, "--to", to)
    assert (done.returncode, done.stderr) == (0, "")
    assert ImageRef.parse(done.stdout.strip()).repository == f"{registry.host}/models/taxi"
    told = from_json(lading(str(model), "--base", base, "--to", to, "--json").stdout, PackagedImage)
    assert f"{told.image}\n" == done.stdout
    wrong = lading(str(model), "--to", to)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "for other places give --base" in wrong.stderr
    missing = lading(str(model), "--base", f"{registry.host}/bases/none", "--to", to)
    assert missing.returncode == 3
