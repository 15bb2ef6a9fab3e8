"""lading: from a trained TensorFlow model to a served, watched URL.

Each verb is a module with one public function (``lading.package.package_image``), a command (``lading package``) and a
Kubeflow Pipelines component (``components/package.py``). Importing ``lading`` itself loads nothing.
"""

__version__ = "0.1.0"
