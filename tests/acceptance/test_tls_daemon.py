"""TLS in the daemon as it is run: two ports, rotation by file and by reload, the commands' words."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.certificates import Authority, Pair, rsa_key
from tests.conftest import free_port

pytestmark = pytest.mark.acceptance


@pytest.fixture
def site(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls", "site-ca")


@pytest.fixture
def daemon(tmp_path: Path, site: Authority) -> Iterator[Daemon]:
    node = site.issue("node", days=20.5)
    made = Daemon(tmp_path / "node", pacs_port=free_port())
    files = {"certificate": str(node.certificate), "key": str(node.key), "ca": str(site.ca)}
    made.node["dicom"]["tls"] = {"port": free_port(), **files}  # type: ignore[index]
    made.write()
    made.start()
    yield made
    made.close()


def echo(daemon: Daemon, site: Authority, own: Pair) -> int:
    options = ["+tls", own.key, own.certificate, "+cf", site.ca, "-aet", "CT", "-aec", "AINODE", "-to", "5", "127.0.0.1", tls_port(daemon)]
    return subprocess.run(["/usr/bin/echoscu", *map(str, options)], capture_output=True, check=False).returncode


def tls_port(daemon: Daemon) -> int:
    return int(daemon.node["dicom"]["tls"]["port"])  # type: ignore[index]


def served(daemon: Daemon, own: Pair) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(own.certificate, own.key)
    with socket.create_connection(("127.0.0.1", tls_port(daemon)), 5) as plain, context.wrap_socket(plain) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")


def test_tls_port_is_served_warned_about_rotated_and_kept_when_a_reload_is_refused(daemon: Daemon, site: Authority, tmp_path: Path) -> None:
    own = site.issue("ct1", key=rsa_key(4))
    assert echo(daemon, site, own) == 0
    checked = daemon.run("check")
    assert "warning: dicom.tls.certificate: CN=node,O=Hospital expires in 20 day(s)" in checked.stderr
    found = {f["check"]: f for f in json.loads(daemon.run("doctor", "--json").stdout)}
    assert found["certificate dicom.tls.certificate"]["days_left"] == 20
    Orthanc.wait_until(lambda: "event=certificate_expires option=dicom.tls.certificate days_left=20" in daemon.log(), 20)

    renewed = site.issue("node", key=rsa_key(5)).certificate.read_text()
    assert served(daemon, own) == renewed

    other = Authority(tmp_path / "new", "new-ca", 3)
    daemon.node["dicom"]["tls"]["ca"] = str(other.ca)  # type: ignore[index]
    daemon.write()
    daemon.reload()
    Orthanc.wait_until(lambda: "event=tls_reloaded" in daemon.log().split("configuration_reloaded")[-1], 10)
    Orthanc.wait_until(lambda: echo(daemon, site, own) != 0, 10)

    (tmp_path / "tls" / "node.key").chmod(0o644)
    daemon.reload()
    Orthanc.wait_until(lambda: "event=reload_refused" in daemon.log() and "can be read by every user" in daemon.log(), 10)
