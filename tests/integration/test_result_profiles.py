"""One run for destinations of different profiles: each form once, each destination its own objects."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dicom_node.domain.jobs import StoredResult
from dicom_node.domain.profiles import PRESETS, Charset, ProfileObject, ReportClass, ResultProfile, ScModality, SegType
from dicom_node.sr_writer import ResultObject, wanted_variants
from dicom_node.sr_writer.build import build_for_profiles
from dicom_node.storage import Database, InstanceFiles
from tests.dciodvfy import errors_of
from tests.integration.working_house import WorkingHouse
from tests.phantoms import chest_series
from tests.result_findings import full_result, request
from tests.result_sources import SOURCES
from tests.unit.test_config import NODE
