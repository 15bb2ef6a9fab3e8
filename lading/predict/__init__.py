"""Runs SavedModels through TensorFlow's C library; the Python package ``tensorflow`` is never imported.

``load_model`` is the way in. Importing this package costs numpy (0.06 s); the engine is loaded with the first model.
"""

from lading.predict.model import Model, load_model
from lading.predict.signature import Signature, TensorSpec

__all__ = ["Model", "Signature", "TensorSpec", "load_model"]
