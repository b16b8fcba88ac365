"""What became of verifications that left no record: they go on, or something kept them from coming to one."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from dicom_node.inference.gate.subject import Engine


@dataclass(frozen=True, slots=True)
class Attempt:
    """One verification in a process apart.

    Attributes:
        running: It has begun and not ended.
        message: Why it came to no record; empty while it runs.
        pid: Of its process.
    """

    running: bool
    message: str
    pid: int

    @property
    def words(self) -> str:
        """Say how it stands."""
        if self.running and Path(f"/proc/{self.pid}").exists():
            return "it is being verified now"
        return f"its verification came to nothing: {self.message or 'its process ended before it'}"


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of this node, a small file for each engine of each bundle.

    Attributes:
        folder: `engines/attempts` below data_dir.
    """

    folder: Path

    @classmethod
    def of_node(cls, data_dir: Path) -> Attempts:
        """Name the folder; nothing is made."""
        return cls(data_dir / "engines" / "attempts")

    def find(self, bundle_digest: str, engine: Engine) -> Attempt | None:
        """Read how the last attempt stands; None if there was none, or it came to a record."""
        try:
            return Attempt(**json.loads(self._path(bundle_digest, engine).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, bundle_digest: str, engine: Engine) -> None:
        """Note that this process has begun."""
        self._write(bundle_digest, engine, Attempt(running=True, message="", pid=os.getpid()))

    def fail(self, bundle_digest: str, engine: Engine, message: str) -> None:
        """Note why there is no record."""
        self._write(bundle_digest, engine, Attempt(running=False, message=message, pid=os.getpid()))

    def forget(self, bundle_digest: str, engine: Engine) -> None:
        """There is a record, which says more."""
        self._path(bundle_digest, engine).unlink(missing_ok=True)

    def _write(self, bundle_digest: str, engine: Engine, attempt: Attempt) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(bundle_digest, engine)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(asdict(attempt)), "utf-8")
        partial.rename(path)

    def _path(self, bundle_digest: str, engine: Engine) -> Path:
        return self.folder / f"{bundle_digest}-{engine.backend}-{engine.precision}.json"
