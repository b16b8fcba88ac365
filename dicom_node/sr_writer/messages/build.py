"""Messages of one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dicom_node.domain.profiles import Charset
from dicom_node.errors import ResultError, place_of
from dicom_node.sr_writer.gate import check_one_patient
from dicom_node.sr_writer.messages.draft import MessageDraft, ObjectReference
from dicom_node.sr_writer.messages.fhir import build_bundle
from dicom_node.sr_writer.messages.forms import Hl7Form, MessageForm
from dicom_node.sr_writer.messages.hl7 import build_oru
from dicom_node.sr_writer.messages.subject import check_subject, subject_of
from dicom_node.sr_writer.result_set import result_set_of

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest, ResultObject


@dataclass(frozen=True, slots=True)
class Message:
    """A finished message.

    Attributes:
        uid: Unique to run, kind and variant.
        content: As it is sent, without transport framing.
    """

    form: MessageForm
    uid: str
    content: bytes


def build_messages(request: BuildRequest, objects: Sequence[ResultObject], forms: Sequence[MessageForm]) -> tuple[Message, ...]:
    """Build the messages of one run, each form once.

    Args:
        request: As the objects were built from; its form says which of them the texts speak of, its language is not read.
        objects: The run's finished objects, which messages refer to.
        forms: Of the destinations.

    Raises:
        PatientMismatchError: the source belongs to more than one patient or study, or a message would name another.
        ResultError: images, masks and regions do not fit each other.
    """
    try:
        return tuple(_built(request, objects, tuple(dict.fromkeys(forms))))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ResultError(f"message cannot be built: {type(error).__name__}: {place_of(error)}") from error


def _built(request: BuildRequest, objects: Sequence[ResultObject], forms: tuple[MessageForm, ...]) -> Iterator[Message]:
    if not forms:
        return
    check_one_patient(request.source)
    references = tuple(_reference(item) for item in objects)
    for form in forms:
        in_utf8 = replace(request, language=form.language, form=replace(request.form, charset=Charset.UTF8))
        results = result_set_of(in_utf8)
        subject = subject_of(results.source.headers[0])
        check_subject(request.source, subject)
        draft = MessageDraft(in_utf8, form, results.content, results.words, results.source, subject, references)
        content = build_oru(draft, form) if isinstance(form, Hl7Form) else build_bundle(draft, form)
        yield Message(form, draft.uid(), content)


def _reference(item: ResultObject) -> ObjectReference:
    found = item.data_set
    return ObjectReference(item.kind, str(found.SOPClassUID), str(found.SeriesInstanceUID), str(found.SOPInstanceUID))
