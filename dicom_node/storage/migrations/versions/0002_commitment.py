"""Storage commitment and availability notices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "availability_notice",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(), nullable=False),
        sa.Column("called_ae_title", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sop_instance_uid"),
    )
    with op.batch_alter_table("availability_notice", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_availability_notice_study_instance_uid"), ["study_instance_uid"], unique=False)

    op.create_table(
        "commitment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(), nullable=False),
        sa.Column("called_ae_title", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(), nullable=False),
        sa.Column("verified_at", sa.DateTime(), nullable=True),
        sa.Column("reported_at", sa.DateTime(), nullable=True),
        sa.Column("reported_by", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.CheckConstraint("(state = 'REPORTED') = (reported_at IS NOT NULL)", name="commitment_reported_has_time"),
        sa.CheckConstraint("(state = 'REQUESTED') = (verified_at IS NULL)", name="commitment_verified_has_time"),
        sa.CheckConstraint("state IN ('REQUESTED', 'VERIFIED', 'REPORTED', 'UNREPORTABLE')", name="commitment_state_known"),
        sa.CheckConstraint("wanted > 0 AND failed >= 0 AND failed <= wanted AND attempt >= 0", name="commitment_counts"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("transaction_uid"),
    )
    with op.batch_alter_table("commitment", schema=None) as batch_op:
        batch_op.create_index(
            "commitment_due",
            ["next_attempt_at"],
            unique=False,
            sqlite_where=sa.text("state = 'VERIFIED'"),
            postgresql_where=sa.text("state = 'VERIFIED'"),
        )

    op.create_table(
        "available_instance",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("notice_id", sa.Integer(), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("availability", sa.String(), nullable=False),
        sa.Column("retrieve_ae_title", sa.String(), nullable=False),
        sa.CheckConstraint("availability IN ('ONLINE', 'NEARLINE', 'OFFLINE', 'UNAVAILABLE')", name="available_instance_word_known"),
        sa.ForeignKeyConstraint(
            ["notice_id"],
            ["availability_notice.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("available_instance", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_available_instance_notice_id"), ["notice_id"], unique=False)

    op.create_table(
        "commitment_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("commitment_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("from_state", sa.String(), nullable=True),
        sa.Column("to_state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["commitment_id"],
            ["commitment.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("commitment_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commitment_event_commitment_id"), ["commitment_id"], unique=False)

    op.create_table(
        "commitment_instance",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("commitment_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("failure", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["commitment_id"],
            ["commitment.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("commitment_id", "position", name="commitment_instance_once"),
    )


def downgrade() -> None:
    op.drop_table("commitment_instance")
    with op.batch_alter_table("commitment_event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_commitment_event_commitment_id"))

    op.drop_table("commitment_event")
    with op.batch_alter_table("available_instance", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_available_instance_notice_id"))

    op.drop_table("available_instance")
    with op.batch_alter_table("commitment", schema=None) as batch_op:
        batch_op.drop_index("commitment_due", sqlite_where=sa.text("state = 'VERIFIED'"), postgresql_where=sa.text("state = 'VERIFIED'"))

    op.drop_table("commitment")
    with op.batch_alter_table("availability_notice", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_availability_notice_study_instance_uid"))

    op.drop_table("availability_notice")
