"""Server-side apply: who owns which field, merging, conflicts.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

from fakes.kubernetes_schema import child, resolved

Path = tuple[Any, ...]
"""Names of fields, and the keys of list items as sorted pairs."""
Owners = dict[tuple[str, str], set[Path]]
"""By manager and operation (``Apply`` or ``Update``)."""
IGNORED = {("apiVersion",), ("kind",), ("status",)} | {
    ("metadata", name)
    for name in ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
}
_KEY_DEFAULTS = {"protocol": "TCP"}


class ApplyConflict(Exception):
    """Fields that others own: the path of each, and its manager; in the words of the API server."""

    def __init__(self, found: list[tuple[str, str]]) -> None:
        by_manager: dict[str, list[str]] = {}
        for path, manager in found:
            by_manager.setdefault(manager, []).append(path)
        if len(found) == 1:
            super().__init__(f"Apply failed with 1 conflict: conflict with {found[0][1]}: {found[0][0]}")
            return
        lines = [
            line
            for manager, paths in sorted(by_manager.items())
            for line in (f"conflicts with {manager}:", *(f"- {path}" for path in paths))
        ]
        super().__init__(f"Apply failed with {len(found)} conflicts: " + "\n".join(lines))


def leaves(value: Any, schema: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """What can have an owner of its own."""
    if path in IGNORED:
        return
    if isinstance(value, dict) and value and schema.get("x-kubernetes-map-type") != "atomic":
        for name, one in value.items():
            yield from leaves(one, child(schema, name) or {}, (*path, name))
    elif isinstance(value, list) and schema.get("x-kubernetes-list-type") == "map":
        for item in value:
            key = _key(item, schema)
            yield (*path, key), None
            yield from leaves(item, resolved(schema["items"]), (*path, key))
    else:
        yield path, value


def apply(
    live: dict[str, Any], config: dict[str, Any], schema: dict[str, Any], *, owners: Owners, manager: str, force: bool
) -> dict[str, Any]:
    """The object with the fields of a configuration; ``owners`` is brought up to date."""
    wanted, there = dict(leaves(config, schema)), dict(leaves(live, schema))
    me = (manager, "Apply")
    conflicts = []
    for path, value in wanted.items():
        for other, paths in owners.items():
            if other != me and path in paths and there.get(path) != value:
                if force:
                    paths.discard(path)
                else:
                    by = f" using {config['apiVersion']}" if other[1] == "Update" else ""
                    conflicts.append((_shown(path), f'"{other[0]}"{by}'))
    if conflicts:
        raise ApplyConflict(conflicts)
    made = copy.deepcopy(live)
    for path in sorted(owners.get(me, set()) - wanted.keys(), key=len, reverse=True):
        if not any(_within(one, path) for other, paths in owners.items() if other != me for one in paths):
            _remove(made, path)
    for path, value in wanted.items():
        _put(made, path, copy.deepcopy(value))
    owners[me] = set(wanted)
    return made


def changed(
    before: dict[str, Any], after: dict[str, Any], schema: dict[str, Any], owners: Owners, manager: str
) -> None:
    """Give a manager what a write other than apply has changed."""
    old, new = dict(leaves(before, schema)), dict(leaves(after, schema))
    touched = {path for path in old.keys() | new.keys() if path not in old or path not in new or old[path] != new[path]}
    for paths in owners.values():
        paths -= touched
    if touched & new.keys():
        owners.setdefault((manager, "Update"), set()).update(touched & new.keys())


def managed_fields(owners: Owners, api_version: str) -> list[dict[str, Any]]:
    """``metadata.managedFields``."""
    return [
        {"manager": manager, "operation": operation, "apiVersion": api_version, "fieldsType": "FieldsV1",
         "fieldsV1": _tree(paths)}
        for (manager, operation), paths in owners.items() if paths
    ]  # fmt: skip


def _tree(paths: set[Path]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path in paths:
        node = root
        for part in path:
            name = f"f:{part}" if isinstance(part, str) else "k:" + json.dumps(dict(part), separators=(",", ":"))
            node = node.setdefault(name, {})
    return root


def _key(item: dict[str, Any], schema: dict[str, Any]) -> Path:
    names = schema["x-kubernetes-list-map-keys"]
    return tuple((name, item.get(name, _KEY_DEFAULTS.get(name))) for name in sorted(names))


def _is(item: dict[str, Any], key: Path) -> bool:
    return all(item.get(name, _KEY_DEFAULTS.get(name)) == value for name, value in key)


def _put(body: Any, path: Path, value: Any) -> None:
    for place, part in enumerate(path):
        last = place == len(path) - 1
        if isinstance(part, str):
            if last:
                body[part] = value
            else:
                body = body.setdefault(part, [] if isinstance(path[place + 1], tuple) else {})
        else:
            found = next((item for item in body if _is(item, part)), None)
            if found is None:
                found = dict(part)
                body.append(found)
            if last and value is not None:  # an item whose fields have no owners of their own
                found.update(value)
            body = found


def _remove(body: Any, path: Path) -> None:
    for part in path[:-1]:
        body = body.get(part) if isinstance(part, str) else next((item for item in body if _is(item, part)), None)
        if body is None:
            return
    last = path[-1]
    if isinstance(last, str):
        body.pop(last, None)
    else:
        body[:] = [item for item in body if not _is(item, last)]


def _within(path: Path, outer: Path) -> bool:
    return path[: len(outer)] == outer


def _shown(path: Path) -> str:
    parts = [
        f".{p}" if isinstance(p, str) else "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in p) + "]" for p in path
    ]
    return "".join(parts)
