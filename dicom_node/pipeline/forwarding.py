"""Received images that rules send on unchanged: a job without a model, which is delivering from the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sqlmodel import Session

from dicom_node.config import Configuration
from dicom_node.domain.addresses import is_address, is_within
from dicom_node.domain.destinations import Destination, StorageScp
from dicom_node.domain.jobs import FORWARD, Job, JobKey
from dicom_node.domain.routing import RouteDecision
from dicom_node.jobs import queue
from dicom_node.storage import forwarded
from dicom_node.storage.forwarded import ReceivedImage, SentBy


def forward_key(study_instance_uid: str, revision: int, rule: str) -> JobKey:
    """Return what makes a forwarding unique: a rule forwards a revision once."""
    return JobKey(study_instance_uid, revision, rule, FORWARD)


def forward(session: Session, configuration: Configuration, key: JobKey, decision: RouteDecision, now: datetime) -> Job | None:
    """Owe the images that a decision forwards; None if that was done for this key already.

    An image goes to a destination once, whatever rules and revisions name it. It does not go back to where it came from.

    Args:
        session: Transaction of the decision.
        configuration: With the destinations.
        key: See `forward_key`.
        decision: With `forward_to`.
        now: UTC.
    """
    if queue.find(session, key) is not None:
        return None
    images = forwarded.received_images(session, key.study_instance_uid)
    wanted = {uid: images[uid] for series in decision.forward for uid in series.sop_instance_uids if uid in images}
    owed: dict[str, frozenset[str]] = {}
    reasons = []
    for name in dict.fromkeys(decision.forward_to):
        before = forwarded.owed_before(session, key.study_instance_uid, name)
        destination = configuration.destinations.get(name)
        back = {uid for uid, image in wanted.items() if destination is not None and came_from(destination, image.sent_by)}
        owed[name] = frozenset(wanted.keys() - before - back)
        reasons.append(_reason(name, len(owed[name]), back=len(back - before), before=len(wanted.keys() & before)))
    going = _in_order(wanted, owed)
    asked = replace(
        decision, model=FORWARD, inputs=decision.forward, send_to=tuple(owed), forward=(), forward_to=(), replaces=False, shadow=False
    )
    new = queue.NewJob(key, asked, "", configuration.workers.max_attempts)
    job = queue.create_delivering(session, new, "; ".join(reasons), now, delivering=bool(going))
    forwarded.record_images(session, job, going, owed, now)
    return job


def came_from(destination: Destination, sent_by: SentBy) -> bool:
    """Say whether a destination is who sent an image: the same AE title, at the address that it has.

    A host name is not looked up: then the title decides. A STOW-RS server has no title, so that it never is.
    """
    if not isinstance(destination, StorageScp) or destination.ae_title != sent_by.calling_ae_title:
        return False
    return not is_address(destination.host) or is_within(sent_by.address, destination.host)


def _in_order(wanted: Mapping[str, ReceivedImage], owed: Mapping[str, frozenset[str]]) -> list[ReceivedImage]:
    return [image for uid, image in wanted.items() if any(uid in uids for uids in owed.values())]


def _reason(name: str, count: int, *, back: int, before: int) -> str:
    parts = [f"forwards {count} instance{'' if count == 1 else 's'} to {name}"]
    if back:
        parts.append(f"{back} came from there")
    if before:
        parts.append(f"{before} went before")
    return ", ".join(parts)
