"""One run for destinations of different profiles: each form once, each destination its own objects."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from dicom_node.domain.profiles import PRESETS, Charset, ProfileObject, ReportClass, ResultProfile, ScModality, SegType
from dicom_node.sr_writer import ResultObject, build_for_profiles, wanted_variants
from dicom_node.storage import Database, InstanceFiles, deliveries
from tests.integration.working_house import WorkingHouse
from tests.phantoms import chest_series
from tests.result_checks import errors_of, items
from tests.result_findings import full_result, request
from tests.result_sources import stack
from tests.unit.test_config import NODE

OTHER = ResultProfile(
    "other",
    tuple(ProfileObject),
    sr_class=ReportClass.ENHANCED,
    seg_type=SegType.LABELMAP,
    sc_modality=ScModality.SOURCE,
    charset=Charset.UTF8,
    series_number_base=700,
    description_prefix="SITE",
)
PROFILES = (PRESETS["ohif"], PRESETS["legacy-pacs"], PRESETS["research"], PRESETS["orthanc"], OTHER)


@pytest.fixture(scope="module")
def built() -> tuple[ResultObject, ...]:
    source = stack()
    return build_for_profiles(request(source, full_result(source)), PROFILES)


def of_profile(built: tuple[ResultObject, ...], profile: ResultProfile) -> list[ResultObject]:
    wanted = wanted_variants(profile)
    return [o for o in built if wanted.get(o.kind) == o.variant]


def test_every_object_of_every_profile_is_valid_and_built_once(built: tuple[ResultObject, ...], tmp_path: Path) -> None:
    assert max(Counter((o.kind, o.number, o.variant) for o in built).values()) == 1
    uids = [o.data_set.SOPInstanceUID for o in built]
    assert len(set(uids)) == len(uids)
    assert of_profile(built, PRESETS["ohif"]) == of_profile(built, PRESETS["orthanc"])
    paths = []
    for number, item in enumerate(built):
        paths.append(tmp_path / f"{number}.dcm")
        item.data_set.save_as(paths[-1], enforce_file_format=True)
    errors = errors_of(paths)
    labelled = {str(n) for n, o in enumerate(built) if o.kind == "SR" and o.variant == wanted_variants(OTHER)["SR"]}
    for name in labelled:  # the tool does not count label maps among segmentations, whose segments a report must name
        errors[name] = [e for e in errors.get(name, []) if "ReferencedSegmentNumber" not in e]
    assert {name: found for name, found in errors.items() if found} == {}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
def test_profile_has_its_kinds_and_a_report_that_refers_to_them_alone(built: tuple[ResultObject, ...], profile: ResultProfile) -> None:
    mine = of_profile(built, profile)
    assert {o.kind for o in mine} == set(wanted_variants(profile))
    others = {o.data_set.SOPInstanceUID for o in built} - {o.data_set.SOPInstanceUID for o in mine}
    for item in mine:
        named = {str(e.value) for e in item.data_set.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
        assert not named & others, item.kind


def test_options_of_a_profile_are_in_its_objects(built: tuple[ResultObject, ...]) -> None:
    objects: dict[str, pydicom.Dataset] = {o.kind: o.data_set for o in of_profile(built, OTHER)}
    assert objects["SEG"].SegmentationType == "LABELMAP"
    assert objects["SR"].SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.22"
    assert objects["SC"].Modality == "CT"
    assert {o.SpecificCharacterSet for o in objects.values()} == {"ISO_IR 192"}
    assert all(700 < o.SeriesNumber < 800 and o.SeriesDescription.startswith("SITE AI ") for o in objects.values())
    assert all(len(o.SeriesDescription) <= 64 for o in objects.values())
    usual = {o.kind: o.data_set for o in of_profile(built, PRESETS["ohif"])}
    assert usual["SC"].Modality == "OT"
    assert usual["SR"].SeriesNumber == 9901
    assert list(items(usual["SR"]))


RULES = """\
rules:
  - name: chest
    match: {Modality: CT}
    model: chest-ct-densitometry
    send_to: [pacs, old]
"""
TWO = NODE.replace("models_dir", "  - {name: old, ae_title: OLD, host: 127.0.0.1, port: 4243, profile: legacy-pacs}\nmodels_dir").replace(
    "port: 4242}", "port: 4242, profile: ohif}"
)


def test_each_destination_is_owed_exactly_what_its_profile_says(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = WorkingHouse(tmp_path, database, files, RULES, TWO)
    house.receive(chest_series())
    [job] = house.work()
    owed = house.owed(job)
    for name, kinds in (("pacs", {"SR", "SEG", "SC"}), ("old", {"SR", "SC"})):
        profile = house.configuration.profile_of(name)
        assert profile is not None
        mine = [d.result for d in owed if d.destination == name]
        assert {r.kind for r in mine} == kinds
        assert all(r.variant == wanted_variants(profile)[r.kind] for r in mine)
    classes = {d.destination: d.result.sop_class_uid[-5:] for d in owed if d.result.kind == "SR"}
    assert classes == {"pacs": "88.34", "old": "88.11"}
    assert len({r.path for r in house.results(job)}) == len(house.results(job))
    assert all(pydicom.dcmread(r.path).SOPInstanceUID == r.sop_instance_uid for r in house.results(job))
    wanted = wanted_variants(PRESETS["research"])
    with database.transaction() as session:
        count = deliveries.owe_further(session, job.id, "further", wanted, datetime.now(UTC))
        further = [d for d in deliveries.of_job(session, job.id) if d.destination == "further"]
        [reason] = {e.reason for d in further if d.result.kind == "SR" for e in deliveries.events(session, d.id)}
    assert (count, sorted(d.result.kind for d in further)) == (2, ["SEG", "SR"])
    assert reason == "asked for by an operator; in a form of another profile, its own was not built"
