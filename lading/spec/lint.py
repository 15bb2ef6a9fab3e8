"""What breaks a compiled pipeline on Vertex AI, on Kubeflow Pipelines, or in ``kfp.local``; also one of somebody else.

A rule is a function from a pipeline to places and words; ``RULES`` is the table of all of them, and docs/lint.md shows
it. What is said of ``local`` was seen with kfp 2.17; what is said of the others is cited.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from lading.errors import InvalidInput
from lading.spec.images import OWN_PREFIX
from lading.spec.ir import Pipeline, Task

BACKENDS = ("vertex", "kfp", "local")

Places = Iterator[tuple[str, str]]
"""Where, and what is there."""


@dataclass(frozen=True)
class Finding:
    """One thing that breaks, or may."""

    rule: str
    severity: str
    """``error``: it breaks. ``warning``: it may, or does something else than it says."""
    backends: tuple[str, ...]
    """Those it breaks on, of ``BACKENDS``."""
    where: str
    """A task, a parameter, or ``pipeline``."""
    message: str
    remedy: str


@dataclass(frozen=True)
class Rule:
    """A kind of finding."""

    name: str
    severity: str
    backends: tuple[str, ...]
    title: str
    """What it looks for, in one line."""
    remedy: str
    find: Callable[[Pipeline], Places]


def lint(pipeline: Pipeline, backends: Collection[str] = BACKENDS) -> list[Finding]:
    """Hold a pipeline against every rule.

    Args:
        pipeline: As compiled.
        backends: Only what breaks on one of these is reported.

    Raises:
        InvalidInput: a backend is unknown.
    """
    if unknown := set(backends) - set(BACKENDS):
        raise InvalidInput(f"unknown backend {', '.join(sorted(unknown))} (there are: {', '.join(BACKENDS)})")
    return [
        Finding(rule.name, rule.severity, tuple(b for b in rule.backends if b in backends), where, message, rule.remedy)
        for rule in RULES
        if set(rule.backends) & set(backends)
        for where, message in rule.find(pipeline)
    ]


def _two_documents(pipeline: Pipeline) -> Places:
    """Seen: aiplatform.PipelineJob(template_path=…) raises ComposerError."""
    if pipeline.platform:
        yield "pipeline", "the file has a second YAML document, with platform settings"


def _platform_ignored(pipeline: Pipeline) -> Places:
    """Seen: a secret that was asked for as an environment variable is None."""
    for platform, settings in pipeline.platform.get("platforms", {}).items():
        for executor in settings.get("deploymentSpec", {}).get("executors", {}):
            yield executor.removeprefix("exec-"), f"settings for {platform} are left out without a word"


def _workspace(pipeline: Pipeline) -> Places:
    """Workspaces are volumes of Argo workflows (kubeflow/pipelines, kubernetes platform)."""
    for task in pipeline.steps():
        if "{{$.workspace_path}}" in str(task.spec) + str(task.executor):
            yield task.name, "uses the workspace of a run"


def _google_placeholder(pipeline: Pipeline) -> Places:
    """Seen in kfp.local: IndexError. KFP's driver knows no such placeholder."""
    yield from _placeholders(pipeline, r"\{\{\$\.pipeline_google_cloud_\w+\}\}")


def _job_placeholder(pipeline: Pipeline) -> Places:
    """Seen: IndexError: list index out of range."""
    names = "pipeline_job_resource_name|pipeline_job_create_time_utc|pipeline_job_schedule_time_utc"
    yield from _placeholders(pipeline, rf"\{{\{{\$\.(?:{names})\}}\}}")


def _placeholders(pipeline: Pipeline, pattern: str) -> Places:
    for task in pipeline.tasks():
        for found in sorted(set(re.findall(pattern, str(task.spec) + str(task.executor)))):
            yield task.name, f"uses the placeholder {found}"


def _one_of_artifacts(pipeline: Pipeline) -> Places:
    """Seen: ValueError: Expected 1 artifact in ArtifactSelectorSpec. Got: 2."""
    for name, group in _groups(pipeline):
        for output in group["dag"].get("outputs", {}).get("artifacts", {}).values():
            if len(output.get("artifactSelectors", [])) > 1:
                yield name, "chooses one of several artifacts (dsl.OneOf)"


def _quoted_condition(pipeline: Pipeline) -> Places:
    """Seen: the text is put into a Python expression as it is: both the condition and its opposite become false."""
    for task in pipeline.tasks():
        condition = task.spec.get("triggerPolicy", {}).get("condition", "")
        rest = re.sub(r"inputs\.parameter_values\['[^']*'\]", "", condition)
        if re.search(r"'[^'=!<>&|]*'[^'=!<>&|]+'", rest):
            yield task.name, f"its condition compares with a text that has a quote in it: {condition}"


def _named_condition(pipeline: Pipeline) -> Places:
    """Seen: a warning "Could not resolve CEL parameter" in the log, and the condition is false, whatever came."""
    for task in pipeline.tasks():
        condition = task.spec.get("triggerPolicy", {}).get("condition", "")
        given = task.spec.get("inputs", {}).get("parameters", {})
        for name in re.findall(r"inputs\.parameter_values\['([^']*)'\]", condition):
            source = given.get(name, {}).get("taskOutputParameter", {})
            if source and source.get("outputParameterKey") != "Output":
                output = f"{source['outputParameterKey']!r} of {source['producerTask']}"
                yield task.name, f"depends on the output {output}, without an Else"


def _named_loop(pipeline: Pipeline) -> Places:
    """Seen: ValueError: Parent pipeline input argument … not found."""
    for task in pipeline.tasks():
        name = task.spec.get("parameterIterator", {}).get("items", {}).get("inputParameter", "")
        source = task.spec.get("inputs", {}).get("parameters", {}).get(name, {}).get("taskOutputParameter", {})
        if source and source.get("outputParameterKey") != "Output":
            yield task.name, f"loops over the output {source['outputParameterKey']!r} of {source['producerTask']}"


def _file_importer(pipeline: Pipeline) -> Places:
    """Seen: the artifact's path is the URI itself, file:// and all."""
    for task in pipeline.steps():
        uri = task.executor.get("importer", {}).get("artifactUri", {}).get("constant", "")
        if str(uri).startswith("file://"):
            yield task.name, f"imports {uri}"


def _optional_parameter(pipeline: Pipeline) -> Places:
    """Seen: ValueError: Unknown value type."""
    for name, declared in pipeline.parameters.items():
        if declared.get("isOptional") and "defaultValue" not in declared:
            yield name, "is optional and has no default"


def _artifact_input(pipeline: Pipeline) -> Places:
    """Seen: TypeError, or ValueError for a component."""
    for name in pipeline.spec["root"].get("inputDefinitions", {}).get("artifacts", {}):
        yield name, "is an artifact that the caller has to give"


def _container_component(pipeline: Pipeline) -> Places:
    """Seen: RuntimeError: The SubprocessRunner only supports running Lightweight Python Components."""
    for task in pipeline.steps():
        if task.container and "kfp.dsl.executor_main" not in str(task.container) and not _fused(task):
            yield task.name, "is a container component"


def _fused(task: Task) -> bool:
    return "_KFP_RUNTIME" in str(task.container)


def _pip_install(pipeline: Pipeline) -> Places:
    """The compiler writes it for packages_to_install, and for kfp itself unless install_kfp_package=False."""
    for task in pipeline.steps():
        if "pip install" in str(task.container.get("command", "")):
            yield task.name, "installs packages from an index each time it starts"


def _moving_image(pipeline: Pipeline) -> Places:
    """A tag such as latest, or none, is another image tomorrow."""
    for task in pipeline.steps():
        image = task.container.get("image", "")
        tag = image.rpartition("/")[2].partition(":")[2]
        if image and "@" not in image and tag in ("", "latest"):
            yield task.name, f"runs in {image}, which can be another image tomorrow"


def _nameless_registry(pipeline: Pipeline) -> Places:
    """Images of lading are committed without a registry: a team puts them into its own."""
    for image in pipeline.images():
        if image.startswith(OWN_PREFIX):
            users = ", ".join(task.name for task in pipeline.steps() if task.container.get("image") == image)
            yield users, f"runs in {image}, a name without a registry"


def _vertex_name(pipeline: Pipeline) -> Places:
    """google.cloud.aiplatform.pipeline_jobs: _VALID_NAME_PATTERN."""
    if not re.fullmatch(r"[a-z][-a-z0-9]{0,127}", pipeline.name):
        yield "pipeline", f"is named {pipeline.name!r}"


def _parallelism(pipeline: Pipeline) -> Places:
    """Seen: two workers, whatever is asked for."""
    for task in pipeline.tasks():
        if limit := task.spec.get("iteratorPolicy", {}).get("parallelismLimit"):
            yield task.name, f"asks for {limit} iterations at a time; there are always two"


def _requests_only(pipeline: Pipeline) -> Places:
    """Vertex reads limits only (Google's documentation, "Specify machine types for a pipeline step")."""
    for task in pipeline.steps():
        resources = task.container.get("resources", {})
        for kind in ("Cpu", "Memory"):
            asked = {f"resource{kind}Request", f"{kind.lower()}Request"} & set(resources)
            if asked and not {f"resource{kind}Limit", f"{kind.lower()}Limit"} & set(resources):
                yield task.name, f"requests {kind.lower()} and has no limit"


def _new_resources(pipeline: Pipeline) -> Places:
    """Version 2.10 and 2.11 of kfp wrote these alone (kubeflow/pipelines issues 11390 and 11374)."""
    for task in pipeline.steps():
        resources = task.container.get("resources", {})
        for kind in ("Cpu", "Memory"):
            if f"resource{kind}Limit" in resources and f"{kind.lower()}Limit" not in resources:
                yield task.name, f"has its {kind.lower()} limit in the new field alone"


def _google_component(pipeline: Pipeline) -> Places:
    """They call Vertex AI with the rights of the job."""
    for task in pipeline.steps():
        if "google-cloud-pipeline-components" in task.container.get("image", ""):
            yield task.name, "is a Google Cloud Pipeline Component"


def _groups(pipeline: Pipeline) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, component in {"pipeline": pipeline.spec["root"], **pipeline.spec.get("components", {})}.items():
        if "dag" in component:
            yield name.removeprefix("comp-"), component


_OVERLAY = "keep the pipeline in one document, and platform settings in an overlay (`lading compile --overlay`)"
_IMAGES = "name a version or a digest"

RULES = (
    Rule("two-documents", "error", ("vertex",), "platform settings in a second document", _OVERLAY, _two_documents),
    Rule("pipeline-name", "error", ("vertex",), "a name that cannot begin the id of a job",
         "lower-case letters, digits and dashes, at most 128, a letter first", _vertex_name),
    Rule("workspace", "error", ("vertex",), "the workspace of a run", "pass artifacts", _workspace),
    Rule("requests-only", "warning", ("vertex",), "resource requests without limits",
         "set a limit (set_cpu_limit, set_memory_limit)", _requests_only),
    Rule("new-resources", "warning", ("vertex", "kfp"), "limits in the new field alone, which older backends ignore",
         "compile with kfp 2.12 or later, which writes both", _new_resources),
    Rule("google-placeholder", "error", ("kfp", "local"), "placeholders of Google's components",
         "make project and region parameters of the pipeline", _google_placeholder),
    Rule("google-component", "warning", ("kfp", "local"), "Google Cloud Pipeline Components",
         "use a component that knows the platform, or run on Vertex", _google_component),
    Rule("nameless-registry", "warning", ("vertex", "kfp"), "lading's images without a registry",
         "`lading compile --images PREFIX`, `lading submit --images PREFIX`", _nameless_registry),
    Rule("moving-image", "warning", ("vertex", "kfp"), "an image without a version", _IMAGES, _moving_image),
    Rule("pip-install", "warning", ("vertex", "kfp", "local"), "packages installed when a step starts",
         "put them into the image; for kfp itself: install_kfp_package=False", _pip_install),
    Rule("one-of-artifacts", "error", ("local",), "dsl.OneOf over artifacts",
         "choose between parameters, or write one artifact in a step of its own", _one_of_artifacts),
    Rule("quoted-condition", "error", ("local",), "a condition on a text with a quote in it",
         "compare inside a component that returns a bool", _quoted_condition),
    Rule("named-condition", "error", ("local",), "a lone dsl.If on one of several outputs",
         "add a dsl.Else, or put it into a pipeline of its own that takes the value as a parameter", _named_condition),
    Rule("named-loop", "error", ("local",), "a loop over one of several outputs",
         "let the producer return the list alone (.output)", _named_loop),
    Rule("file-importer", "error", ("local",), "an importer of a file:// URI",
         "give the bare absolute path", _file_importer),
    Rule("job-placeholder", "error", ("local",), "placeholders of the job's resource name and times",
         "pass the time as a parameter; PIPELINE_JOB_NAME and PIPELINE_JOB_ID work everywhere", _job_placeholder),
    Rule("optional-parameter", "error", ("local",), "an optional pipeline parameter without default",
         "give it a default, '' for a text", _optional_parameter),
    Rule("artifact-input", "error", ("local",), "an artifact as input of the pipeline or of a lone component",
         "begin with dsl.importer, or with a step that makes it", _artifact_input),
    Rule("container-component", "error", ("local",), "a container component",
         "use local.DockerRunner, or a lightweight component", _container_component),
    Rule("platform-ignored", "warning", ("local",), "platform settings", "set the variables in the shell that runs it",
         _platform_ignored),
    Rule("parallelism", "warning", ("local",), "a loop's parallelism", "expect two at a time", _parallelism),
)  # fmt: skip
