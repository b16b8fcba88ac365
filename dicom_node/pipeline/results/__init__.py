"""What a job leaves on disk beside its result objects: what they were made from, and what they say, for programs."""

from dicom_node.pipeline.results.kept import DATA_FILE, KeptResult, ReadAs, keep_result, kept_result

__all__ = ["DATA_FILE", "KeptResult", "ReadAs", "keep_result", "kept_result"]
