"""Storage Commitment Push Model SCP: a request is on disk for good before its N-ACTION is answered.

What is verified and reported, and when, is decided elsewhere: see `pipeline.commitments` and `pipeline.reporter`.

Source: PS3.4 Annex J.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from pynetdicom import build_context, evt
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import PresentationContext

from dicom_node.domain.availability import INSTANCE_AVAILABILITY_NOTIFICATION
from dicom_node.domain.commitments import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, CommitmentRequest, InstanceReference
from dicom_node.errors import RequestError
from dicom_node.ops.logs import get_logger
from dicom_node.scp.notices import requests
from dicom_node.scp.notices.availability import accept_notice
from dicom_node.scp.notices.commitment_report import accept_report
from dicom_node.scp.notices.open_report import OpenReports
from dicom_node.scp.notices.requests import Answer, RequestDesk
from dicom_node.scp.origin import origin_of
from dicom_node.storage.request_files import dump_request

_ACTION_TYPE = 1


def commitment_contexts() -> list[PresentationContext]:
    """List what the handlers of this module serve: Storage Commitment Push Model and Instance Availability Notification.

    The requestor of a commitment is its SCU. One that proposes to be the SCP reports a commitment that this node asked for.
    """
    commitment = build_context(STORAGE_COMMITMENT)
    commitment.scu_role, commitment.scp_role = True, True
    return [commitment, build_context(INSTANCE_AVAILABILITY_NOTIFICATION)]


def commitment_handlers(desk: RequestDesk) -> list[EventHandlerType]:
    """List the handlers to bind; they keep what they accept on the desk."""

    def action(event: evt.Event) -> Answer:
        return _accept_request(event, desk)

    def create(event: evt.Event) -> Answer:
        return accept_notice(event, desk)

    def report(event: evt.Event) -> Answer:
        return accept_report(event, desk)

    return [
        (evt.EVT_N_ACTION, requests.answered("commitment", action)),
        (evt.EVT_N_CREATE, requests.answered("availability", create)),
        (evt.EVT_N_EVENT_REPORT, requests.answered("commitment_report", report)),
    ]


def _accept_request(event: evt.Event, desk: RequestDesk) -> Answer:
    request = _read(event, desk)
    uid = request.transaction_uid
    duplicate = RequestError("transaction UID is in use already", status=requests.DUPLICATE_TRANSACTION)
    if desk.folders.commitments.knows(uid):
        raise duplicate
    lock = desk.folders.reports.lock(uid)  # before anybody can know of the request: until the association ends, nobody else reports
    try:
        accepted = desk.folders.commitments.put(uid, dump_request(request), desk.settings.owner)
    except BaseException:
        if lock is not None:
            desk.folders.reports.forget(uid)
            lock.release()
        raise
    if not accepted:
        if lock is not None:
            lock.release()
        raise duplicate
    if lock is not None:
        OpenReports.of(event.assoc, desk).hold(uid, lock, event.context)
    desk.settings.wake("pipeline")
    get_logger().info("commitment_requested", transaction=uid, instances=len(request.references), calling_ae=request.peer.calling_ae_title)
    return requests.SUCCESS, None


def _read(event: evt.Event, desk: RequestDesk) -> CommitmentRequest:
    """Check a request. Source: PS3.4 J.3.2."""
    action = cast(N_ACTION, event.request)
    if action.RequestedSOPInstanceUID != STORAGE_COMMITMENT_INSTANCE:
        raise RequestError("not the well-known Storage Commitment instance", status=requests.NO_SUCH_INSTANCE)
    if action.ActionTypeID != _ACTION_TYPE:
        raise RequestError(f"action type {action.ActionTypeID} is unknown", status=requests.NO_SUCH_ACTION)
    desk.check_space()
    fault = requests.INVALID_ARGUMENT
    data_set = desk.data_set(event, action.ActionInformation, fault)
    transaction_uid = requests.uid_of(data_set, "TransactionUID", fault, fault)
    items = requests.items_of(data_set, "ReferencedSOPSequence", fault, fault)
    desk.check_count(len(items))
    references = tuple(
        InstanceReference(
            requests.uid_of(item, "ReferencedSOPClassUID", fault, fault), requests.uid_of(item, "ReferencedSOPInstanceUID", fault, fault)
        )
        for item in items
    )
    return CommitmentRequest(transaction_uid, origin_of(event.assoc), datetime.now(UTC), references)
