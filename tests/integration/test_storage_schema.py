from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlmodel import SQLModel, create_engine

from dicom_node.domain.routing import JobInput
from dicom_node.errors import StorageError
from dicom_node.jobs import queue
from dicom_node.storage import Database
from tests.conftest import ROOT

RESULT = (
    "INSERT INTO result (id, job_id, kind, number, sop_class_uid, sop_instance_uid, series_instance_uid, path)"
    " VALUES (1, 1, 'SR', 1, '1', '1.9', '1.8', 'p')"
)
DELIVERY = (
    "INSERT INTO delivery (id, job_id, result_id, destination, state, attempt, next_attempt_at, reason)"
    " VALUES (1, 1, 1, 'pacs', 'OWED', 0, '2024-01-01', '')"
)
NEW_RESULT = RESULT.replace("path)", "path, variant)").replace("'p')", "'p', '')")
NEW_DELIVERY = DELIVERY.replace("reason)", "reason, state_at, owed_at, comment, went_as, commit_policy, commit_failures)").replace(
    "'')", "'', '2024-01-01', '2024-01-01', '', '', 'off', 0)"
)
COMMITMENT = (
    "INSERT INTO commitment (id, transaction_uid, calling_ae_title, called_ae_title, address, state, requested_at, wanted, failed, attempt,"
    " next_attempt_at, reason) VALUES (1, '1.7', 'A', 'B', 'c', 'REQUESTED', '2024-01-01', 1, 0, 0, '2024-01-01', '')"
)
FETCH = (
    "INSERT INTO fetch (id, kind, state, study_instance_uid, source, rule, input, wanted, attempt, asked_at, next_attempt_at, deadline,"
    " missing, reason) VALUES (1, 'count', 'OWED', '1.2', 'archive', '', '', '{}', 0, '2024-01-01', '2024-01-01', '2024-01-02', '[]', '')"
)
NOTICE = (
    "INSERT INTO notice (id, uuid, receiver, event, facts, state, created_at, owed_at, attempt, next_attempt_at, reason, taken, refused)"
    f" VALUES (1, '{'u' * 36}', 'ops', 'result', '{{}}', 'OWED', '2024-01-01', '2024-01-01', 0, '2024-01-01', '', '[]', '{{}}')"
)
NOW = datetime(2024, 1, 2, tzinfo=UTC)


def schema(path: Path) -> dict[str, list[str]]:
    """Every table and index with its clauses; the order of clauses says nothing."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'").fetchall()
    connection.close()
    return {
        name: sorted(re.sub(r"\s+", " ", line).replace(f'"{name}"', name).strip(" ,()") for line in sql.split("\n")) for name, sql in rows
    }


def test_fresh_schema_equals_migrated_schema(tmp_path: Path, database: Database) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    SQLModel.metadata.create_all(engine)
    engine.dispose()
    assert schema(tmp_path / "fresh.db") == schema(tmp_path / "node.db")


def test_migrating_twice_changes_nothing(tmp_path: Path, database: Database) -> None:
    before = schema(tmp_path / "node.db")
    database.migrate()
    assert schema(tmp_path / "node.db") == before
    assert len(set(database.schema_version())) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO study (study_instance_uid, state, revision, reason, waits) VALUES ('1.2', 'LOST', 0, '', '[]')",
        "INSERT INTO study (study_instance_uid, state, revision, reason, waits) VALUES ('1.2', 'CLOSED', -1, '', '[]')",
        "UPDATE job SET state = 'RUNNING'",
        "UPDATE job SET lease_owner = 'w'",
        "UPDATE job SET priority = 'soon'",
        "UPDATE delivery SET state = 'SENT'",
        "UPDATE delivery SET state = 'SENT', sent_at = '2024-01-01', status = 49152",
        "UPDATE delivery SET state = 'LOST'",
        "UPDATE delivery SET state = 'COMMITTED', sent_at = '2024-01-01', status = 0",
        "UPDATE delivery SET state = 'COMMITTED', committed_at = '2024-01-01', status = 0",
        "UPDATE delivery SET state = 'SENT', sent_at = '2024-01-01', status = 0, committed_at = '2024-01-01'",
        "UPDATE delivery SET state = 'HELD'",
        "UPDATE delivery SET held_reason = 'why'",
        "UPDATE delivery SET commit_policy = 'maybe'",
        "UPDATE delivery SET transaction_uid = '1.2'",
        NEW_RESULT.replace("VALUES (1, ", "VALUES (2, ").replace("'1.9'", "'1.10'"),
        "UPDATE commitment SET state = 'LOST'",
        "UPDATE commitment SET state = 'VERIFIED'",
        "UPDATE commitment SET reported_at = '2024-01-01'",
        "UPDATE commitment SET failed = 2",
        COMMITMENT.replace("(1, '1.7'", "(2, '1.7'"),
        FETCH.replace("(1, 'count'", "(2, 'count'"),
        "UPDATE fetch SET kind = 'guess'",
        "UPDATE fetch SET state = 'LOST'",
        "UPDATE fetch SET state = 'DONE'",
        "UPDATE fetch SET finished_at = '2024-01-01'",
        "UPDATE fetch SET rule = 'r'",
        "UPDATE fetch SET kind = 'prior'",
        "UPDATE fetch SET source = ''",
        "UPDATE fetch SET counted = 3",
        "UPDATE fetch SET deadline = '2023-12-31'",
        NOTICE.replace("VALUES (1, ", "VALUES (2, "),
        "UPDATE notice SET event = 'gossip'",
        "UPDATE notice SET state = 'LOST'",
        "UPDATE notice SET state = 'SENT'",
        "UPDATE notice SET sent_at = '2024-01-01'",
        "UPDATE notice SET uuid = 'short'",
        "UPDATE notice SET attempt = -1",
        "INSERT INTO notice_event (kind, at, job_id) VALUES ('critical', '2024-01-01', 1)",
        "INSERT INTO notice_event (kind, at, job_id) VALUES ('result', '2024-01-01', 99)",
        "INSERT INTO notice_attempt (notice_id, at, to_state, reason) VALUES (99, '2024-01-01', 'OWED', '')",
    ],
)
def test_database_itself_refuses_what_must_not_be(database: Database, statement: str) -> None:
    with database.transaction() as session:
        session.connection().execute(
            text(
                "INSERT INTO job (id, study_instance_uid, revision, rule, model_digest, model, model_version, state, attempt, max_attempts,"
                " inputs, send_to, next_attempt_at, reason, timings, priority, shadow, replaces, findings, created_at)"
                " VALUES (1, '1', 1, 'r', 'd', 'm', '1', 'QUEUED', 0, 3, '[]', '[]', '2024-01-01', '', '{}', 'normal', 0, 0, '{}',"
                " '2024-01-01')"
            )
        )
        session.connection().execute(text(NEW_RESULT))
        session.connection().execute(text(NEW_DELIVERY))
        session.connection().execute(text(COMMITMENT))
        session.connection().execute(text(FETCH))
        session.connection().execute(text(NOTICE))
    with pytest.raises(StorageError, match="constraint"), database.transaction() as session:
        session.connection().execute(text(statement))


def test_studies_that_arrived_before_are_noted_with_their_patient(tmp_path: Path) -> None:
    """More series than one batch of the migration; one study without a Patient ID, one that mixes two."""
    path = tmp_path / "old.db"
    migrate(path, "0003")
    with sqlite3.connect(path) as connection:
        for study in range(1, 1103):
            header = {"PatientID": [f"P{study} "], "StudyDate": ["20240102"], "IssuerOfPatientID": None}
            connection.execute("INSERT INTO study VALUES (?, ?, 0, 'CLOSED', NULL, NULL, '')", (study, f"1.{study}"))
            add_series(connection, study, 1, {} if study == 7 else header)
        add_series(connection, 8, 2, {"PatientID": ["P8"], "IssuerOfPatientID": ["H"]})
        add_series(connection, 9, 2, {"PatientID": ["P9"]})
    connection.close()
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    with sqlite3.connect(path) as connection:
        found = connection.execute(
            "SELECT study_id, patient_id, issuer, study_date FROM study_patient ORDER BY study_id, issuer"
        ).fetchall()
    connection.close()
    assert len(found) == 1102
    assert found[5:9] == [(6, "P6", "", "20240102"), (8, "P8", "", "20240102"), (8, "P8", "H", ""), (9, "P9", "", "20240102")]


def test_rows_that_others_refer_to_outlast_every_change_of_their_tables(tmp_path: Path) -> None:
    """A study with everything that hangs on it, from the second version to the newest."""
    path = tmp_path / "old.db"
    migrate(path, "0002")
    digest, now = "a" * 64, "2024-01-01 00:00:00.000000"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("INSERT INTO study VALUES (1, '1.2', 1, 'CLOSED', NULL, NULL, '')")
        add_series(connection, 1, 1, {"PatientID": ["P"]})
        connection.execute(
            "INSERT INTO instance VALUES (1, 1, '1.2.1.1', '1', '1', 0, 0, 1, 'p', 9, ?, ?, 'CT', 'AINODE', '127.0.0.1', '{}')",
            (digest, now),
        )
        connection.execute("INSERT INTO revision VALUES (1, 1, 1, ?, 'quiet', 'd', NULL, '[]')", (now,))
        connection.execute(
            "INSERT INTO job (id, study_instance_uid, revision, rule, model_digest, model, model_version, state, attempt, max_attempts,"
            " series_instance_uid, sop_instance_uids, send_to, next_attempt_at, reason, timings, created_at)"
            " VALUES (1, '1.2', 1, 'r', 'd', 'm', '1', 'DELIVERING', 1, 3, '1.2.1', '[\"1.2.1.1\"]', '[\"pacs\"]', ?, '', '{}', ?)",
            (now, now),
        )
        connection.execute(RESULT)
        connection.execute(DELIVERY)
    connection.close()
    database = Database(f"sqlite:///{path}")
    database.migrate()
    with database.transaction() as session:
        job = queue.get(session, 1)
        assert job is not None
        assert job.inputs == (JobInput("image", "1.2", "1.2.1", ("1.2.1.1",)),)
        counts = [
            session.connection().execute(text(f"SELECT count(*) FROM {table}")).scalar() for table in ("instance", "result", "delivery")
        ]
        assert counts == [1, 1, 1]
        times = session.connection().execute(text("SELECT owed_at, state_at, commit_policy, comment FROM delivery")).one()
        assert times == ("2024-01-01", "2024-01-01", "off", "")  # without an event as old as its next attempt
        assert session.connection().execute(text("PRAGMA foreign_keys")).scalar() == 1
    database.close()


def test_results_are_unique_on_the_node_before_images_were_forwarded_and_again_after_a_way_back(tmp_path: Path, database: Database) -> None:
    job = (
        "INSERT INTO job (id, study_instance_uid, revision, rule, model_digest, model, model_version, state, attempt, max_attempts,"
        " inputs, send_to, next_attempt_at, reason, timings, priority, shadow, replaces, findings, created_at)"
        " VALUES ({}, '1', 1, 'r{}', '{}', 'm', '1', 'DONE', 0, 3, '[]', '[]', '2024-01-01', '', '{{}}', 'normal', 0, 0, '{{}}',"
        " '2024-01-01')"
    )
    image = NEW_RESULT.replace("(1, 1, 'SR'", "({0}, {0}, 'IMAGE'")
    with database.transaction() as session:
        connection = session.connection()
        for number, digest in ((1, "d"), (2, "forward"), (3, "forward")):
            connection.execute(text(job.format(number, number, digest).replace(":", r"\:")))
        connection.execute(text(NEW_RESULT.replace("'1.9'", "'1.10'")))
        connection.execute(text(image.format(2)))
        connection.execute(text(image.format(3)))  # the same image, by another job
        connection.execute(text(NEW_DELIVERY.replace("(1, 1, 1,", "(1, 2, 2,")))
    path = tmp_path / "node.db"
    migrate(path, "0010", command.downgrade)
    with sqlite3.connect(path) as connection:
        kept = [connection.execute(f"SELECT id FROM {table}").fetchall() for table in ("job", "result", "delivery")]
        assert kept == [[(1,)], [(1,)], []]
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(
                RESULT.replace("(1, 1, 'SR'", "(2, 1, 'SEG'")
                .replace("'1.9'", "'1.10'")
                .replace("path)", "path, variant)")
                .replace("'p')", "'p', '')")
            )
    connection.close()
    before = schema(path)
    database.migrate()
    assert schema(path) != before
    engine = create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    SQLModel.metadata.create_all(engine)
    engine.dispose()
    assert schema(path) == schema(tmp_path / "fresh.db")


def add_series(connection: sqlite3.Connection, study: int, number: int, attributes: dict[str, object]) -> None:
    statement = "INSERT INTO series (study_id, series_instance_uid, attributes) VALUES (?, ?, ?)"
    connection.execute(statement, (study, f"1.{study}.{number}", json.dumps(attributes)))


def migrate(path: Path, revision: str, way: Callable[[Config, str], None] = command.upgrade) -> None:
    """Bring an empty database to an earlier version, or another one back to it."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(ROOT / "dicom_node" / "storage" / "migrations"))
        config.attributes["connection"] = connection
        way(config, revision)
        connection.commit()
    engine.dispose()
