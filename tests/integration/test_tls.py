"""TLS in and out, against DCMTK, OpenSSL and Python's ssl."""

from __future__ import annotations

import random
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import Verification
from structlog.testing import capture_logs

from dicom_node.config import Peer
from dicom_node.delivery import scu
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.durability import Durability
from dicom_node.domain.tls import TlsClient, TlsProfile, TlsServer, TlsVersion
from dicom_node.errors import DeliveryError
from dicom_node.ops.tls import ServerTls, client_context, peer_certificate
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver
from dicom_node.storage import InstanceFiles
from tests.certificates import Authority, Pair, rsa_key
from tests.conftest import free_port
from tests.phantoms import chest_series, write
from tests.requestor import ATTENTIVE

LISTEN = ListenOn("127.0.0.1", 0, 131072, 10, 30)
SUITES = [
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
]


@dataclass
class Site:
    """A hospital's authority, a foreign one, and who has which certificate."""

    authority: Authority
    stranger: Authority
    server: Pair
    client: Pair

    def settings(self, **changes: Any) -> TlsServer:
        whole = TlsServer(self.server.certificate, self.server.key, self.authority.ca, require_client_certificate=True)
        return replace(whole, **changes)

    def as_client(self, **changes: Any) -> TlsClient:
        return replace(TlsClient(self.authority.ca, self.client.certificate, self.client.key), **changes)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    authority = Authority(tmp_path / "site", "site-ca")
    stranger = Authority(tmp_path / "stranger", "other-ca", number=3)
    return Site(authority, stranger, authority.issue("node"), authority.issue("ct1", key=rsa_key(4)))


def policy(subject: str | None = None) -> AccessPolicy:
    return AccessPolicy("AINODE", [Peer(name="pacs", ae_title="PACS", host="localhost", tls_subject=subject)], 20)


class Node:
    """A receiver with a plain and a TLS port."""

    def __init__(self, files: InstanceFiles, settings: TlsServer, listen: ListenOn = LISTEN) -> None:
        door = Door(files, DoorSettings("receiver-0", Durability.NONE, 0))
        self.receiver = Receiver(door, policy(), Places(files.run))
        self.tls = ServerTls(settings)
        self.plain_port = self.receiver.start(listen)
        self.port = self.receiver.start(listen, tls=self.tls)


@pytest.fixture
def start(files: InstanceFiles) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def run(settings: TlsServer, listen: ListenOn = LISTEN) -> Node:
        nodes.append(Node(files, settings, listen))
        return nodes[-1]

    yield run
    for node in nodes:
        node.receiver.drain(0.1)


@pytest.fixture
def node(site: Site, start: Callable[..., Node]) -> Node:
    return start(site.settings())


def until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Wait in small steps; says whether it came true."""
    for _ in range(int(seconds / 0.01)):
        if condition():
            return True
        threading.Event().wait(0.01)
    return condition()


def shake(port: int, client: TlsClient, *, least: ssl.TLSVersion | None = None, most: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
    """A verified connection; the first read tells whether the server took our certificate, which TLS 1.3 says late."""
    context = client_context(client)
    context.minimum_version = least or context.minimum_version
    context.maximum_version = most or context.maximum_version
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        return context.wrap_socket(plain, server_hostname="127.0.0.1")


def served(port: int, client: TlsClient) -> bytes:
    with shake(port, client) as connection:
        return connection.getpeercert(binary_form=True) or b""


def echo_status(port: int, client: TlsClient | None) -> None:
    scu.echo("PACS", StorageScp("node", "AINODE", "127.0.0.1", port, "generic-pacs", 5, client))


def storescu(port: int, *options: str | Path, path: Path) -> subprocess.CompletedProcess[str]:
    command = ["/usr/bin/storescu", "-v", "-aet", "PACS", "-aec", "AINODE", *map(str, options), "127.0.0.1", str(port), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write(chest_series()[:1], tmp_path / "ct")[0]


# DCMTK as sender


@pytest.mark.parametrize("profile", ["--profile-bcp195-nd", "--profile-bcp195", "--profile-bcp195-ex"])
def test_storescu_with_a_certificate_of_the_authority_is_served(
    node: Node, site: Site, image: Path, files: InstanceFiles, profile: str
) -> None:
    if profile == "--profile-bcp195-ex":
        node.tls.replace(site.settings(profile=TlsProfile.MODIFIED_BCP195))
    sent = storescu(node.port, "+tls", site.client.key, site.client.certificate, "+cf", site.authority.ca, profile, path=image)
    assert sent.returncode == 0, sent.stderr
    assert len(files.pending()) == 1


def test_large_instance_comes_over_tls_bit_for_bit(node: Node, site: Site, tmp_path: Path, files: InstanceFiles) -> None:
    large = chest_series()[0]
    large.Rows = large.Columns = 3200
    large.PixelData = random.Random(1).randbytes(2 * 3200 * 3200)
    [path] = write([large], tmp_path / "large")
    sent = storescu(node.port, "+tls", site.client.key, site.client.certificate, "+cf", site.authority.ca, path=path)
    assert sent.returncode == 0, sent.stderr
    [stored] = files.pending()
    assert pydicom.dcmread(stored).PixelData == large.PixelData


def refused(log: Sequence[Mapping[str, Any]], words: str) -> bool:
    found = [line for line in log if line["event"] == "tls_handshake_failed"]
    return len(found) == 1 and words in str(found[0]["reason"]) and found[0]["address"] == "127.0.0.1"


def test_storescu_with_an_expired_certificate_is_refused(node: Node, site: Site, image: Path, files: InstanceFiles) -> None:
    old = site.authority.issue("old", days=-1)
    with capture_logs() as log:
        sent = storescu(node.port, "+tls", old.key, old.certificate, "+cf", site.authority.ca, path=image)
        assert until(lambda: refused(log, "certificate has expired")), log
    assert sent.returncode != 0
    assert not files.pending()


def test_storescu_with_another_authority_is_refused(node: Node, site: Site, image: Path, files: InstanceFiles) -> None:
    foreign = site.stranger.issue("ct1")
    with capture_logs() as log:
        sent = storescu(node.port, "+tls", foreign.key, foreign.certificate, "+cf", site.authority.ca, path=image)
        assert until(lambda: refused(log, "unable to get local issuer certificate")), log
    assert sent.returncode != 0
    assert not files.pending()


def test_certificate_for_servers_only_is_refused_from_a_sender(node: Node, site: Site) -> None:
    wrong = site.authority.issue("web", usage=ExtendedKeyUsageOID.SERVER_AUTH)
    with capture_logs() as log:
        with pytest.raises(DeliveryError, match="does not accept our certificate"):
            echo_status(node.port, site.as_client(certificate=wrong.certificate, key=wrong.key))
        assert until(lambda: refused(log, "unsuitable certificate purpose")), log


def test_storescu_without_certificate_is_refused_unless_that_is_allowed(node: Node, site: Site, image: Path, files: InstanceFiles) -> None:
    with capture_logs() as log:
        assert storescu(node.port, "+tla", "+cf", site.authority.ca, path=image).returncode != 0
        assert until(lambda: refused(log, "shows no certificate")), log
    assert not files.pending()
    node.tls.replace(site.settings(require_client_certificate=False))
    assert storescu(node.port, "+tla", "+cf", site.authority.ca, path=image).returncode == 0


def test_storescu_that_does_not_know_our_authority_leaves_a_reason(node: Node, site: Site, image: Path) -> None:
    with capture_logs() as log:
        sent = storescu(node.port, "+tls", site.client.key, site.client.certificate, "+cf", site.stranger.ca, path=image)
        assert until(lambda: refused(log, "does not know the authority")), log
    assert sent.returncode != 0


def test_plain_dicom_on_the_tls_port_and_the_reverse_are_refused(node: Node, site: Site, image: Path) -> None:
    with capture_logs() as log:
        assert storescu(node.port, path=image).returncode != 0
        assert until(lambda: refused(log, "does not speak TLS")), log
    with pytest.raises(DeliveryError, match="TLS"):
        echo_status(node.plain_port, site.as_client())


def test_plain_port_beside_the_tls_port_works(node: Node, site: Site) -> None:
    echo_status(node.plain_port, None)
    echo_status(node.port, site.as_client())


# Versions and cipher suites


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_tls_is_refused(node: Node, site: Site, version: str) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.port}", version, "-cipher", "ALL:@SECLEVEL=0"]
    with capture_logs() as log:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=10)
        assert until(lambda: refused(log, "TLS versions that are not allowed")), log
    assert done.returncode != 0
    assert "alert protocol version" in done.stderr


@pytest.mark.parametrize(("version", "spoken"), [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")])
def test_tls_1_2_and_1_3_are_spoken(node: Node, site: Site, version: ssl.TLSVersion, spoken: str) -> None:
    with shake(node.port, site.as_client(), least=version, most=version) as connection:
        assert connection.version() == spoken
        assert connection.compression() is None


def test_tls_1_3_is_preferred_and_can_be_demanded(node: Node, site: Site) -> None:
    with shake(node.port, site.as_client()) as connection:
        assert connection.version() == "TLSv1.3"
    node.tls.replace(site.settings(min_version=TlsVersion.TLS_1_3))
    with pytest.raises(ssl.SSLError):
        shake(node.port, site.as_client(), most=ssl.TLSVersion.TLSv1_2)


def accepted_suites(port: int, site: Site, offered: list[str]) -> list[str]:
    accepted = []
    for suite in offered:
        context = client_context(site.as_client())
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{suite}:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                    accepted.append((connection.cipher() or ("",))[0])
            except ssl.SSLError:
                continue
    return accepted


def every_tls_1_2_suite() -> list[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:!PSK:!SRP:@SECLEVEL=0")
    return [str(suite["name"]) for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3"]


@pytest.mark.parametrize("kind", ["RSA", "ECDSA"])
def test_of_all_tls_1_2_suites_only_those_of_the_profile_are_accepted(site: Site, start: Callable[..., Node], kind: str) -> None:
    pair = site.authority.issue("suites", key=ec.generate_private_key(ec.SECP256R1()) if kind == "ECDSA" else None)
    files = {"certificate": pair.certificate, "key": pair.key}
    node = start(site.settings(**files))
    offered = every_tls_1_2_suite()
    assert len(offered) > 50
    gcm = {f"ECDHE-{kind}-AES256-GCM-SHA384", f"ECDHE-{kind}-AES128-GCM-SHA256"}
    assert set(accepted_suites(node.port, site, offered)) == gcm
    node.tls.replace(site.settings(profile=TlsProfile.MODIFIED_BCP195, **files))
    ccm = {f"ECDHE-ECDSA-AES{bits}-CCM{tag}" for bits in (128, 256) for tag in ("", "8")} if kind == "ECDSA" else set()
    assert set(accepted_suites(node.port, site, offered)) == gcm | ccm | {f"ECDHE-{kind}-CHACHA20-POLY1305"}


def test_server_chooses_the_suite(node: Node, site: Site) -> None:
    assert accepted_suites(node.port, site, [":".join(reversed(SUITES))]) == SUITES[:1]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_curves_below_256_bits_are_refused(node: Node, site: Site, version: str) -> None:
    base = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.port}", version, "-cipher", "ALL:@SECLEVEL=0"]
    base += ["-cert", str(site.client.certificate), "-key", str(site.client.key)]

    def run(curve: str) -> int:
        return subprocess.run([*base, "-curves", curve], capture_output=True, check=False, stdin=subprocess.DEVNULL, timeout=10).returncode

    assert run("P-256") == 0
    assert run("P-224") != 0


def resumed(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as connection,
    ):
        return bool(connection.session_reused), connection.session


def test_tls_1_3_sessions_are_not_resumed(node: Node, site: Site) -> None:
    context = client_context(site.as_client())
    _, session = resumed(node.port, context, None)
    assert session is None or not session.has_ticket
    assert not resumed(node.port, context, session)[0]


def test_tls_1_2_session_ends_with_the_files_it_was_made_from(node: Node, site: Site) -> None:
    context = client_context(site.as_client())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    _, session = resumed(node.port, context, None)
    assert session is not None
    assert not session.has_ticket
    node.tls.replace(site.settings(ca=site.stranger.ca))
    with pytest.raises(ssl.SSLError):
        resumed(node.port, context, session)


def test_renegotiation_is_refused(node: Node, site: Site) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.port}", "-tls1_2", "-cert", str(site.client.certificate)]
    done = subprocess.run([*command, "-key", str(site.client.key)], input="R\n", capture_output=True, text=True, check=False, timeout=15)
    assert "no renegotiation" in done.stderr


# Rotation


def test_new_certificate_is_served_to_the_next_association_while_an_open_one_goes_on(node: Node, site: Site) -> None:
    ae = AE("PACS")
    client = site.as_client()
    context = client_context(client)
    association = ae.associate(
        "127.0.0.1",
        node.port,
        contexts=[build_context(Verification)],
        ae_title="AINODE",
        tls_args=(context, "127.0.0.1"),
        evt_handlers=[ATTENTIVE],
    )
    before = served(node.port, client)
    with capture_logs() as log:
        site.authority.issue("node", key=rsa_key(5))
        after = served(node.port, client)
    assert before != after
    assert [line["event"] for line in log if "tls" in line["event"]] == ["tls_reloaded"]
    assert association.send_c_echo().Status == 0
    association.release()


def test_half_a_rotation_goes_on_with_the_old_pair_and_says_so_once(node: Node, site: Site) -> None:
    client = site.as_client()
    before = served(node.port, client)
    key = site.server.key.read_bytes()
    with capture_logs() as log:
        site.authority.issue("node", key=rsa_key(5))
        new = site.server.key.read_bytes()
        site.server.key.write_bytes(key)
        assert served(node.port, client) == served(node.port, client) == before
        site.server.key.unlink()
        assert served(node.port, client) == before
        site.server.key.write_bytes(new)
        assert served(node.port, client) != before
    assert [line["event"] for line in log if "tls" in line["event"]] == ["tls_reload_failed", "tls_reload_failed", "tls_reloaded"]


def test_reload_with_unusable_files_keeps_what_was(node: Node, site: Site) -> None:
    with capture_logs() as log:
        assert not node.tls.replace(site.settings(key=site.client.key))
    assert [line["event"] for line in log] == ["tls_reload_failed"]
    echo_status(node.port, site.as_client())


def test_reload_can_take_an_authority_away(node: Node, site: Site) -> None:
    echo_status(node.port, site.as_client())
    assert node.tls.replace(site.settings(ca=site.stranger.ca))
    with pytest.raises(DeliveryError, match="does not know the authority of our certificate"):
        echo_status(node.port, site.as_client())


# Clients that do not get on


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["nothing", "half a hello"])
def test_silent_client_delays_nobody_and_leaves_nothing(site: Site, start: Callable[..., Node], said: bytes) -> None:
    node = start(site.settings(), replace(LISTEN, acse_timeout_s=0.5))
    echo_status(node.port, site.as_client())
    threads, opened = threading.active_count(), descriptors()
    with capture_logs() as log:
        silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(20)]
        for connection in silent:
            connection.sendall(said)
        begin = datetime.now(UTC)
        echo_status(node.port, site.as_client())
        assert datetime.now(UTC) - begin < timedelta(seconds=0.4)
        assert until(lambda: sum(line["event"] == "tls_handshake_failed" for line in log) == 20), log
        for connection in silent:
            connection.close()
    assert {line["reason"] for line in log if line["event"] == "tls_handshake_failed"} == {"no answer in time"}
    assert until(lambda: threading.active_count() <= threads and descriptors() <= opened), (threading.enumerate(), descriptors(), opened)


def test_slow_hello_ends_at_the_limit_for_the_whole_handshake(site: Site, start: Callable[..., Node]) -> None:
    node = start(site.settings(), replace(LISTEN, acse_timeout_s=0.5))
    with capture_logs() as log, socket.create_connection(("127.0.0.1", node.port)) as slow:
        begin = datetime.now(UTC)
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200):
            threading.Event().wait(0.02)
            try:
                slow.sendall(bytes([byte]))
            except OSError:
                break
            if log:
                break
        assert datetime.now(UTC) - begin < timedelta(seconds=2)
        assert until(lambda: refused(log, "no answer in time")), log


def test_health_check_that_connects_and_leaves_logs_nothing_to_act_on(node: Node) -> None:
    with capture_logs() as log:
        socket.create_connection(("127.0.0.1", node.port)).close()
        assert until(lambda: bool(log))
    assert [(line["event"], line["log_level"]) for line in log] == [("connection_left", "debug")]


def test_oldest_of_too_many_handshakes_gives_way(node: Node, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.scp.tls._MOST_HANDSHAKES", 3)
    with capture_logs() as log:
        silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(4)]
        assert until(lambda: refused(log, "more than 3 handshakes at once")), log
        echo_status(node.port, site.as_client())
        for connection in silent:
            connection.close()


def test_stop_ends_pending_handshakes_at_once(files: InstanceFiles, site: Site) -> None:
    node = Node(files, site.settings())
    with capture_logs() as log, socket.create_connection(("127.0.0.1", node.port)) as silent:
        silent.sendall(b"\x16")
        assert until(lambda: any("process_request_thread" in thread.name for thread in threading.enumerate()))
        begin = datetime.now(UTC)
        node.receiver.drain(5)
        assert datetime.now(UTC) - begin < timedelta(seconds=2)
        assert until(lambda: refused(log, "the node stops")), log


def test_certificate_of_the_peer_is_known_to_the_association(node: Node, site: Site) -> None:
    seen: list[object] = []
    for server in node.receiver._servers:
        server.bind(evt.EVT_ACCEPTED, lambda event: seen.append(peer_certificate(event.assoc.dul.socket.socket)))
    echo_status(node.port, site.as_client())
    echo_status(node.plain_port, None)
    assert seen == [site.client.content.public_bytes(Encoding.DER), None]


def test_peer_with_a_subject_is_admitted_by_its_certificate_only(node: Node, site: Site) -> None:
    node.receiver.policy = policy("CN=ct1,O=Hospital")
    echo_status(node.port, site.as_client())
    other = site.authority.issue("ct2")
    with capture_logs() as log:
        for port, client in ((node.port, site.as_client(certificate=other.certificate, key=other.key)), (node.plain_port, None)):
            with pytest.raises(DeliveryError, match="association rejected"):
                echo_status(port, client)
    assert [line["reason"] for line in log if line["event"] == "association_rejected"] == ["tls-subject-not-accepted"] * 2


# Delivery


@dataclass
class Storescp:
    port: int
    folder: Path


@pytest.fixture
def storescp(site: Site, tmp_path: Path) -> Iterator[Storescp]:
    folder = tmp_path / "received"
    folder.mkdir()
    port = free_port()
    pair = site.authority.issue("pacs", key=rsa_key(6))
    options = ["+tls", pair.key, pair.certificate, "+cf", site.authority.ca, "-od", folder]
    command = ["/usr/bin/storescp", *map(str, options), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert until(lambda: answers(port))
        yield Storescp(port, folder)
        process.terminate()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def deliver(port: int, tls: TlsClient | None, image: Path) -> list[Verdict]:
    outcomes: list[Outcome] = []
    destination = StorageScp("pacs", "STORESCP", "127.0.0.1", port, "generic-pacs", 5, tls)
    scu.send("AINODE", destination, [image], lambda _index, outcome: outcomes.append(outcome))
    return [outcome.verdict for outcome in outcomes]


def test_results_go_to_storescp_over_tls(storescp: Storescp, site: Site, image: Path) -> None:
    assert deliver(storescp.port, site.as_client(), image) == [Verdict.STORED]
    assert len(list(storescp.folder.iterdir())) == 1


@pytest.mark.parametrize("secure", [False, True])
def test_delivery_leaves_no_thread_and_no_descriptor(node: Node, site: Site, secure: bool) -> None:
    threads, opened = threading.active_count(), descriptors()
    for _ in range(5):
        echo_status(node.port if secure else node.plain_port, site.as_client() if secure else None)
    assert until(lambda: threading.active_count() <= threads and descriptors() <= opened), threading.enumerate()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("authority", "TLS: the other side's certificate is not accepted: self-signed certificate in certificate chain"),
        ("expired", "TLS: the other side finds our certificate expired"),
        ("foreign", "TLS: the other side does not know the authority of our certificate"),
        ("none", "TLS: the other side (wants a certificate from us|refuses)"),
        ("plain", "no association|aborted"),
        ("missing file", "gone.crt or its key cannot be read: No such file"),
    ],
)
def test_delivery_says_what_is_wrong_with_tls(storescp: Storescp, site: Site, image: Path, wrong: str, words: str) -> None:
    expired, foreign = site.authority.issue("late", days=-1), site.stranger.issue("foreign")
    clients = {
        "authority": site.as_client(ca=site.stranger.ca),
        "expired": site.as_client(certificate=expired.certificate, key=expired.key),
        "foreign": site.as_client(certificate=foreign.certificate, key=foreign.key),
        "none": site.as_client(certificate=None, key=None),
        "plain": None,
        "missing file": site.as_client(certificate=site.client.certificate.with_name("gone.crt")),
    }
    with pytest.raises(DeliveryError, match=words):
        deliver(storescp.port, clients[wrong], image)
    assert not list(storescp.folder.iterdir())


def test_host_name_is_checked_unless_told_otherwise(storescp: Storescp, site: Site, image: Path) -> None:
    destination = StorageScp("pacs", "STORESCP", "localhost", storescp.port, "generic-pacs", 5, site.as_client())
    with pytest.raises(DeliveryError, match="Hostname mismatch"):
        scu.echo("AINODE", destination)
    scu.echo("AINODE", replace(destination, tls=site.as_client(check_host=False)))
