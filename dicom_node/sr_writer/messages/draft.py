"""What the writers of messages share."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_node.sr_writer.content import Content
from dicom_node.sr_writer.messages.forms import MessageForm
from dicom_node.sr_writer.messages.subject import Subject
from dicom_node.sr_writer.source import Source
from dicom_node.sr_writer.words import Words

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest


@dataclass(frozen=True, slots=True)
class ObjectReference:
    """A DICOM object of the same run.

    Attributes:
        kind: As of `ResultObject`.
    """

    kind: str
    sop_class_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, eq=False)
class MessageDraft:
    """What a message is written from.

    Attributes:
        content: The tree that the run's objects are made from, in the language of the message.
        objects: Objects of the run, each variant.
    """

    request: BuildRequest
    form: MessageForm
    content: Content
    words: Words
    source: Source
    subject: Subject
    objects: tuple[ObjectReference, ...]

    def uid(self, *parts: str) -> str:
        """Derive a UID of this message; every attempt of the job gives the same."""
        return self.request.uid("message", self.form.kind, self.form.variant, *parts)

    def uuid(self, *parts: str) -> uuid.UUID:
        """Derive the UUID that `uid` is made of."""
        return uuid.UUID(int=int(self.uid(*parts).removeprefix("2.25.")))

    @property
    def replaces(self) -> bool:
        """Whether an earlier run of the rule made results whose place these take."""
        return bool(self.request.predecessors)

    @property
    def reports(self) -> tuple[ObjectReference, ...]:
        """Structured reports of the run, one for each form in which destinations get it."""
        return tuple(o for o in self.objects if o.kind == "SR")

    @property
    def series_of(self) -> Mapping[str, str]:
        """Series Instance UID of each analysed instance."""
        return {str(h.SOPInstanceUID): str(h.SeriesInstanceUID) for h in self.source.headers}
