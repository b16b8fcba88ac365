"""Engines that were built here, kept in a folder: signed, bounded in size, one builder for each.

    signing.key                 readable by the node's user alone
    entries/KEY/plan            the engine, beside plan.hmac, record.json and record.hmac
    locks/KEY                   held by the process that builds
    states/RUN.json             how far a build is; for others to read
    timing/NAME                 what TensorRT measured, beside NAME.hmac

A plan that was torn, altered, unsigned or signed with another key is never given out: it is removed and built anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from dicom_node.errors import BuildCancelledError, ModelError
from dicom_node.inference.engines.signing import Signer
from dicom_node.ops.logs import get_logger

_LOCK_POLL_S = 0.1
JsonObject = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class CachedEngine:
    """An entry whose signatures hold.

    Attributes:
        record: How it was built and, once the gate has measured it, with which result.
    """

    plan: bytes
    record: JsonObject


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """An entry as a listing shows it."""

    key: str
    size_bytes: int
    used_at: float


class EngineCache:
    """The folder. Any number of processes may use it at once."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        """Open the folder, making it and its key where they are missing.

        Raises:
            ModelError: the signing key cannot be trusted, or the folder cannot be written.
        """
        self._folder = folder
        self._limit_bytes = limit_bytes
        try:
            for name in ("entries", "locks", "states", "timing"):
                (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._signer = Signer.of_folder(folder)
        except OSError as error:
            raise ModelError(f"{folder}: engines cannot be kept here: {error.strerror}") from error

    def find(self, key: str) -> CachedEngine | None:
        """Give an entry, and note that it was used; None when it is missing or its signatures do not hold (then it is removed)."""
        entry = self._entry(key)
        try:
            plan, record = (entry / "plan").read_bytes(), (entry / "record.json").read_bytes()
            signatures = [(entry / name).read_text("ascii") for name in ("plan.hmac", "record.hmac")]
        except FileNotFoundError:
            if entry.exists():
                self._refuse(key, "it is not whole or not signed")
            return None
        except (OSError, UnicodeDecodeError):
            self._refuse(key, "it cannot be read")
            return None
        if not (self._signer.holds(f"plan {key}", plan, signatures[0]) and self._signer.holds(f"record {key}", record, signatures[1])):
            self._refuse(key, "its signature does not hold")
            return None
        with suppress(OSError):
            os.utime(entry / "plan")
        return CachedEngine(plan, json.loads(record))

    def store(self, key: str, plan: bytes, record: JsonObject) -> None:
        """Keep an engine under a name that shows only when it is whole; the least used ones go if it gets too much.

        Raises:
            ModelError: the folder cannot be written.
        """
        partial = self._folder / "entries" / f".{key}.{secrets.token_hex(8)}"
        try:
            partial.mkdir(mode=0o700)
            (partial / "plan").write_bytes(plan)
            (partial / "plan.hmac").write_text(self._signer.sign(f"plan {key}", plan), "ascii")
            self._write_record(partial, key, record)
            shutil.rmtree(self._entry(key), ignore_errors=True)
            partial.rename(self._entry(key))
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise ModelError(f"{self._folder}: the engine cannot be kept: {error.strerror}") from error
        self._evict(keep=key)

    def amend(self, key: str, additions: JsonObject) -> None:
        """Add to an entry's record, for example the gate's result, and sign it anew.

        Raises:
            ModelError: there is no such entry.
        """
        found = self.find(key)
        if found is None:
            raise ModelError(f"{self._folder}: no engine {key} is kept")
        partial = self._folder / "entries" / f".{key}.{secrets.token_hex(8)}"
        partial.mkdir(mode=0o700)
        self._write_record(partial, key, {**found.record, **additions})
        for name in ("record.json", "record.hmac"):
            (partial / name).rename(self._entry(key) / name)
        partial.rmdir()

    def remove(self, key: str) -> None:
        """Forget an entry."""
        shutil.rmtree(self._entry(key), ignore_errors=True)

    def entries(self) -> tuple[EntryInfo, ...]:
        """List what is kept, the least used first."""
        found = []
        for entry in (self._folder / "entries").glob("[!.]*"):
            with suppress(OSError):
                size = sum(file.stat().st_size for file in entry.iterdir())
                found.append(EntryInfo(entry.name, size, (entry / "plan").stat().st_mtime))
        return tuple(sorted(found, key=lambda info: info.used_at))

    @contextmanager
    def building(self, key: str, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """Be the one builder of a key; waits for another, in this or any process. A lock ends with its process.

        Raises:
            BuildCancelledError: cancelled while waiting.
        """
        descriptor = os.open(self._folder / "locks" / key, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            waiting = Event()
            while not _locked(descriptor):
                if is_cancelled():
                    raise BuildCancelledError("the build was cancelled while another process built the same engine")
                waiting.wait(_LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def being_built(self, key: str) -> bool:
        """Tell whether some process builds it now."""
        with suppress(FileNotFoundError):
            descriptor = os.open(self._folder / "locks" / key, os.O_RDWR)
            try:
                return not _locked(descriptor)
            finally:
                os.close(descriptor)
        return False

    def timing_cache(self, name: str) -> bytes:
        """Give what TensorRT measured before; empty when there is nothing, or nothing that we signed."""
        path = self._folder / "timing" / name
        try:
            content, signature = path.read_bytes(), path.with_suffix(".hmac").read_text("ascii")
        except (OSError, UnicodeDecodeError):
            return b""
        return content if self._signer.holds(f"timing {name}", content, signature) else b""

    def keep_timing_cache(self, name: str, content: bytes) -> None:
        """Keep it; of two builders the later one's stays."""
        path = self._folder / "timing" / name
        for target, text in ((path, content), (path.with_suffix(".hmac"), self._signer.sign(f"timing {name}", content).encode())):
            partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
            partial.write_bytes(text)
            partial.rename(target)

    def state_path(self, run: str) -> Path:
        """Where the state of the build for a run stands; named without TensorRT's version, so that it is found without TensorRT."""
        return self._folder / "states" / f"{run}.json"

    def _entry(self, key: str) -> Path:
        return self._folder / "entries" / key

    def _write_record(self, folder: Path, key: str, record: JsonObject) -> None:
        content = json.dumps(record, indent=1, sort_keys=True).encode()
        (folder / "record.json").write_bytes(content)
        (folder / "record.hmac").write_text(self._signer.sign(f"record {key}", content), "ascii")

    def _refuse(self, key: str, reason: str) -> None:
        get_logger().warning("engine_refused", key=key[:16], reason=reason)
        self.remove(key)

    def _evict(self, *, keep: str) -> None:
        entries = self.entries()
        size = sum(info.size_bytes for info in entries)
        for info in entries:
            if size <= self._limit_bytes:
                return
            if info.key != keep:
                get_logger().info("engine_evicted", key=info.key[:16], size_bytes=info.size_bytes)
                self.remove(info.key)
                size -= info.size_bytes


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
