"""The daemon with a mail server and a program that takes webhooks: a study comes, and they are told without patient data."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.acceptance.daemon import MODEL, Daemon
from tests.acceptance.orthanc import Orthanc
from tests.certificates import Authority
from tests.conftest import ROOT, free_port
from tests.mail_server import PASSWORD, USER, MailServer, WebServer
from tests.phantoms import chest_series, write
from tests.unit.notices.test_webhook import is_signed_by

pytestmark = pytest.mark.acceptance
SECRET = b"k" * 32
STUDY, OTHER = "1.2.826.0.1.3680043.8.498.11111", "1.2.826.0.1.3680043.8.498.22222"
PRIVATE = ("Phantom", "PH-4711", "19600229", "ACC-0815", "20240102", STUDY, OTHER)


class House:
    """A node that nobody at its destination answers, with who is told."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder / "ca", "mail-ca")
        self.mail = MailServer(authority.issue("mail"), login=True)
        self.web = WebServer(authority.issue("web"))
        self.daemon = Daemon(folder / "node", free_port())
        (self.daemon.folder / "secret").write_text("whsec_" + base64.b64encode(SECRET).decode())
        (self.daemon.folder / "password").write_text(PASSWORD, "utf-8")
        self.daemon.node["delivery"] = {"max_attempts": 1}
        smtp = {"host": "127.0.0.1", "port": self.mail.port, "ca": str(authority.ca), "sender": "node@hospital.example"}
        hook = {"url": self.web.url + "/dicom-node", "secret_file": "secret", "ca": str(authority.ca)}
        self.daemon.node["notifications"] = {
            "smtp": {**smtp, "username": USER, "password_file": "password"},
            "receivers": [{"name": "ops", "email": ["ops@hospital.example"]}, {"name": "ris", "webhook": hook}],
            "failures_to": ["ops"],
            "group_wait": "1s",
            "retry_first": "1s",
        }
        self.daemon.rules["rules"][0]["notify"] = [
            {"event": "result", "to": ["ris"]},
            {"event": "critical", "to": ["ops"], "when": f'result.model == "{MODEL}"'},
        ]
        self.daemon.write()

    def close(self) -> None:
        self.daemon.close()
        self.mail.close()
        self.web.close()

    def send(self, study: str, folder: Path) -> None:
        paths = write(chest_series(study), folder)
        command = ["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(self.daemon.port), *map(str, paths)]
        subprocess.run(command, check=True, capture_output=True)

    def all_sent(self, count: int) -> bool:
        done = self.daemon.run("notices", "list", "--json")
        found = json.loads(done.stdout)
        return len(found) == count and all(n["state"] == "SENT" for n in found)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    built = House(tmp_path_factory.mktemp("notices"))
    try:
        built.daemon.start()
        yield built
    finally:
        built.close()


def test_mail_and_webhook_arrive_without_patient_data(house: House, tmp_path: Path) -> None:
    house.send(STUDY, tmp_path)
    Orthanc.wait_until(lambda: house.all_sent(3), 90)
    subjects = [m.message["Subject"] for m in house.mail.taken]
    assert subjects == [
        f"[AINODE] Critical finding by {MODEL}, job 1",
        f"[AINODE] Results of job 1 of {MODEL} were not delivered",
    ]
    [posted] = house.web.posted
    assert is_signed_by(posted, SECRET)
    body = json.loads(posted.body)
    jsonschema.validate(body, json.loads((ROOT / "docs" / "notices.schema.json").read_text("utf-8")))
    [job] = body["data"]["jobs"]
    assert (body["type"], job["rule"], job["images"], job["outcome"]) == ("job.result", MODEL, 24, "analysed")
    everything = [
        *(m.content.decode("ascii") for m in house.mail.taken),
        *(m.part(kind) for m in house.mail.taken for kind in ("plain", "html")),
        posted.body.decode(),
        str(posted.headers),
        house.daemon.run("notices", "list").stdout,
        house.daemon.run("notices", "show", "1").stdout,
    ]
    for text in everything:
        assert not [word for word in PRIVATE if word in text]
    log = house.daemon.log()
    assert log.count("event=notice_sent") == 3
    assert not [word for word in PRIVATE[:-2] if word in log]  # study UIDs stand in logs
    assert "ops@hospital.example" not in log


def test_sender_killed_while_a_mail_is_taken_tells_twice_with_one_identity(house: House, tmp_path: Path) -> None:
    before = len(house.mail.taken)
    killed: list[float] = []

    def kill_once() -> None:
        """Before the answer can be recorded."""
        if not killed:
            killed.append(time.monotonic())
            house.daemon.kill_child("sender-0")

    house.mail.handler.before_answer = kill_once
    house.send(OTHER, tmp_path)
    Orthanc.wait_until(lambda: house.all_sent(6), 90)
    house.mail.handler.before_answer = lambda: None
    assert killed
    identities = [m.message["Message-ID"] for m in house.mail.taken[before:]]
    assert len(identities) == 3
    assert len(set(identities)) == 2


def test_commands_say_what_works(house: House) -> None:
    done = house.daemon.run("notices", "test", "ops")
    assert (done.returncode, "ops took the sample." in done.stdout) == (0, True)
    assert house.mail.taken[-1].message["Subject"] == "[AINODE] Sample of a notice"
    house.mail.handler.by_recipient = {"ops@hospital.example": "550 5.1.1 no such user"}
    done = house.daemon.run("notices", "test", "ops")
    house.mail.handler.by_recipient = {}
    assert done.returncode == 1
    assert "refused: ops@hospital.example: 550 5.1.1 no such user" in done.stdout
    told, posted = len(house.mail.taken), len(house.web.posted)
    assert "Subject: [AINODE] Digest" in house.daemon.run("notices", "test", "ops", "--event", "digest", "--dry-run").stdout
    assert json.loads(house.daemon.run("notices", "preview", "silence", "--receiver", "ris").stdout)["type"] == "node.silence"
    assert "<html" in house.daemon.run("notices", "preview", "failure", "--receiver", "ops", "--html").stdout
    assert (len(house.mail.taken), len(house.web.posted)) == (told, posted)
    done = house.daemon.run("notices", "test", "opps")
    assert "did you mean 'ops'" in done.stderr
    findings = {f["check"]: f for f in json.loads(house.daemon.run("doctor", "--json").stdout)}
    assert findings["mail server"]["ok"]
    assert "answers with STARTTLS, login accepted" in findings["mail server"]["message"]
    assert findings["notices"]["ok"]


def test_reload_takes_other_receivers(house: House) -> None:
    house.daemon.node["notifications"]["receivers"][0]["email"] = ["night@hospital.example"]  # type: ignore[index]
    house.daemon.write()
    house.daemon.reload()
    Orthanc.wait_until(lambda: "event=configuration_reloaded" in house.daemon.log(), 20)
    told = len(house.mail.taken)
    retried = house.daemon.run("jobs", "retry", "1")
    assert retried.returncode == 0, retried.stderr
    Orthanc.wait_until(lambda: len(house.mail.taken) > told, 30)
    assert house.mail.taken[-1].recipients == ["night@hospital.example"]
