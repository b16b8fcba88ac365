"""Messages over MLLP to a real receiver: acknowledgments of every kind, TLS, and connections that fail."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.delivery.channel import channel_to
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import Hl7Receiver
from dicom_node.domain.tls import TlsClient
from dicom_node.errors import DeliveryError
from dicom_node.sr_writer.messages import Hl7Form, build_messages
from tests.certificates import Authority
from tests.conftest import free_port
from tests.integration.mllp_receiver import MllpReceiver, ack, in_pieces, raw
from tests.result_findings import request
from tests.result_sources import stack

STORED, RETRY, REFUSED = Verdict.STORED, Verdict.RETRY, Verdict.REFUSED


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("messages")
    made = build_messages(request(stack()), (), [Hl7Form("en"), Hl7Form("ko"), Hl7Form("en", "RIS")])
    found = []
    for number, one in enumerate(made):
        found.append(folder / f"HL7-{number}.hl7")
        found[-1].write_bytes(one.content)
    return found


@pytest.fixture
def receiver() -> Iterator[MllpReceiver]:
    with MllpReceiver().serving() as found:
        yield found


def to(port: int, timeout_s: float = 5.0, tls: TlsClient | None = None) -> Hl7Receiver:
    return Hl7Receiver("ris", "127.0.0.1", port, "", "", "en", timeout_s, tls)


def send(destination: Hl7Receiver, paths: list[Path]) -> list[tuple[int, Outcome]]:
    outcomes: list[tuple[int, Outcome]] = []
    channel_to("AINODE", destination).send(paths, lambda index, outcome: outcomes.append((index, outcome)))
    return outcomes


def failure(destination: Hl7Receiver, paths: list[Path]) -> str:
    with pytest.raises(DeliveryError) as caught:
        send(destination, paths)
    return str(caught.value)


def test_several_messages_over_one_connection_arrive_as_they_are(receiver: MllpReceiver, paths: list[Path]) -> None:
    outcomes = send(to(receiver.port), paths)
    assert [(index, o.verdict, o.status) for index, o in outcomes] == [(n, STORED, 0) for n in range(3)]
    assert receiver.got == [path.read_bytes() for path in paths]
    assert receiver.connections == 1


def test_each_acknowledgment_is_about_its_own_message(receiver: MllpReceiver, paths: list[Path]) -> None:
    receiver.answers.extend([ack("AE", "ERR|||101^x^HL70357|E"), ack("AE", "ERR|||207|E"), ack("AR")])
    assert [o.verdict for _, o in send(to(receiver.port), paths)] == [REFUSED, RETRY, RETRY]


def test_acknowledgment_byte_by_byte(receiver: MllpReceiver, paths: list[Path]) -> None:
    receiver.answers.extend([in_pieces(ack("AA")), in_pieces(ack("CA"))])
    assert [o.verdict for _, o in send(to(receiver.port), paths[:2])] == [STORED, STORED]


def test_enhanced_mode_the_applications_answer_that_comes_later_is_passed_over(receiver: MllpReceiver, paths: list[Path]) -> None:
    late = ack("AA", control_id=paths[0].read_bytes().split(b"|")[9].decode())
    receiver.answers.extend([ack("CA"), lambda m: [*late(m), *ack("CA")(m)]])
    assert [o.verdict for _, o in send(to(receiver.port), paths[:2])] == [STORED, STORED]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ack("AA", control_id="another"), "for another message"),
        (raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "no MLLP block"),
        (raw(b"\x0bhello\x1c\r"), "no HL7 acknowledgment"),
        (raw(b"\x0bMSH|^~\\&|RIS\rMSA|AA|"), "no acknowledgment within 0.3 s"),
        (raw(b"\x0bMSH|^~\\&|RIS\rMSA|AA|", b""), "closed before the acknowledgment"),
        (raw(b""), "closed before the acknowledgment"),
        (raw(), "no acknowledgment within 0.3 s"),
        (raw(b"\x0b" + b"x" * ((1 << 20) + 70_000)), "longer than"),
    ],
    ids=["another", "http", "garbage", "half", "cut", "closed", "silent", "endless"],
)
def test_without_an_answer_that_can_be_read_it_is_tried_again(
    receiver: MllpReceiver, paths: list[Path], answer: object, words: str
) -> None:
    receiver.answers.append(answer)  # type: ignore[arg-type]
    waits = 0.3 if "within" in words else 10.0
    assert words in failure(to(receiver.port, waits), paths[:1])


def test_what_was_answered_before_a_cut_stays_answered(receiver: MllpReceiver, paths: list[Path]) -> None:
    receiver.answers.extend([ack("AA"), raw(b"")])
    outcomes: list[int] = []
    with pytest.raises(DeliveryError):
        channel_to("AINODE", to(receiver.port)).send(paths, lambda index, _: outcomes.append(index))
    assert outcomes == [0]


def test_nobody_listens_and_probe_says_who_does(receiver: MllpReceiver, paths: list[Path]) -> None:
    assert "nobody listens" in failure(to(free_port()), paths)
    assert channel_to("AINODE", to(receiver.port)).probe() == f"ris at 127.0.0.1:{receiver.port} takes connections"


def test_missing_file_and_other_content_are_refused_without_a_connection(paths: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "SR-1.dcm"
    other.write_bytes(b"\0" * 128 + b"DICM")
    outcomes = send(to(free_port()), [other, tmp_path / "gone.hl7"])
    assert [(index, o.verdict) for index, o in outcomes] == [(0, REFUSED), (1, REFUSED)]


class Secured:
    """Authorities and contexts of both sides."""

    def __init__(self, folder: Path) -> None:
        self.hospital, self.stranger = Authority(folder, "hospital", 1), Authority(folder / "other", "stranger", 3)
        self.server, self.node = self.hospital.issue("ris"), self.hospital.issue("node")

    def context(self, *, mutual: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.certificate, self.server.key)
        if mutual:
            context.load_verify_locations(self.hospital.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, *, shows: bool) -> TlsClient:
        client = TlsClient(self.hospital.ca)
        return dataclasses.replace(client, certificate=self.node.certificate, key=self.node.key) if shows else client


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Secured:
    return Secured(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("mutual", [False, True])
def test_tls(secured: Secured, paths: list[Path], mutual: bool) -> None:
    with MllpReceiver(secured.context(mutual=mutual)).serving() as receiver:
        destination = to(receiver.port, tls=secured.client(shows=mutual))
        assert [o.verdict for _, o in send(destination, paths)] == [STORED] * 3
        assert "takes connections" in channel_to("AINODE", destination).probe()


def test_receiver_that_wants_a_certificate_and_one_of_another_authority(secured: Secured, paths: list[Path]) -> None:
    with MllpReceiver(secured.context(mutual=True)).serving() as receiver:
        stranger = TlsClient(secured.stranger.ca)
        assert "certificate is not accepted" in failure(to(receiver.port, tls=stranger), paths)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # asyncio's TLS says nothing when it refuses a certificate
        thread = threading.Thread(target=refuse, args=(listener, secured.context(mutual=True)))
        thread.start()
        refused = failure(to(listener.getsockname()[1], tls=secured.client(shows=False)), paths)
        thread.join(10)
    assert "TLS: the other side wants a certificate from us" in refused


def refuse(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection.dup() as held:  # closed with what came unread, the kernel would take the alert back
        with connection, pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)
        held.settimeout(10)
        with contextlib.suppress(ConnectionError):
            while held.recv(4096):
                pass


def test_tls_towards_a_plain_receiver_sends_nothing(secured: Secured, receiver: MllpReceiver, paths: list[Path]) -> None:
    assert failure(to(receiver.port, 1.0, secured.client(shows=False)), paths[:1])
    assert receiver.got == []
