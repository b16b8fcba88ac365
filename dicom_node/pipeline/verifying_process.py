"""A process that builds and verifies one engine, beside the one that serves: it may crash, hang or take all the time it needs.

What it finds is a signed record, which the model hosts of all workers notice by themselves.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from setproctitle import setproctitle

from dicom_node.errors import DicomNodeError, ModelError, place_of
from dicom_node.inference import load_bundle
from dicom_node.inference.gate.attempts import Attempts
from dicom_node.inference.gate.subject import Engine
from dicom_node.ops.lifecycle import die_with_parent
from dicom_node.ops.logs import configure_logs, get_logger, log_crashes
from dicom_node.pipeline.model_engines import NodeEngines, verify_engine

RECORDED, NOTHING, LATER = 0, 3, 4
"""Exit statuses: there is a record, good or bad; there is none and there will be none; another time there may be one."""

_NICENESS = 19


@dataclass(frozen=True, slots=True)
class VerifyingOrder:
    """Which engine of which bundle is verified.

    Attributes:
        digest: Of the bundle; another one is left alone.
        device: As `NodeEngines.device`.
    """

    name: str
    folder: str
    digest: str
    backend: str
    precision: str
    data_dir: str
    threads: int
    device: str
    log_level: str = "INFO"
    log_json: bool = False

    def as_bytes(self) -> bytes:
        """Write it for the process's standard input."""
        return json.dumps(asdict(self)).encode()


def run(order: VerifyingOrder) -> int:
    """Build and verify one engine; of several processes of this node one works at a time.

    Returns:
        The exit status.
    """
    engine, attempts, log = Engine(order.backend, order.precision), Attempts.of_node(Path(order.data_dir)), get_logger()
    try:
        with _one_at_a_time(Path(order.data_dir)):
            attempts.begin(order.digest, engine)
            bundle = load_bundle(Path(order.folder))
            if bundle.digest != order.digest:
                raise ModelError(f"bundle {order.name} has changed")
            node = NodeEngines(Path(order.data_dir), order.threads, order.device)
            record = verify_engine(bundle, order.backend, order.precision, node)
            attempts.forget(order.digest, engine)
    except DicomNodeError as error:
        attempts.fail(order.digest, engine, str(error))
        log.warning("engine_not_verified", model=order.name, engine=str(engine), reason=str(error))
        return LATER if error.retryable else NOTHING
    except Exception as error:  # noqa: BLE001 - whatever a bundle's own code or an engine raises
        words = f"{type(error).__name__} in {place_of(error)}"
        attempts.fail(order.digest, engine, words)
        log.warning("engine_not_verified", model=order.name, engine=str(engine), reason=words)
        return NOTHING
    if record.failed:
        log.warning("engine_failed_verification", model=order.name, engine=str(engine), reason=record.failed[0])
    else:
        log.info("engine_verified", model=order.name, engine=str(engine), seconds=round(record.seconds, 1), record=record.digest[:12])
    return RECORDED


@contextmanager
def _one_at_a_time(data_dir: Path) -> Iterator[None]:
    folder = data_dir / "engines"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "verifying.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _main() -> int:
    die_with_parent(os.getppid())
    order = VerifyingOrder(**json.loads(sys.stdin.read()))
    setproctitle(f"dicom-node verifying {order.name} {order.backend} {order.precision}")
    os.nice(_NICENESS)
    log_crashes()
    configure_logs("verifying", level=order.log_level, json=order.log_json)
    return run(order)


if __name__ == "__main__":
    sys.exit(_main())
