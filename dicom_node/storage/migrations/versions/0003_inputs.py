"""Jobs with named inputs, priority, shadow runs, replacement of earlier results and findings; studies that are priors or quarantined."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_job = sa.table(
    "job",
    *(sa.column(name) for name in ("id", "study_instance_uid", "series_instance_uid")),
    sa.column("sop_instance_uids", sa.JSON()),
    sa.column("inputs", sa.JSON()),
)


def upgrade() -> None:
    _study_states("'RECEIVING', 'CLOSED', 'HELD', 'QUARANTINED', 'PRIOR'")
    with op.batch_alter_table("job") as batch_op:
        batch_op.add_column(sa.Column("inputs", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("priority", sa.String(), nullable=False, server_default="normal"))
        batch_op.add_column(sa.Column("shadow", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("replaces", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("findings", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.create_check_constraint("job_priority_known", "priority IN ('stat', 'normal', 'off-peak')")
    connection = op.get_bind()
    for job in connection.execute(sa.select(_job)).mappings().all():
        names = ("study_instance_uid", "series_instance_uid", "sop_instance_uids")
        inputs = [{"name": "image", **{name: job[name] for name in names}}]
        connection.execute(_job.update().where(_job.c.id == job["id"]).values(inputs=inputs))
    with op.batch_alter_table("job") as batch_op:
        for name in ("inputs", "priority", "shadow", "replaces", "findings"):
            batch_op.alter_column(name, server_default=None)
        batch_op.drop_column("series_instance_uid")
        batch_op.drop_column("sop_instance_uids")


def _study_states(states: str) -> None:
    with op.batch_alter_table("study") as batch_op:
        batch_op.drop_constraint("study_state_known", type_="check")
        batch_op.create_check_constraint("study_state_known", f"state IN ({states})")


def downgrade() -> None:
    op.execute("UPDATE study SET state = 'HELD' WHERE state IN ('QUARANTINED', 'PRIOR')")
    _study_states("'RECEIVING', 'CLOSED', 'HELD'")
    with op.batch_alter_table("job") as batch_op:
        batch_op.add_column(sa.Column("series_instance_uid", sa.String(), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("sop_instance_uids", sa.JSON(), nullable=False, server_default="[]"))
    connection = op.get_bind()
    for job in connection.execute(sa.select(_job.c.id, _job.c.inputs)).mappings().all():
        first = {name: job["inputs"][0][name] for name in ("series_instance_uid", "sop_instance_uids")}
        connection.execute(_job.update().where(_job.c.id == job["id"]).values(**first))
    with op.batch_alter_table("job") as batch_op:
        for name in ("series_instance_uid", "sop_instance_uids"):
            batch_op.alter_column(name, server_default=None)
        batch_op.drop_constraint("job_priority_known", type_="check")
        for name in ("inputs", "priority", "shadow", "replaces", "findings"):
            batch_op.drop_column(name)
