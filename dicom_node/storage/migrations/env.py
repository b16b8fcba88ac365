"""Alembic's entry point; `Database.migrate` hands the connection in."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from dicom_node.errors import StorageError
from dicom_node.storage import commitment_tables, fetch_tables, notice_tables, replay_tables, tables

assert tables.StudyRow.metadata is SQLModel.metadata  # noqa: S101 - the import registers the tables
assert commitment_tables.CommitmentRow.metadata is SQLModel.metadata  # noqa: S101 - as above
assert fetch_tables.FetchRow.metadata is SQLModel.metadata  # noqa: S101 - as above
assert notice_tables.NoticeRow.metadata is SQLModel.metadata  # noqa: S101 - as above
assert replay_tables.RuleVersionRow.metadata is SQLModel.metadata  # noqa: S101 - as above

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
    if connection.dialect.name == "sqlite" and (row := connection.exec_driver_sql("PRAGMA foreign_key_check").first()):
        raise StorageError(f"migration: a row of {row[0]} refers to a {row[2]} that is not there", hint="restore the last backup")
