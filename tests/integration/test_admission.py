"""What the policy says, seen from the other end of the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, build_context, build_role
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation, UserIdentityNegotiation
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification

from dicom_node.config import CalledAeTitle, Peer
from dicom_node.domain.durability import Durability
from dicom_node.pipeline.headers import received_instance
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver
from dicom_node.storage import InstanceFiles
from tests.phantoms import chest_series
from tests.requestor import ATTENTIVE

TITLES = [CalledAeTitle(name="ct-only", ae_title="NODE_CT", sop_classes=["CTImageStorage"], transfer_syntaxes=["ExplicitVRLittleEndian"])]


class Node:
    def __init__(self, files: InstanceFiles, passcode: Path) -> None:
        passcode.write_text("open sesame\n")
        peers = [
            Peer(name="pacs", ae_title="PACS", host="localhost"),
            Peer(name="small", ae_title="SMALL", host="localhost", max_instance="4KiB", max_associations=1),
            Peer(name="named", ae_title="NAMED", host="localhost", username="ali", passcode_file=passcode),
        ]
        self.files = files
        door = Door(files, DoorSettings("receiver-0", Durability.NONE, 0))
        self.receiver = Receiver(door, AccessPolicy("NODE", peers, 5, TITLES), Places(files.run))
        self.port = self.receiver.start(ListenOn("127.0.0.1", 0, 131072, 10, 30))

    def associate(self, contexts: list, calling: str = "PACS", called: str = "NODE", extra: list | None = None):  # type: ignore[no-untyped-def,type-arg]
        ae = AE(calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
        return ae.associate("127.0.0.1", self.port, contexts=contexts, ae_title=called, ext_neg=extra or [], evt_handlers=[ATTENTIVE])


@pytest.fixture
def node(files: InstanceFiles, tmp_path: Path) -> Iterator[Node]:
    running = Node(files, tmp_path / "passcode")
    yield running
    running.receiver.drain(2)


def answers(association) -> list[int]:  # type: ignore[no-untyped-def]
    contexts = [*association.accepted_contexts, *association.rejected_contexts]
    return [c.result for c in sorted(contexts, key=lambda c: c.context_id)]


def test_title_restricts_classes_and_syntaxes_with_the_standards_results(node: Node) -> None:
    contexts = [
        build_context(CTImageStorage, [JPEG2000Lossless, ExplicitVRLittleEndian]),
        build_context(MRImageStorage, ExplicitVRLittleEndian),
        build_context(CTImageStorage, ImplicitVRLittleEndian),
        build_context(Verification),
    ]
    association = node.associate(contexts, called="NODE_CT")
    assert answers(association) == [0, 3, 4, 0]
    assert association.accepted_contexts[0].transfer_syntax == [ExplicitVRLittleEndian]
    association.release()


def test_file_says_which_title_was_called(node: Node) -> None:
    association = node.associate([build_context(CTImageStorage, ExplicitVRLittleEndian)], called="NODE_CT")
    assert association.send_c_store(chest_series()[0]).Status == 0
    association.release()
    [path] = node.files.pending()
    assert received_instance(path).peer.called_ae_title == "NODE_CT"


def test_instance_over_the_peers_limit_is_refused_and_the_next_is_taken(node: Node) -> None:
    association = node.associate([build_context(CTImageStorage, ExplicitVRLittleEndian)], "SMALL")
    large, small = chest_series()[:2]
    small.PixelData, small.Rows, small.Columns = bytes(32), 4, 4
    refused = association.send_c_store(large)
    assert (refused.Status, refused.ErrorComment) == (0xA700, "instance larger than 4096 bytes")
    assert association.send_c_store(small).Status == 0
    association.release()
    assert len(node.files.pending()) == 1
    assert not list(node.files.incoming.glob(".*"))


def test_peers_own_number_of_associations_holds_and_frees(node: Node) -> None:
    first = node.associate([build_context(Verification)], "SMALL")
    second = node.associate([build_context(Verification)], "SMALL")
    assert second.is_rejected
    assert second.acceptor.primitive.diagnostic == 2
    assert node.associate([build_context(Verification)]).is_established
    first.abort()
    for _ in range(100):
        third = node.associate([build_context(Verification)], "SMALL")
        if third.is_established:
            break
    assert third.is_established


def identity(kind: int, primary: bytes, secondary: bytes = b"") -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type, item.primary_field = kind, primary
    if secondary:
        item.secondary_field = secondary
    return item


@pytest.mark.parametrize(
    ("shown", "admitted"),
    [
        ([], False),
        ([identity(1, b"ali")], False),
        ([identity(2, b"ali", b"open sesame")], True),
        ([identity(2, b"ali", b"close sesame")], False),
        ([identity(2, b"baba", b"open sesame")], False),
        ([identity(5, b"ey.jwt")], False),
    ],
)
def test_user_identity_is_asked_of_the_peer_that_has_one(node: Node, shown: list[UserIdentityNegotiation], admitted: bool) -> None:
    association = node.associate([build_context(Verification)], "NAMED", extra=shown)
    assert association.is_established is admitted
    if not admitted:
        answer = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 1)


def test_peer_without_asked_identity_may_show_one(node: Node) -> None:
    assert node.associate([build_context(Verification)], extra=[identity(2, b"who", b"ever")]).is_established


def test_asynchronous_window_is_answered_with_one_operation_at_a_time(node: Node) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 8, 8
    association = node.associate([build_context(Verification)], extra=[window])
    assert association.is_established
    assert association.acceptor.asynchronous_operations == (1, 1)
    association.release()


def test_role_selection_for_storage_leaves_us_the_provider(node: Node) -> None:
    role = build_role(CTImageStorage, scu_role=True, scp_role=True)
    association = node.associate([build_context(CTImageStorage, ExplicitVRLittleEndian)], extra=[role])
    [context] = association.accepted_contexts
    assert context.as_scu
    assert association.send_c_store(chest_series()[0]).Status == 0
    association.release()
