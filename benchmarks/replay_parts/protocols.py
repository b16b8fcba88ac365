"""Examination protocols with the series that they make and the headers that scanners write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"

Header = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class SeriesProtocol:
    """One series: its description, how many slices, how far apart."""

    description: str
    slices: tuple[int, int]
    spacing_mm: float
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    plane: str = "axial"


@dataclass(frozen=True)
class StudyProtocol:
    """One examination."""

    modality: str
    body_part: str
    description: str
    share: int
    series: tuple[SeriesProtocol, ...]


LOCALIZER: Final = SeriesProtocol("Topogram", (1, 2), 10.0, ("ORIGINAL", "PRIMARY", "LOCALIZER"))
PROTOCOLS: Final = (
    StudyProtocol(
        "CT",
        "CHEST",
        "CT Thorax nativ",
        25,
        (LOCALIZER, SeriesProtocol("Lunge 5.0 B70f", (45, 70), 5.0), SeriesProtocol("Thorax 3.0 B31f", (70, 99), 3.0)),
    ),
    StudyProtocol("CT", "HEAD", "CCT nativ", 20, (LOCALIZER, SeriesProtocol("Schaedel 4.8 H30", (28, 36), 4.8))),
    StudyProtocol(
        "CT",
        "ABDOMEN",
        "CT Abdomen KM",
        15,
        (
            LOCALIZER,
            SeriesProtocol("Abdomen arteriell 3.0", (60, 90), 3.0),
            SeriesProtocol("Abdomen portalvenoes 3.0", (60, 90), 3.0),
            SeriesProtocol("Abdomen cor 4.0", (30, 45), 4.0, ("DERIVED", "SECONDARY", "REFORMATTED"), "coronal"),
        ),
    ),
    StudyProtocol(
        "MR",
        "BRAIN",
        "MR Kopf",
        20,
        (
            SeriesProtocol("t1_se_tra", (22, 30), 5.0, ("ORIGINAL", "PRIMARY", "M", "NORM")),
            SeriesProtocol("t2_tse_tra", (22, 30), 5.0, ("ORIGINAL", "PRIMARY", "M", "NORM")),
            SeriesProtocol("flair_tra", (22, 30), 5.0, ("ORIGINAL", "PRIMARY", "M", "NORM")),
            SeriesProtocol("t1_mpr_sag", (48, 64), 2.0, ("ORIGINAL", "PRIMARY", "M"), "sagittal"),
        ),
    ),
    StudyProtocol(
        "MR",
        "KNEE",
        "MR Knie",
        20,
        (
            SeriesProtocol("pd_tse_fs_cor", (22, 30), 3.0, ("ORIGINAL", "PRIMARY", "M"), "coronal"),
            SeriesProtocol("pd_tse_fs_tra", (24, 34), 3.0, ("ORIGINAL", "PRIMARY", "M")),
        ),
    ),
)
_VENDORS: Final = (
    ("SIEMENS", "SOMATOM Definition AS+", "syngo CT 2014A"),
    ("GE MEDICAL SYSTEMS", "Revolution EVO", "gmp_mict.114"),
    ("Philips", "Ingenuity CT", "4.1.6"),
    ("CANON_MEC", "Aquilion ONE", "V10.9"),
)
_DIRECTIONS: Final = {"axial": "1\\0\\0\\0\\1\\0", "coronal": "1\\0\\0\\0\\0\\-1", "sagittal": "0\\1\\0\\0\\0\\-1"}
_AXIS: Final = {"axial": 2, "coronal": 1, "sagittal": 0}


def choose(chance: Random) -> StudyProtocol:
    """Draw a protocol by its share."""
    return chance.choices(PROTOCOLS, [protocol.share for protocol in PROTOCOLS])[0]


def headers(protocol: StudyProtocol, number: int, chance: Random) -> Iterator[Header]:
    """Yield the header of each instance of a series; `@...@` stands for what differs from study to study.

    Args:
        protocol: Of the study.
        number: Of the series, from 0.
        chance: Where variety comes from.
    """
    series = protocol.series[number]
    slices = chance.randint(*series.slices)
    same = {**_of_study(protocol, chance), **_of_series(protocol, number, chance)}
    start, axis = chance.uniform(-400, 100), _AXIS[series.plane]
    for position in range(slices):
        text = {**same, **_of_instance(series, position, start, axis, chance)}
        yield {keyword: tuple(value.split("\\")) if value else () for keyword, value in text.items()}


def _of_study(protocol: StudyProtocol, chance: Random) -> dict[str, str]:
    manufacturer, model, software = _VENDORS[chance.randrange(len(_VENDORS))]
    return {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "@NAME@",
        "PatientID": "@PATIENT@",
        "IssuerOfPatientID": "HOSPITAL",
        "PatientBirthDate": "@BORN@",
        "PatientSex": chance.choice("MF"),
        "PatientAge": "@AGE@",
        "PatientWeight": f"{chance.uniform(45, 120):.1f}",
        "StudyInstanceUID": "@STUDY@",
        "StudyDate": "@DATE@",
        "StudyTime": "@TIME@",
        "StudyID": "1",
        "AccessionNumber": "@ACCESSION@",
        "StudyDescription": protocol.description + chance.choice(("", " ", " KM", "^Standard")),
        "ReferringPhysicianName": "@REFERRER@",
        "InstitutionName": "Hospital",
        "InstitutionalDepartmentName": "Radiology",
        "StationName": f"{protocol.modality}{chance.randint(1, 6)}",
        "Manufacturer": manufacturer,
        "ManufacturerModelName": model,
        "SoftwareVersions": software,
        "DeviceSerialNumber": str(chance.randint(1000, 9999)),
        "ProtocolName": protocol.description,
        "RequestedProcedureDescription": protocol.description,
        "PerformedProcedureStepID": "@ACCESSION@",
        "PerformedProcedureStepStartDate": "@DATE@",
        "PerformedProcedureStepStartTime": "@TIME@",
        "PregnancyStatus": "4",
        "MedicalAlerts": "",
    }


def _of_series(protocol: StudyProtocol, number: int, chance: Random) -> dict[str, str]:
    series = protocol.series[number]
    return {
        "SOPClassUID": CT if protocol.modality == "CT" else MR,
        "Modality": protocol.modality,
        "BodyPartExamined": protocol.body_part,
        "SeriesInstanceUID": f"@STUDY@.{number + 1}",
        "SeriesNumber": str(number + 1),
        "SeriesDescription": series.description,
        "SeriesDate": "@DATE@",
        "SeriesTime": "@TIME@",
        "FrameOfReferenceUID": "@STUDY@.0",
        "PositionReferenceIndicator": "",
        "PatientPosition": "HFS",
        "ImageType": "\\".join(series.image_type),
        "ImageOrientationPatient": _DIRECTIONS[series.plane],
        "SliceThickness": f"{series.spacing_mm:g}",
        "PixelSpacing": "0.7421875\\0.7421875",
        "Rows": "512",
        "Columns": "512",
        "BitsAllocated": "16",
        "BitsStored": "12",
        "HighBit": "11",
        "PixelRepresentation": "0",
        "SamplesPerPixel": "1",
        "PhotometricInterpretation": "MONOCHROME2",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RescaleType": "HU",
        "KVP": chance.choice(("80", "100", "120")),
        "DataCollectionDiameter": "500",
        "ReconstructionDiameter": "380",
        "ConvolutionKernel": chance.choice(("B31f", "B70f", "STANDARD")),
        "FilterType": "0",
        "GantryDetectorTilt": "0",
        "RotationDirection": "CW",
        "ExposureTime": "500",
        "FocalSpots": "1.2",
        "DistanceSourceToDetector": "1085.6",
        "DistanceSourceToPatient": "595",
        "TableHeight": "151",
        "ContrastBolusAgent": chance.choice(("", "Imeron 350")),
        "ScanOptions": "FAST",
        "SpiralPitchFactor": "1.2",
        "CTDIvol": "6.72",
    }


def _of_instance(series: SeriesProtocol, position: int, start: float, axis: int, chance: Random) -> dict[str, str]:
    place = [-189.6, -375.6, -120.0]
    place[axis] = start + position * series.spacing_mm
    moment = f"{101500 + position}.{chance.randint(100000, 999999)}"
    return {
        "SOPInstanceUID": f"@STUDY@.{position + 1}",
        "InstanceNumber": str(position + 1),
        "AcquisitionNumber": "1",
        "AcquisitionDate": "@DATE@",
        "AcquisitionTime": moment,
        "ContentDate": "@DATE@",
        "ContentTime": moment,
        "InstanceCreationDate": "@DATE@",
        "InstanceCreationTime": moment,
        "ImagePositionPatient": "\\".join(f"{value:.6g}" for value in place),
        "SliceLocation": f"{place[axis]:.6g}",
        "XRayTubeCurrent": str(chance.randint(80, 400)),
        "Exposure": str(chance.randint(40, 200)),
        "WindowCenter": "40\\-600",
        "WindowWidth": "400\\1200",
        "SmallestImagePixelValue": "0",
        "LargestImagePixelValue": str(chance.randint(1500, 3000)),
        "TableSpeed": "46",
    }
