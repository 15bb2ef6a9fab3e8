"""Batch prediction jobs of Vertex AI: what is asked for, the service that runs it, and what came of it."""
