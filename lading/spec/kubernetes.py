"""The fields of KFP's ``KubernetesExecutorConfig`` that an overlay may set, as a table, and what is done with them.

Source: kubeflow/pipelines, ``kubernetes_platform/proto/kubernetes_executor_config.proto`` as of kfp-kubernetes 2.17,
under its JSON names. Left out are the fields that take a value from another step or from a pipeline's input
(``…Parameter``, ``…Json``): an overlay is written after the pipeline, and cannot add inputs to it. Left out too is what
the proto has and no KFP acts on (``backend/src/v2/driver/k8s.go`` as of 2.17): it would be lost without a word.
"""

import re
from typing import Any

from lading.errors import InvalidInput

_TEXT, _TRUTH, _WHOLE, _TEXTS = "text", "true or false", "a whole number", "a mapping from text to text"
_WEIGHT = "a whole number from 1 to 100"
_SIZE = "a quantity of Kubernetes (500Mi, 5Gi)"
# Anything else makes KFP's driver panic (up to 2.17: k8sres.MustParse in backend/src/v2/driver/k8s.go). Source of the
# form: Kubernetes, apimachinery/pkg/api/resource/quantity.go.
_QUANTITY = re.compile(r"\d+(\.\d+)?([mkMGTPE]|[KMGTPE]i|[eE]\d+)?")

# A list: any number of what it holds. A dict: a message, `!` marks what it must have. A tuple: one of these words.
_LABELS: dict[str, Any] = {"labels": _TEXTS, "annotations": _TEXTS}
_MEDIA = ("Memory", "HugePages", "HugePages-2Mi", "HugePages-1Gi")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_REQUIREMENT = {"key!": _TEXT, "operator!": _OPERATORS, "values": [_TEXT]}
SETTINGS: dict[str, Any] = {
    "secretAsEnv": [
        {"secretName!": _TEXT, "keyToEnv!": [{"secretKey!": _TEXT, "envVar!": _TEXT}], "optional": _TRUTH},
    ],
    "secretAsVolume": [{"secretName!": _TEXT, "mountPath!": _TEXT, "optional": _TRUTH}],
    "configMapAsEnv": [
        {"configMapName!": _TEXT, "keyToEnv!": [{"configMapKey!": _TEXT, "envVar!": _TEXT}], "optional": _TRUTH},
    ],
    "configMapAsVolume": [{"configMapName!": _TEXT, "mountPath!": _TEXT, "optional": _TRUTH}],
    "fieldPathAsEnv": [{"name!": _TEXT, "fieldPath!": _TEXT}],
    "pvcMount": [{"constant!": _TEXT, "mountPath!": _TEXT, "subPath": _TEXT}],
    "emptyDirMounts": [{"volumeName!": _TEXT, "mountPath!": _TEXT, "medium": _MEDIA, "sizeLimit": _SIZE}],
    "genericEphemeralVolume": [
        {
            "volumeName!": _TEXT,
            "mountPath!": _TEXT,
            "accessModes!": [("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")],
            "size!": _SIZE,
            "storageClassName": _TEXT,
            "defaultStorageClass": _TRUTH,
            "metadata": _LABELS,
        }
    ],
    "nodeSelector": {"labels!": _TEXTS},
    "nodeAffinity": [{"matchExpressions": [_REQUIREMENT], "matchFields": [_REQUIREMENT], "weight": _WEIGHT}],
    "tolerations": [
        {
            "key": _TEXT,
            "operator": ("Exists", "Equal"),
            "value": _TEXT,
            "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute"),
            "tolerationSeconds": _WHOLE,
        }
    ],
    "podMetadata": _LABELS,
    "imagePullSecret": [{"secretName!": _TEXT}],
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "securityContext": {"runAsUser": _WHOLE, "runAsGroup": _WHOLE, "runAsNonRoot": _TRUTH},
    "activeDeadlineSeconds": _WHOLE,
}

_ELSEWHERE = {
    "serviceAccount": "KFP has one service account for a whole run: `lading submit --service-account`",
    "serviceAccountName": "KFP has one service account for a whole run: `lading submit --service-account`",
    "resources": "CPU, memory and accelerators are part of the pipeline itself",
    "enabledSharedMemory": "KFP does not act on it: use emptyDirMounts with mountPath /dev/shm and medium Memory",
    "podAffinity": "KFP does not act on it: nodeSelector and nodeAffinity choose nodes",
    "env": "KFP takes plain variables from the pipeline itself; here there are secretAsEnv and configMapAsEnv",
}

# kfp-kubernetes writes such a name twice: for backends before 2.5, and as the parameter that newer ones read.
_NAMES = {
    "secretAsEnv": ("secretName", "secretNameParameter"),
    "secretAsVolume": ("secretName", "secretNameParameter"),
    "imagePullSecret": ("secretName", "secretNameParameter"),
    "configMapAsEnv": ("configMapName", "configMapNameParameter"),
    "configMapAsVolume": ("configMapName", "configMapNameParameter"),
    "pvcMount": ("constant", "pvcNameParameter"),
}


def check_settings(settings: Any, where: str) -> None:
    """See that settings are what KFP takes.

    Args:
        settings: A ``KubernetesExecutorConfig`` in JSON form.
        where: What it belongs to, for messages.

    Raises:
        InvalidInput: names the field, what was expected, and which fields there are.
    """
    _check(settings, SETTINGS, where)


def merge_settings(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Settings over other settings: lists are joined, mappings merged, and of single values ``above`` has the say."""
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        if isinstance(known, list) and isinstance(value, list):
            merged[key] = [*known, *(one for one in value if one not in known)]
        elif isinstance(known, dict) and isinstance(value, dict):
            merged[key] = merge_settings(known, value)
        else:
            merged[key] = value
    return merged


def with_parameters(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as kfp-kubernetes writes them, for backends old and new."""
    written = {key: _as_proto_json(value, SETTINGS[key]) for key, value in settings.items()}
    for key, (name, parameter) in _NAMES.items():
        for entry in written.get(key, ()):
            entry[parameter] = {"runtimeValue": {"constant": entry[name]}}
    return written


def _check(value: Any, kind: Any, where: str) -> None:
    if isinstance(kind, list):
        _expect(isinstance(value, list), where, "a list", value)
        for number, one in enumerate(value):
            _check(one, kind[0], f"{where}[{number}]")
    elif isinstance(kind, dict):
        _check_message(value, kind, where)
    elif isinstance(kind, tuple):
        _expect(value in kind, where, f"one of {', '.join(kind)}", value)
    elif kind == _TEXTS:
        fits = isinstance(value, dict) and all(isinstance(word, str) for pair in value.items() for word in pair)
        _expect(fits, where, f"{kind} (numbers and true/false in quotes)", value)
    else:
        fits = {
            _TEXT: isinstance(value, str) and bool(value),
            _TRUTH: isinstance(value, bool),
            _WHOLE: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
            _SIZE: isinstance(value, str) and bool(_QUANTITY.fullmatch(value)),
            _WEIGHT: value in range(1, 101) and not isinstance(value, bool),
        }[kind]
        _expect(fits, where, kind, value)


def _check_message(value: Any, kind: dict[str, Any], where: str) -> None:
    _expect(isinstance(value, dict), where, f"a mapping with {_fields(kind)}", value)
    fields = {name.removesuffix("!"): inner for name, inner in kind.items()}
    for name, inner in value.items():
        if name not in fields:
            hint = _ELSEWHERE.get(str(name), "") if kind is SETTINGS else ""
            raise InvalidInput(f"{where}: {hint or 'unknown setting'} ({name!r}; there are: {_fields(kind)})")
        _check(inner, fields[name], f"{where}.{name}")
    if missing := [name[:-1] for name in kind if name.endswith("!") and name[:-1] not in value]:
        raise InvalidInput(f"{where}: {', '.join(missing)} is missing")


def _expect(fits: bool, where: str, expected: str, value: Any) -> None:
    if not fits:
        raise InvalidInput(f"{where}: expected {expected}, received {value!r}")


def _fields(kind: dict[str, Any]) -> str:
    return ", ".join(name.removesuffix("!") for name in kind)


def _as_proto_json(value: Any, kind: Any) -> Any:
    """A copy in the JSON form of protocol buffers, in which an int64 is text."""
    if isinstance(kind, list):
        return [_as_proto_json(one, kind[0]) for one in value]
    if isinstance(kind, dict):
        return {name: _as_proto_json(inner, kind.get(name) or kind[f"{name}!"]) for name, inner in value.items()}
    if kind == _WHOLE:
        return str(value)
    return dict(value) if isinstance(value, dict) else value
