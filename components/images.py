"""The images that steps run in, by version tag. (KFP's local runner warns about names without ``python``.)"""

STEPS = "lading/steps:0.1.0-python3.12"
"""Small, without TensorFlow: scan, package, deploy, smoke, promote, settle, rollback, reject."""

STEPS_TRAIN = "lading/steps-train:0.1.0-python3.12"
"""With TensorFlow: train, evaluate, convert."""

BATCH = "lading/batch:0.1.0-python3.12"
"""With both engines and Parquet, and without TensorFlow's Python: batch_predict."""
