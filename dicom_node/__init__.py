"""dicom-node: a daemon beside a hospital PACS that returns AI results as DICOM objects."""

__version__ = "0.1.0"
