"""One attempt at one notice: its words, for whom they are, and the way they go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from dicom_node.config import Configuration
from dicom_node.delivery.notices import email, webhook
from dicom_node.delivery.notices.message import Message, Surroundings
from dicom_node.delivery.notices.told import Told
from dicom_node.delivery.notices.wording import Mail, TemplateFaultError, Templates
from dicom_node.delivery.outcomes import Verdict
from dicom_node.domain.notice_facts import Identifiers, NoticeFacts, facts_from_json
from dicom_node.domain.notices import Mailbox, Notice, Receiver
from dicom_node.errors import DeliveryError
from dicom_node.ops.logs import get_logger
from dicom_node.storage import Database
from dicom_node.storage.notice_facts import identifiers


class Telling:
    """Tells receivers, for one configuration. Used from any thread."""

    def __init__(self, configuration: Configuration, database: Database, templates: Templates) -> None:
        """Take who is told, and in which words."""
        self._configuration = configuration
        self._database = database
        self._templates = templates

    def tell(self, notice: Notice, now: datetime) -> Told:
        """Send a notice to those who have not taken it.

        Raises:
            DeliveryError: the receiver cannot be reached.
            StorageError: the database failed.
        """
        receiver = self._configuration.receivers.get(notice.receiver)
        if receiver is None:
            raise DeliveryError(f"no receiver is named {notice.receiver}", hint="restore it in node.yaml")
        facts = facts_from_json(notice.facts)
        known = self._identifiers(facts) if receiver.include_identifiers else {}
        message = Message(
            notice.uuid, notice.event, notice.created_at, facts, receiver.language, surroundings_of(self._configuration), known
        )
        return self.send(receiver, message, now, (*notice.taken, *notice.refused))

    def send(self, receiver: Receiver, message: Message, now: datetime, done: tuple[str, ...] = ()) -> Told:
        """Send a message.

        Args:
            receiver: To whom.
            message: What.
            now: Of the attempt.
            done: Addresses that are through with it.

        Raises:
            DeliveryError: the receiver cannot be reached.
        """
        if not isinstance(receiver.way, Mailbox):
            return webhook.post(receiver.name, receiver.way, message, now)
        server = self._configuration.smtp
        if server is None:
            raise DeliveryError("there is no mail server", hint="restore notifications.smtp in node.yaml")
        open_addresses = [a for a in receiver.way.addresses if a not in done]
        if not open_addresses:
            return Told(Verdict.STORED, "every recipient is through")
        composed = email.compose(message, self.written(message), server.sender, receiver.way.addresses)
        return email.send(server, composed, open_addresses)

    def written(self, message: Message) -> Mail:
        """Write an e-mail; a site's template that was broken since it was checked gives way to the node's own."""
        try:
            return self._templates.write(message)
        except TemplateFaultError as error:
            get_logger().error("notice_template_failed", file=error.file, line=error.line, reason=str(error))
            return Templates().write(message)

    def _identifiers(self, facts: NoticeFacts) -> Mapping[int, Identifiers]:
        with self._database.reading() as session:
            found = {job.job: identifiers(session, job.job) for job in facts.jobs}
        return {job: known for job, known in found.items() if known is not None}


def surroundings_of(configuration: Configuration) -> Surroundings:
    """Return what all notices of a node share."""
    section = configuration.node.notifications
    return Surroundings(configuration.ae_title, section.web_url_base, section.zone)
