"""Part 10 files in one multipart body: part after part through the door, each with a result of its own. No HTTP here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dicom_node.errors import DicomNodeError
from dicom_node.scp.door import InstanceKind
from dicom_node.scp.multipart import MediaTypeError, PartsReader
from dicom_node.scp.part_10_stream import DataSetSink, Part10Stream

_TAKEN_AS_IS = frozenset({"", "binary", "8bit", "7bit"})


@dataclass(frozen=True, slots=True)
class PartResult:
    """What became of one part.

    Attributes:
        kind: What the part says it holds; None if that could not be read.
        error: Why it was refused; None if it is durable.
    """

    kind: InstanceKind | None
    error: DicomNodeError | None


class InstanceParts:
    """Feed it the body; whatever ends it early, parts that came whole stay and the one under way is dropped.

    Attributes:
        results: One per part that ended or failed, in order.
    """

    def __init__(self, boundary: str, begin: Callable[[InstanceKind], DataSetSink], study_instance_uid: str = "") -> None:
        """Begin before the first byte.

        Args:
            boundary: Of the multipart body.
            begin: The door's `begin` with its origin.
            study_instance_uid: The study that every part must belong to; empty takes any.

        Raises:
            MalformedRequestError: the boundary cannot be one.
        """
        self.results: list[PartResult] = []
        self._begin = begin
        self._study_instance_uid = study_instance_uid
        self._instance: Part10Stream | None = None
        self._reader = PartsReader(boundary, self)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            MalformedRequestError: no multipart body.
        """
        self._reader.feed(data)

    def finish(self) -> None:
        """Say that the body has ended.

        Raises:
            MalformedRequestError: without its closing boundary.
        """
        self._reader.finish()

    def discard(self) -> None:
        """Drop the part under way; harmless when there is none."""
        if self._instance is not None:
            self._instance.discard()
            self._instance = None

    def begin_part(self, headers: Mapping[str, str]) -> None:
        """See `PartReceiver`."""
        self._instance = Part10Stream(self._begin, self._study_instance_uid)
        media_type = headers.get("content-type", "application/dicom").partition(";")[0].strip().lower()
        if media_type != "application/dicom":
            self._refuse(MediaTypeError("part is not application/dicom"))
        elif headers.get("content-transfer-encoding", "").lower() not in _TAKEN_AS_IS:
            self._refuse(MediaTypeError("part has a transfer encoding; HTTP bodies are binary"))

    def part_data(self, data: memoryview) -> None:
        """See `PartReceiver`; after a refusal the rest of the part is read past."""
        if self._instance is None:
            return
        try:
            self._instance.write(data)
        except DicomNodeError as error:
            self._refuse(error)

    def end_part(self) -> None:
        """See `PartReceiver`."""
        if self._instance is None:
            return
        try:
            self._instance.finish()
        except DicomNodeError as error:
            self._refuse(error)
            return
        self.results.append(PartResult(self._instance.kind, None))
        self._instance = None

    def _refuse(self, error: DicomNodeError) -> None:
        kind = self._instance.kind if self._instance is not None else None
        self.discard()
        self.results.append(PartResult(kind, error))
