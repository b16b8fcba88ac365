"""One watched folder: what settled in it is imported, then deleted, moved or kept; what cannot be is set aside with the reason.

Rules:
1. An entry is a file or folder at the top; names that begin with a dot are left alone, `.done/` and `.refused/` among them.
2. An entry has settled when names, sizes and times below it have not changed for `settle`.
3. Its instances are durable in `incoming/` before its files are touched; a process killed between the two imports them again, as
   identical duplicates.
4. A fault that may pass, such as a full disk, leaves the entry where it is; it is tried again after a pause.
5. Nothing is deleted that was not imported: with `delete`, files that are no images are set aside with the refused ones.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dicom_node.config import Afterwards, WatchSection
from dicom_node.ops.logs import get_logger
from dicom_node.pipeline.imports.importer import DIRECTORY_OF_MEDIUM, Found, Importer, walk
from dicom_node.pipeline.imports.results import Outcome, Result
from dicom_node.storage.files import sync_folder

DONE, REFUSED = ".done", ".refused"
_RETRY_AFTER_S = 30.0


@dataclass(slots=True)
class _Seen:
    signature: str
    since: float
    not_before: float = 0.0


class WatchedFolder:
    """Looks at a folder whenever `look` is called; all that must survive lies on disk."""

    def __init__(
        self, section: WatchSection, importer: Importer, state: Path, ended: Callable[[bool], None] = lambda _complete: None
    ) -> None:
        """Take up what an earlier process kept.

        Args:
            section: Folder and options.
            importer: With the door to use.
            state: File that holds which kept entries were imported; used with `after: keep` only.
            ended: Called after each entry: True if all of it was imported, False if it will be tried again.
        """
        self._ended = ended
        self._section = section
        self._importer = importer
        self._state = state
        self._seen: dict[str, _Seen] = {}
        self._kept = self._load_kept()
        self._complained = False
        self._log = get_logger()

    def look(self, now: float, keep_going: Callable[[], bool]) -> int:
        """Import what has settled; returns how many entries.

        Args:
            now: Monotonic time, seconds.
            keep_going: Asked between entries.
        """
        imported = 0
        for path in self._entries():
            if not keep_going():
                break
            if self._settled(path, now):
                imported += 1
                complete = False
                try:
                    complete = self._import(path, now, keep_going)
                finally:
                    self._ended(complete)
        return imported

    def _entries(self) -> list[Path]:
        try:
            entries = sorted(p for p in self._section.folder.iterdir() if not p.name.startswith("."))
        except OSError as error:
            if not self._complained:
                self._log.error("watched_folder_unreadable", watch=self._section.name, reason=error.strerror)
            self._complained = True
            return []
        self._complained = False
        present = {p.name for p in entries}
        self._seen = {name: seen for name, seen in self._seen.items() if name in present}
        return entries

    def _settled(self, path: Path, now: float) -> bool:
        signature = _signature(path)
        seen = self._seen.get(path.name)
        if seen is None or seen.signature != signature:
            self._seen[path.name] = _Seen(signature, now)
            return False
        if self._kept.get(path.name) == signature or now < seen.not_before:
            return False
        return now - seen.since >= self._section.settle.total_seconds()

    def _import(self, path: Path, now: float, keep_going: Callable[[], bool]) -> bool:
        seen, results = self._seen[path.name], []
        for result in self._importer.files(_found(path)):
            results.append(result)
            if result.retryable:
                seen.not_before = now + _RETRY_AFTER_S
                self._log.warning("import_postponed", watch=self._section.name, reason=result.reason, retry_in_s=_RETRY_AFTER_S)
                return False
            if not keep_going():
                return False
        if _signature(path) != seen.signature:
            self._log.info("import_repeated", watch=self._section.name, reason="entry changed while it was read")
            return False
        self._log.info("import_finished", watch=self._section.name, **{str(o): sum(r.outcome is o for r in results) for o in Outcome})
        try:
            self._clear_away(path, results, seen.signature)
        except OSError as error:
            seen.not_before = now + _RETRY_AFTER_S
            hint = "the node's user must be able to write there, or set after: keep"
            self._log.error("watched_folder_not_writable", watch=self._section.name, reason=error.strerror, hint=hint)
        return True

    def _clear_away(self, path: Path, results: list[Result], signature: str) -> None:
        refused = [r for r in results if self._is_refused(r)]
        if refused:
            target = self._free_name(REFUSED, path.name)
            self._write_reasons(target, refused)  # before the files, so that none lies there without its reason
        if self._section.after is Afterwards.KEEP:
            self._remember(path.name, signature)
            return
        refused_files = {r.source for r in refused}
        for source in refused_files:
            _move(source, path, target)
        done = self._free_name(DONE, path.name)
        for source in {r.source for r in results} - refused_files:
            if self._section.after is Afterwards.MOVE:
                _move(source, path, done)
            else:
                source.unlink(missing_ok=True)
        _remove_empty_folders(path)
        sync_folder(self._section.folder)

    def _is_refused(self, result: Result) -> bool:
        if result.outcome is Outcome.SKIPPED:
            return self._section.after is Afterwards.DELETE and result.reason != DIRECTORY_OF_MEDIUM
        return result.outcome is Outcome.FAILED

    def _write_reasons(self, target: Path, refused: list[Result]) -> None:
        lines = [f"{r.source.relative_to(self._section.folder)}{': ' + r.member if r.member else ''}: {r.reason}" for r in refused]
        target.parent.mkdir(mode=0o700, exist_ok=True)
        target.with_name(target.name + ".txt").write_text("\n".join(lines) + "\n", "utf-8", "replace")
        self._log.warning("import_refused", watch=self._section.name, files=len(refused), first_reason=refused[0].reason)

    def _free_name(self, folder: str, name: str) -> Path:
        target, number = self._section.folder / folder / name, 1
        while os.path.lexists(target) or os.path.lexists(target.with_name(target.name + ".txt")):
            number += 1
            target = self._section.folder / folder / f"{name}.{number}"
        return target

    def _load_kept(self) -> dict[str, str]:
        if self._section.after is not Afterwards.KEEP:
            return {}
        with suppress(OSError, ValueError):
            kept = json.loads(self._state.read_text("utf-8"))
            if isinstance(kept, dict):
                return {str(name): str(signature) for name, signature in kept.items()}
        return {}

    def _remember(self, name: str, signature: str) -> None:
        self._kept = {n: s for n, s in self._kept.items() if n in self._seen} | {name: signature}
        partial = self._state.with_suffix(".partial")
        partial.write_text(json.dumps(self._kept), "utf-8")
        partial.rename(self._state)


def _found(path: Path) -> list[Found]:
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        return [Found(path, named=True, problem="no regular file")]
    if path.is_dir():
        return list(walk(path))
    return [Found(path, path.stat().st_size, named=True)]


def _signature(path: Path) -> str:
    """Digest names, sizes and times of an entry and all below it; what vanishes meanwhile counts as a change by its absence."""
    digest = hashlib.sha256()
    places = [path]
    if path.is_dir() and not path.is_symlink():
        places += [Path(folder) / name for folder, folders, names in os.walk(path) for name in (*folders, *names)]
    for place in sorted(places):
        with suppress(OSError):
            state = place.lstat()
            size_bytes = 0 if place.is_dir() else state.st_size
            digest.update(f"{place}\0{state.st_ino}\0{size_bytes}\0{state.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _move(source: Path, entry: Path, target: Path) -> None:
    """Move one file of an entry, in its folders; one that is gone already needs no moving."""
    if not os.path.lexists(source):
        return
    place = target if source == entry else target / source.relative_to(entry)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    source.rename(place)


def _remove_empty_folders(entry: Path) -> None:
    """Remove what is left of an imported folder; a file that came meanwhile keeps its folders."""
    if entry.is_symlink() or not entry.is_dir():
        return
    for folder, _folders, _names in os.walk(entry, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
