"""Reports of commitments that this node asked for: on disk for good before the N-EVENT-REPORT is answered.

Source: PS3.4 J.3.3.
"""

from __future__ import annotations

from typing import cast

from pynetdicom import evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT

from dicom_node.domain.commitments import STORAGE_COMMITMENT_INSTANCE
from dicom_node.domain.reports import MalformedReportError, report_from
from dicom_node.errors import RequestError
from dicom_node.ops.logs import get_logger
from dicom_node.scp.notices import requests
from dicom_node.scp.notices.requests import Answer, RequestDesk
from dicom_node.scp.origin import origin_of
from dicom_node.storage.request_files import dump_report


def accept_report(event: evt.Event, desk: RequestDesk) -> Answer:
    """Keep a report for the sender, which asked for it.

    Raises:
        RequestError: not a report, or of a transaction that this node did not ask for.
    """
    primitive = cast(N_EVENT_REPORT, event.request)
    if primitive.AffectedSOPInstanceUID != STORAGE_COMMITMENT_INSTANCE:
        raise RequestError("not the well-known Storage Commitment instance", status=requests.NO_SUCH_INSTANCE)
    try:
        report = report_from(desk.data_set(event, primitive.EventInformation, requests.INVALID_ARGUMENT))
    except MalformedReportError as error:
        raise RequestError(str(error), status=requests.INVALID_ARGUMENT) from error
    uid, answers = report.transaction_uid, desk.folders.answers
    if answers.reports.knows(uid):  # told again because our answer was lost
        return requests.SUCCESS, None
    if not answers.expects(uid):
        raise RequestError("this node asked for no such transaction, or has its report", status=requests.PROCESSING_FAILURE)
    answers.reports.put(uid, dump_report(report), desk.settings.owner)
    desk.settings.wake("sender")
    get_logger().info(
        "commitment_reported_to_us",
        transaction=uid,
        committed=len(report.committed),
        failed=len(report.failed),
        calling_ae=origin_of(event.assoc).calling_ae_title,
    )
    return requests.SUCCESS, None
