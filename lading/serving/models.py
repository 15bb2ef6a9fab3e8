"""The models of a serving process: loaded, warmed up, and found by name and version."""

import time
from collections.abc import Mapping
from pathlib import Path

from lading.errors import EngineError, LadingError, NotFound
from lading.predict import Model, load_model
from lading.predict.jsonvalues import to_inputs
from lading.serving.log import log
from lading.values import GoldenRequest

GOLDEN = Path("assets.extra/lading/golden.jsonl")


def load_models(paths: Mapping[str, Path], *, engine: str) -> dict[str, Model]:
    """Load every model and run one prediction in each, so that no request pays for what TensorFlow does at the first.

    Raises:
        EngineError: a model cannot be loaded, or fails on its own golden request; names the model.
    """
    models: dict[str, Model] = {}
    try:
        for name, path in paths.items():
            started = time.perf_counter()
            models[name] = load_model(path, engine=engine)
            loaded = time.perf_counter()
            warm = _warm_up(models[name])
            log(
                "model loaded",
                model=name,
                version=models[name].version,
                path=str(models[name].path),
                engine=engine,
                load_seconds=round(loaded - started, 3),
                warm_up_seconds=round(time.perf_counter() - loaded, 3) if warm else None,
            )
    except LadingError as error:
        for model in models.values():
            model.close()
        raise EngineError(f"cannot serve the model {name}: {error}") from error
    return models


def find_model(models: Mapping[str, Model], name: str, version: int | None) -> Model:
    """The model of a name, and of a version if one is asked for.

    Raises:
        NotFound: with TensorFlow Serving's text.
    """
    model = models.get(name)
    if model is None or version not in (None, model.version):
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise NotFound(f"Servable not found for request: {wanted}")
    return model


def _warm_up(model: Model) -> bool:
    """Run the first golden request that the model carries; False if it carries none."""
    file = model.path / GOLDEN
    if not file.is_file():
        return False
    golden = GoldenRequest.read_all(next((line for line in file.read_text().splitlines() if line.strip()), ""))
    for request in golden:
        signature = model.signatures.get(request.signature)
        if signature is None:
            raise EngineError(f'{file} names the signature "{request.signature}", which the model does not have')
        model.predict(to_inputs(request.request, signature), signature=request.signature)
    return bool(golden)
