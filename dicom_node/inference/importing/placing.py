"""Drafts are written under a name that no node looks at, and renamed when they are whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from dicom_node.config.models_dir import bundle_paths
from dicom_node.inference.importing.request import Draft, ImportFailedError
from dicom_node.storage.files import sync_folder


@contextmanager
def drafting(models_dir: Path, name: str) -> Iterator[Path]:
    """Make an empty folder beside the bundles; what is left of it at the end is removed.

    Raises:
        ImportFailedError: the folder cannot be written to.
    """
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(prefix=f".{name}.", suffix=".importing", dir=models_dir))
        folder.chmod(0o755)
    except OSError as error:
        raise ImportFailedError(f"cannot write to {models_dir}: {error.strerror}", hint="run as the user who owns models_dir") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_to_overwrite(models_dir: Path, name: str) -> None:
    """Look for a bundle of that name.

    Raises:
        ImportFailedError: there is one; it is left as it is.
    """
    taken = [path for path in (bundle_paths(models_dir) if models_dir.is_dir() else ()) if path.name.removesuffix(".zip") == name]
    if taken or (models_dir / name).exists():
        raise ImportFailedError(
            f"{(taken or [models_dir / name])[0]} is there already and is not overwritten",
            hint="give another --name, or move it away first",
        )


def place(draft: Draft, models_dir: Path) -> Path:
    """Make a draft durable and give it its name.

    Raises:
        ImportFailedError: a bundle of that name is there, or the disk does not take it.
    """
    refuse_to_overwrite(models_dir, draft.name)
    target = models_dir / draft.name
    try:
        for path in sorted(draft.folder.rglob("*"), reverse=True):
            _make_durable(path)
        _make_durable(draft.folder)
        draft.folder.rename(target)
        sync_folder(models_dir)
    except OSError as error:
        raise ImportFailedError(f"cannot write {target}: {error.strerror}", hint="look at free space and permissions") from error
    return target


def _make_durable(path: Path) -> None:
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
