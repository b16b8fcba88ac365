"""dicom-node: a daemon beside a hospital PACS that returns AI results as DICOM objects."""

import os

__version__ = "0.1.0"

# ONNX Runtime since 1.29 reports its use to its maker over the network, unless this stands before it is loaded
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
