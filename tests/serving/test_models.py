"""Loads, finds and refuses real models."""

import re
import shutil
import threading
from pathlib import Path

import pytest
from model_places import factor, logged, put, serving, settings, states

from lading.errors import EngineError, InvalidInput, InvalidInstance, NotFound
from lading.predict.protos import message
from lading.serving.config import ModelConfig, VersionPolicy
from lading.serving.metrics import Metrics
from lading.serving.models import Models

ALL = VersionPolicy(latest=None)


@pytest.fixture
def base(scale_versions: Path, tmp_path: Path) -> Path:
    """Versions 1 and 2."""
    found = tmp_path / "base"
    found.mkdir()
    for name in ("1", "2"):
        put(scale_versions / name, found, name)
    return found


def test_the_latest_version_serves_and_older_ones_are_not_found(base: Path) -> None:
    with serving(settings(ModelConfig("m", str(base)))) as models:
        assert (factor(models), factor(models, version=2)) == (2.0, 2.0)
        assert models.names() == ["m"]
        assert states(models) == {2: "AVAILABLE"}
        assert (models.is_ready(), models.is_ready("m", 2), models.is_ready("m", 1)) == (True, True, False)
        with pytest.raises(NotFound, match=r"^Servable not found for request: Specific\(m, 1\)$"):
            models.find("m", 1)
        with pytest.raises(NotFound, match=r"^Servable not found for request: Latest\(other\)$"):
            models.find("other")
        with pytest.raises(NotFound, match=r"^Could not find any versions of model other$"):
            models.statuses("other")
        with pytest.raises(NotFound, match=r"^Could not find version 1 of model m$"):
            models.statuses("m", 1)


def test_all_versions_and_specific_ones(base: Path, scale_versions: Path) -> None:
    put(scale_versions / "3", base, "00000003")
    with serving(settings(ModelConfig("m", str(base), ALL))) as models:
        assert [factor(models, version=number) for number in (1, 2, 3)] == [1.0, 2.0, 3.0]
        assert [status.version for status in models.statuses("m")] == [3, 2, 1]
    with serving(settings(ModelConfig("m", str(base), VersionPolicy(None, (1, 2))))) as models:
        assert factor(models) == 2.0
        assert states(models) == {2: "AVAILABLE", 1: "AVAILABLE"}


def test_labels_lead_to_versions(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"stable": 1, "canary": 2, "future": 9}
    with serving(settings(ModelConfig("m", str(base), ALL, labels))) as models:
        assert (factor(models, label="stable"), factor(models, label="canary")) == (1.0, 2.0)
        for name in ("m", "unknown"):
            with pytest.raises(InvalidInstance, match=r"^Unrecognized servable version label: nope$"):
                models.find(name, label="nope")
        with pytest.raises(NotFound, match=r"Specific\(m, 9\)"):
            models.find("m", label="future")
        assert len(models.statuses("m", label="nope")) == 2, "a label is not looked at"
    (error,) = [line for line in logged(capsys) if line["severity"] == "ERROR"]
    assert 'the label "future" of the model m points at version 9' in error["error"]


def test_a_single_saved_model_and_threads_and_metrics(mlp_model: Path) -> None:
    metrics = Metrics(lambda: ["m"])
    with serving(settings(ModelConfig("m", str(mlp_model)), threads=1), metrics=metrics) as models:
        assert models.find("m").version == 1
    assert 'lading_model_load_seconds{model="m",version="1"} ' in metrics.render().decode()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def variables(directory: Path, ending: str) -> Path:
    return next((directory / "variables").glob(f"variables.{ending}"))


def with_unknown_op(directory: Path) -> None:
    model = message("tensorflow.SavedModel").FromString((directory / "saved_model.pb").read_bytes())
    graph = model.meta_graphs[0].graph_def
    graph.node.add(name="strange", op="LadingsOwnOp")
    (directory / "saved_model.pb").write_bytes(model.SerializeToString())


BROKEN = {
    "no graph": (lambda path: (path / "saved_model.pb").unlink(), "no saved_model.pb"),
    "a cut graph": (lambda path: cut(path / "saved_model.pb"), "whose files are cut off or damaged"),
    "an empty graph": (lambda path: (path / "saved_model.pb").write_bytes(b""), "cannot load the SavedModel .*serve"),
    "no index": (lambda path: variables(path, "index").unlink(), "has variables, but their file is missing.*index"),
    "no data": (lambda path: variables(path, "data*").unlink(), "variables.data-00000-of-00001.*No such file"),
    "cut data": (lambda path: variables(path, "data*").write_bytes(b"ab"), "whose files are cut off or damaged"),
    "a cut index": (lambda path: cut(variables(path, "index")), "whose files are cut off or damaged"),
    "an unknown op": (with_unknown_op, "LadingsOwnOp"),
    "a link out": (lambda path: (path / "words").symlink_to("/etc/passwd"), "words -> /etc/passwd"),
    "a warm-up that fails": (
        lambda path: (
            (path / "assets.extra" / "lading").mkdir(parents=True),
            (path / "assets.extra" / "lading" / "golden.jsonl").write_text(
                '{"signature": "serving_default", "request": {"z": [1]}, "response": {}, "rtol": 0, "atol": 0}'
            ),
        ),
        "warm-up failed: .*golden.jsonl: .*named input: z",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_served_is_refused_with_its_reason_and_others_serve(
    base: Path, scale_versions: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").mkdir()
    alter, reason = BROKEN[case]
    alter(put(scale_versions / "1", tmp_path / "bad", "1"))
    config = settings(ModelConfig("bad", str(tmp_path / "bad")), ModelConfig("m", str(base)))
    with serving(config) as models:
        assert factor(models) == 2.0
        (status,) = models.statuses("bad")
        assert (status.version, status.state, status.error_code) == (1, "END", "INVALID_ARGUMENT")
        assert re.search(reason, status.error_message), status.error_message
        assert not models.is_ready()
        assert models.is_ready("m")
        with pytest.raises(NotFound, match=r"Servable not found for request: Latest\(bad\)"):
            models.find("bad")
    (error,) = [line for line in logged(capsys) if line["severity"] == "ERROR"]
    assert (error["message"], error["model"], error["version"]) == ("model refused", "bad", 1)
    assert error["error"] == status.error_message


def test_when_no_model_can_be_loaded_all_reasons_are_given(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "3").mkdir(parents=True)
    names = ("empty", "half", "gone")
    models = Models(settings(*[ModelConfig(name, str(tmp_path / name)) for name in names]))
    with pytest.raises(EngineError) as raised:
        models.load()
    for words in (
        f"cannot serve the model empty: expected a SavedModel at {tmp_path}/empty",
        f"cannot serve the model half: expected a SavedModel at {tmp_path}/half/3: it has no saved_model.pb",
        f"cannot serve the model gone: expected a SavedModel directory at {tmp_path}/gone, found nothing",
    ):
        assert words in str(raised.value)
    models.close()


def test_a_specific_version_that_is_not_there_is_named(base: Path) -> None:
    models = Models(settings(ModelConfig("m", str(base), VersionPolicy(None, (7, 8)))))
    with pytest.raises(EngineError, match=r"expected one of the versions 7, 8 below .*, which has 1, 2"):
        models.load()


def test_a_new_set_of_models_replaces_the_old(base: Path, scale_versions: Path) -> None:
    with serving(settings(ModelConfig("m", str(base)), ModelConfig("old", str(base)))) as models:
        kept = models.find("m").model
        models.reload([ModelConfig("m", str(base)), ModelConfig("new", str(scale_versions), labels={"best": 3})])
        assert models.names() == ["m", "new"]
        assert models.find("m").model is kept, "what stays is not loaded again"
        assert factor(models, "new", label="best") == 3.0
        with pytest.raises(NotFound, match=r"Latest\(old\)"):
            models.find("old")
        assert states(models, "old") == {2: "END"}
        assert models.is_ready()


def test_a_version_moves_on_when_its_label_does(base: Path) -> None:
    only = {number: VersionPolicy(None, (number,)) for number in (1, 2)}
    with serving(settings(ModelConfig("m", str(base), only[1], {"stable": 1}))) as models:
        assert factor(models, label="stable") == 1.0
        models.reload([ModelConfig("m", str(base), only[2], {"stable": 2})])
        assert factor(models, label="stable") == 2.0
        assert states(models) == {2: "AVAILABLE", 1: "END"}


def test_a_label_for_a_version_that_is_not_loaded_refuses_the_whole_set(base: Path) -> None:
    with serving(settings(ModelConfig("m", str(base), labels={"stable": 2}))) as models:
        before = models.find("m")
        with pytest.raises(InvalidInput, match='label "stable" of the model m points at version 9'):
            models.reload([ModelConfig("m", str(base), ALL, {"stable": 9}), ModelConfig("other", str(base))])
        assert models.names() == ["m"]
        assert models.find("m", label="stable") is before
        assert states(models) == {2: "AVAILABLE", 1: "END"}
        with pytest.raises(NotFound):
            models.find("other")


def test_a_name_twice_is_refused(base: Path) -> None:
    with serving(settings(ModelConfig("m", str(base)))) as models:
        with pytest.raises(InvalidInput, match="used twice: a"):
            models.reload([ModelConfig("a", str(base)), ModelConfig("a", str(base))])
        assert factor(models) == 2.0


def test_a_new_set_with_a_bad_model_is_served_without_it_and_says_so(base: Path, tmp_path: Path) -> None:
    with serving(settings(ModelConfig("m", str(base)))) as models:
        with pytest.raises(EngineError, match=r"cannot serve the model bad: .*found nothing"):
            models.reload([ModelConfig("good", str(base)), ModelConfig("bad", str(tmp_path / "nope"))])
        assert factor(models, "good") == 2.0
        assert not models.is_ready()
        with pytest.raises(NotFound):
            models.find("m")


def test_another_base_path_with_the_same_version_is_loaded(base: Path, scale_versions: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    put(scale_versions / "3", other, "2")
    with serving(settings(ModelConfig("m", str(base)))) as models:
        models.reload([ModelConfig("m", str(other))])
        assert (factor(models, version=2), states(models)) == (3.0, {2: "AVAILABLE"})


def test_what_is_unloaded_between_find_and_use_is_found_again(base: Path) -> None:
    with serving(settings(ModelConfig("m", str(base), ALL))) as models:
        found, go_on = threading.Event(), threading.Event()
        seen: list[int] = []

        def call(served):  # type: ignore[no-untyped-def]
            seen.append(served.version)
            found.set()
            go_on.wait(10)
            return served.model.predict({"x": [1.0]})["y"][0]

        answers: list[float] = []
        caller = threading.Thread(target=lambda: answers.append(models.use(call, "m")))
        caller.start()
        found.wait(10)
        models.reload([ModelConfig("m", str(base), VersionPolicy(None, (1,)))])
        go_on.set()
        caller.join()
        assert (seen, answers) == ([2, 1], [1.0])


def test_a_copy_of_a_model_is_not_shared(base: Path, tmp_path: Path) -> None:
    """Two names may serve the same base path; one of them can go."""
    shutil.rmtree(base / "1")
    with serving(settings(ModelConfig("a", str(base)), ModelConfig("b", str(base)))) as models:
        models.reload([ModelConfig("a", str(base))])
        assert factor(models, "a") == 2.0
