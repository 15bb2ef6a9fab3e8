"""Services on Vertex AI: versions of a model, on endpoints found by name."""
