"""Result objects: findings in, checked DICOM data sets out. Pure: no database, no network, no clock."""

from dicom_node.sr_writer.build import BuildRequest, Built, ResultObject, build_all, build_for_profiles, build_results
from dicom_node.sr_writer.form import DEFAULT_FORM, ObjectKind, ResultForm, SegKind, SrClass
from dicom_node.sr_writer.gate import check_one_patient, check_other_input
from dicom_node.sr_writer.read import read_measurements
from dicom_node.sr_writer.result_set import ResultSet
from dicom_node.sr_writer.self_test import build_self_test
from dicom_node.sr_writer.variants import wanted_variants

__all__ = [
    "DEFAULT_FORM",
    "BuildRequest",
    "Built",
    "ObjectKind",
    "ResultForm",
    "ResultObject",
    "ResultSet",
    "SegKind",
    "SrClass",
    "build_all",
    "build_for_profiles",
    "build_results",
    "build_self_test",
    "check_one_patient",
    "check_other_input",
    "read_measurements",
    "wanted_variants",
]
