"""Instance Availability Notification: what a peer says is there to be had."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_node.domain.instances import AssociationPeer

INSTANCE_AVAILABILITY_NOTIFICATION = "1.2.840.10008.5.1.4.33"


class Availability(StrEnum):
    """Instance Availability (0008,0056). Source: PS3.3 C.4.23.1.1."""

    ONLINE = "ONLINE"
    NEARLINE = "NEARLINE"
    OFFLINE = "OFFLINE"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class AvailableInstance:
    """One instance of a notification."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    availability: Availability
    retrieve_ae_title: str


@dataclass(frozen=True, slots=True)
class AvailabilityNotice:
    """One N-CREATE.

    Attributes:
        sop_instance_uid: Of the notification itself.
        instances: At least one.
    """

    sop_instance_uid: str
    peer: AssociationPeer
    received_at: datetime
    study_instance_uid: str
    instances: tuple[AvailableInstance, ...]
