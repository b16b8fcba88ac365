"""The three senders: DCMTK's storescu as installed, the same with TCP_NODELAY, and the fast one in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from receive_parts.corpora import Sent

CALLING_AE_TITLE, CALLED_AE_TITLE = "BENCH", "AINODE"
_STORESCU = "/usr/bin/storescu"
_LIMIT_S = 180


class SenderKind(StrEnum):
    """Who sends."""

    FAST = "fast"
    STORESCU_NODELAY = "storescu-nodelay"
    STORESCU = "storescu"


class SendError(RuntimeError):
    """A sender could not send all it had."""


def share_out(files: Sequence[Sent], associations: int) -> list[list[Sent]]:
    """Deal files to associations in turn; none is sent twice."""
    return [list(files[n::associations]) for n in range(associations)]


def send_by_storescu(shares: Sequence[Sequence[Sent]], port: int, *, nodelay: bool) -> float:
    """Run one storescu per share at once; return seconds from the first start to the last end, programs' own start included.

    Raises:
        SendError: one of them failed.
    """
    environment = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"}
    if nodelay:
        environment["TCP_NODELAY"] = "1"
    command = [_STORESCU, "-aet", CALLING_AE_TITLE, "-aec", CALLED_AE_TITLE, "127.0.0.1", str(port)]
    began = time.monotonic()
    running = [
        subprocess.Popen([*command, *(str(f.path) for f in share)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for share in shares
    ]
    try:
        errors = [process.communicate(timeout=_LIMIT_S)[1] for process in running]
    except subprocess.TimeoutExpired as error:
        raise SendError(f"storescu took longer than {_LIMIT_S} s") from error
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.communicate()
    ended = time.monotonic()
    for process, words in zip(running, errors, strict=True):
        if process.returncode:
            raise SendError(f"storescu ended with {process.returncode}: {words.decode('utf-8', 'replace')[-300:]}")
    return ended - began


class FastSenders:
    """Sender processes that are started once and used for every cell."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> FastSenders:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def send(self, shares: Sequence[Sequence[Sent]], port: int, sop_class_uid: str) -> float:
        """Send one share per association; all stand before the first instance goes out.

        Returns:
            Seconds from the first request to the last response.

        Raises:
            SendError: a receiver refused, failed or fell silent; all processes are replaced.
        """
        while len(self._processes) < len(shares):
            program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("fast_sender.py"))]
            self._processes.append(subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        used = self._processes[: len(shares)]
        try:
            for process, share in zip(used, shares, strict=True):
                files = [(str(f.path), f.sop_instance_uid, f.data_set_at, f.size_bytes) for f in share]
                _tell(process, _task(files, port, sop_class_uid))
            for process in used:
                _hear(process)
            for process in used:
                _tell(process, "go")
            times = [_hear(process) for process in used]
        except SendError:
            self._end()
            raise
        return float(max(t["ended"] for t in times) - min(t["began"] for t in times))

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self._processes.clear()


def _task(files: Sequence[tuple[str, str, int, int]], port: int, sop_class_uid: str) -> str:
    task = {"port": port, "calling": CALLING_AE_TITLE, "called": CALLED_AE_TITLE, "sop_class_uid": sop_class_uid, "files": files}
    return json.dumps(task)


def _tell(process: subprocess.Popen[str], line: str) -> None:
    stream = cast("IO[str]", process.stdin)
    stream.write(line + "\n")
    stream.flush()


def _hear(process: subprocess.Popen[str]) -> dict[str, Any]:
    line = cast("IO[str]", process.stdout).readline()
    if not line:
        raise SendError("a fast sender ended")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise SendError(str(answer["error"]))
    return answer
