"""Import of files, folders, DICOMDIR media and zips, through the same door as every other way in."""

from dicom_node.pipeline.imports.importer import Importer, importing_door, origin_of_imports
from dicom_node.pipeline.imports.results import Outcome, Result

__all__ = ["Importer", "Outcome", "Result", "importing_door", "origin_of_imports"]
