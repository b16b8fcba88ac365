"""A PACS that does what a test tells it: statuses, aborts, silence, refused contexts, commitment late, partly or never."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import SecondaryCaptureImageStorage, StorageCommitmentPushModel, Verification

_INSTANCE = "1.2.840.10008.1.20.1.1"


@dataclass
class Script:
    """What the PACS does.

    Attributes:
        statuses: Of C-STORE, one after another, the last one for ever.
        abort_at: Number of the C-STORE (from 1) that is answered by an abort; 0 is none.
        silent: Set by the test when C-STORE may be answered; None answers at once.
        commits: How the report goes: `same`, `new`, or `never`.
        unknown: Of how many reports each names every instance as failed (0112).
        named: How many of the instances a report names; None is all.
        action_status: Of N-ACTION.
    """

    statuses: list[int] = field(default_factory=lambda: [0x0000])
    comment: str = ""
    abort_at: int = 0
    silent: threading.Event | None = None
    commits: str = "never"
    unknown: int = 0
    named: int | None = None
    action_status: int = 0x0000


class ScriptedPacs:
    """Listens at once; `report_to` is the port that new associations of its reports go to."""

    def __init__(
        self,
        port: int,
        script: Script,
        *,
        classes: tuple[str, ...] = (SecondaryCaptureImageStorage,),
        report_to: int = 0,
        syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    ) -> None:
        self.script, self.report_to = script, report_to
        self.received: list[str] = []
        self.syntaxes: list[str] = []
        self.data_sets: list[Dataset] = []
        self.stores = self.echoes = self.associations = 0
        self.asked: list[Dataset] = []
        self.answers: list[int | None] = []
        self.reporters: list[threading.Thread] = []
        ae = AE("ORTHANC")
        ae.network_timeout = 20
        for sop_class in classes:
            ae.add_supported_context(sop_class, list(syntaxes))
        ae.add_supported_context(Verification)
        ae.add_supported_context(StorageCommitmentPushModel)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_N_ACTION, self._action),
            (evt.EVT_ESTABLISHED, self._established),
        ]
        self.server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)

    def classes_too(self, *classes: str) -> None:
        """Take further SOP classes from now on."""
        for sop_class in classes:
            self.server.ae.add_supported_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
            self.server.contexts = self.server.ae.supported_contexts

    def close(self) -> None:
        for thread in self.reporters:
            thread.join(10)
        self.server.shutdown()

    def report(self, number: int = -1, *, port: int | None = None) -> int | None:
        """Report a request on a new association; returns the status answered, None without an association."""
        request = self.asked[number]
        ae = AE("ORTHANC")
        ae.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        association = ae.associate("127.0.0.1", port or self.report_to, ext_neg=[role], ae_title="AINODE")
        if not association.is_established:
            return None
        try:
            return self._send(association, request)
        finally:
            association.release()

    def _established(self, _event: evt.Event) -> None:
        self.associations += 1

    def _echo(self, _event: evt.Event) -> int:
        self.echoes += 1
        return 0x0000

    def _store(self, event: evt.Event) -> Dataset | int:
        self.stores += 1
        if self.script.silent is not None:
            self.script.silent.wait(20)
        if self.stores == self.script.abort_at:
            event.assoc.abort()
            return 0x0110
        answer = Dataset()
        answer.Status = self.script.statuses.pop(0) if len(self.script.statuses) > 1 else self.script.statuses[0]
        if self.script.comment and answer.Status:
            answer.ErrorComment = self.script.comment
        if answer.Status == 0:
            self.received.append(str(event.request.AffectedSOPInstanceUID))
            self.syntaxes.append(str(event.context.transfer_syntax))
            self.data_sets.append(event.dataset)
        return answer

    def _action(self, event: evt.Event) -> tuple[int, None]:
        if self.script.action_status == 0:
            self.asked.append(event.action_information)
            send: dict[str, Callable[[], object]] = {
                "same": lambda: self.answers.append(self._send(event.assoc, self.asked[-1])),
                "new": lambda: self.answers.append(self.report()),
            }
            if self.script.commits in send:
                self.reporters.append(threading.Thread(target=send[self.script.commits]))
                self.reporters[-1].start()
        return self.script.action_status, None

    def _send(self, association: object, request: Dataset) -> int | None:
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        items = list(request.ReferencedSOPSequence)[: self.script.named]
        failed = self.script.unknown > 0
        self.script.unknown -= failed
        for item in items if failed else ():
            item.FailureReason = 0x0112
        setattr(report, "FailedSOPSequence" if failed else "ReferencedSOPSequence", items)
        status, _ = association.send_n_event_report(report, 2 if failed else 1, StorageCommitmentPushModel, _INSTANCE)  # type: ignore[attr-defined]
        return status.get("Status")
