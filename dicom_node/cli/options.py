"""Options that several commands share, and opening what they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_node import storage
from dicom_node.config import Configuration, load_configuration
from dicom_node.errors import StorageError

ConfigPath = Annotated[Path, typer.Option("--config", "-c", envvar="DICOM_NODE_CONFIG", help="node.yaml")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many, newest first.")]
DEFAULT_CONFIG = Path("/etc/dicom-node/node.yaml")


def open_database(configuration: Configuration) -> storage.Database:
    """Open the node's database for a command.

    Raises:
        StorageError: there is none yet, or its schema is not this version's.
    """
    url = configuration.node.database
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise StorageError("there is no database yet", hint="start the node once: dicom-node serve --config FILE")
    database = storage.Database(url)
    found, newest = database.schema_version()
    if found != newest:
        raise StorageError(f"database schema is {found}, this program needs {newest}", hint="start the node: it migrates the database")
    return database


def opened(config: Path) -> tuple[Configuration, storage.Database]:
    """Read the configuration and open its database."""
    configuration = load_configuration(config)
    return configuration, open_database(configuration)
