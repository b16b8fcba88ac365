"""What node.yaml says about TLS, and what its files must be."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from dicom_node.cli.doctor import examine, expiry_text
from dicom_node.config import Configuration, dump_snapshot, load_snapshot, restart_only_changes
from dicom_node.config.tls_files import certificates_in_use
from dicom_node.config.tls_subject import parse_subject, subject_matches
from dicom_node.domain.tls import TlsClient, TlsProfile, TlsVersion
from dicom_node.ops.expiry import ExpiryWatch, notice_due
from tests.certificates import Authority, rsa_key
from tests.conftest import free_port
from tests.unit.test_config import NODE, faults, load

TLS = NODE.replace(
    "dicom: {host: 127.0.0.1, port: 11112}",
    "dicom:\n  host: 127.0.0.1\n  tls:\n    certificate: tls/node.crt\n    key: tls/node.key\n    ca: tls/site-ca.pem",
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "tls", "site-ca")
    made.issue("node")
    return made


def test_files_are_found_beside_node_yaml(tmp_path: Path, authority: Authority) -> None:
    tls = load(tmp_path, TLS).node.dicom.tls
    assert tls is not None
    server = tls.to_server()
    assert (server.certificate, server.ca) == (tmp_path / "tls" / "node.crt", authority.ca)
    assert (tls.port, server.profile, server.min_version, server.require_client_certificate) == (
        2762,
        TlsProfile.BCP195,
        TlsVersion.TLS_1_2,
        True,
    )


def test_snapshot_holds_paths_and_no_key(tmp_path: Path, authority: Authority) -> None:
    configuration = load(tmp_path, TLS)
    text = dump_snapshot(configuration)
    assert load_snapshot(text) == configuration
    assert "PRIVATE KEY" not in text


def test_destination_carries_its_tls(tmp_path: Path, authority: Authority) -> None:
    node = NODE.replace("port: 4242}", "port: 4242, tls: {ca: tls/site-ca.pem, check_host: false, min_version: 1.3}}")
    [destination] = load(tmp_path, node).destinations.values()
    assert [c.option for c in certificates_in_use(load(tmp_path, node).node)] == ["destinations[0].tls.ca"]
    assert destination.tls == TlsClient(authority.ca, check_host=False, min_version=TlsVersion.TLS_1_3)


def encrypted(folder: Path) -> None:
    key = rsa_key(2).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (folder / "node.key").write_bytes(key)


def early(folder: Path) -> None:
    Authority(folder, "site-ca").issue("node", days=3701)


BROKEN = {
    "missing certificate": (lambda f: (f / "node.crt").unlink(), 5, "dicom.tls.certificate", "cannot be read: No such file"),
    "no certificate": (lambda f: (f / "node.crt").write_text("hello"), 5, "dicom.tls.certificate", "holds no PEM certificate"),
    "not yet valid": (early, 5, "dicom.tls.certificate", "not valid before 20"),
    "weak RSA": (lambda f: Authority(f, "site-ca").issue("node", key=rsa_key(9, 1024)), 5, "dicom.tls.certificate", "1024 bits, 2048"),
    "weak EC": (
        lambda f: Authority(f, "site-ca").issue("node", key=ec.generate_private_key(ec.SECP224R1())),
        5,
        "dicom.tls.certificate",
        "224 bits, 256",
    ),
    "missing key": (lambda f: (f / "node.key").unlink(), 6, "dicom.tls.key", "cannot be read: No such file"),
    "no key": (lambda f: (f / "node.key").write_text("hello"), 6, "dicom.tls.key", "holds no PEM private key"),
    "encrypted key": (encrypted, 6, "dicom.tls.key", "without a passphrase"),
    "open key": (lambda f: (f / "node.key").chmod(0o644), 6, "dicom.tls.key", "(chmod 0640 "),
    "missing ca": (lambda f: (f / "site-ca.pem").unlink(), 7, "dicom.tls.ca", "cannot be read"),
    "key as ca": (lambda f: (f / "site-ca.pem").write_bytes((f / "node.key").read_bytes()), 7, "dicom.tls.ca", "holds no PEM certificate"),
}


@pytest.mark.parametrize("broken", list(BROKEN))
def test_unusable_files_are_faults_with_line_and_hint(tmp_path: Path, authority: Authority, broken: str) -> None:
    spoil, line, option, words = BROKEN[broken]
    spoil(tmp_path / "tls")
    [found] = faults(tmp_path, TLS)
    assert found.startswith(f"{tmp_path / 'node.yaml'}:{line}: {option}: ")
    assert words in found
    assert found.endswith(")")


def test_key_of_another_certificate_is_a_fault(tmp_path: Path, authority: Authority) -> None:
    other = authority.issue("other", key=rsa_key(7))
    [found] = faults(tmp_path, TLS.replace("node.key", other.key.name))
    assert "is not the key of this section's certificate" in found


def test_what_has_expired_keeps_nothing_from_starting_and_is_told(tmp_path: Path, authority: Authority) -> None:
    authority.issue("node", days=-2)
    authority.ca.write_bytes(authority.issue("old", days=-1).certificate.read_bytes())
    found = certificates_in_use(load(tmp_path, TLS).node)
    assert {c.option: c.days_left(datetime.now(UTC)) < 0 for c in found} == {"dicom.tls.certificate": True, "dicom.tls.ca": True}
    assert all("has expired, at 20" in expiry_text(c, datetime.now(UTC)) for c in found)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    ca: tls/site-ca.pem", "    min_version: 1.2", "ca is missing"),
        ("    ca: tls/site-ca.pem", "    ca: tls/site-ca.pem\n    min_version: 1.1", "'1.2' or '1.3'"),
        ("    ca: tls/site-ca.pem", "    ca: tls/site-ca.pem\n    port: 11112", "port 11112 is dicom.port too"),
        ("    ca: tls", "    certificat: tls", "did you mean 'certificate'"),
        ("port: 4242}", "port: 4242, tls: {ca: tls/site-ca.pem, key: tls/node.key}}", "belong together"),
        ("port: 4242}", "port: 4242, tls: {ca: tls/none.pem}}", "destinations[0].tls.ca"),
        ("host: 127.0.0.1}\ndest", 'host: 127.0.0.1, tls_subject: "=x"}\ndest', "no distinguished name as RFC 4514"),
    ],
)
def test_faulty_options_are_refused_with_a_hint(tmp_path: Path, authority: Authority, old: str, new: str, words: str) -> None:
    assert old in TLS
    assert any(words in fault for fault in faults(tmp_path, TLS.replace(old, new)))


def test_subject_without_tls_listener_is_a_fault(tmp_path: Path) -> None:
    [found] = faults(tmp_path, NODE.replace("host: 127.0.0.1}\ndest", "host: 127.0.0.1, tls_subject: ct1}\ndest"))
    assert "peers[0].tls_subject" in found


def test_tls_port_needs_a_restart_and_certificates_do_not(tmp_path: Path, authority: Authority) -> None:
    plain, before = load(tmp_path), load(tmp_path, TLS)
    authority.issue("next")
    after = load(tmp_path, TLS.replace("tls/node.", "tls/next.").replace("    ca:", "    profile: modified-bcp195\n    ca:"))
    assert restart_only_changes(before, after) == ()
    assert restart_only_changes(before, load(tmp_path, TLS.replace("    ca:", "    port: 2763\n    ca:"))) == ("dicom.tls.port",)
    assert restart_only_changes(plain, before) == restart_only_changes(before, plain) == ("dicom.tls.port",)


def named(*attributes: tuple[x509.ObjectIdentifier, str]) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


CT1 = named((NameOID.ORGANIZATION_NAME, "St. Anna, Köln"), (NameOID.EMAIL_ADDRESS, "it@anna.example"), (NameOID.COMMON_NAME, "ct1.anna"))


@pytest.mark.parametrize(
    ("required", "matches"),
    [
        ("ct1.anna", True),
        (" ct1.anna ", True),
        ("CT1.anna", False),
        ("ct1", False),
        ("anna", False),
        (r"CN=ct1.anna,emailAddress=it@anna.example,O=St. Anna\, Köln", True),
        (r"CN=ct1.anna,E=it@anna.example,O=St. Anna\, K\C3\B6ln", True),
        (r"CN=ct1.anna,1.2.840.113549.1.9.1=it@anna.example,O=St. Anna\, Köln", True),
        ("CN=ct1.anna", False),
        (r"O=St. Anna\, Köln,E=it@anna.example,CN=ct1.anna", False),
        (r"CN=ct1.anna,E=it@anna.example,O=St. Anna\, Koeln", False),
    ],
)
def test_subject_is_the_common_name_or_the_whole_name(required: str, matches: bool) -> None:
    assert subject_matches(required, CT1) is matches


def test_subject_as_openssl_prints_it_can_be_required(tmp_path: Path) -> None:
    (tmp_path / "ct1.der").write_bytes(CT1)
    command = ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253", "-inform", "DER", "-in", str(tmp_path / "ct1.der")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert subject_matches(printed.removeprefix("subject="), CT1)


def test_receiver_without_tls_does_not_load_what_reads_certificates(tmp_path: Path) -> None:
    load(tmp_path)
    program = "import sys, pathlib, dicom_node.config, dicom_node.pipeline.receiver_process\n"
    program += "dicom_node.config.load_configuration(pathlib.Path(sys.argv[1]))\nassert 'cryptography' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, tmp_path / "node.yaml"], check=True)


def test_common_name_must_be_the_only_one() -> None:
    assert not subject_matches("ct1", named((NameOID.COMMON_NAME, "ct1"), (NameOID.COMMON_NAME, "ct2")))
    assert not subject_matches("ct1", named((NameOID.ORGANIZATION_NAME, "ct1")))


@pytest.mark.parametrize("text", ["", "  ", "=", "CN=", "CN=a,", "nothing=x", "CN=a+"])
def test_text_that_is_no_subject_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"subject|distinguished"):
        parse_subject(text)


def test_expiry_is_said_at_each_step_and_daily_once_urgent() -> None:
    said: int | None = None
    days = []
    for days_left in range(40, -3, -1):
        if notice_due(days_left, said):
            said = days_left
            days.append(days_left)
    assert days == [30, 14, 7, 6, 5, 4, 3, 2, 1, 0, -1, -2]
    assert notice_due(20, None)
    assert notice_due(13, 20)


def test_watch_says_what_expires_and_is_quiet_after_renewal(tmp_path: Path, authority: Authority) -> None:
    authority.issue("node", days=10.5)
    node = load(tmp_path, TLS).node
    watch, now = ExpiryWatch(), datetime.now(UTC)
    with capture_logs() as log:
        for day in (0, 1, 3, 4):
            watch.look(certificates_in_use(node), now + timedelta(days=day))
        authority.issue("node")
        watch.look(certificates_in_use(node), now + timedelta(days=5))
    said = [(line["log_level"], line["option"], line["days_left"]) for line in log]
    assert said == [
        ("warning", "dicom.tls.certificate", 10),
        ("warning", "dicom.tls.certificate", 7),
        ("error", "dicom.tls.certificate", 6),
    ]


def test_doctor_counts_the_days_of_every_certificate(tmp_path: Path, authority: Authority) -> None:
    authority.issue("node", days=3.5)
    node = TLS.replace("    ca:", f"    port: {free_port()}\n    ca:").replace(
        "host: 127.0.0.1\n", f"host: 127.0.0.1\n  port: {free_port()}\n"
    )
    configuration: Configuration = load(tmp_path, node.replace("4242", str(free_port())).replace("node.db", str(tmp_path / "node.db")))
    found = {f.check: f for f in examine(configuration) if f.check.startswith("certificate")}
    assert (found["certificate dicom.tls.certificate"].ok, found["certificate dicom.tls.certificate"].days_left) == (False, 3)
    assert found["certificate dicom.tls.ca"].ok
    assert 3640 < (found["certificate dicom.tls.ca"].days_left or 0) < 3651
