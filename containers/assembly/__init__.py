"""Assembles the project's images without Docker, from the same locks and with the same configuration."""
