from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.domain.patients import PatientKey
from dicom_node.domain.rules import SINGLE_INPUT, CompleteWhen, Condition, Equals, Prior, Rule
from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance
from dicom_node.pipeline.fetching.prior_match import Wanted, wanted_prior

PATIENT = PatientKey("PH-1", "H")
CT = Condition("Modality", (Equals("CT"),))
SLOT = replace(
    SINGLE_INPUT, name="before", match=(CT,), min_instances=2, max_instances=4, prior=Prior(timedelta(days=30), ("BodyPartExamined",))
)
RULE = Rule("growth", (CT,), CompleteWhen(timedelta(seconds=1), timedelta(seconds=2)), hold=False, model="m", send_to=(), inputs=(SLOT,))


def study(*series: dict[str, str], instances: int = 2, **elements: str) -> Study:
    """A study of some series, each of so many instances with the same header."""
    common = {"StudyDate": "20240131", "StudyTime": "120000", "Modality": "CT", "BodyPartExamined": "CHEST", **elements}
    built = []
    for number, own in enumerate(series or ({},)):
        header = {keyword: (value,) if value else () for keyword, value in {**common, **own}.items()}
        built.append(Series(f"1.{number}", tuple(StudyInstance(f"1.{number}.{i}", "1.2", Path("p"), header) for i in range(instances))))
    return Study("1", 1, datetime(2024, 1, 31, tzinfo=UTC), ClosedBecause.QUIET, ("CT",), tuple(built))


def wanted(current: Study | None = None) -> Wanted:
    found = wanted_prior(current or study(), PATIENT, RULE, SLOT)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("moment", "is_earlier"),
    [
        (("20240130", ""), True),
        (("20240101", "235959"), True),
        (("20231231", "235959"), False),
        (("20240201", "000000"), False),
        (("20240131", "115959"), True),
        (("20240131", "120000"), False),
        (("20240131", "120001"), False),
        (("20240131", ""), False),
        (("", ""), False),
        (("2024", ""), False),
    ],
)
def test_prior_is_before_the_study_and_near_enough(moment: tuple[str, str], is_earlier: bool) -> None:
    assert wanted().is_earlier(moment) is is_earlier


@pytest.mark.parametrize("date", ["", "2024", "20241399", "yesterday"])
def test_study_without_a_date_has_no_prior(date: str) -> None:
    assert wanted_prior(study(StudyDate=date), PATIENT, RULE, SLOT) is None


def test_a_very_long_time_ends_before_the_calendar() -> None:
    long = replace(SLOT, prior=Prior(timedelta(days=365_000)))
    found = wanted_prior(study(), PATIENT, RULE, long)
    assert found is not None
    assert found.first_date == "19000101"


@pytest.mark.parametrize(
    ("answer", "may_fit"),
    [
        ({}, True),
        ({"Modality": ("CT",), "BodyPartExamined": ("CHEST ",)}, True),
        ({"Modality": ("MR",)}, False),
        ({"Modality": ()}, True),
        ({"BodyPartExamined": ("HEAD",)}, False),
        ({"BodyPartExamined": ("",)}, True),
        ({"NumberOfSeriesRelatedInstances": ("1",)}, False),
        ({"NumberOfSeriesRelatedInstances": ("5",)}, False),
        ({"NumberOfSeriesRelatedInstances": ("4",)}, True),
        ({"NumberOfSeriesRelatedInstances": ("many",)}, True),
    ],
)
def test_query_excludes_only_what_it_tells(answer: dict[str, tuple[str, ...]], may_fit: bool) -> None:
    assert wanted().may_fit(answer) is may_fit


@pytest.mark.parametrize(
    ("earlier", "words"),
    [
        (study(), ""),
        (study({"Modality": "MR"}, {}), ""),
        (study({"Modality": "MR"}), "no series of it meets the input"),
        (study(instances=1), "no series of it meets the input"),
        (study(instances=5), "no series of it meets the input"),
        (study(BodyPartExamined="HEAD"), "its BodyPartExamined differs"),
        (study(BodyPartExamined=""), "its BodyPartExamined differs"),
    ],
)
def test_headers_decide_in_the_end(earlier: Study, words: str) -> None:
    assert wanted().misfit(earlier) == words


def test_values_that_must_agree_are_those_of_what_the_rule_takes() -> None:
    mixed = study({"Modality": "MR", "BodyPartExamined": "HEAD"}, {})
    assert wanted(mixed).same == {"BodyPartExamined": frozenset({"CHEST"})}
    assert "no BodyPartExamined to compare" in wanted(study(BodyPartExamined="")).misfit(study())


@pytest.mark.parametrize(
    ("answer", "is_patients"),
    [
        ({"PatientID": ("PH-1",)}, True),
        ({"PatientID": ("PH-1 ",), "IssuerOfPatientID": ("H",)}, True),
        ({"PatientID": ("PH-1",), "IssuerOfPatientID": ("X",)}, False),
        ({"PatientID": ("ph-1",)}, False),
        ({}, False),
    ],
)
def test_patient_is_compared_as_text(answer: dict[str, tuple[str, ...]], is_patients: bool) -> None:
    assert wanted().is_patients(answer) is is_patients


def test_levels_are_asked_for_what_they_have() -> None:
    assert wanted().series_keys() == ("SeriesInstanceUID", "NumberOfSeriesRelatedInstances", "BodyPartExamined", "Modality")
    assert "BodyPartExamined" not in wanted().study_keys()
