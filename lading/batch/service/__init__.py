"""The on-demand batch service: runs of batch prediction behind HTTP, one URL for embedded-tf's callers among them."""

from lading.batch.service.config import ServiceConfig

__all__ = ["ServiceConfig", "run"]


def run(config: ServiceConfig) -> None:
    """Serve until SIGTERM or SIGINT, then end the runs at their next block.

    Raises:
        EngineError: the port cannot be used.
    """
    from lading.batch.service.server import serve

    serve(config)
