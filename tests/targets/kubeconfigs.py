"""Kubeconfigs for tests."""

import json
from pathlib import Path
from typing import Any


def write(path: Path, server: str, *, name: str = "test", cluster: Any = None, **user: Any) -> Path:
    """A kubeconfig with one context; JSON is YAML."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": f"at-{name}", "user": f"of-{name}"}}],
        "clusters": [{"name": f"at-{name}", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": f"of-{name}", "user": user}],
    }
    path.write_text(json.dumps(config))
    return path
