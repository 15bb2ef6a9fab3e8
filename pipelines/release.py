"""The release pipeline: from data to a service that answers, with a gate before every step that users would notice."""

from kfp import dsl

from components.deploy import deploy
from components.evaluate import evaluate
from components.package import package
from components.promote import promote
from components.reject import reject
from components.scan import scan
from components.settle import settle
from components.smoke import smoke
from components.train import train
from components.vertex_resources import vertex_resources

RELEASE_ID = f"{dsl.PIPELINE_JOB_NAME_PLACEHOLDER}.{dsl.PIPELINE_JOB_ID_PLACEHOLDER}"


@dsl.pipeline(name="release")
def release(
    data: str = "",
    recipe: str = "fashion_mnist",
    recipe_sha256: str = "",
    hyperparameters: str = "{}",
    thresholds: str = "{}",
    scan_policy: str = "{}",
    service: str = "fashion-mnist",
    repository: str = "lading.local/fashion-mnist",
    base: str = "host",
    sign_key: str = "",
    statements: bool = False,
    require_signed: str = "",
    target: str = "local:",
    settings: str = "{}",
    steps: str = "100",
    hold_seconds: int = 0,
    public: bool = False,
    instances: str = "",
):
    """Train a model, judge it, scan it, package it, deploy it, ask it, and give it the traffic.

    Args:
        data: What the recipe reads: a directory or a gs:// prefix. Empty: the recipe's own default.
        recipe: Name of a built-in recipe, or the URI of a Python file.
        recipe_sha256: SHA-256 of the recipe file, in hex; needed for gs://.
        hyperparameters: A JSON object for the recipe, for instance {"epochs": 5}.
        thresholds: A JSON object: {"min_accuracy": 0.8, "max_accuracy_drop": 0.02}.
        scan_policy: What the scan lets pass, as a JSON object: {"allow_ops": ["ReadFile"]}.
        service: Name of the service.
        repository: Where the image goes: HOST/NAME in a registry, or lading.local/NAME on this machine.
        base: The image below the model, by tag or digest; host for the target local:.
        sign_key: Signs the image: a gs:// URI of a PEM, or gcpkms://…. Empty: nobody does.
        statements: Whether a bill of materials and the provenance are attached to the image.
        require_signed: A public key that must have signed the image, else it is not deployed.
        target: Where the service lives.
        settings: How a revision runs, as a JSON object.
        steps: Percentages of the traffic that rise to 100, such as 5,25,100; each step is watched.
        hold_seconds: How long each step is watched, at least.
        public: Whether everyone may ask the service once it is promoted.
        instances: Your own requests, which the candidate has to answer too: the URI of a JSON file with
            {"instances": [...]} or a list of such. Empty: none.
    """
    undo = settle(service=service, target=target, release_id=RELEASE_ID).set_caching_options(False)
    with dsl.ExitHandler(undo, name="settle-at-exit"):
        trained = train(recipe=recipe, data=data, hyperparameters=hyperparameters, recipe_sha256=recipe_sha256)
        evaluated = evaluate(
            model=trained.outputs["model"],
            heldout=trained.outputs["heldout"],
            thresholds=thresholds,
            service=service,
            target=target,
        ).set_caching_options(False)
        with dsl.If(evaluated.outputs["passed"] == True, name="good-enough"):  # noqa: E712
            scanned = scan(model=trained.outputs["model"], policy=scan_policy).set_caching_options(False)
            with dsl.If(scanned.outputs["passed"] == True, name="harmless"):  # noqa: E712
                packaged = package(
                    model=trained.outputs["model"],
                    repository=repository,
                    scan_report=scanned.outputs["report"],
                    base=base,
                    sign_key=sign_key,
                    sbom=statements,
                    provenance=statements,
                    job_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                )
                packaged.set_caching_options(False)
                deployed = deploy(
                    image=packaged.outputs["image"],
                    model_diff_id=packaged.outputs["model_diff_id"],
                    service=service,
                    target=target,
                    settings=settings,
                    require_signed=require_signed,
                    steps=steps,
                    release_id=RELEASE_ID,
                ).set_caching_options(False)
                smoked = smoke(
                    candidate=deployed.outputs["candidate"], golden=trained.outputs["golden"], instances=instances
                )
                smoked.set_caching_options(False)
                with dsl.If(smoked.outputs["passed"] == True, name="answers-rightly"):  # noqa: E712
                    promoted = promote(
                        candidate=deployed.outputs["candidate"],
                        report=smoked.outputs["report"],
                        steps=steps,
                        hold_seconds=hold_seconds,
                        public=public,
                        instances=instances,
                    ).set_caching_options(False)
                    with dsl.If(promoted.outputs["passed"] == False, name="not-good-under-traffic"):  # noqa: E712
                        reject(report=promoted.outputs["promotion"]).set_caching_options(False)
                    with (
                        dsl.Else(name="good-under-traffic"),
                        dsl.If(deployed.outputs["scheme"] == "vertex", name="vertex"),
                    ):
                        vertex_resources(candidate=deployed.outputs["candidate"]).set_caching_options(False)
                with dsl.Else(name="answers-wrongly"):
                    reject(report=smoked.outputs["report"]).set_caching_options(False)
            with dsl.Else(name="not-harmless"):
                reject(report=scanned.outputs["report"]).set_caching_options(False)
        with dsl.Else(name="not-good-enough"):
            reject(report=evaluated.outputs["report"]).set_caching_options(False)
