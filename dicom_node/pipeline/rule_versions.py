"""Keeping every version of the rules that comes into force."""

from __future__ import annotations

import pwd
from datetime import datetime
from pathlib import Path

from dicom_node.config import Configuration
from dicom_node.ops.logs import get_logger
from dicom_node.storage import Database, rule_versions


def keep_version(database: Database, configuration: Configuration, now: datetime) -> None:
    """Record the rules that are in force from now on, unless the last version says the same.

    What `rules apply` and `rules rollback` brought is on record already, with author and comment; a file that somebody edited is
    its owner's.
    """
    author = file_owner(configuration.node.rules)
    with database.transaction() as session:
        new = rule_versions.NewVersion(configuration.rules_digest, author, "", configuration.rules_text)
        version = rule_versions.record(session, new, now)
    if version is not None:
        get_logger().info("rules_version_kept", version=version.version, author=author, rules=len(configuration.rules))


def file_owner(path: Path) -> str:
    """Name the owner of a file; by number if the system has no name, empty if the file is gone."""
    try:
        number = path.stat().st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
