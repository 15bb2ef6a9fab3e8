"""Reads SavedModels as data: nothing of a model is run, and neither TensorFlow nor protobuf is imported."""
