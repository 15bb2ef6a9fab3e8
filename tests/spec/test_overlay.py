"""An overlay against KFP's own proto: what it may hold, and that what it becomes is what kfp-kubernetes writes."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format

from lading.errors import InvalidInput
from lading.spec.ir import Pipeline
from lading.spec.kubernetes import SETTINGS
from lading.spec.overlay import Overlay

ROOT = Path(__file__).parent.parent.parent
TRAIN = ROOT / "components" / "compiled" / "train.yaml"
RELEASE = ROOT / "pipelines" / "compiled" / "release.yaml"

# kfp_kubernetes.KubernetesExecutorConfig and all that it holds, as kfp-kubernetes 2.17.0 has them, under JSON names.
PROTO = """
KubernetesExecutorConfig: repeated SecretAsVolume secretAsVolume, repeated SecretAsEnv secretAsEnv,
    repeated PvcMount pvcMount, NodeSelector nodeSelector, PodMetadata podMetadata,
    repeated ImagePullSecret imagePullSecret, string imagePullPolicy, repeated ConfigMapAsVolume configMapAsVolume,
    repeated ConfigMapAsEnv configMapAsEnv, int64 activeDeadlineSeconds, repeated FieldPathAsEnv fieldPathAsEnv,
    repeated Toleration tolerations, repeated GenericEphemeralVolume genericEphemeralVolume,
    repeated NodeAffinityTerm nodeAffinity, repeated PodAffinityTerm podAffinity,
    EnabledSharedMemory enabledSharedMemory, repeated EmptyDirMount emptyDirMounts, SecurityContext securityContext
SecretAsVolume: string secretName, string mountPath, bool optional, InputParameterSpec secretNameParameter
SecretAsEnv: string secretName, repeated SecretKeyToEnvMap keyToEnv, bool optional,
    InputParameterSpec secretNameParameter
SecretKeyToEnvMap: string secretKey, string envVar
PvcMount: TaskOutputParameterSpec taskOutputParameter, string constant, string componentInputParameter,
    string mountPath, InputParameterSpec pvcNameParameter, string subPath
NodeSelector: map labels, InputParameterSpec nodeSelectorJson
PodMetadata: map labels, map annotations
ImagePullSecret: string secretName, InputParameterSpec secretNameParameter
ConfigMapAsVolume: string configMapName, string mountPath, bool optional, InputParameterSpec configMapNameParameter
ConfigMapAsEnv: string configMapName, repeated ConfigMapKeyToEnvMap keyToEnv,
    InputParameterSpec configMapNameParameter, bool optional
ConfigMapKeyToEnvMap: string configMapKey, string envVar
FieldPathAsEnv: string name, string fieldPath
Toleration: string key, string operator, string value, string effect, int64 tolerationSeconds,
    InputParameterSpec tolerationJson
GenericEphemeralVolume: string volumeName, string mountPath, repeated string accessModes, string size,
    bool defaultStorageClass, string storageClassName, PodMetadata metadata
NodeAffinityTerm: repeated SelectorRequirement matchExpressions, repeated SelectorRequirement matchFields,
    int32 weight, InputParameterSpec nodeAffinityJson
SelectorRequirement: string key, string operator, repeated string values
PodAffinityTerm: repeated SelectorRequirement matchPodExpressions, map matchPodLabels, string topologyKey,
    repeated string namespaces, repeated SelectorRequirement matchNamespaceExpressions, map matchNamespaceLabels,
    int32 weight, bool anti
EnabledSharedMemory: string volumeName, string size
EmptyDirMount: string volumeName, string mountPath, string medium, string sizeLimit
SecurityContext: int64 runAsUser, int64 runAsGroup, bool runAsNonRoot
"""
TOP = "KubernetesExecutorConfig"
# The proto has them; backend/src/v2/driver/k8s.go of KFP 2.17 and before never reads them.
IGNORED = {"podAffinity", "enabledSharedMemory"}
MESSAGES: dict[str, dict[str, str]] = {
    name: {field: kind for kind, field in (part.rsplit(" ", 1) for part in re.split(r",\s+", fields))}
    for name, fields in re.findall(r"^(\w+): (.+(?:\n {4}.+)*)", PROTO, re.M)
}

EVERYTHING = """
train:
  secretAsEnv: [{secretName: bucket, keyToEnv: [{secretKey: token, envVar: TOKEN}], optional: true}]
  secretAsVolume: [{secretName: certificates, mountPath: /certificates, optional: false}]
  configMapAsEnv: [{configMapName: settings, keyToEnv: [{configMapKey: level, envVar: LEVEL}], optional: false}]
  configMapAsVolume: [{configMapName: settings, mountPath: /settings, optional: true}]
  fieldPathAsEnv: [{name: POD, fieldPath: metadata.name}]
  pvcMount: [{constant: datasets, mountPath: /data, subPath: taxi}]
  emptyDirMounts: [{volumeName: scratch, mountPath: /scratch, medium: Memory, sizeLimit: 1Gi}]
  genericEphemeralVolume:
  - {volumeName: work, mountPath: /work, accessModes: [ReadWriteOnce], size: 5Gi, storageClassName: fast,
     metadata: {labels: {team: ml}}}
  nodeSelector: {labels: {pool: ml}}
  nodeAffinity: [{matchExpressions: [{key: zone, operator: In, values: [a, b]}], weight: 10}]
  tolerations: [{key: reserved, operator: Equal, value: ml, effect: NoExecute, tolerationSeconds: 30}]
  podMetadata: {labels: {team: ml}, annotations: {sidecar.istio.io/inject: "false"}}
  imagePullSecret: [{secretName: registry}]
  imagePullPolicy: IfNotPresent
  securityContext: {runAsUser: 1000, runAsGroup: 1000, runAsNonRoot: true}
  activeDeadlineSeconds: 3600
"""

# What kfp-kubernetes 2.17.0 wrote for the same (use_secret_as_env(…), mount_pvc(…), …), as YAML.
WRITTEN = """
secretAsEnv:
- keyToEnv: [{envVar: TOKEN, secretKey: token}]
  optional: true
  secretName: bucket
  secretNameParameter: {runtimeValue: {constant: bucket}}
secretAsVolume:
- mountPath: /certificates
  optional: false
  secretName: certificates
  secretNameParameter: {runtimeValue: {constant: certificates}}
configMapAsEnv:
- configMapName: settings
  configMapNameParameter: {runtimeValue: {constant: settings}}
  keyToEnv: [{configMapKey: level, envVar: LEVEL}]
  optional: false
configMapAsVolume:
- configMapName: settings
  configMapNameParameter: {runtimeValue: {constant: settings}}
  mountPath: /settings
  optional: true
fieldPathAsEnv: [{fieldPath: metadata.name, name: POD}]
pvcMount:
- constant: datasets
  mountPath: /data
  pvcNameParameter: {runtimeValue: {constant: datasets}}
  subPath: taxi
emptyDirMounts: [{medium: Memory, mountPath: /scratch, sizeLimit: 1Gi, volumeName: scratch}]
genericEphemeralVolume:
- accessModes: [ReadWriteOnce]
  metadata: {labels: {team: ml}}
  mountPath: /work
  size: 5Gi
  storageClassName: fast
  volumeName: work
nodeSelector: {labels: {pool: ml}}
nodeAffinity: [{matchExpressions: [{key: zone, operator: In, values: [a, b]}], weight: 10.0}]
tolerations: [{effect: NoExecute, key: reserved, operator: Equal, tolerationSeconds: "30", value: ml}]
podMetadata: {annotations: {sidecar.istio.io/inject: "false"}, labels: {team: ml}}
imagePullSecret:
- secretName: registry
  secretNameParameter: {runtimeValue: {constant: registry}}
imagePullPolicy: IfNotPresent
securityContext: {runAsGroup: "1000", runAsNonRoot: true, runAsUser: "1000"}
activeDeadlineSeconds: "3600"
"""


def platform_of(text: str, path: Path = TRAIN) -> dict[str, Any]:
    return Overlay.parse(text, source="overlay.yaml").apply(Pipeline.load(path)).platform


def executors_of(text: str, path: Path = TRAIN) -> dict[str, Any]:
    found: dict[str, Any] = platform_of(text, path)["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return found


def sample(kind: Any) -> Any:
    """A value with every field that a table of settings has."""
    if isinstance(kind, list):
        return [sample(kind[0])]
    if isinstance(kind, dict):
        return {name.removesuffix("!"): sample(inner) for name, inner in kind.items()}
    if isinstance(kind, tuple):
        return kind[0]
    if kind == "a mapping from text to text":
        return {"a": "b"}
    if kind == "true or false":
        return True
    if kind == "text":
        return "a"
    return "5Gi" if "quantity" in kind else 3


def check(value: Any, kind: str, where: str) -> None:
    """See that JSON has the form that protocol buffers give a field."""
    if kind.startswith("repeated "):
        assert isinstance(value, list), where
        for one in value:
            check(one, kind.removeprefix("repeated "), where)
    elif kind in MESSAGES:
        for name, inner in value.items():
            assert name in MESSAGES[kind], f"{where} has no {name}"
            check(inner, MESSAGES[kind][name], f"{where}.{name}")
    elif kind == "InputParameterSpec":
        assert set(value) == {"runtimeValue"}, where
    elif kind == "int64":
        assert isinstance(value, str), f"{where}: JSON of protocol buffers has it as text"
        assert value.isdigit(), where
    else:
        assert isinstance(value, {"string": str, "bool": bool, "int32": int, "map": dict}[kind]), where


def test_an_overlay_becomes_what_kfp_kubernetes_writes() -> None:
    assert executors_of(EVERYTHING) == {"exec-train": yaml.safe_load(WRITTEN)}


def test_every_setting_is_a_field_of_the_proto() -> None:
    everything = yaml.safe_dump({"train": sample(SETTINGS)})
    (written,) = executors_of(everything).values()
    assert set(written) == set(MESSAGES[TOP]) - IGNORED, "what KFP acts on, an overlay can set"
    check(written, TOP, "train")


def test_only_what_takes_another_steps_value_is_left_out() -> None:
    def left_out(kind: Any, message: str) -> set[str]:
        inner = kind[0] if isinstance(kind, list) else kind
        if not isinstance(inner, dict):
            return set()
        fields = {name.removesuffix("!"): value for name, value in inner.items()}
        deeper = (left_out(value, MESSAGES[message][name].split()[-1]) for name, value in fields.items())
        return (set(MESSAGES[message]) - set(fields)).union(*deeper)

    found = left_out(SETTINGS, TOP) - IGNORED
    assert found
    assert all(name.endswith(("Parameter", "Json")) for name in found)


def test_kfp_reads_the_platform_document() -> None:
    spec_pb2 = pytest.importorskip("kfp.pipeline_spec.pipeline_spec_pb2")
    text = EVERYTHING.replace("train:", '"*":')
    platform = platform_of(text, RELEASE)
    read = json_format.ParseDict(platform, spec_pb2.PlatformSpec())
    executors = read.platforms["kubernetes"].deployment_spec.executors
    assert set(executors) == set(Pipeline.load(RELEASE).spec["deploymentSpec"]["executors"])
    assert json_format.MessageToDict(executors["exec-smoke"]) == yaml.safe_load(WRITTEN)


def test_the_proto_of_kfp_kubernetes_has_these_fields_and_reads_every_setting() -> None:
    proto = pytest.importorskip("kfp.kubernetes.kubernetes_executor_config_pb2", reason="needs kfp-kubernetes")

    def is_map(field: Any) -> bool:
        return bool(field.message_type and field.message_type.GetOptions().map_entry)

    def kind(field: Any) -> str:
        scalars = {field.TYPE_STRING: "string", field.TYPE_BOOL: "bool", field.TYPE_INT32: "int32"}
        scalars[field.TYPE_INT64] = "int64"
        name = field.message_type.name if field.message_type else scalars[field.type]
        return "map" if is_map(field) else f"repeated {name}" if field.is_repeated else name

    found: dict[str, dict[str, str]] = {}

    def walk(message: Any) -> None:
        found[message.name] = {field.json_name: kind(field) for field in message.fields}
        for field in message.fields:
            inner = field.message_type
            if inner and not is_map(field) and inner.file is message.file and inner.name not in found:
                walk(inner)

    walk(proto.KubernetesExecutorConfig.DESCRIPTOR)
    assert found == MESSAGES
    for text in (EVERYTHING, yaml.safe_dump({"train": sample(SETTINGS)})):
        (written,) = executors_of(text).values()
        read = json_format.ParseDict(written, proto.KubernetesExecutorConfig())
        assert json_format.MessageToDict(read) == written


def test_the_pipeline_itself_stays_as_it_was() -> None:
    source = Pipeline.load(RELEASE)
    laid = Overlay.parse(EVERYTHING, source="overlay.yaml").apply(source)
    assert (source.platform, source) == ({}, Pipeline.load(RELEASE))
    assert laid.spec == source.spec
    assert set(laid.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]) == {"exec-train"}


def test_a_step_inside_a_condition_is_found() -> None:
    assert set(executors_of("promote: {imagePullPolicy: Always}", RELEASE)) == {"exec-promote"}


def test_a_step_without_settings_makes_no_second_document() -> None:
    assert platform_of("train: {}") == {}


@pytest.mark.parametrize("size", ["5Gi", "500Mi", "1.5G", "1000000", "1e9", "100m"])
def test_a_size_is_a_quantity_of_kubernetes(size: str) -> None:
    text = f"train: {{emptyDirMounts: [{{volumeName: shm, mountPath: /dev/shm, medium: Memory, sizeLimit: '{size}'}}]}}"
    assert executors_of(text)["exec-train"]["emptyDirMounts"][0]["sizeLimit"] == size


@pytest.mark.parametrize("size", ["5 GB", "5GB", "big", "-1Gi", "", "Gi"])
def test_a_size_that_makes_the_driver_of_kfp_panic_is_refused(size: str) -> None:
    with pytest.raises(InvalidInput, match=r"train\.emptyDirMounts\[0\]\.sizeLimit: expected a quantity .*5Gi"):
        platform_of(f"train: {{emptyDirMounts: [{{volumeName: shm, mountPath: /dev/shm, sizeLimit: '{size}'}}]}}")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("securityContext: {runAsUser: -1}", "train.securityContext.runAsUser: expected a whole number, received -1"),
        ("nodeAffinity: [{weight: 0}]", "a whole number from 1 to 100, received 0"),
        ("emptyDirMounts: [{volumeName: v, mountPath: /v, medium: Disk}]", "one of Memory, HugePages"),
        ("emptyDirMounts: [{volumeName: v, mountPath: /v, sizeLimit: 5}]", "expected a quantity"),
        ("tolerations: [{effect: Never}]", "train.tolerations[0].effect: expected one of NoSchedule"),
        ("imagePullSecret: [{}]", "train.imagePullSecret[0]: secretName is missing"),
        ("nodeSelector: {labels: {pool: ml}, json: x}", "'json'; there are: labels"),
        ("enabledSharedMemory: {volumeName: shm}", "use emptyDirMounts with mountPath /dev/shm and medium Memory"),
        ("podAffinity: [{topologyKey: zone}]", "KFP does not act on it"),
        ("resources: {cpu: 1}", "CPU, memory and accelerators are part of the pipeline itself"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_with_its_place(settings: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)):
        platform_of(f"train:\n  {settings}")
