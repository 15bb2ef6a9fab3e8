"""A model whose files are not those that were packaged is not served."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from model_places import factor, put, serving, settings
from served import serving as serving_process

from lading.errors import EngineError, InvalidInput, InvalidModel
from lading.files import digest_file
from lading.serving.config import ModelConfig, ServeConfig
from lading.serving.integrity import check_model
from lading.values import ModelDigests, to_json


@pytest.fixture
def model(scale_versions: Path, tmp_path: Path) -> Path:
    (tmp_path / "models" / "m").mkdir(parents=True)
    return put(scale_versions / "3", tmp_path / "models" / "m", "1")


@pytest.fixture
def digests(model: Path, tmp_path: Path) -> Path:
    """As ``lading package`` writes them into the image."""
    return write_digests(tmp_path / "digests.json", model, str(model))


def write_digests(place: Path, model: Path, root: str) -> Path:
    files = {str(p.relative_to(model)): digest_file(p) for p in sorted(model.rglob("*")) if p.is_file()}
    place.write_text(to_json(ModelDigests(root, files)))
    return place


def change(model: Path) -> None:
    weights = model / "variables" / "variables.data-00000-of-00001"
    content = bytearray(weights.read_bytes())
    content[0] ^= 1
    weights.write_bytes(content)


def shorten(model: Path) -> None:
    (model / "fingerprint.pb").write_bytes(b"")


def remove(model: Path) -> None:
    (model / "variables" / "variables.index").unlink()


def add(model: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        (model / "assets.extra" / name).mkdir(parents=True)
        (model / "assets.extra" / name / "f").write_text("x")


def link(model: Path) -> None:
    (model / "saved_model.pb").rename(model.parent / "elsewhere")
    (model / "saved_model.pb").symlink_to(model.parent / "elsewhere")


def pipe(model: Path) -> None:
    (model / "fingerprint.pb").unlink()
    os.mkfifo(model / "fingerprint.pb")


def test_a_model_as_it_was_packaged_is_served(model: Path, digests: Path) -> None:
    config = settings(ModelConfig("m", str(model.parent)), verify_models=True, model_digests=digests)
    with serving(config) as models:
        assert factor(models) == 3.0
    assert check_model(model, digests) == sum(p.stat().st_size for p in model.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (change, r"changed: variables/variables\.data-00000-of-00001\."),
        (shorten, r"changed: fingerprint\.pb\."),
        (remove, r"missing: variables/variables\.index\."),
        (add, r"not in the image: assets\.extra/a/f, assets\.extra/b/f, assets\.extra/c/f and 2 more\."),
        (link, r"changed: saved_model\.pb\."),
        (pipe, r"changed: fingerprint\.pb\."),
    ],
)
def test_an_altered_model_is_refused(model: Path, digests: Path, alter: Callable[[Path], None], said: str) -> None:
    alter(model)
    config = settings(ModelConfig("m", str(model.parent)), verify_models=True, model_digests=digests)
    with pytest.raises(InvalidModel, match=r"is not the model that was packaged: " + said):
        check_model(model, digests)
    if alter is not pipe:
        with pytest.raises(EngineError, match=said), serving(config):
            pass


def test_without_the_option_files_are_not_compared(model: Path, digests: Path) -> None:
    shorten(model)
    with serving(settings(ModelConfig("m", str(model.parent)), model_digests=digests)) as models:
        assert factor(models) == 3.0


def test_a_model_beside_the_packaged_one_is_refused_and_the_other_serves(
    model: Path, digests: Path, scale_versions: Path, tmp_path: Path
) -> None:
    put(scale_versions / "2", tmp_path / "models", "other")
    configs = (ModelConfig("m", str(model.parent)), ModelConfig("other", str(tmp_path / "models" / "other")))
    with serving(settings(*configs, verify_models=True, model_digests=digests)) as models:
        assert factor(models) == 3.0
        assert not models.is_ready()
        assert models.is_ready("m")
        (status,) = models.statuses("other")
        assert status.state == "END"
        assert "the digests in" in status.error_message


def test_a_root_may_be_relative_to_the_working_directory(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    digests = write_digests(Path("digests.json"), model, "models/m/1")
    config = settings(ModelConfig("m", "models/m"), verify_models=True, model_digests=digests)
    with serving(config) as models:
        assert factor(models) == 3.0


@pytest.mark.parametrize(
    "content", ["", "{}", '{"kind": "ModelDigests", "version": 1, "root": "/m", "files": 7}', None]
)
def test_digests_that_cannot_be_read_refuse_the_model(model: Path, tmp_path: Path, content: str | None) -> None:
    place = tmp_path / "digests.json"
    if content is not None:
        place.write_text(content)
    with pytest.raises(InvalidModel, match=r"its digests in .*digests\.json cannot be read"):
        check_model(model, place)


def test_the_environment_can_ask_for_it() -> None:
    environ = {"LADING_MODEL_DIGESTS": "/opt/lading/model/digests.json"}
    assert not ServeConfig.read(["m=/models/m"], environ).verify_models
    asked = ServeConfig.read(["m=/models/m"], {**environ, "LADING_VERIFY_MODELS": "true"})
    assert (asked.verify_models, asked.model_digests) == (True, Path("/opt/lading/model/digests.json"))
    assert ServeConfig.read(["m=/models/m"], environ, verify_models=True).verify_models
    with pytest.raises(InvalidInput, match="LADING_MODEL_DIGESTS does not say where"):
        ServeConfig.read(["m=/models/m"], {}, verify_models=True)
    with pytest.raises(InvalidInput, match="LADING_VERIFY_MODELS=perhaps: expected 1 or true"):
        ServeConfig.read(["m=/models/m"], {"LADING_VERIFY_MODELS": "perhaps"})


def test_the_command_refuses_an_altered_model_and_serves_it_as_it_was(model: Path, digests: Path) -> None:
    words = [f"m={model.parent}", "--port", "0", "--grpc-port", "off", "--verify-models"]
    with serving_process(*words, LADING_MODEL_DIGESTS=str(digests)) as server:
        assert server.post("/v1/models/m:predict", {"instances": [2.0]}).json() == {"predictions": [6.0]}
        assert server.logged("model loaded")["verify_seconds"] >= 0
    shutil.copy(model / "fingerprint.pb", model / "another.pb")
    done = subprocess.run(
        [sys.executable, "-m", "lading", "serve", *words, "--host", "127.0.0.1"],
        env={**os.environ, "LADING_MODEL_DIGESTS": str(digests)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "not in the image: another.pb" in done.stderr
    assert "Traceback" not in done.stderr
