"""Rules and studies in a few words, for tests of routing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dicom_node.domain.routing import Outcome, Routing, RuleTrace, SeriesTrace
from dicom_node.domain.rules import CompleteWhen, Condition, Equals, InputSlot, Prior, Rule
from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance
from dicom_node.pipeline.headers import header_attributes
from tests.phantoms import chest_series

CLOSED_AT = datetime(2024, 1, 2, 12, tzinfo=UTC)
AXIAL, CORONAL, SAGITTAL = "1/0/0/0/1/0", "1/0/0/0/0/-1", "0/1/0/0/0/-1"


def is_(keyword: str, *texts: str) -> Condition:
    return Condition(keyword, tuple(Equals(t) for t in texts))


CT = is_("Modality", "CT")


def rule(name: str = "r", *conditions: Condition, hold: bool = False, **options: Any) -> Rule:
    complete = options.pop("complete_when", CompleteWhen(timedelta(seconds=1), timedelta(seconds=10)))
    model = "" if hold else options.pop("model", "model")
    return Rule(name, conditions or (CT,), complete, hold, model, () if hold else options.pop("send_to", ("pacs",)), **options)


def slot(name: str, *conditions: Condition, **options: Any) -> InputSlot:
    return InputSlot(name, conditions, **options)


def prior_slot(name: str = "before", *conditions: Condition, days: int = 365, **options: Any) -> InputSlot:
    return InputSlot(name, conditions or (CT,), prior=Prior(timedelta(days=days), **options))


def series(uid: str, count: int = 3, **header: str) -> Series:
    """`header` gives values by keyword, several parted by a slash."""
    values = {k: tuple(v.split("/")) if v else () for k, v in ({"Modality": "CT", "PatientID": "P1"} | header).items()}
    return Series(uid, tuple(StudyInstance(f"{uid}.{n}", "", Path(), values) for n in range(count)))


def slices(uid: str, places: Iterable[float], cosines: str = AXIAL, **header: str) -> Series:
    """A series with a position along z (and x, y) for each instance."""
    found = []
    base = series(uid, 1, ImageOrientationPatient=cosines, **header).instances[0]
    for number, place in enumerate(places):
        position = {AXIAL: (0.0, 0.0, place), CORONAL: (0.0, place, 0.0), SAGITTAL: (place, 0.0, 0.0)}.get(cosines, (0.0, 0.0, place))
        attributes = {**base.attributes, "ImagePositionPatient": tuple(map(str, position)), "InstanceNumber": (str(number),)}
        found.append(replace(base, sop_instance_uid=f"{uid}.{number}", attributes=attributes))
    return Series(uid, tuple(found))


def evenly(uid: str, count: int, step: float, **header: str) -> Series:
    return slices(uid, [n * step for n in range(count)], **header)


def study(*found: Series, uid: str = "1.2", **options: Any) -> Study:
    return Study(uid, 1, options.pop("closed_at", CLOSED_AT), ClosedBecause.QUIET, options.pop("calling", ("PACS",)), found)


def phantom_series(**elements: object) -> Series:
    """The series of tests/phantoms.py, through the reader that the index uses."""
    data_sets = chest_series(**elements)  # type: ignore[arg-type]
    instances = tuple(StudyInstance(str(d.SOPInstanceUID), str(d.SOPClassUID), Path(), header_attributes(d)) for d in data_sets)
    return Series(str(data_sets[0].SeriesInstanceUID), instances)


def only_trace(routing: Routing) -> RuleTrace:
    [trace] = routing.traces
    return trace


def outcomes(routing: Routing) -> list[Outcome]:
    return [trace.outcome for trace in routing.traces]


def reasons(routing: Routing, name: str = "image") -> dict[str, str]:
    """Why each series of an input was chosen or not, by its UID."""
    found: dict[str, str] = {}
    for one in only_trace(routing).inputs:
        if one.name == name:
            found |= {s.series_instance_uid: s.reason for s in one.series}
    return found


def chosen(routing: Routing) -> dict[str, str]:
    """The series that each input of the only decision got."""
    [decision] = routing.decisions
    return {one.name: one.series_instance_uid for one in decision.inputs}


def of_prior(traces: Iterable[SeriesTrace], uid: str) -> list[str]:
    return [s.reason for s in traces if s.study_instance_uid == uid]
