"""Alembic's entry point; `Database.migrate` hands the connection in."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from dicom_node.storage import commitment_tables, replay_tables, tables

assert tables.StudyRow.metadata is SQLModel.metadata  # noqa: S101 - the import registers the tables
assert commitment_tables.CommitmentRow.metadata is SQLModel.metadata  # noqa: S101 - as above
assert replay_tables.RuleVersionRow.metadata is SQLModel.metadata  # noqa: S101 - as above

context.configure(connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
