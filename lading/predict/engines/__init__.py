"""The engines: each computes with one library, in one file, behind ``lading.predict.model.Engine``."""
