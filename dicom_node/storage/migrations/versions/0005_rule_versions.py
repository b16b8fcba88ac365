"""Versions of the rules, and packed headers of closed studies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rule_version",
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.CheckConstraint("length(digest) = 64", name="rule_version_sha256"),
        sa.PrimaryKeyConstraint("version"),
    )
    with op.batch_alter_table("rule_version", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rule_version_digest"), ["digest"], unique=False)
    op.create_table(
        "study_headers",
        sa.Column("closed_at", sa.DateTime(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("closed_because", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"]),
        sa.PrimaryKeyConstraint("study_id"),
    )
    with op.batch_alter_table("study_headers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_study_headers_closed_at"), ["closed_at"], unique=False)


def downgrade() -> None:
    op.drop_table("study_headers")
    op.drop_table("rule_version")
