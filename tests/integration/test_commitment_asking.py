"""Commitment asked of PACSs by hand: reports before the answer, ways that are learned, and a sender that dies while it asks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from dicom_node.delivery import commitment_scu
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.jobs import DeliveryState, JobState
from dicom_node.pipeline import committing
from dicom_node.pipeline.report_ways import ReportWays
from dicom_node.pipeline.sender import Sender
from dicom_node.storage import Database
from tests.integration.delivery_house import House, listening
from tests.integration.raw_acceptor import RELEASED, Conversation, RawAcceptor, Stored, response
from tests.integration.raw_peer import command_set, element, p_data, pdv, uid_bytes
from tests.integration.scripted_pacs import Script, ScriptedPacs
from tests.phantoms import chest_series, write

SENT, COMMITTED = DeliveryState.SENT, DeliveryState.COMMITTED
COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
Conversing = Callable[[Conversation], None]


@pytest.fixture
def house(tmp_path: Path, database: Database) -> Iterator[Callable[[int], House]]:
    built: list[House] = []

    def build(port: int = 0) -> House:
        built.append(House(tmp_path, database, 2, port))
        built[-1].commit("require")
        return built[-1]

    yield build
    for one in built:
        one.sender.close()


def storing(peer: Conversation) -> None:
    peer.accept(16384)
    peer.serve()


def report_on(asked: Stored, *, transaction: str = "") -> list[bytes]:
    """An N-EVENT-REPORT of everything that was asked for: its two PDUs."""
    question = decode(BytesIO(asked.data_set), False, True)
    report = Dataset()
    report.TransactionUID = transaction or question.TransactionUID
    report.ReferencedSOPSequence = question.ReferencedSOPSequence
    command = command_set(
        element(0x0002, uid_bytes(COMMITMENT)),
        element(0x0100, b"\x00\x01"),
        element(0x0110, struct.pack("<H", 4711)),
        element(0x0800, b"\x01\x00"),
        element(0x1000, uid_bytes(COMMITMENT_INSTANCE)),
        element(0x1002, b"\x01\x00"),
    )
    encoded = encode(report, False, True)
    assert encoded is not None
    return [p_data(pdv(command, context=asked.context_id, command=True)), p_data(pdv(encoded, context=asked.context_id))]


def answer(asked: Stored, status: int = 0) -> bytes:
    return p_data(pdv(response(asked.message_id, status, field=0x8130), context=asked.context_id, command=True))


def status_of_report(peer: Conversation) -> int:
    """What the node answers to a report."""
    kind, content = peer.pdu()
    assert kind == 4
    assert content[5] == 3
    values = decode(BytesIO(content[6:]), True, True)
    assert (values.CommandField, values.MessageIDBeingRespondedTo, values.EventTypeID) == (0x8100, 4711, 1)
    assert (values.AffectedSOPClassUID, values.AffectedSOPInstanceUID) == (COMMITMENT, COMMITMENT_INSTANCE)
    return int(values.Status)


def released(peer: Conversation) -> None:
    assert peer.pdu()[0] == 5
    peer.send(RELEASED)


def test_report_that_comes_before_the_answer_is_taken(house: Callable[[int], House]) -> None:
    def script(peer: Conversation) -> None:
        peer.accept(16384)
        asked = peer.stored()
        peer.send(b"".join(report_on(asked)))
        assert status_of_report(peer) == 0x0000
        peer.send(answer(asked))
        released(peer)

    acceptor = RawAcceptor(storing, script)
    one = house(acceptor.port)
    one.turn()
    acceptor.close()
    assert one.states() == [COMMITTED, COMMITTED]
    assert "committed, reported on the same association" in one.show()
    assert one.job_state() is JobState.DONE


def test_report_counts_even_if_the_request_is_never_answered(house: Callable[[int], House]) -> None:
    def script(peer: Conversation) -> None:
        peer.accept(16384)
        peer.send(b"".join(report_on(peer.stored())))
        assert status_of_report(peer) == 0x0000

    acceptor = RawAcceptor(storing, script)
    one = house(acceptor.port)
    one.turn()
    acceptor.close()
    assert one.states() == [COMMITTED, COMMITTED]


def test_answer_and_report_may_come_in_one_piece_and_foreign_reports_between(house: Callable[[int], House]) -> None:
    def script(peer: Conversation) -> None:
        peer.accept(4096)
        asked = peer.stored()
        foreign = report_on(asked, transaction="1.2.3.4.5")
        peer.send(b"".join([*foreign, answer(asked), *foreign, *report_on(asked)]))
        assert [status_of_report(peer) for _ in range(3)] == [0x0110, 0x0110, 0x0000]
        released(peer)

    acceptor = RawAcceptor(storing, script)
    one = house(acceptor.port)
    one.turn()
    acceptor.close()
    assert one.states() == [COMMITTED, COMMITTED]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("report", [b"\x08\x00\x99\x11SQ\x00\x00\xff\xff\xff\x7f", b"\xff" * 40, b""])
def test_report_that_cannot_be_decoded_is_answered_as_failed(
    house: Callable[[int], House], monkeypatch: pytest.MonkeyPatch, report: bytes
) -> None:
    monkeypatch.setattr(committing, "HOLD_S", 0.2)

    def script(peer: Conversation) -> None:
        peer.accept(16384)
        asked = peer.stored()
        command, _ = report_on(asked)
        peer.send(answer(asked) + command + p_data(pdv(report, context=asked.context_id)))
        assert status_of_report(peer) == 0x0110
        released(peer)

    acceptor = RawAcceptor(storing, script)
    one = house(acceptor.port)
    one.turn()
    acceptor.close()
    assert one.states() == [SENT, SENT]


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (
            lambda asked: p_data(pdv(response(asked.message_id + 1, field=0x8130), context=asked.context_id, command=True)),
            "another message",
        ),
        (lambda asked: b"".join(report_on(asked, transaction="1.2.3.4.5")) * 101, "reports without end"),
        (lambda _: b"\x04\x00\x00\x00\x00\x01x", "holds no PDV"),
    ],
)
def test_what_is_no_answer_leaves_the_request_to_be_repeated(
    house: Callable[[int], House], say: Callable[[Stored], bytes], words: str
) -> None:
    def script(peer: Conversation) -> None:
        peer.accept(16384)
        peer.send(say(peer.stored()))
        assert peer.end()[0] == 7

    acceptor = RawAcceptor(storing, script)
    one = house(acceptor.port)
    one.turn()
    acceptor.close()
    assert one.states() == [SENT, SENT]
    assert words in one.show()


def test_association_is_held_only_for_who_may_report_on_it(
    tmp_path: Path, house: Callable[[int], House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second request would hold for an hour; it does not, as the PACS has reported on an association of its own."""
    monkeypatch.setattr(committing, "HOLD_S", 0.1)
    with listening(tmp_path / "data") as our_port:
        one = house(0)
        pacs = ScriptedPacs(one.port, Script(), classes=("1.2.840.10008.5.1.4.1.1.2",), report_to=our_port)
        one.turn()
        assert pacs.report(0) == 0x0000
        one.sender.start_due(datetime.now(UTC))
        assert one.states() == [COMMITTED, COMMITTED]
        monkeypatch.setattr(committing, "HOLD_S", 3600.0)
        one.job_id = one.job(write(chest_series()[2:4], tmp_path / "further"), "1.5")
        one.turn()
        assert one.states() == [SENT, SENT]
        assert pacs.report(1) == 0x0000
        one.sender.start_due(datetime.now(UTC))
        assert one.states() == [COMMITTED, COMMITTED]
        pacs.close()


def test_what_is_known_of_a_destination_holds_for_its_address() -> None:
    ways, pacs = ReportWays(), StorageScp("pacs", "PACS", "10.0.0.1", 104, "", 5)
    assert ways.may_report_at_once(pacs)
    ways.reported("pacs", at_once=False)
    assert not ways.may_report_at_once(pacs)
    assert ways.may_report_at_once(StorageScp("other", "PACS", "10.0.0.1", 104, "", 5))
    ways.reported("pacs", at_once=True)
    assert ways.may_report_at_once(pacs)
    ways.reported("pacs", at_once=False)
    assert ways.may_report_at_once(StorageScp("pacs", "PACS", "10.0.0.2", 104, "", 5))


class Killed(BaseException):
    """Nothing of the program handles it."""


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("requested", [False, True])
def test_sender_that_dies_while_it_asks_asks_again(
    house: Callable[[int], House], monkeypatch: pytest.MonkeyPatch, restarted: bool, requested: bool
) -> None:
    """Death falls between the record that commitment is asked for and the request, or between the request and the next record."""
    one = house(0)
    pacs = ScriptedPacs(one.port, Script(), classes=("1.2.840.10008.5.1.4.1.1.2",))
    ask = commitment_scu.ask

    def die(*arguments: object) -> bool:
        if requested:
            ask(*arguments)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(committing, "HOLD_S", 0.1)
    monkeypatch.setattr(committing, "ask", die)
    one.turn()
    assert one.states() == [SENT, SENT]
    assert len(pacs.asked) == int(requested)
    monkeypatch.setattr(committing, "ask", ask)
    monkeypatch.setattr(committing, "HOLD_S", 5.0)
    pacs.script.commits = "same"
    if restarted:
        one.sender.close()
        one.sender = Sender(one.configuration, one.database, one.through.set)
    one.turn(after_s=5)
    pacs.close()
    assert one.states() == [COMMITTED, COMMITTED]
    assert pacs.stores == 2
    assert len({request.TransactionUID for request in pacs.asked}) == 1 + requested
    assert "the sender ended while it asked for commitment: asked again" in one.show()
    assert not list((one.configuration.data_dir / "commitment-reports" / "asking").iterdir())
