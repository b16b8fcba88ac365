"""State in SQL and instance files on disk; the only package that knows tables.

`Database` is looked up when it is first asked for: receivers write files only, and SQLAlchemy would double their size.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dicom_node.storage.files import InstanceFiles

if TYPE_CHECKING:
    from dicom_node.storage.database import Database

__all__ = ["Database", "InstanceFiles"]


def __getattr__(name: str) -> object:
    """Import the database when it is named."""
    if name == "Database":
        return import_module("dicom_node.storage.database").Database
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
