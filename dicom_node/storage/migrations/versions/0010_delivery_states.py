"""Results in variants; deliveries that are held, committed or given up, with what finally went and how commitment was asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ACCEPTED = "status = 0 OR status = 273 OR (status >= 45056 AND status < 49152)"
_CHECKS = {
    "delivery_state_known": "state IN ('OWED', 'HELD', 'SENT', 'COMMITTED', 'REFUSED', 'DEAD')",
    "delivery_sent_has_time": "(state IN ('SENT', 'COMMITTED')) = (sent_at IS NOT NULL)",
    "delivery_sent_was_accepted": f"state NOT IN ('SENT', 'COMMITTED') OR {_ACCEPTED}",
    "delivery_committed_has_time": "(state = 'COMMITTED') = (committed_at IS NOT NULL)",
    "delivery_held_has_reason": "(state = 'HELD') = (held_reason IS NOT NULL)",
    "delivery_commit_known": "commit_policy IN ('off', 'wait', 'require')",
    "delivery_commitment_has_time": "(transaction_uid IS NULL) = (commit_asked_at IS NULL)",
    "delivery_counts": "attempt >= 0 AND commit_failures >= 0",
}
_BEFORE = {
    "delivery_state_known": "state IN ('OWED', 'SENT', 'REFUSED')",
    "delivery_sent_has_time": "(state = 'SENT') = (sent_at IS NOT NULL)",
    "delivery_sent_was_accepted": f"state <> 'SENT' OR {_ACCEPTED}",
}
_ADDED = (
    "state_at",
    "owed_at",
    "comment",
    "went_as",
    "held_reason",
    "commit_policy",
    "transaction_uid",
    "commit_asked_at",
    "commit_failures",
    "committed_at",
)


def upgrade() -> None:
    with op.batch_alter_table("result", recreate="always") as batch_op:
        batch_op.add_column(sa.Column("variant", sa.String(), nullable=False, server_default=""))
        batch_op.drop_constraint("result_once", type_="unique")
        batch_op.create_unique_constraint("result_once", ["job_id", "kind", "number", "variant"])
    with op.batch_alter_table("delivery", recreate="always") as batch_op:
        batch_op.add_column(sa.Column("state_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("owed_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("comment", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("went_as", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("held_reason", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("commit_policy", sa.String(), nullable=False, server_default="off"))
        batch_op.add_column(sa.Column("transaction_uid", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("commit_asked_at", sa.DateTime(), nullable=True))
        batch_op.add_column(sa.Column("commit_failures", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("committed_at", sa.DateTime(), nullable=True))
    _fill_times()
    with op.batch_alter_table("result", recreate="always") as batch_op:  # SQLite's own way leaves a table unlike a fresh one
        batch_op.alter_column("variant", server_default=None)
    with op.batch_alter_table("delivery", recreate="always") as batch_op:
        for name in ("state_at", "owed_at"):
            batch_op.alter_column(name, existing_type=sa.DateTime(), nullable=False)
        for name in ("comment", "went_as", "commit_policy", "commit_failures"):
            batch_op.alter_column(name, server_default=None)
        for name in _BEFORE:
            batch_op.drop_constraint(name, type_="check")
        for name, condition in _CHECKS.items():
            batch_op.create_check_constraint(name, condition)
    waiting = sa.text("state = 'SENT' AND commit_policy <> 'off'")
    op.create_index("delivery_uncommitted", "delivery", ["next_attempt_at"], sqlite_where=waiting, postgresql_where=waiting)
    op.create_index("ix_delivery_transaction_uid", "delivery", ["transaction_uid"])


def _fill_times() -> None:
    """Take the times of earlier deliveries from their events; one without any is as old as its next attempt."""
    events = "SELECT {} FROM delivery_event e WHERE e.delivery_id = delivery.id"
    first, last = events.format("min(e.at)"), events.format("max(e.at)")
    op.execute(f"UPDATE delivery SET owed_at = coalesce(({first}), next_attempt_at), state_at = coalesce(({last}), next_attempt_at)")  # noqa: S608 - no outside text


def downgrade() -> None:
    op.drop_index("ix_delivery_transaction_uid", "delivery")
    op.drop_index("delivery_uncommitted", "delivery")
    with op.batch_alter_table("delivery", recreate="always") as batch_op:
        for name in _CHECKS:
            batch_op.drop_constraint(name, type_="check")
    op.execute("UPDATE delivery SET state = 'SENT' WHERE state = 'COMMITTED'")
    op.execute("UPDATE delivery SET state = 'REFUSED' WHERE state IN ('HELD', 'DEAD')")
    with op.batch_alter_table("delivery", recreate="always") as batch_op:
        for name in _ADDED:
            batch_op.drop_column(name)
        for name, condition in _BEFORE.items():
            batch_op.create_check_constraint(name, condition)
    with op.batch_alter_table("result", recreate="always") as batch_op:
        batch_op.drop_constraint("result_once", type_="unique")
        batch_op.drop_column("variant")
        batch_op.create_unique_constraint("result_once", ["job_id", "kind", "number"])
