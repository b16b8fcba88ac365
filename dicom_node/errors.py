"""The families of errors that the node raises; foreign exceptions become one of these at one door per library."""

from __future__ import annotations

from typing import ClassVar


class DicomNodeError(Exception):
    """Root of every error the node raises on purpose.

    Attributes:
        code: Stable identifier for logs, tests and documentation.
        retryable: Whether the same action may succeed later without a person.
        dimse_status: Status that a C-STORE answers when this error ends it.
        hint: What the reader should do next; empty when the message says it all.
    Source: statuses from PS3.4 B.2.3 and PS3.7 Annex C.
    """

    code: ClassVar[str] = "node-error"
    retryable: ClassVar[bool] = False
    dimse_status: ClassVar[int] = 0x0110

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def place_of(error: BaseException) -> str:
    """Name the function and line where an error arose; its message may quote a data set and is left out."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else "?"


class ConfigError(DicomNodeError):
    """A configuration file cannot be used as it stands."""

    code = "config-error"


class PeerError(DicomNodeError):
    """A peer sent what the standard or our policy does not allow."""

    code = "peer-error"


class UnparsableDataSetError(PeerError):
    """The data set of a C-STORE cannot be decoded."""

    code = "data-set-unparsable"
    dimse_status = 0xC000


class DataSetMismatchError(PeerError):
    """A UID is missing, malformed, or differs between command and data set.

    Attributes:
        offending_tag: Tag for Offending Element (0000,0901).
    """

    code = "data-set-mismatch"
    dimse_status = 0xA900

    def __init__(self, message: str, *, offending_tag: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.offending_tag = offending_tag


class RequestError(PeerError):
    """An N-ACTION or N-CREATE cannot be accepted.

    Attributes:
        status: What the response says.
    Source: PS3.7 Annex C.
    """

    code = "request-refused"

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class OutOfResourcesError(PeerError):
    """The node refuses an instance for now: too little disk space, or it is shutting down."""

    code = "out-of-resources"
    retryable = True
    dimse_status = 0xA700


class InstanceTooLargeError(OutOfResourcesError):
    """An instance is larger than the configuration allows."""

    code = "instance-too-large"
    retryable = False


class SopClassError(PeerError):
    """The SOP class is none that can be stored, or not the one that was negotiated. Source: PS3.7 C.5.6, PS3.18 table I.2-2, 0122."""

    code = "sop-class-unsupported"
    dimse_status = 0x0122


class StudyUrlError(PeerError):
    """An instance belongs to another study than the request names. Source: PS3.18 table I.2-2, 0110."""

    code = "study-differs"
    dimse_status = 0x0110


class ArchiveError(PeerError):
    """A zip archive, or a member of one, is damaged or refused."""

    code = "archive-error"


class SourceError(PeerError):
    """A query source could not be asked, or its answer cannot be used."""

    code = "source-error"


class SourceUnreachableError(SourceError):
    """No association with the source: nobody listens, it rejects us, or it accepts none of what is needed."""

    code = "source-unreachable"
    retryable = True


class SourceSilentError(SourceError):
    """The source stopped answering, or ended the association before its last answer."""

    code = "source-silent"
    retryable = True


class SourceCancelledError(SourceError):
    """This node gave a question up before it was answered: it stops, or the time for it is over."""

    code = "source-cancelled"
    retryable = True


class SourceRefusedError(SourceError):
    """The source answered with a failure.

    Attributes:
        status: Status of the response.
    """

    code = "source-refused"

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class SubOperationsFailedError(SourceError):
    """A retrieval ended, but some of its instances did not come.

    Attributes:
        completed: Instances that came.
        failed: Instances that did not.
    """

    code = "sub-operations-failed"
    retryable = True

    def __init__(self, message: str, *, completed: int, failed: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.completed = completed
        self.failed = failed


class StudyError(DicomNodeError):
    """A study cannot be processed as it is."""

    code = "study-error"


class VolumeError(StudyError):
    """The instances of a series do not form one regular volume."""

    code = "volume-irregular"


class PixelError(StudyError):
    """Pixel data are missing, cannot be decoded, or carry an impossible rescale."""

    code = "pixel-error"


class PatientMismatchError(StudyError):
    """Objects that should belong to one patient and study name different ones."""

    code = "patient-mismatch"


class ModelError(DicomNodeError):
    """A model bundle is unusable, or a session was used against its contract."""

    code = "model-error"


class ModelInputError(ModelError):
    """A model refuses an input that it was not made for."""

    code = "model-input"


class ModelStoppedError(ModelError):
    """The process that ran a model ended, or was stopped because the model took too long."""

    code = "model-stopped"
    retryable = True


class OutOfMemoryError(ModelError):
    """A model needed more memory than it may have, or than the machine or device has."""

    code = "out-of-memory"
    retryable = True


class DeviceLostError(ModelError):
    """The device that a model ran on does not answer any more."""

    code = "device-lost"
    retryable = True


class EngineUnavailableError(ModelError):
    """A back end cannot run here now: its library, device or server is missing or does not answer."""

    code = "engine-unavailable"
    retryable = True


class BuildCancelledError(ModelError):
    """The build of an engine was stopped on request."""

    code = "build-cancelled"
    retryable = True


class ResultError(DicomNodeError):
    """A result object cannot be built or does not hold what it must."""

    code = "result-error"


class DeliveryError(DicomNodeError):
    """A destination could not be reached or did not take an object."""

    code = "delivery-error"
    retryable = True


class StorageError(DicomNodeError):
    """The database or the instance store failed."""

    code = "storage-error"
    retryable = True
    dimse_status = 0xA700


class DamagedFileError(StorageError):
    """A file that the node wrote itself cannot be read back."""

    code = "file-damaged"
    retryable = False


class DiskFullError(StorageError):
    """The disk or the quota is exhausted."""

    code = "disk-full"


class TransitionError(StorageError):
    """A state change that the state table does not allow."""

    code = "state-transition"
    retryable = False
