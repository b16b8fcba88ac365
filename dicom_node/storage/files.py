"""Instance files on a local folder: durable before acknowledged, moved into place by the index."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dicom_node.domain.uids import is_safe_uid
from dicom_node.errors import StorageError
from dicom_node.storage.commit import PARTIAL_SUFFIX, Commit
from dicom_node.storage.instance_writer import BegunFile, InstanceWriter

_counter = itertools.count()
_process = os.getpid()
_NAME = re.compile(r"(\d{20})-.+-(\d+)\.dcm")


@dataclass(frozen=True, slots=True)
class InstanceName:
    """What the name of an acknowledged file says, as `Commit.rename` gave it.

    Attributes:
        received_ns: Time of receipt, nanoseconds since 1970.
        size_bytes: Of the whole file.
    """

    received_ns: int
    size_bytes: int

    @classmethod
    def parse(cls, name: str) -> InstanceName | None:
        """Read a name; None if it is another, as of a file that an operator moved back into `incoming/`."""
        found = _NAME.fullmatch(name)
        return cls(int(found[1]), int(found[2])) if found else None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, chunks: Iterable[bytes | memoryview], *, partial: Path) -> None:
    """Write a temporary file, make it durable, give it its name, make the name durable: `write_content`, then `make_names_durable`.

    Args:
        path: Final name.
        chunks: Content.
        partial: Temporary name on the same file system.

    Raises:
        StorageError: disk full or broken; if a file of that name is left, it is whole but may not outlast a power cut.
    """
    write_content(path, chunks, partial=partial)
    make_names_durable(path.parent)


def make_names_durable(folder: Path) -> None:
    """Let the names of what `write_content` wrote in a folder last.

    Raises:
        StorageError: disk broken; the files are whole but may not outlast a power cut.
    """
    try:
        sync_folder(folder)
    except OSError as error:
        raise _unwritten(folder, error) from error


def write_content(path: Path, chunks: Iterable[bytes | memoryview], *, partial: Path) -> None:
    """Write a temporary file, make it durable, give it its name, which lasts after `make_names_durable`: one sync does for many files.

    Args:
        path: Final name.
        chunks: Content.
        partial: Temporary name on the same file system.

    Raises:
        StorageError: disk full or broken; if a file of that name is left, it is whole but may not outlast a power cut.
    """
    try:
        with partial.open("wb", buffering=0) as stream:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[stream.write(view) :]
            os.fsync(stream.fileno())
        partial.rename(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _unwritten(path.parent, error) from error


def _unwritten(folder: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot write to {folder}: {error.strerror}", hint="check free space and permissions of data_dir")


class InstanceFiles:
    """The folders below data_dir.

    `incoming/` holds acknowledged instances that the database has not seen, named by time of receipt and never by anything a
    peer sent; `incoming/.unreadable/` those that cannot be indexed. `studies/` holds indexed ones by study, series and SOP
    Instance UID. `results/` holds what the node made.
    """

    def __init__(self, data_dir: Path) -> None:
        """Name the folders; `prepare` creates them."""
        self.data_dir = data_dir
        self.incoming = data_dir / "incoming"
        self.unreadable = self.incoming / ".unreadable"
        self.studies = data_dir / "studies"
        self.results = data_dir / "results"
        self.run = data_dir / "run"
        self.metrics = self.run / "metrics"

    def prepare(self) -> None:
        """Create the folders, readable by the owner only, and make those durable in which instances come to lie.

        Raises:
            StorageError: data_dir is not writable.
        """
        try:
            for folder in (self.data_dir, self.incoming, self.studies, self.results, self.run, self.metrics):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(self.data_dir)
            sync_folder(self.data_dir.parent)
        except OSError as error:
            raise StorageError(
                f"cannot create {error.filename}: {error.strerror}", hint="data_dir must be writable by the node's user"
            ) from error

    def new_instance(self, commit: Commit, owner: str) -> InstanceWriter:
        """Open a partial file for one instance; its name begins with its process's, so that a successor finds what a killed one left.

        Raises:
            StorageError: disk full or broken.
        """
        return InstanceWriter(self.unique_name(owner), commit)

    def unique_name(self, owner: str) -> str:
        """Return what nothing else is named on this node, for the names of an instance's files or as the beginning of several."""
        return f"{owner}.{_process}-{next(_counter)}"

    def resume_instance(self, begun: BegunFile, commit: Commit) -> InstanceWriter:
        """Take over a partial file that the accelerator began."""
        return InstanceWriter.resume(begun, commit)

    def pending(self) -> list[Path]:
        """List acknowledged files that are not indexed yet, oldest first.

        Raises:
            StorageError: the folder cannot be read.
        """
        try:
            return sorted(p for p in self.incoming.iterdir() if p.suffix == ".dcm")
        except OSError as error:
            raise StorageError(f"cannot read {self.incoming}: {error.strerror}", hint="is data_dir mounted?") from error

    def aside(self) -> list[Path]:
        """List acknowledged files that could not be indexed."""
        return sorted(self.unreadable.iterdir()) if self.unreadable.exists() else []

    def discard_partials(self, owner: str = "") -> int:
        """Remove what a killed process left unfinished (never acknowledged); returns how many files.

        Args:
            owner: Only this process's, of which no other runs; empty takes all, for a time when nothing receives.
        """
        leftovers = list(self.incoming.glob(f".{owner}.*{PARTIAL_SUFFIX}" if owner else f".*{PARTIAL_SUFFIX}"))
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)

    def results_of(self, job_id: int) -> Path:
        """Name the folder of what a job made."""
        return self.results / f"job-{job_id}"

    def clear_metrics(self) -> None:
        """Forget what the processes of the last start counted; call only while none runs."""
        for path in self.metrics.iterdir():
            path.unlink(missing_ok=True)

    def place_for(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str, variant: int) -> Path:
        """Name the final place of an instance.

        Raises:
            StorageError: a UID could lead out of the folder.
        """
        uids = (study_instance_uid, series_instance_uid, sop_instance_uid)
        if not all(is_safe_uid(uid) for uid in uids):
            raise StorageError("a UID holds characters that no UID may have")
        suffix = f".{variant}.dcm" if variant else ".dcm"
        return self.studies / study_instance_uid / series_instance_uid / (sop_instance_uid + suffix)

    def move(self, source: Path, target: Path) -> None:
        """Move an indexed file into place, durably."""
        try:
            if not target.parent.exists():
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(target.parent.parent)
                sync_folder(self.studies)
            source.rename(target)
        except OSError as error:
            raise StorageError(f"cannot move an instance into {self.studies}: {error.strerror}") from error

    def drop(self, source: Path) -> None:
        """Remove a file of which an identical one is in place."""
        try:
            source.unlink()
        except OSError as error:
            raise StorageError(f"cannot remove {source.name} from {self.incoming}: {error.strerror}") from error

    def set_aside(self, source: Path) -> Path:
        """Move a file that cannot be indexed out of the way; returns the folder.

        Raises:
            StorageError: the folder cannot be written to.
        """
        try:
            self.unreadable.mkdir(mode=0o700, exist_ok=True)
            source.rename(self.unreadable / source.name)
        except OSError as error:
            raise StorageError(f"cannot move {source.name} into {self.unreadable}: {error.strerror}") from error
        return self.unreadable

    def free_bytes(self) -> int:
        """Free space below data_dir that the node's user may fill, bytes.

        Raises:
            StorageError: the disk cannot be asked.
        """
        try:
            state = os.statvfs(self.data_dir)
        except OSError as error:
            raise StorageError(f"cannot ask for free space in {self.data_dir}: {error.strerror}", hint="is data_dir mounted?") from error
        return state.f_bavail * state.f_frsize
