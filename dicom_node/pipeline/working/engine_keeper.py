"""Has engines verified that are here and of which nothing is known, one at a time, in a process apart; the reference serves meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from dicom_node.inference.gate.attempts import Attempts
from dicom_node.inference.gate.subject import Engine
from dicom_node.ops.logs import get_logger
from dicom_node.pipeline.model_host.messages import HostSettings, ModelChoice
from dicom_node.pipeline.verifying_process import LATER, NOTHING, RECORDED, VerifyingOrder

_TRY_AGAIN_S = 600.0
_LONGEST_S = 4 * 3600.0
"""A builder of TensorRT may take an hour; what takes longer than this hangs, and keeps all other engines of the node waiting."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    model: ModelChoice
    engine: Engine
    not_before_s: float = 0.0


class EngineKeeper:
    """The engines of one worker's models. Used from one thread; never waits."""

    def __init__(self, settings: HostSettings, verified: Callable[[ModelChoice], None]) -> None:
        """Start nothing yet.

        Args:
            settings: Of the model host, whose engines these are.
            verified: Called by `look` when there is a new record for a model.
        """
        self._settings = settings
        self._verified = verified
        self._waiting: deque[_Wanted] = deque()
        self._known: set[tuple[str, Engine]] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._now: _Wanted | None = None
        self._begun_at_s = 0.0

    def want(self, model: ModelChoice, engines: Sequence[Engine]) -> None:
        """Have engines verified, each once in this worker's life, unless it could not be tried."""
        for engine in engines:
            if (model.digest, engine) not in self._known:
                self._known.add((model.digest, engine))
                self._waiting.append(_Wanted(model, engine))

    def look(self) -> None:
        """Take over what has ended, and begin what is next."""
        if self._process is not None and (status := self._process.poll()) is not None:
            self._ended(status)
        elif self._process is not None and monotonic() - self._begun_at_s > _LONGEST_S:
            self._process.kill()
            self._process.wait()
            self._ended(None)
        if self._process is None:
            now = monotonic()
            due = next((wanted for wanted in self._waiting if wanted.not_before_s <= now), None)
            if due is not None:
                self._waiting.remove(due)
                self._begin(due)

    def close(self) -> None:
        """End what goes on; it is begun again by the next worker."""
        self._waiting.clear()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _begin(self, wanted: _Wanted) -> None:
        settings, model = self._settings, wanted.model
        order = VerifyingOrder(
            model.name,
            str(model.folder),
            model.digest,
            wanted.engine.backend,
            wanted.engine.precision,
            str(settings.data_dir),
            settings.threads,
            settings.device,
            settings.log_level,
            settings.log_json,
        )
        command = [sys.executable, "-m", "dicom_node.pipeline.verifying_process"]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            if self._process.stdin is not None:
                with self._process.stdin as stream:
                    stream.write(order.as_bytes())
        except OSError as error:
            get_logger().warning("engine_not_verified", model=model.name, engine=str(wanted.engine), reason=type(error).__name__)
            return
        self._now, self._begun_at_s = wanted, monotonic()
        get_logger().info("engine_verifying", model=model.name, engine=str(wanted.engine))

    def _ended(self, status: int | None) -> None:
        """Take over an end; None: it took too long."""
        wanted, self._process, self._now = self._now, None, None
        if wanted is None:
            return
        if status == RECORDED:
            self._verified(wanted.model)
        elif status == LATER:
            self._waiting.append(_Wanted(wanted.model, wanted.engine, monotonic() + _TRY_AGAIN_S))
        elif status != NOTHING:
            words = _end_in_words(status)
            Attempts.of_node(Path(self._settings.data_dir)).fail(wanted.model.digest, wanted.engine, words)
            get_logger().error("engine_not_verified", model=wanted.model.name, engine=str(wanted.engine), reason=words)


def _end_in_words(status: int | None) -> str:
    if status is None:
        return f"it took longer than {_LONGEST_S / 3600:g} h and was stopped"
    return f"its process ended with status {status}" if status > 0 else f"its process was killed by signal {-status}"
