"""The rules in force of the benchmark, and a draft that changes some of them."""

from __future__ import annotations

from typing import Final

ACTIVE: Final = """\
rules:
  - name: phantoms
    hold: true
    match: {PatientID: ['~(?i)^(qa|phantom)']}
  - name: chest-nodules
    match: {Modality: CT, BodyPartExamined: [CHEST, THORAX], ImageType: "!LOCALIZER"}
    inputs:
      lung: {match: {SeriesDescription: '~(?i)lunge'}, orientation: axial, max_spacing_mm: 5, prefer: [thinnest]}
    model: nodules
    send_to: [pacs]
  - name: chest-densitometry
    match: {Modality: CT, BodyPartExamined: [CHEST, THORAX], ImageType: "!LOCALIZER"}
    model: densitometry
    send_to: [pacs]
  - name: head-bleeding
    match: {Modality: CT, BodyPartExamined: HEAD, ImageType: ORIGINAL, StudyDescription: '~^C?CT'}
    model: bleeding
    priority: stat
    send_to: [pacs, worklist]
  - name: liver-lesions
    match: {Modality: CT, BodyPartExamined: [ABDOMEN, LIVER]}
    inputs:
      arterial: {match: {SeriesDescription: '~arteriell'}, min_instances: 30, prefer: [thinnest, most_instances]}
      portal: {match: {SeriesDescription: '~portal'}, min_instances: 30, prefer: [thinnest, most_instances]}
    model: liver
    send_to: [pacs]
  - name: ms-lesions
    match: {Modality: MR, BodyPartExamined: BRAIN, Manufacturer: '!Philips'}
    inputs:
      t1: {match: {SeriesDescription: '~^t1_mpr'}, orientation: sagittal}
      flair: {match: {SeriesDescription: '~flair'}}
    model: ms
    send_to: [pacs]
  - name: knee-meniscus
    match: {Modality: MR, BodyPartExamined: KNEE, SliceThickness: '<=3'}
    model: meniscus
    send_to: [pacs]
  - name: mammography
    match: {Modality: MG}
    model: mammography
    send_to: [pacs]
  - name: thorax-x-ray
    match: {Modality: [CR, DX], BodyPartExamined: CHEST}
    model: thorax
    send_to: [pacs]
  - name: low-dose
    match: {Modality: CT, KVP: 80..100, StationName: [CT1, CT2]}
    model: dose
    send_to: [worklist]
"""

DRAFT: Final = (
    ACTIVE.replace("max_spacing_mm: 5", "max_spacing_mm: 3")
    .replace("[pacs, worklist]", "[pacs]")
    .replace("Manufacturer: '!Philips'", "PatientSex: F")
    .replace("model: meniscus", "model: meniscus-2")
    + """\
  - name: chest-fractures
    match: {Modality: CT, BodyPartExamined: CHEST, ConvolutionKernel: B70f}
    model: fractures
    send_to: [pacs]
"""
)
