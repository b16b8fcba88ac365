"""A node's notices with a real mail server and a real HTTP server; jobs are made and ended as workers and senders do."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlmodel import select

from dicom_node.config import Configuration
from dicom_node.domain.jobs import NOT_ANALYSED, DeliveryState, Job, JobKey, StoredResult
from dicom_node.domain.notices import Notice, NoticeState
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.domain.studies import StudyState
from dicom_node.jobs import queue
from dicom_node.pipeline.notifying import Notifier
from dicom_node.pipeline.settling import settle
from dicom_node.storage import Database, deliveries, notices
from dicom_node.storage.tables import InstanceRow, SeriesRow, StudyRow
from tests.certificates import Authority
from tests.mail_server import MailServer, Taken, WebServer
from tests.unit.test_config import NODE, load

SECRET = b"s" * 32
STUDY = "1.2.826.0.1.3680043.8.498.4711"
PATIENT = {
    "PatientName": ["Durante^Valeria"],
    "PatientID": ["40771982"],
    "PatientBirthDate": ["19610314"],
    "AccessionNumber": ["ACC-5521"],
    "StudyDate": ["20240506"],
    "StudyDescription": ["CT THORAX"],
}
PRIVATE = ("Durante", "40771982", "19610314", "ACC-5521", STUDY, "emphysema")
FINDINGS = {
    "model": "m",
    "version": "1",
    "findings": {"emphysema": {"present": True}, "nodule": {"present": False}},
    "measurements": {"laa_950": {"value": 31.5, "unit": "%"}},
    "segments": {},
}
_RULES = """\
rules:
  - name: chest
    match: {Modality: CT}
    model: chest-ct-densitometry
    send_to: [pacs]
    notify:
      - {event: result, to: [ris, ward]}
      - {event: critical, to: [ward], when: 'result.measurements["laa_950"].value > 25.0'}
  - name: head
    match: {Modality: MR}
    model: chest-ct-densitometry
    notify: [{event: failure, to: [ris]}]
"""


class NoticeHouse:
    """Receivers: `ops` (two addresses, by STARTTLS), `ward` (with identifiers, Korean), `ris` (webhook)."""

    def __init__(self, folder: Path, database: Database, *, more: str = "", group_wait: str = "0s") -> None:
        self.folder, self.database = folder, database
        authority = Authority(folder / "ca", "mail-ca")
        self.mail, self.web = MailServer(authority.issue("mail")), WebServer()
        (folder / "secret").write_text(f"whsec_{base64.b64encode(SECRET).decode()}")
        self.node_yaml = (
            NODE.replace("sqlite:///node.db", database.url)
            + f"""\
notifications:
  smtp: {{host: 127.0.0.1, port: {self.mail.port}, sender: node@hospital.example, ca: {authority.ca}, timeout: 2s}}
  web_url_base: https://ai.hospital.example
  receivers:
    - {{name: ops, email: [ops@hospital.example, night@hospital.example]}}
    - {{name: ward, email: [ward@hospital.example], language: ko, include_identifiers: true}}
    - {{name: ris, webhook: {{url: "{self.web.url}/hook", secret_file: secret, timeout: 2s}}}}
  failures_to: [ops]
  group_wait: {group_wait}
  retry_first: 10s
{more}"""
        )
        self.configuration: Configuration = load(folder, self.node_yaml, _RULES)
        self._through = threading.Event()
        self.notifier = Notifier(self.configuration, database, self._through.set)
        self._add_study()

    def close(self) -> None:
        self.notifier.close()
        self.mail.close()
        self.web.close()

    def reconfigure(self, old: str, new: str) -> None:
        assert old in self.node_yaml
        self.node_yaml = self.node_yaml.replace(old, new)
        self.configuration = load(self.folder, self.node_yaml, _RULES)
        self.notifier.reconfigure(self.configuration)

    def turn(self, after: timedelta = timedelta(0)) -> None:
        """Let the notifier do what is due, until nobody is being told any more."""
        self._through.clear()
        self.notifier.turn(datetime.now(UTC) + after)
        while self.notifier.busy:
            assert self._through.wait(20)
            self._through.clear()

    def job(self, rule: str = "chest", *, shadow: bool = False, study: str = STUDY, revision: int = 1) -> Job:
        """A job that runs."""
        now = datetime.now(UTC)
        with self.database.transaction() as session:
            decision = RouteDecision(rule, "m", (JobInput("image", study, study + ".1", (study + ".1.1",)),), ("pacs",), shadow=shadow)
            made = queue.create(session, queue.NewJob(JobKey(study, revision, rule, "digest"), decision, "1.0", 1), now)
            assert made is not None
            claimed = queue.claim(session, f"worker-{made.id}", now, timedelta(seconds=60))
        assert claimed is not None
        return claimed

    def finish(self, job: Job, findings: Mapping[str, Any] = FINDINGS, objects: int = 0, *, not_analysed: str = "") -> None:
        """End its run with results, some of which are owed to the PACS."""
        now = datetime.now(UTC)
        uids = [f"1.2.{job.id}.{n}" for n in range(1, objects + 1)]
        results = [StoredResult("SC", n, "1.2", uid, "1.3", Path(uid)) for n, uid in enumerate(uids, start=1)]
        reason = f"{NOT_ANALYSED}{not_analysed}" if not_analysed else "results written"
        with self.database.transaction() as session:
            deliveries.record_results(session, job.id, results, {"pacs": {"SC": ""}}, now)
            took = {"reading_s": 1.0, "model_s": 2.5, "writing_s": 0.5}
            queue.finish(session, job, queue.Finished(bool(objects), took, findings, reason), now)

    def fail(self, job: Job, reason: str = "model-error: it broke") -> None:
        with self.database.transaction() as session:
            queue.fail_attempt(session, job.id, reason, retryable=False, now=datetime.now(UTC))

    def refuse(self, job: Job, count: int, state: DeliveryState = DeliveryState.REFUSED) -> None:
        """Let the PACS refuse some of what it is owed, each in a transaction of its own as the sender does."""
        with self.database.transaction() as session:
            ids = [d.id for d in deliveries.of_job(session, job.id) if d.state is DeliveryState.OWED][:count]
        for delivery_id in ids:
            now = datetime.now(UTC)
            with self.database.transaction() as session:
                status = 0xA900 if state is DeliveryState.REFUSED else 0
                deliveries.record_attempt(session, delivery_id, deliveries.Attempt(state, status, f"status {status:04X}", now), now)
                settle(session, job.id, now)

    def notices(self) -> list[Notice]:
        with self.database.reading() as session:
            return sorted(notices.recent(session, 1000), key=lambda n: n.id)

    def told(self) -> list[tuple[str, str]]:
        """Receiver and event of each notice."""
        return [(n.receiver, str(n.event)) for n in self.notices()]

    def states(self) -> list[NoticeState]:
        return [n.state for n in self.notices()]

    def mails_to(self, name: str) -> list[Taken]:
        """What the mail server took for the mailbox of that name."""
        return [m for m in self.mail.taken if f"{name}@hospital.example" in m.recipients]

    def posted(self) -> list[dict[str, Any]]:
        return [json.loads(p.body) for p in self.web.posted]

    def receive(self, ae_title: str, at: datetime) -> None:
        """Index one instance of a peer."""
        with self.database.transaction() as session:
            series = session.exec(select(SeriesRow)).first()
            assert series is not None
            number = len(session.exec(select(InstanceRow.id)).all()) + 1
            session.add(
                InstanceRow(
                    series_id=series.id or 0, sop_instance_uid=f"{STUDY}.9.{number}", sop_class_uid="1", transfer_syntax_uid="1",
                    path=f"p{number}", size_bytes=1, sha256="a" * 64, received_at=at, calling_ae_title=ae_title, called_ae_title="AINODE",
                    address="127.0.0.1", attributes={},
                )
            )  # fmt: skip

    def _add_study(self) -> None:
        with self.database.transaction() as session:
            study = StudyRow(study_instance_uid=STUDY, state=StudyState.CLOSED, revision=1)
            session.add(study)
            session.flush()
            session.add(SeriesRow(study_id=study.id or 0, series_instance_uid=STUDY + ".1", attributes=PATIENT))
