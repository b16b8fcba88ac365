"""Instance Availability Notification SCP: a notice is on disk for good before its N-CREATE is answered.

Source: PS3.4 Annex R.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_CREATE

from dicom_node.domain.availability import INSTANCE_AVAILABILITY_NOTIFICATION, Availability, AvailabilityNotice, AvailableInstance
from dicom_node.domain.uids import is_safe_uid
from dicom_node.errors import RequestError
from dicom_node.ops.logs import get_logger
from dicom_node.scp.notices import requests
from dicom_node.scp.notices.requests import Answer, RequestDesk
from dicom_node.scp.origin import origin_of
from dicom_node.storage.request_files import dump_notice

_NO_SUCH_CLASS = 0x0118
_FAULTS = (requests.MISSING_ATTRIBUTE_VALUE, requests.INVALID_ATTRIBUTE_VALUE)


def accept_notice(event: evt.Event, desk: RequestDesk) -> Answer:
    """Keep a notice, and name the instance that it created if the peer did not.

    Raises:
        RequestError: with the status to answer.
        StorageError: disk full or broken.
    """
    notice = _read(event, desk)
    if not desk.folders.notices.put(notice.sop_instance_uid, dump_notice(notice), desk.settings.owner):
        raise RequestError("this notification was received before", status=requests.DUPLICATE_SOP_INSTANCE)
    desk.settings.wake("pipeline")
    get_logger().info(
        "availability_notified",
        study_uid=notice.study_instance_uid,
        instances=len(notice.instances),
        calling_ae=notice.peer.calling_ae_title,
    )
    created = Dataset()
    created.AffectedSOPInstanceUID = notice.sop_instance_uid
    return requests.SUCCESS, None if cast(N_CREATE, event.request).AffectedSOPInstanceUID else created


def _read(event: evt.Event, desk: RequestDesk) -> AvailabilityNotice:
    """Check a notice. Source: PS3.4 table R.3.2-1."""
    create = cast(N_CREATE, event.request)
    if create.AffectedSOPClassUID != INSTANCE_AVAILABILITY_NOTIFICATION:
        raise RequestError("SOP class is not served", status=_NO_SUCH_CLASS)
    own_uid = str(create.AffectedSOPInstanceUID or generate_uid(prefix=None))
    if not is_safe_uid(own_uid):
        raise RequestError("Affected SOP Instance UID is no UID", status=requests.INVALID_ATTRIBUTE_VALUE)
    desk.check_space()
    data_set = desk.data_set(event, create.AttributeList, requests.MISSING_ATTRIBUTE)
    study_instance_uid = requests.uid_of(data_set, "StudyInstanceUID", *_FAULTS)
    instances: list[AvailableInstance] = []
    for series in requests.items_of(data_set, "ReferencedSeriesSequence", *_FAULTS):
        series_instance_uid = requests.uid_of(series, "SeriesInstanceUID", *_FAULTS)
        items = requests.items_of(series, "ReferencedSOPSequence", *_FAULTS)
        desk.check_count(len(instances) + len(items))
        instances += [_instance(item, series_instance_uid) for item in items]
    return AvailabilityNotice(own_uid, origin_of(event.assoc), datetime.now(UTC), study_instance_uid, tuple(instances))


def _instance(item: Dataset, series_instance_uid: str) -> AvailableInstance:
    word = requests.text_of(item, "InstanceAvailability", *_FAULTS)
    if word not in {str(a) for a in Availability}:
        raise RequestError("Instance Availability is none of the defined terms", status=requests.INVALID_ATTRIBUTE_VALUE)
    return AvailableInstance(
        series_instance_uid,
        requests.uid_of(item, "ReferencedSOPClassUID", *_FAULTS),
        requests.uid_of(item, "ReferencedSOPInstanceUID", *_FAULTS),
        Availability(word),
        requests.text_of(item, "RetrieveAETitle", *_FAULTS)[:64],
    )
