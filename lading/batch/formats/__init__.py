"""Formats of rows: how a file's bytes become a model's inputs, and its outputs a file's bytes."""
