"""Bundles that are delivered as one zip, unpacked into a folder that the node keeps for them.

The folder of a zip is named by the zip's SHA-256, so that another zip of the same name is another folder, and a job that still uses the
earlier one finds it as it was. It is written under another name and renamed when it is whole. What no zip needs any more is removed a
month after its last use.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from time import time

from dicom_node.config.faults import Fault
from dicom_node.config.models_dir import manifest_member
from dicom_node.errors import ArchiveError, ModelError
from dicom_node.inference.bundle.bundle_faults import BundleFaults
from dicom_node.inference.bundle.files import file_sha256, name_problem
from dicom_node.storage.archives import Archive, ArchiveLimits

LIMITS = ArchiveLimits(members=10_000, ratio=50)
"""Weights hardly shrink: what unpacks to more than 50 times its size, and to more than 1 GiB, is no model."""
_KEPT_UNUSED = timedelta(days=30)


def unpacked_bundle(path: Path, cache: Path, limits: ArchiveLimits = LIMITS) -> Path:
    """Return the folder of a zip's bundle, unpacking it first if that was not done before.

    Args:
        path: The zip; model.yaml lies at its top, or in the one folder that holds everything.
        cache: Folder for unpacked bundles; made if need be.
        limits: Beyond these the zip is refused.

    Raises:
        BundleFaults: the zip is damaged or refused: names that lead out of it, links, members given twice, too large.
        ModelError: the zip cannot be read, or the folder cannot be written to.
    """
    try:
        digest = file_sha256(path)
        folder = cache / digest
        if not folder.is_dir():
            unpack(path, folder, limits)
            _prune(cache, keep=digest)
        with suppress(OSError):  # another user's; then it counts as last used when it was unpacked
            os.utime(folder)
    except ArchiveError as error:
        raise BundleFaults([Fault(str(path), 1, "", f"the zip cannot be used: {error}", error.hint)]) from error
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be unpacked into {cache}: {error.strerror}", hint="run the command as the node's user, and look at the disk"
        ) from error
    names = [p.relative_to(folder).as_posix() for p in folder.glob("*")] + [p.relative_to(folder).as_posix() for p in folder.glob("*/*")]
    member = manifest_member(names)
    if not member:
        raise BundleFaults([Fault(str(path), 1, "", "the zip holds no model.yaml", "it lies at the top, or in the one folder of the zip")])
    return (folder / member).parent


def unpack(path: Path, folder: Path, limits: ArchiveLimits) -> None:
    """Unpack a zip without trust into a folder that is not there yet, whole or not at all.

    Raises:
        ArchiveError: damaged or refused.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    archive = Archive(path, limits)
    fresh = Path(mkdtemp(prefix=f".{folder.name[:12]}-", dir=folder.parent))
    try:
        members = archive.members()
        _check_names(member.filename for member in members)
        for member in members:
            target = fresh / member.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.chunks(member) as chunks, target.open("xb") as stream:
                for chunk in chunks:
                    stream.write(chunk)
        fresh.chmod(0o755)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same content
                raise
    finally:
        archive.close()
        shutil.rmtree(fresh, ignore_errors=True)


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if problem := name_problem(name):
            raise ArchiveError(f"a member's name {problem}")
        if name.casefold() in seen:
            raise ArchiveError(f"member {name!r} is there twice, or differs from another in capitals only")
        seen.add(name.casefold())


def _prune(cache: Path, keep: str) -> None:
    oldest = time() - _KEPT_UNUSED.total_seconds()
    for folder in cache.iterdir():
        with suppress(OSError):
            if folder.name != keep and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)
