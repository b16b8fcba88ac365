"""The database locked or gone for a minute under a running node: receiving goes on, nothing is lost, nobody lends a hand."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.interrupted import EXPECTED, House, job_of
from tests.acceptance.orthanc import Orthanc
from tests.phantoms import chest_series, write

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]
AWAY_S = 60
pause = threading.Event()


@contextmanager
def locked(database: Path):  # type: ignore[no-untyped-def]
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 30000")
    connection.execute("BEGIN EXCLUSIVE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


@contextmanager
def gone(database: Path):  # type: ignore[no-untyped-def]
    files = [path for path in database.parent.glob(f"{database.name}*") if path.is_file()]
    for path in files:
        path.rename(path.with_name(f"away-{path.name}"))
    yield
    for path in database.parent.glob(f"{database.name}*"):
        path.unlink()
    for path in files:
        path.with_name(f"away-{path.name}").rename(path)


def push(daemon: Daemon, paths: list[str]) -> None:
    send = ["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(daemon.port), *paths]
    assert subprocess.run(send, check=False).returncode == 0


@pytest.mark.parametrize("away", [locked, gone])
def test_studies_pushed_meanwhile_are_taken_afterwards(
    house: House, tmp_path: Path, away: Callable[[Path], AbstractContextManager[None]]
) -> None:
    daemon, pacs = house
    before, meanwhile = chest_series(), chest_series()
    push(daemon, write(before, tmp_path / "before"))
    with away(daemon.folder / "data" / "node.db"):
        push(daemon, write(meanwhile, tmp_path / "meanwhile"))
        pause.wait(AWAY_S)
    for series in (before, meanwhile):
        study = str(series[0].StudyInstanceUID)
        pacs.wait_until(lambda study=study: pacs.results(study) == EXPECTED, 120)
        Orthanc.wait_until(lambda study=study: (job := job_of(daemon, study)) is not None and job.state == "DONE", 60)
        kept = list((daemon.folder / "data" / "studies" / study).rglob("*.dcm"))
        assert len(kept) == len(series)
    assert not list((daemon.folder / "data" / "incoming").glob("*.dcm"))
