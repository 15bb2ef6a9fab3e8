"""The serving process: TensorFlow Serving's REST API in front of ``lading.predict``."""

from lading.serving.config import ServeConfig

__all__ = ["ServeConfig", "run"]


def run(config: ServeConfig) -> None:
    """Load the models, serve them until SIGTERM or SIGINT, then let running requests end.

    Raises:
        EngineError: a model cannot be loaded or its warm-up failed, or the port cannot be used: the process is to end
            with exit code 3.
    """
    from lading.serving.lifecycle import serve

    serve(config)
