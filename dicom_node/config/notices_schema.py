"""Sections about who is told what: receivers, mail server, silence, digest; and what a rule asks for."""

from __future__ import annotations

import re
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from dicom_node.config.section import Section
from dicom_node.config.several_faults import is_thorough
from dicom_node.config.values import Duration, Name, OffPeakHours, Port, TimeZone
from dicom_node.config.web_values import Url, is_this_machine
from dicom_node.config.when import AfterWhen
from dicom_node.domain.destinations import Origin
from dicom_node.domain.notices import Mailbox, Receiver, SmtpSecurity, SmtpServer, Webhook
from dicom_node.domain.rules import Notify, RuleEvent

ANY_PEER = "any"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")


def _check_address(value: str) -> str:
    if len(value) > 254 or _ADDRESS.fullmatch(value) is None:
        raise ValueError(f"{value!r} is no e-mail address; write it as name@example.org, in ASCII, without a display name")
    return value


EmailAddress = Annotated[str, AfterValidator(_check_address)]


class SmtpSection(Section):
    """The mail server."""

    host: str = Field(min_length=1, description="Mail server, address or host name.")
    port: Port = Field(587, description="TCP port of the mail server.")
    security: SmtpSecurity = Field(
        SmtpSecurity.STARTTLS, description="`starttls` (then it must be offered), `tls` (from the first byte, mostly port 465), or `none`."
    )
    ca: Path | None = Field(None, description="PEM file of the authorities that may have signed the mail server's certificate.")
    username: str = Field("", description="User that the node logs in as.")
    password_file: Path | None = Field(None, description="With `username`: file that holds its password; relative to this file.")
    sender: EmailAddress = Field(description="Address that e-mails come from.")
    timeout: Duration = Field(timedelta(seconds=30), description="Longest wait for a connection or an answer of the mail server.")

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if bool(self.username) != (self.password_file is not None):
            raise ValueError("username and password_file belong together: give both or neither")
        if self.username and self.security is SmtpSecurity.NONE and not is_this_machine(self.host):
            raise ValueError("the password would go over the network in the clear: use security starttls or tls")
        return self

    def to_server(self) -> SmtpServer:
        """Return what e-mails are handed to."""
        timeout_s = self.timeout.total_seconds()
        login = self.ca, self.username, self.password_file
        return SmtpServer(self.host, self.port, self.security, self.sender, timeout_s, *login)


class WebhookSection(Section):
    """Where notices are posted to."""

    url: Url = Field(min_length=1, description="URL that notices are posted to.")
    secret_file: Path = Field(description="File with the secret that bodies are signed with, `whsec_...`; two lines while it is changed.")
    ca: Path | None = Field(None, description="PEM file of the authorities that may have signed its certificate.")
    timeout: Duration = Field(timedelta(seconds=20), description="Longest wait for a connection or the answer.")


class ReceiverSection(Section):
    """Who is told."""

    name: Name = Field(description="Name for `to` here and in rules.")
    email: tuple[EmailAddress, ...] = Field((), description="Addresses; all get the same message. Either `email` or `webhook`.")
    webhook: WebhookSection | None = Field(None, description="Instead of `email`: where notices are posted to.")
    language: str = Field("en", description="Language of e-mails: `en`, `ko`.")
    include_identifiers: bool = Field(
        default=False, description="Say whose study it is and what was found: patient data. Over TLS only; never in a subject."
    )

    @model_validator(mode="after")
    def _check_way(self) -> Self:
        if bool(self.email) == (self.webhook is not None):
            raise ValueError("give either email (a list of addresses) or webhook")
        return self

    def to_receiver(self) -> Receiver:
        """Return who is told."""
        if self.webhook is None:
            return Receiver(self.name, Mailbox(self.email), self.language, self.include_identifiers)
        origin = Origin(self.webhook.url, self.webhook.timeout.total_seconds(), ca=self.webhook.ca)
        return Receiver(self.name, Webhook(origin, self.webhook.secret_file), self.language, self.include_identifiers)


class SilenceSection(Section):
    """A peer that must not be silent for long."""

    peer: Name = Field(ANY_PEER, description="Name of a peer or of a STOW-RS sender; `any`: whoever sends.")
    after: Duration = Field(description="Nothing received for this long is told.")
    hours: tuple[OffPeakHours, ...] = Field((), description="Hours in which silence counts, as `mon-fri 07:00-19:00`; empty: always.")
    to: tuple[Name, ...] = Field(min_length=1, description="Names of receivers that are told of the silence and of its end.")

    @field_validator("after")
    @classmethod
    def _check_after(cls, value: timedelta) -> timedelta:
        if value < timedelta(minutes=1):
            raise ValueError("a silence is at least 1m")
        return value


class OverdueSection(Section):
    """Destinations that do not take what they are owed."""

    after: Duration = Field(timedelta(hours=1), description="What a destination is owed for this long is told.")
    to: tuple[Name, ...] = Field(min_length=1, description="Names of receivers that are told of it and of its end.")


class DigestSection(Section):
    """A summary by schedule."""

    at: str = Field("", description="Time of the day of a daily digest, as `07:00`; or `cron`.")
    cron: str = Field("", description="Crontab line: minute hour day month weekday, 0 and 7 are Sunday.")
    to: tuple[Name, ...] = Field(min_length=1, description="Names of receivers of the digest.")

    @model_validator(mode="after")
    def _check_schedule(self, info: ValidationInfo) -> Self:
        if bool(self.at) == bool(self.cron):
            raise ValueError("give either at or cron")
        if is_thorough(info):
            schedules = import_module("dicom_node.config.schedules")  # a receiver needs no scheduler
            schedules.check_cron(self.cron or schedules.cron_of_time(self.at))
        return self


class NotificationsSection(Section):
    """Who is told of what, and how."""

    smtp: SmtpSection | None = Field(None, description="Mail server; needed for receivers with `email`.")
    web_url_base: Url = Field("", description="Address of this node's console, for links in notices; empty: no links.")
    time_zone: TimeZone = Field("", description="Time zone of hours, schedules and times in e-mails; empty: the machine's.")
    templates: Path | None = Field(None, description="Folder with own templates of e-mails; those that are not in it are the node's.")
    receivers: tuple[ReceiverSection, ...] = Field((), description="Who may be told.")
    failures_to: tuple[Name, ...] = Field((), description="Receivers of failures of rules that name none themselves.")
    silence: tuple[SilenceSection, ...] = Field((), description="Peers that must not be silent for long.")
    overdue: OverdueSection | None = Field(None, description="Destinations that do not take what they are owed.")
    digest: DigestSection | None = Field(None, description="Summary by schedule.")
    group_wait: Duration = Field(timedelta(seconds=30), description="Failures are gathered for this long and told together.")
    retry_first: Duration = Field(
        timedelta(seconds=10), description="Wait after the first failed attempt; each further one is twice as long."
    )
    retry_max: Duration = Field(timedelta(minutes=30), description="Longest wait between attempts at a notice.")
    max_age: Duration = Field(timedelta(days=3), description="A notice that could not be sent for so long is given up (DEAD).")
    keep: Duration = Field(timedelta(days=90), description="Notices that were sent or given up are forgotten after this time.")

    @property
    def zone(self) -> ZoneInfo | None:
        """Time zone; None: the machine's."""
        return ZoneInfo(self.time_zone) if self.time_zone else None

    def below(self, folder: Path) -> Self:
        """Return the section with paths that start at a folder."""
        smtp = self.smtp and self.smtp.with_paths_below(folder, "ca", "password_file")
        receivers = tuple(
            r if r.webhook is None else r.model_copy(update={"webhook": r.webhook.with_paths_below(folder, "ca", "secret_file")})
            for r in self.receivers
        )
        return self.with_paths_below(folder, "templates").model_copy(update={"smtp": smtp, "receivers": receivers})


class NotifySection(Section):
    """Whom a rule has told of what."""

    event: RuleEvent = Field(description="`result`, `critical` or `failure`.")
    to: tuple[Name, ...] = Field(min_length=1, description="Names of receivers.")
    when: AfterWhen = Field("", description="With `critical`: CEL expression over `result` that says what is critical.")

    @model_validator(mode="after")
    def _check_when(self) -> Self:
        if self.event is RuleEvent.CRITICAL and not self.when:
            raise ValueError("critical needs when: a CEL expression over `result` that says what is critical")
        if self.event is not RuleEvent.CRITICAL and self.when:
            raise ValueError(f"when belongs to critical; {self.event} is told each time")
        return self

    def to_notify(self) -> Notify:
        """Return what the rule asks for."""
        return Notify(self.event, self.to, self.when)
