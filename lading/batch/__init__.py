"""Batch prediction over files: streams rows through a model, keeps what is bad apart, and goes on where it was killed.

A run reads each file as a stream, cuts it into *blocks* (the rows of one call of the model) and these into *shards*
(what is written and recorded at once). Both derive from offsets in the input alone, so that a run which goes on after a
crash makes the same calls, and writes the same bytes.
"""
