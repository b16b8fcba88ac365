"""What the node asks of archives: counts, missing instances, priors; and whose studies there are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BATCH = 1000
_series = sa.table("series", sa.column("id"), sa.column("study_id"), sa.column("attributes", sa.JSON()))
_patient = sa.table("study_patient", *(sa.column(name) for name in ("study_id", "patient_id", "issuer", "study_date")))


def upgrade() -> None:
    op.create_table(
        "fetch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("input", sa.String(), nullable=False),
        sa.Column("wanted", sa.JSON(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(), nullable=False),
        sa.Column("deadline", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("answered_at", sa.DateTime(), nullable=True),
        sa.Column("counted", sa.Integer(), nullable=True),
        sa.Column("missing", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.CheckConstraint("kind IN ('count', 'missing', 'prior')", name="fetch_kind_known"),
        sa.CheckConstraint("state IN ('OWED', 'RUNNING', 'DONE', 'FAILED')", name="fetch_state_known"),
        sa.CheckConstraint("(state IN ('DONE', 'FAILED')) = (finished_at IS NOT NULL)", name="fetch_finished_has_time"),
        sa.CheckConstraint("(kind = 'prior') = (rule <> '' AND input <> '')", name="fetch_prior_is_for_an_input"),
        sa.CheckConstraint("kind = 'prior' OR source <> ''", name="fetch_has_source"),
        sa.CheckConstraint("counted IS NULL OR (kind = 'count' AND counted >= 0 AND answered_at IS NOT NULL)", name="fetch_counted"),
        sa.CheckConstraint("attempt >= 0 AND deadline >= asked_at", name="fetch_attempts_count"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("fetch", schema=None) as batch_op:
        _index(batch_op, "fetch_once", ["kind", "study_instance_uid", "source"], "kind <> 'prior'", unique=True)
        _index(batch_op, "fetch_prior_once", ["study_instance_uid", "rule", "input"], "kind = 'prior'", unique=True)
        _index(batch_op, "fetch_due", ["next_attempt_at"], "state = 'OWED'", unique=False)

    op.create_table(
        "fetch_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fetch_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("from_state", sa.String(), nullable=True),
        sa.Column("to_state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["fetch_id"],
            ["fetch.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("fetch_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fetch_event_fetch_id"), ["fetch_id"], unique=False)

    op.create_table(
        "fetched_study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fetch_id", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(), nullable=False),
        sa.Column("series", sa.JSON(), nullable=False),
        sa.Column("taken", sa.Boolean(), nullable=True),
        sa.Column("expected_until", sa.DateTime(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.CheckConstraint("taken IS NULL OR expected_until IS NOT NULL", name="fetched_study_ends"),
        sa.ForeignKeyConstraint(
            ["fetch_id"],
            ["fetch.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("fetch_id", "study_instance_uid", name="fetched_study_once"),
    )
    with op.batch_alter_table("fetched_study", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fetched_study_study_instance_uid"), ["study_instance_uid"], unique=False)

    op.create_table(
        "study_patient",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("patient_id", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("study_date", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["study.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("study_id", "patient_id", "issuer", name="study_patient_once"),
    )
    with op.batch_alter_table("study_patient", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_study_patient_patient_id"), ["patient_id"], unique=False)
    _note_patients()


def _index(batch_op: object, name: str, columns: list[str], where: str, *, unique: bool) -> None:
    clause = sa.text(where)
    batch_op.create_index(name, columns, unique=unique, sqlite_where=clause, postgresql_where=clause)  # type: ignore[attr-defined]


def _note_patients() -> None:
    """Say whose the studies are that arrived before; in batches, as there may be many."""
    connection, after, seen = op.get_bind(), 0, set()
    while True:
        query = sa.select(_series).where(_series.c.id > after).order_by(_series.c.id).limit(_BATCH)
        rows = connection.execute(query).mappings().all()
        if not rows:
            return
        after = rows[-1]["id"]
        for row in rows:
            patient_id, issuer, date = (_first(row["attributes"], k) for k in ("PatientID", "IssuerOfPatientID", "StudyDate"))
            key = (row["study_id"], patient_id, issuer)
            if patient_id and key not in seen:
                seen.add(key)
                connection.execute(_patient.insert().values(study_id=key[0], patient_id=patient_id, issuer=issuer, study_date=date))


def _first(attributes: dict[str, list[str] | None], keyword: str) -> str:
    return str(next(iter(attributes.get(keyword) or ()), "")).strip(" \0")


def downgrade() -> None:
    for table in ("study_patient", "fetched_study", "fetch_event", "fetch"):
        op.drop_table(table)
