"""Result objects: findings in, checked DICOM data sets out. Pure: no file, no network, no clock."""

from dicom_node.sr_writer.build import BuildRequest, ResultObject, build_results
from dicom_node.sr_writer.gate import check_one_patient, check_other_input
from dicom_node.sr_writer.read import read_measurements
from dicom_node.sr_writer.self_test import build_self_test

__all__ = [
    "BuildRequest",
    "ResultObject",
    "build_results",
    "build_self_test",
    "check_one_patient",
    "check_other_input",
    "read_measurements",
]
