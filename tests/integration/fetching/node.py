"""As much of a node as asks archives: configuration, database, index, receiver and the fetching threads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from pydicom.dataset import Dataset

from dicom_node.config import Peer, load_configuration
from dicom_node.domain.durability import Durability
from dicom_node.domain.fetches import Expected, Fetch, FetchState
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.routing import PriorSearch
from dicom_node.domain.studies import StudyState
from dicom_node.pipeline.fetching import Fetching, FetchThread
from dicom_node.pipeline.headers import received_instance
from dicom_node.scp.door import Door, DoorSettings, InstanceKind
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver
from dicom_node.storage import Database, InstanceFiles, fetches, index, queries
from tests.acceptance.orthanc import Orthanc
from tests.conftest import ROOT
from tests.phantoms import write

CT = AssociationPeer("CT", "AINODE", "127.0.0.1")
RULE = "growth"


class FetchNode:
    def __init__(self, folder: Path, sources: list[dict[str, object]], prior: dict[str, object] | None = None, **fetch: object) -> None:
        """`prior` is that of the input `before` of the rule `growth`; `fetch` is its section of node.yaml."""
        self.folder = folder
        inputs = {"now": {}, "before": {"match": {"Modality": "CT"}, "prior": {"within": "5y", **(prior or {})}}}
        rule = {"name": RULE, "match": {"Modality": "CT"}, "inputs": inputs, "model": "chest-ct-densitometry"}
        (folder / "rules.yaml").write_text(yaml.safe_dump({"rules": [rule]}, sort_keys=False))
        node = {
            "ae_title": "AINODE",
            "dicom": {"durability": "none", "min_free": "0B"},
            "data_dir": "data",
            "database": f"sqlite:///{folder / 'fetching.db'}",
            "models_dir": str(ROOT / "config" / "models"),
            "query_sources": sources,
            "fetch": {"retry_first": "100ms", "retry_max": "200ms", **fetch},
        }
        (folder / "node.yaml").write_text(yaml.safe_dump(node, sort_keys=False))
        self.configuration = load_configuration(folder / "node.yaml")
        self.files = InstanceFiles(self.configuration.data_dir)
        self.files.prepare()
        self.database = Database(self.configuration.node.database)
        self.database.migrate()
        self.door = Door(self.files, DoorSettings("test", Durability.NONE, 0))
        self.arrivals: dict[str, index.Arrival] = {}
        self._written = 0
        self._thread: FetchThread | None = None
        self._receiver: Receiver | None = None

    def start(self) -> None:
        self._thread = FetchThread(Fetching(self.configuration, self.database, self.files, lambda: None))

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def listen(self, port: int) -> None:
        """Receive what the archive sends after a C-MOVE."""
        policy = AccessPolicy("AINODE", [Peer(name="archive", ae_title="ORTHANC", host="localhost")], 5)
        self._receiver = Receiver(self.door, policy, Places(self.files.run))
        self._receiver.start(ListenOn("127.0.0.1", port, 131072, 10, 30))

    def close(self) -> None:
        self.stop()
        if self._receiver is not None:
            self._receiver.drain(5)
        self.database.close()

    def receive(self, data_sets: list[Dataset], peer: AssociationPeer = CT) -> None:
        """Take instances in as if a peer had pushed them."""
        self._written += 1
        for path, ds in zip(write(data_sets, self.folder / f"sent-{self._written}"), data_sets, strict=True):
            content = path.read_bytes()
            start = 144 + int.from_bytes(content[140:144], "little")
            kind = InstanceKind(str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.file_meta.TransferSyntaxUID))
            self.door.keep(peer, kind, [content[start:]])
        self.index()

    def index(self) -> None:
        for path in self.files.pending():
            instance = received_instance(path)
            with self.database.transaction() as session:
                indexed = index.index_instance(session, self.files, instance)
            self.arrivals[instance.sop_instance_uid] = indexed.arrival
            if indexed.target is None:
                self.files.drop(path)
            else:
                self.files.move(path, indexed.target)

    def ask_count(self, study: str, source: str, within_s: float = 60) -> None:
        with self.database.transaction() as session:
            fetches.ask_count(session, study, source, *_from_now(within_s))
        self.look()

    def ask_missing(self, study: str, source: str, within_s: float = 60) -> None:
        with self.database.transaction() as session:
            fetches.ask_missing(session, study, source, *_from_now(within_s))
        self.look()

    def ask_prior(self, study: str) -> None:
        """Ask for the prior of the rule's input."""
        [slot] = [slot for rule in self.configuration.rules for slot in rule.inputs if slot.prior]
        assert slot.prior is not None
        with self.database.transaction() as session:
            fetches.ask_prior(session, study, RULE, slot.name, slot.prior, datetime.now(UTC))
        self.look()

    def look(self) -> None:
        if self._thread is not None:
            self._thread.look()

    def expected(self, study: str, source: str) -> Expected:
        with self.database.transaction() as session:
            found = fetches.expected(session, study, source)
        assert found is not None
        return found

    def priors(self, study: str) -> PriorSearch:
        with self.database.transaction() as session:
            [found] = fetches.prior_searches(session, study)
        return found

    def fetch(self) -> Fetch:
        with self.database.transaction() as session:
            [found] = fetches.recent(session, 2)
        return found

    def until_ended(self, limit_s: float = 40) -> Fetch:
        self.until(lambda: self.fetch().state.is_final, limit_s)
        return self.fetch()

    def until_state(self, state: FetchState, limit_s: float = 40) -> None:
        self.until(lambda: self.fetch().state is state, limit_s)

    def until(self, condition, limit_s: float = 40) -> None:  # type: ignore[no-untyped-def]
        """Index what comes until something is so."""

        def holds() -> bool:
            self.index()
            return bool(condition())

        Orthanc.wait_until(holds, limit_s, 0.05)

    def states(self) -> dict[str, StudyState]:
        with self.database.transaction() as session:
            return {s.study_instance_uid: s.state for s in queries.studies(session, 100)}


def _from_now(within_s: float) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return now, now + timedelta(seconds=within_s)
