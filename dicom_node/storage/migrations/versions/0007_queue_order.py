"""Jobs are claimed by priority; one row says whose turn it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_QUEUED = sa.text("state = 'QUEUED'")


def upgrade() -> None:
    op.create_table(
        "queue_turn",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stat_in_a_row", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name="queue_turn_one_row"),
        sa.CheckConstraint("stat_in_a_row >= 0", name="queue_turn_counts"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.drop_index("job_claimable", "job")
    op.create_index("job_claimable", "job", ["priority", "next_attempt_at", "id"], sqlite_where=_QUEUED, postgresql_where=_QUEUED)


def downgrade() -> None:
    op.drop_index("job_claimable", "job")
    op.create_index("job_claimable", "job", ["next_attempt_at"], sqlite_where=_QUEUED, postgresql_where=_QUEUED)
    op.drop_table("queue_turn")
