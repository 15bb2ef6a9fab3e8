"""The Kubeflow Pipelines components: typed doorways, one for each verb of ``lading``.

A body runs alone in its step: it imports the library, calls one function and writes the outputs. Whatever decides
something belongs in ``lading``.
"""
