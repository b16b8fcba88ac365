"""What the gate found for one engine, kept so that it counts only for exactly this engine on exactly this device."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dicom_node.errors import StorageError
from dicom_node.inference.engines.signing import Signer
from dicom_node.inference.gate.agreement import Agreement, Tolerance
from dicom_node.storage.files import write_durably

_SUFFIX = ".json"
_PURPOSE = "gate record"


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What exactly was verified; a change of any of it makes another engine, which has to be verified itself.

    Attributes:
        bundle_digest: Of the whole bundle, and so of the manifest, its tolerance and its cases.
        networks: SHA-256 of each network file, hexadecimal, by name in the bundle.
        device: Model of the GPU or CPU.
        versions: Of the node and the libraries that compute, by name.
        plan: SHA-256 of the built engine, hexadecimal; empty for back ends that build none.
    """

    bundle_digest: str
    networks: Mapping[str, str]
    backend: str
    precision: str
    device: str
    versions: Mapping[str, str]
    plan: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, hexadecimal."""
        return hashlib.sha256(_canonical(json.loads(_KEYS.dump_json(self)))).hexdigest()


class CaseKind(StrEnum):
    """What a case compares.

    Attributes:
        EXPECTATIONS: The reference with what the bundle says must come out.
        REFERENCE: An engine with the reference, on a case of the bundle.
        PARITY: An engine with the reference, on inputs made for the network's shapes.
        LOADED: Nothing; of the reference of a model without cases it is only known that it can be loaded.
    """

    EXPECTATIONS = "expectations"
    REFERENCE = "reference"
    PARITY = "parity"
    LOADED = "loaded"


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One case.

    Attributes:
        failed: What was outside, wanted and seen, one sentence each; none of the patient, since cases are no patients.
    """

    name: str
    kind: CaseKind
    agreement: Agreement
    failed: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Record:
    """The outcome of one verification.

    Attributes:
        generated: The model brings no cases: only a generated parity check was made.
        when: When it ended, UTC.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    key: EngineKey
    tolerance: Tolerance
    cases: tuple[CaseRecord, ...]
    generated: bool
    when: datetime
    seconds: float

    @property
    def failed(self) -> tuple[str, ...]:
        """All that failed, with the case's name; empty if the engine may serve. A record without a case lets nothing pass."""
        if not self.cases:
            return ("no case was run",)
        return tuple(f"{case.name}: {sentence}" for case in self.cases for sentence in case.failed)

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, hexadecimal: what a trace names as `verified`."""
        return hashlib.sha256(_canonical(as_json(self))).hexdigest()


_KEYS = TypeAdapter(EngineKey)
_RECORDS = TypeAdapter(Record)


@dataclass(frozen=True, slots=True)
class Records:
    """The records of this node, one file for each key.

    Attributes:
        folder: `engines/records` below data_dir.
    """

    folder: Path
    signer: Signer = field(repr=False)

    @classmethod
    def open(cls, data_dir: Path) -> Records:
        """Open the records of a node; the folder and the key that signs engines and records are made if missing.

        Raises:
            StorageError: they cannot be made.
            ModelError: others than the node can read the key.
        """
        engines = data_dir / "engines"
        try:
            (engines / "records").mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(engines / "records", Signer.of_folder(engines))
        except OSError as error:
            raise StorageError(f"{engines}: records cannot be kept here: {error.strerror}", hint="check owner of data_dir") from error

    def path(self, key: EngineKey) -> Path:
        """The file of a key."""
        return self.folder / f"{key.digest}{_SUFFIX}"

    def find(self, key: EngineKey) -> Record | None:
        """Read the record of a key; None if there is none, or none that this node wrote for exactly this key."""
        record = self._read(self.path(key))
        return record if record is not None and record.key == key else None

    def keep(self, record: Record) -> str:
        """Write a record durably; it takes the place of an earlier one of its key. Returns its digest.

        Raises:
            StorageError: disk full or broken; the earlier record stands.
        """
        path = self.path(record.key)
        content = _canonical(as_json(record))
        whole = json.dumps({"record": json.loads(content), "hmac_sha256": self.signer.sign(_PURPOSE, content)}, indent=1).encode()
        write_durably(path, [whole], partial=path.with_name(f"{path.name}.{os.getpid()}.part"))
        return record.digest

    def of_bundle(self, bundle_digest: str) -> tuple[Record, ...]:
        """All records of a bundle that this node wrote, newest first, whatever device and versions they are of."""
        found = [record for path in self.folder.glob(f"*{_SUFFIX}") if (record := self._read(path)) and self.path(record.key) == path]
        return tuple(sorted((r for r in found if r.key.bundle_digest == bundle_digest), key=lambda r: r.when, reverse=True))

    @contextmanager
    def alone(self, key: EngineKey) -> Iterator[None]:
        """Wait until no other process verifies this key, and keep others waiting meanwhile; ends with the process at the latest."""
        with self.path(key).with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.folder.glob(f"{self.path(key).name}.*.part"):  # of a process that was killed: writers hold this lock
                left.unlink(missing_ok=True)
            yield

    def _read(self, path: Path) -> Record | None:
        try:
            whole = json.loads(path.read_bytes())
            content = _canonical(whole["record"])
            if not self.signer.holds(_PURPOSE, content, str(whole["hmac_sha256"])):
                return None
            return _RECORDS.validate_json(content)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError):
            return None  # whatever is no record of ours is none; the engine is then unverified, which is said


def as_json(record: Record) -> dict[str, object]:
    """Write a record as JSON has it; what is infinite or no number becomes text."""
    return dict(json.loads(_RECORDS.dump_json(record)))


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
