"""The pipelines: components in order, with their gates."""
