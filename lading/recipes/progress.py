"""How a recipe tells how far it is: one log line per epoch, for terminals and step logs alike."""

import logging
from typing import Any

logger = logging.getLogger("lading.train")


def epoch_log(epochs: int) -> Any:
    """A Keras callback that logs one line per epoch; give it to ``model.fit(…, verbose=0, callbacks=[…])``.

    Args:
        epochs: How many there will be, as it appears in the line.

    Returns:
        A ``keras.callbacks.Callback``.
    """
    import keras

    def log(epoch: int, logs: dict[str, float] | None) -> None:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        logger.info("epoch %d/%d: %s", epoch + 1, epochs, figures)

    return keras.callbacks.LambdaCallback(on_epoch_end=log)
