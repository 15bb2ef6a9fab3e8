"""Only an image that a key signed is deployed, when that is required."""

from pathlib import Path
from typing import Any

import pytest
from soon import soon
from tiny_image import write_image

from lading.cli import main
from lading.errors import Rejected
from lading.oci.layout import Layout
from lading.sign import sign_image
from lading.signing.keys import PemSigner


def deploy(image: str, key: Path | str, folder: Path, **options: Any) -> int:
    """`lading deploy` to a target that would refuse every connection."""
    words = ["deploy", image, "--service", "taxi", "--target", "knative:default", "--out", str(folder / "candidate")]
    return main([*words, "--require-signed", str(key), "--timeout", "5"])


@pytest.fixture
def local_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Layout, str]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    store = Layout(tmp_path / "state" / "lading" / "local" / "images", "lading.local/taxi")
    return store, f"lading.local/taxi@{write_image(store)}"


def test_an_unsigned_image_is_not_deployed(
    local_image: tuple[Layout, str], keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, image = local_image
    assert deploy(image, keys / "ours.pub", tmp_path) == 1
    said = capsys.readouterr().err
    assert f"{image} is not deployed: a signature by the key" in said
    assert "nothing is attached" in said
    assert not (tmp_path / "candidate").exists()


def test_an_image_that_another_signed_is_not_deployed(
    local_image: tuple[Layout, str], keys: Path, theirs: PemSigner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, image = local_image
    sign_image(store, image.partition("@")[2], theirs, deadline=soon())
    assert deploy(image, keys / "ours.pub", tmp_path) == 1
    assert "another key" in capsys.readouterr().err


def test_a_signed_image_comes_as_far_as_the_target(
    local_image: tuple[Layout, str], keys: Path, ours: PemSigner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, image = local_image
    sign_image(store, image.partition("@")[2], ours, deadline=soon())
    for key in (keys / "ours.pub", (keys / "ours.pub").read_text()):
        assert deploy(image, key, tmp_path) > 1
        assert "signature" not in capsys.readouterr().err
    assert deploy(image.partition("@")[0], keys / "ours.pub", tmp_path) == 2


def test_the_component_refuses_before_it_connects(local_image: tuple[Layout, str], keys: Path, tmp_path: Path) -> None:
    from kfp import dsl

    from components.deploy import deploy as component

    with pytest.raises(Rejected, match="is not deployed: a signature by the key"):
        component.python_func(
            dsl.Artifact(uri=str(tmp_path / "candidate")),
            local_image[1],
            "sha256:0",
            "taxi",
            "release-1",
            "nonsense:",  # no such kind of target
            require_signed=(keys / "ours.pub").read_text(),
        )
