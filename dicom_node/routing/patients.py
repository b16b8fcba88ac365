"""The patient gate of routing: a study that mixes patients runs nothing. Reasons name elements, never their values."""

from __future__ import annotations

from dicom_node.domain.studies import Study
from dicom_node.routing.view import StudyView
from dicom_node.routing.wording import counted, listed


def patients_agree(study: Study) -> str:
    """Say how a study mixes patients; empty if it does not.

    Patient IDs compare without padding, letters by case; an empty one differs from any other. Of the issuers only those that are named
    count: not every modality of a department writes Issuer of Patient ID (0010,0021).
    """
    return mixed_patients(StudyView(study))


def mixed_patients(view: StudyView) -> str:
    """Say how a study mixes patients; see `patients_agree`."""
    counts = {"PatientID": len(view.values("PatientID")), "IssuerOfPatientID": len(view.values("IssuerOfPatientID") - {""})}
    differing = [f"{keyword} ({counted(count, 'value')})" for keyword, count in counts.items() if count > 1]
    return f"the study mixes patients: its instances differ in {listed(differing)}" if differing else ""


def other_patient(current: StudyView, prior: StudyView) -> str:
    """Say why a prior is not known to be of the same patient; empty if it is.

    Stricter than within a study, since a prior may come from another house: the issuers must be equal, both empty among that, a
    study without Patient ID has no priors, and birth dates may not differ where both are named. Names may: people marry.
    """
    if mixed_patients(prior):
        return "it mixes patients"
    if not current.values("PatientID") - {""}:
        return "the current study has no PatientID"
    identity = ("PatientID", "IssuerOfPatientID")
    differing = [keyword for keyword in identity if current.values(keyword) - {""} != prior.values(keyword) - {""}]
    births = [view.values("PatientBirthDate") - {""} for view in (current, prior)]
    if all(births) and not births[0] & births[1]:
        differing.append("PatientBirthDate")
    return f"it is of another patient: {listed(differing)} differs from the current study's" if differing else ""
