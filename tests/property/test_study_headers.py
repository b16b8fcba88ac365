"""Headers kept by keyword say what the instances say, and rules decide on them alike."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.config.loader import RulesText, load_past_rules
from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance
from dicom_node.routing import RuleSet, StudyView, decide, decisions
from dicom_node.storage.study_headers import KeptStudy, pack

RULES = """\
rules:
  - name: held
    hold: true
    match: {PatientID: QA}
  - name: plain
    match: {Modality: CT, ImageType: "!LOCALIZER"}
    model: m
  - name: computed
    match: {Modality: present}
    when: 'SliceThickness < 2.0 && !present("SeriesDescription")'
    model: m
  - name: inputs
    match: {Modality: [CT, MR], CallingAET: A}
    checks: []
    inputs:
      one: {match: {SeriesDescription: '~a'}, prefer: [newest, thinnest]}
      two: {orientation: axial, max_spacing_mm: 2, min_instances: 2, optional: true}
    model: m
  - name: checked
    match: {Modality: MR}
    inputs: {one: {orientation: axial, prefer: [thinnest]}}
    model: m
"""
SETS = RuleSet(tuple(rule.to_rule() for rule in load_past_rules(RulesText("rules", RULES)).rules))
VALUES = {
    "Modality": ["CT", "MR", ""],
    "PatientID": ["1", "1", "1", "QA"],
    "ImageType": ["ORIGINAL", "ORIGINAL\\LOCALIZER"],
    "SeriesDescription": ["a", "b", '\n"ä" 日本 #'],
    "SliceThickness": ["1", "1.5", "3"],
    "SeriesNumber": ["1", "2", "x"],
    "AcquisitionTime": ["101500", "101600.5"],
    "StudyComments": ["not read by any rule"],
}
HEADERS = st.fixed_dictionaries(
    {}, optional={keyword: st.sampled_from([tuple(v.split("\\")) if v else () for v in values]) for keyword, values in VALUES.items()}
)
POSITIONS = st.lists(st.integers(0, 12), min_size=1, max_size=6)


@st.composite
def studies(draw: st.DrawFn) -> Study:
    series = []
    for number in range(draw(st.integers(1, 3))):
        common, instances = draw(HEADERS), []
        for position, place in enumerate(draw(POSITIONS)):
            own = draw(HEADERS) if draw(st.integers(0, 3)) == 0 else {}
            geometry = {"ImageOrientationPatient": ("1", "0", "0", "0", "1", "0"), "ImagePositionPatient": ("0", "0", str(place))}
            header = {**common, **own, **(geometry if draw(st.booleans()) else {}), "SOPInstanceUID": (str(position),)}
            instances.append(StudyInstance(str(position), "", Path(), header))
        series.append(Series(f"1.{number}", tuple(instances)))
    senders = draw(st.sampled_from([(), ("A",), ("A", "B")]))
    return Study("1", 1, datetime(2024, 1, 2, tzinfo=UTC), ClosedBecause.QUIET, senders, tuple(series), ("AINODE",))


def kept(study: Study) -> KeptStudy:
    return KeptStudy(1, study.study_instance_uid, study.revision, study.closed_at, study.closed_because, pack(study))


@given(studies())
@settings(max_examples=150, deadline=None)
def test_kept_headers_say_what_the_instances_say(study: Study) -> None:
    columns = kept(study).columns()
    assert (columns.calling_ae_titles, columns.called_ae_titles) == (study.calling_ae_titles, study.called_ae_titles)
    given_view, kept_view = StudyView(study), StudyView(columns)
    assert [(v.uid, v.count, v.number) for v in given_view.series] == [(v.uid, v.count, v.number) for v in kept_view.series]
    for one, other in zip(given_view.series, kept_view.series, strict=True):
        for keyword in VALUES:
            assert list(one.each(keyword, one.everything)) == list(other.each(keyword, other.everything))
            assert set(one.column(keyword).parts) == set(other.column(keyword).parts)


@given(studies())
@settings(max_examples=300, deadline=None)
def test_rules_decide_on_kept_headers_as_on_the_instances(study: Study) -> None:
    wanted = decide(SETS, study)
    found = decisions(SETS, StudyView(kept(study).columns()))
    assert found.held_by == wanted.held_by
    assert found.quarantined_because == wanted.quarantined_because
    assert found.decisions == wanted.decisions


def test_headers_without_variety_take_one_entry_a_series() -> None:
    instances = tuple(StudyInstance(str(n), "", Path(), {"Modality": ("CT",), "InstanceNumber": (str(n),)}) for n in range(50))
    study = Study("1", 1, datetime(2024, 1, 2, tzinfo=UTC), ClosedBecause.QUIET, (), (Series("1.1", instances),), ())
    [series] = kept(study).columns().series
    assert series.columns["Modality"] == ((("CT",),), None)
    assert len(series.columns["InstanceNumber"][0]) == 50
