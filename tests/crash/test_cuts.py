"""Whatever call the process or the power is cut at: what was acknowledged is there, whole and indexed, and nothing half is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from dicom_node.config import Configuration
from dicom_node.domain.durability import Durability
from dicom_node.scp.accelerator import accelerator
from dicom_node.storage import Database, InstanceFiles, queries
from dicom_node.storage.tables import InstanceRow, JobRow
from tests.conftest import ROOT
from tests.crash.power import every_power_cut, leave
from tests.crash.program import encoded, instances, new_intake
from tests.unit.test_config import load

FAR = datetime.now(UTC) + timedelta(days=1)
SHIM = Path(__file__).with_name("shim.c")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(["/usr/bin/gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"], check=True)
    return library


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "node.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path


@pytest.fixture(scope="session")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    return load(tmp_path_factory.mktemp("configuration"))


@dataclass(frozen=True, slots=True)
class Found:
    """What a start-up recovery found."""

    indexed: frozenset[str]
    set_aside: int
    jobs: int


@pytest.fixture(scope="session")
def recover(empty_database: Path, configuration: Configuration) -> Callable[[Path], Found]:
    whole = {str(ds.SOPInstanceUID): encoded(ds) for ds in instances()}

    def run(folder: Path) -> Found:
        files = InstanceFiles(folder)
        files.prepare()
        files.discard_partials()
        if not (folder / "node.db").exists():
            shutil.copy(empty_database, folder / "node.db")
        database = Database(f"sqlite:///{folder / 'node.db'}")
        intake = new_intake(configuration, database, files)
        intake.index_pending(lambda: True)
        intake.close_due(FAR)
        with database.transaction() as session:
            rows = [(row.sop_instance_uid, Path(row.path)) for row in session.exec(select(InstanceRow))]
            jobs = len(session.exec(select(JobRow)).all())
            assert all(s.state == "CLOSED" for s in queries.studies(session, 10))
        database.close()
        assert len(rows) == len(set(rows)) == len(list(files.studies.rglob("*.dcm")))
        for uid, path in rows:
            assert _data_set(path) == whole[uid]
        assert not files.pending()
        assert not list(files.incoming.glob(".*.partial"))
        aside = len(list(files.unreadable.iterdir())) if files.unreadable.exists() else 0
        return Found(frozenset(uid for uid, _ in rows), aside, jobs)

    return run


def _data_set(path: Path) -> bytes:
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def cut(shim: Path, *arguments: object) -> list[dict]:  # type: ignore[type-arg]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.program", *map(str, arguments)],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


STORES = ["store", pytest.param("receive", marks=pytest.mark.skipif(accelerator().pump is None, reason="the accelerator is not there"))]
"""Through the door, and by the accelerator."""


@pytest.mark.parametrize("program", STORES)
@pytest.mark.parametrize("durability", Durability)
def test_process_cut_at_every_call_loses_nothing_acknowledged(
    shim: Path, recover: Callable[[Path], Found], tmp_path: Path, durability: Durability, program: str
) -> None:
    cuts = cut(shim, program, durability, tmp_path)
    assert len(cuts) > 40
    for one in cuts:
        found = recover(Path(one["folder"]))
        assert set(one["acknowledged"]) <= found.indexed, one
        assert found.set_aside == 0
    assert {len(one["acknowledged"]) for one in cuts} == {0, 1, 2, 3}


@pytest.mark.parametrize("program", STORES)
@pytest.mark.parametrize("durability", Durability)
def test_power_cut_at_every_call_loses_nothing_acknowledged_unless_nothing_is_synced(
    shim: Path, recover: Callable[[Path], Found], tmp_path: Path, durability: Durability, program: str
) -> None:
    (tmp_path / "run").mkdir()
    recorded = Path(cut(shim, program, durability, tmp_path / "run")[0]["folder"])
    possible, last_names = every_power_cut(recorded.with_suffix(".log"), recorded)
    contents = {number: Path(name).read_bytes() for number, name in last_names.items()}
    lost = torn = 0
    for number, remains in enumerate(possible):
        folder = tmp_path / str(number)
        leave(remains, folder, contents)
        found = recover(folder)
        lost += len(remains.acknowledged - found.indexed)
        torn += found.set_aside
    if durability is Durability.NONE:
        assert lost
        assert torn
    else:
        assert (lost, torn) == (0, 0)


def test_intake_cut_at_every_call_indexes_everything_once(
    shim: Path, recover: Callable[[Path], Found], tmp_path: Path, empty_database: Path
) -> None:
    (tmp_path / "store").mkdir()
    kept = cut(shim, "store", "none", tmp_path / "store")[0]["folder"]
    root = tmp_path / "index"
    root.mkdir()
    shutil.copytree(kept, root / "kept")
    shutil.copy(empty_database, root / "kept" / "node.db")
    cuts = cut(shim, "index", root)
    assert len(cuts) > 40
    for one in cuts:
        found = recover(Path(one["folder"]))
        assert len(found.indexed) == 3, one
        assert (found.set_aside, found.jobs) == (0, 1), one


@pytest.mark.parametrize("durability", Durability)
def test_call_that_fails_refuses_one_instance_and_nothing_else(
    shim: Path, tmp_path: Path, durability: Durability, receive_path: str
) -> None:
    reports = cut(shim, "faults", durability, tmp_path)
    assert {r["error"] for r in reports} == {"ENOSPC", "EIO", "EDQUOT", "EMFILE"}
    assert len(reports) > 20
    for report in reports:
        assert report["status"] in (0xA700, 0x0110, 0x0000), report
        assert (report["next"], report["established"], report["partials"]) == (0, True, 0), report
    kinds = {r["failed"] for r in reports if r["status"]}
    assert kinds == {"create", "write", "rename", "close"} | (set() if durability is Durability.NONE else {"sync"})
    unharmed = {r["failed"] for r in reports if not r["status"]}
    assert unharmed <= {"", "write-out"}  # write-out is a hint to the kernel, which the sync makes good
