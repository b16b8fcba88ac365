"""Archives that are asked and fetched from, by DIMSE or by DICOMweb, behind one interface."""

from dicom_node.pipeline.sources.archive import Archive, opened

__all__ = ["Archive", "opened"]
