"""What goes instead of objects that a destination does not take: written already, built for it now, or sent beside them anyway."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from sqlmodel import Session

from dicom_node.config import Configuration
from dicom_node.delivery.channel import Channel, SaysWhatItTakes
from dicom_node.delivery.fallbacks import Form, allowed_stand_ins, best_in_form, classes_of, form_of
from dicom_node.domain.jobs import IMAGE, Delivery, StoredResult
from dicom_node.domain.profiles import DEFAULT_PROFILE, PRESETS, ResultProfile
from dicom_node.errors import ResultError, StorageError
from dicom_node.jobs import queue
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.results.apart import Build
from dicom_node.pipeline.results.forms import profile_for
from dicom_node.pipeline.settling import settle
from dicom_node.storage import Database, deliveries, delivery_operations


class StandIns:
    """Replaces refused objects. Used from the threads of the sender, one destination each."""

    def __init__(self, configuration: Callable[[], Configuration], database: Database, build: Build) -> None:
        """Take how the configuration of the moment is found, and who builds."""
        self._configuration = configuration
        self._database = database
        self._build = build
        self._log: Logger = get_logger()

    def may_replace(self, delivery: Delivery) -> bool:
        """Say whether anything may go instead; nothing does for images of others."""
        return delivery.result.kind != IMAGE and bool(self._forms(delivery))

    def replace(self, refused: Mapping[int, str], found: Sequence[Delivery], channel: Channel) -> None:
        """Owe what goes instead of refused objects, or leave them refused.

        Nothing is built inside a transaction, nor for a form that the destination says it does not take.

        Args:
            refused: What the destination said, by id of the delivery; these are OWED until here.
            found: Deliveries of one study to one destination, those among them.
            channel: To the destination.

        Raises:
            DeliveryError: the destination does not answer; the objects stay owed, and will be refused and replaced again.
            StorageError: the database failed.
        """
        items = [d for d in found if d.id in refused]
        classes = list(dict.fromkeys(uid for d in items for form in self._forms(d) for uid in classes_of(form)))
        taken = channel.takes(classes) if isinstance(channel, SaysWhatItTakes) else frozenset(classes)
        for delivery in items:
            forms = [form for form in self._forms(delivery) if taken & set(classes_of(form))]
            self._replace(delivery, forms, refused[delivery.id])

    def _replace(self, delivery: Delivery, forms: Sequence[Form], reason: str) -> None:
        remarks: list[str] = []
        for form in forms:
            if self._use(delivery, form, reason):
                return
            try:
                self._build(delivery.job_id, profile_for(form, self._profile(delivery)))
            except ResultError as error:
                remarks.append(f"{form} cannot be built: {error}")
                continue
            except StorageError as error:
                with self._database.transaction() as session:
                    delivery_operations.explain(session, delivery, f"{reason}; {form} could not be built yet: {error}", datetime.now(UTC))
                self._log.warning(
                    "form_not_built", job=delivery.job_id, destination=delivery.destination, form=str(form), reason=str(error)
                )
                return
            if self._use(delivery, form, reason):
                self._log.info("form_built", job=delivery.job_id, destination=delivery.destination, form=str(form))
                return
            remarks.append(f"the result has no {form}")
        now = datetime.now(UTC)
        with self._database.transaction() as session:
            delivery_operations.not_taken(session, delivery, "; ".join([reason, *remarks]), "", now)
            settle(session, delivery.job_id, now)

    def _use(self, delivery: Delivery, form: Form, reason: str) -> bool:
        """Owe objects in a form, if there are any; whatever becomes of the job then is written too."""
        now = datetime.now(UTC)
        with self._database.transaction() as session:
            owed = {
                d.result.sop_instance_uid: d
                for d in deliveries.of_job(session, delivery.job_id)
                if d.destination == delivery.destination and d.id != delivery.id
            }
            written = deliveries.results_of(session, delivery.job_id)
            if best := self._best(delivery, form, [r for r in written if r.sop_instance_uid not in owed]):
                delivery_operations.put_in_place(session, delivery, best, str(form), now)
            elif any(form_of(d.result.sop_class_uid) is form and d.state not in deliveries.GIVEN_UP for d in owed.values()):
                covered = f"{reason}; {form} goes as an object of its own"
                delivery_operations.not_taken(session, delivery, covered, str(form), now)
            else:
                return False
            self._settle(session, delivery, now)
        return True

    def _best(self, delivery: Delivery, form: Form, available: Sequence[StoredResult]) -> tuple[StoredResult, ...]:
        same = [r for r in available if form_of(r.sop_class_uid) is form]
        if len({r.variant for r in same}) < 2:
            return best_in_form(delivery.result, same, "")
        from dicom_node.sr_writer import wanted_variants  # noqa: PLC0415 - a sender that runs alone has no need of it but here

        wanted = wanted_variants(profile_for(form, self._profile(delivery)))
        return best_in_form(delivery.result, same, wanted.get(same[0].kind, ""))

    def _settle(self, session: Session, delivery: Delivery, now: datetime) -> None:
        queue.note(
            session, delivery.job_id, f"{delivery.destination}: another form of {delivery.result.kind} {delivery.result.number}", now
        )
        settle(session, delivery.job_id, now)

    def _forms(self, delivery: Delivery) -> tuple[Form, ...]:
        return allowed_stand_ins(delivery.result.sop_class_uid, self._profile(delivery).fallback)

    def _profile(self, delivery: Delivery) -> ResultProfile:
        return self._configuration().profile_of(delivery.destination) or PRESETS[DEFAULT_PROFILE]
