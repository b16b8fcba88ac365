"""The answer to a STOW-RS request: a status for the whole, and for each instance what became of it.

Source: PS3.18 10.5.3 and I.2.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus

from pydicom.dataset import Dataset

from dicom_node.errors import DicomNodeError, InstanceTooLargeError, UnparsableDataSetError
from dicom_node.scp.instance_parts import PartResult
from dicom_node.scp.multipart import MediaTypeError

MEDIA_TYPE = "application/dicom+json"
_TAKEN = frozenset({MEDIA_TYPE, "application/json", "application/*", "*/*"})


def is_acceptable(accept: str) -> bool:
    """Say whether an Accept header takes application/dicom+json; empty takes everything."""
    if not accept.strip():
        return True
    for choice in accept.split(","):
        media_type, *parameters = (p.strip().lower().replace(" ", "") for p in choice.split(";"))
        refused = any(p in ("q=0", "q=0.0", "q=0.00", "q=0.000") for p in parameters)
        if media_type in _TAKEN and not refused:
            return True
    return False


def status_of(results: Sequence[PartResult]) -> HTTPStatus:
    """Choose the status of a request whose body was read to its end.

    200: all stored. 202: some stored. None stored: 503 if trying again may help, 413, 415 or 400 if every part fails for that
    reason, 409 otherwise.
    """
    errors = [r.error for r in results if r.error is not None]
    if not results:
        return HTTPStatus.BAD_REQUEST
    if not errors:
        return HTTPStatus.OK
    if len(errors) < len(results):
        return HTTPStatus.ACCEPTED
    if all(e.retryable for e in errors):
        return HTTPStatus.SERVICE_UNAVAILABLE
    for kind, status in (
        (InstanceTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        (MediaTypeError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        (UnparsableDataSetError, HTTPStatus.BAD_REQUEST),
    ):
        if all(isinstance(e, kind) for e in errors):
            return status
    return HTTPStatus.CONFLICT


def body_of(results: Sequence[PartResult], error: DicomNodeError | None = None) -> bytes:
    """Write the response data set as DICOM JSON.

    A part whose UIDs could not be read stands in Other Failures Sequence, since an item of Failed SOP Sequence must name them.

    Args:
        results: One per part.
        error: What ended the request as a whole; goes into Error Comment.
    """
    answer = Dataset()
    answer.RetrieveURL = ""
    if stored := [_reference(r) for r in results if r.error is None]:
        answer.ReferencedSOPSequence = stored
    if failed := [_failure(r, r.error) for r in results if r.error is not None and r.kind is not None]:
        answer.FailedSOPSequence = failed
    if unknown := [_failure(r, r.error) for r in results if r.error is not None and r.kind is None]:
        answer.OtherFailuresSequence = unknown
    if error is not None:
        answer.ErrorComment = str(error)[:64]
    return json.dumps(answer.to_json_dict()).encode()


def _reference(result: PartResult) -> Dataset:
    item = Dataset()
    if result.kind is not None:
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = result.kind.sop_class_uid, result.kind.sop_instance_uid
    return item


def _failure(result: PartResult, error: DicomNodeError) -> Dataset:
    item = _reference(result)
    item.FailureReason = error.dimse_status
    item.ErrorComment = str(error)[:64]
    return item
