"""Columns that are carried from the input to the output."""

import base64
from typing import Any

from lading.batch.options import BatchOptions
from lading.errors import InvalidInput
from lading.predict.signature import Signature


def check_key(signature: Signature, options: BatchOptions) -> None:
    """Refuse a key that the model would have to be given.

    Raises:
        InvalidInput: the key field has the name of an input.
    """
    if options.key_field in signature.inputs:
        raise InvalidInput(
            f"the key field {options.key_field!r} is an input of the model, which a key is not given to: pass it "
            "through instead (--passthrough)"
        )


def text_or_base64(data: bytes) -> Any:
    """Bytes as a JSON value: text if they are UTF-8, else ``{"b64": …}`` as in TensorFlow Serving's REST API."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode()}
