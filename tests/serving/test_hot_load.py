"""New versions while a model serves."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_places import Asking, factor, logged, put, serving, settings, states, until

from lading.errors import NotFound
from lading.serving.config import ModelConfig, VersionPolicy
from lading.serving.models import Models


@pytest.fixture
def base(scale_versions: Path, tmp_path: Path) -> Path:
    """Version 1."""
    found = tmp_path / "base"
    found.mkdir()
    put(scale_versions / "1", found, "1")
    return found


@pytest.fixture
def models(base: Path) -> Iterator[Models]:
    """Serves the base path; looks only when it is told to."""
    with serving(settings(ModelConfig("m", str(base)))) as made:
        yield made


def test_no_request_fails_while_versions_come_and_go(base: Path, scale_versions: Path) -> None:
    with serving(settings(ModelConfig("m", str(base))), watch=True) as models, Asking(models) as asking:
        until(lambda: asking.asked > 50)
        for number in ("2", "3", "10"):
            put(scale_versions / number.replace("10", "1"), base, number)
            until(lambda number=number: states(models).get(int(number)) == "AVAILABLE")
            until(lambda: list(states(models).values()).count("AVAILABLE") == 1)
        shutil.rmtree(base / "10")
        until(lambda: factor(models) == 3.0)
    assert asking.failures == []
    assert asking.answers == {1.0, 2.0, 3.0}
    assert states(models) == {10: "END", 3: "AVAILABLE", 2: "END", 1: "END"}


def test_a_bad_version_stays_out_and_the_old_serves_on(
    base: Path, models: Models, scale_versions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = put(scale_versions / "2", base, "2")
    (bad / "saved_model.pb").write_bytes(b"not a model")
    with Asking(models) as asking:
        until(lambda: asking.asked > 5)
        models.look()
        models.look()
    assert (asking.failures, asking.answers) == ([], {1.0})
    assert models.is_ready()
    two, one = models.statuses("m")
    assert (two.version, two.state, one.state) == (2, "END", "AVAILABLE")
    assert f"cannot load the SavedModel {bad}" in two.error_message
    (error,) = [line for line in logged(capsys) if line["severity"] == "ERROR"]
    assert (error["message"], error["version"], error["error"]) == ("model refused", 2, two.error_message)
    # When its files change it is tried again.
    shutil.copy(scale_versions / "2" / "saved_model.pb", bad)
    models.look()
    assert (factor(models), states(models)) == (2.0, {2: "AVAILABLE", 1: "END"})


def test_a_bad_version_is_tried_again_a_few_times(
    base: Path, scale_versions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(settings(ModelConfig("m", str(base))), retry_seconds=0) as models:
        (put(scale_versions / "2", base, "2") / "saved_model.pb").write_bytes(b"not a model")
        for _ in range(10):
            models.look()
    tries = [line["tries"] for line in logged(capsys) if line["severity"] == "ERROR"]
    assert tries == [1, 2, 3, 4, 5, 6], "once, and five times again"


def test_a_version_that_is_being_copied_is_waited_for(
    base: Path, models: Models, scale_versions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(scale_versions / "2" / "variables", base / "2" / "variables")
    models.look()
    models.look()
    assert (factor(models), states(models)) == (1.0, {2: "START", 1: "AVAILABLE"})
    assert "is it still being copied?" in models.statuses("m", 2)[0].error_message
    shutil.copy(scale_versions / "2" / "saved_model.pb", base / "2")
    models.look()
    assert (factor(models), states(models)) == (2.0, {2: "AVAILABLE", 1: "END"})
    lines = logged(capsys)
    assert [line["message"] for line in lines].count("version incomplete") == 1
    assert {line["severity"] for line in lines} == {"INFO"}


def test_a_copy_that_is_given_up_is_forgotten(base: Path, models: Models) -> None:
    (base / "2").mkdir()
    models.look()
    (base / "2").rmdir()
    models.look()
    assert states(models) == {2: "END", 1: "AVAILABLE"}


def test_a_version_that_vanishes_is_unloaded_even_the_last(
    base: Path, models: Models, scale_versions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(base / "1")
    models.look()
    with pytest.raises(NotFound, match=r"Servable not found for request: Latest\(m\)"):
        models.find("m")
    assert states(models) == {1: "END"}
    assert not models.is_ready()
    assert [line["message"] for line in logged(capsys)][-2:] == ["versions not served", "model unloaded"]
    put(scale_versions / "3", base, "1")
    models.look()
    assert (factor(models), models.is_ready()) == (3.0, True)


def test_a_base_path_that_is_gone_unloads_nothing(base: Path, models: Models) -> None:
    shutil.rmtree(base)
    models.look()
    assert factor(models) == 1.0


def test_as_many_versions_as_were_asked_for_stay(base: Path, scale_versions: Path) -> None:
    put(scale_versions / "2", base, "2")
    with serving(settings(ModelConfig("m", str(base), VersionPolicy(latest=2)))) as models:
        (base / "3").mkdir()
        models.look()
        assert states(models) == {3: "START", 2: "AVAILABLE", 1: "AVAILABLE"}
        shutil.copytree(scale_versions / "3", base / "3", dirs_exist_ok=True)
        models.look()
        assert states(models) == {3: "AVAILABLE", 2: "AVAILABLE", 1: "END"}


def test_a_model_that_could_not_start_comes_when_it_is_there(base: Path, scale_versions: Path, tmp_path: Path) -> None:
    late = tmp_path / "late"
    with serving(settings(ModelConfig("m", str(base)), ModelConfig("late", str(late))), watch=True) as models:
        assert not models.is_ready()
        late.mkdir()
        put(scale_versions / "2", late, "7")
        until(models.is_ready)
        assert (factor(models, "late"), models.find("late").version) == (2.0, 7)


def test_nothing_is_looked_at_when_polling_is_off(base: Path, scale_versions: Path) -> None:
    with serving(settings(ModelConfig("m", str(base)), poll_seconds=0), watch=True) as models:
        put(scale_versions / "2", base, "2")
        time.sleep(0.2)
        assert factor(models) == 1.0


def test_models_that_are_closed_are_watched_no_more(base: Path, scale_versions: Path) -> None:
    with serving(settings(ModelConfig("m", str(base))), watch=True) as models:
        pass
    put(scale_versions / "2", base, "2")
    models.look()
    assert states(models) == {1: "AVAILABLE"}


def test_a_bad_version_of_one_model_does_not_hold_another(base: Path, scale_versions: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    put(scale_versions / "1", other, "1")
    with serving(settings(ModelConfig("m", str(base)), ModelConfig("other", str(other)))) as models:
        (put(scale_versions / "2", base, "2") / "saved_model.pb").write_bytes(b"")
        put(scale_versions / "2", other, "2")
        models.look()
        assert (factor(models, "m"), factor(models, "other")) == (1.0, 2.0)


def test_ended_versions_do_not_pile_up(base: Path, models: Models) -> None:
    """A server that is sent a bad version each minute for a day must not grow."""
    for number in range(1000, 1300):
        (base / str(number)).mkdir()
        models.look()
        (base / str(number)).rmdir()
    models.look()
    assert len(models.statuses("m")) <= 102
    assert states(models)[1] == "AVAILABLE"


def config_text(*models: tuple[str, Path], more: str = "") -> str:
    each = "".join(f'config {{ name: "{name}" base_path: "{path}" {more} }}\n' for name, path in models)
    return f"model_config_list {{ {each} }}"


def test_a_configuration_file_is_read_again(
    base: Path, tmp_path: Path, scale_versions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "models.config"
    file.write_text(config_text(("m", base)))
    config = settings(model_config_file=file, model_config_poll_seconds=0.02, poll_seconds=0)
    with serving(config, watch=True) as models:
        assert models.names() == ["m"]
        file.write_text("model_config_list { config { nam")
        until(lambda: any(line["message"] == "model configuration refused" for line in logged(capsys)))
        assert (models.names(), factor(models)) == (["m"], 1.0)
        time.sleep(0.1)
        assert logged(capsys) == [], "said once"
        file.write_text(config_text(("new", scale_versions), ("m", base)))
        until(lambda: models.names() == ["new", "m"])
        assert (factor(models, "new"), factor(models)) == (3.0, 1.0)
        # A label whose version is still to come: refused until it is there, then taken.
        file.write_text(config_text(("m", base), more='version_labels { key: "next" value: 2 }'))
        until(lambda: any("points at version 2" in line.get("error", "") for line in logged(capsys)))
        assert models.names() == ["new", "m"]
        put(scale_versions / "2", base, "2")
        until(lambda: models.names() == ["m"])
        assert factor(models, label="next") == 2.0
