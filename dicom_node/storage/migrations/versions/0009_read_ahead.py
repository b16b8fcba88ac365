"""A job that waits may be read ahead, and one that runs says how far it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("job") as batch:
        batch.add_column(sa.Column("progress", sa.Float(), nullable=True))
        batch.add_column(sa.Column("ahead_by", sa.String(), nullable=True))
        batch.add_column(sa.Column("begun_until", sa.DateTime(), nullable=True))
        batch.create_check_constraint("job_ahead_while_queued", "ahead_by IS NULL OR state = 'QUEUED'")
        batch.create_check_constraint("job_begun_by_someone", "begun_until IS NULL OR ahead_by IS NOT NULL")


def downgrade() -> None:
    with op.batch_alter_table("job") as batch:
        batch.drop_constraint("job_begun_by_someone", type_="check")
        batch.drop_constraint("job_ahead_while_queued", type_="check")
        batch.drop_column("begun_until")
        batch.drop_column("ahead_by")
        batch.drop_column("progress")
