"""Received images may be owed to destinations: an object is unique within its job, no longer on the node."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_NAMING = {"uq": "%(table_name)s_%(column_0_name)s_key"}
"""Names the first schema's constraint on SQLite, which kept none, as PostgreSQL did by itself."""
_OF_IMAGES = "(SELECT id FROM result WHERE kind = 'IMAGE')"


def upgrade() -> None:
    with op.batch_alter_table("result", recreate="always", naming_convention=_NAMING) as batch_op:
        batch_op.drop_constraint("result_sop_instance_uid_key", type_="unique")
        batch_op.create_unique_constraint("result_object_once", ["job_id", "sop_instance_uid"])
    op.create_index("ix_result_sop_instance_uid", "result", ["sop_instance_uid"])


def downgrade() -> None:
    """Forget what was forwarded; results stay."""
    op.execute(f"DELETE FROM delivery_event WHERE delivery_id IN (SELECT id FROM delivery WHERE result_id IN {_OF_IMAGES})")  # noqa: S608 - no outside text
    op.execute(f"DELETE FROM delivery WHERE result_id IN {_OF_IMAGES}")  # noqa: S608 - no outside text
    op.execute("DELETE FROM result WHERE kind = 'IMAGE'")
    op.execute("DELETE FROM job_event WHERE job_id IN (SELECT id FROM job WHERE model_digest = 'forward')")
    op.execute("DELETE FROM job WHERE model_digest = 'forward'")
    op.drop_index("ix_result_sop_instance_uid", "result")
    with op.batch_alter_table("result", recreate="always") as batch_op:
        batch_op.drop_constraint("result_object_once", type_="unique")
        batch_op.create_unique_constraint("result_sop_instance_uid_key", ["sop_instance_uid"])
