"""The worker's side of its nursery and of the host that was forked for it."""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

from dicom_node.errors import ModelStoppedError
from dicom_node.pipeline.model_host.channel import Channel
from dicom_node.pipeline.model_host.messages import HostSettings
from dicom_node.pipeline.model_host.nursery import ANSWER, EXIT_STATUS

_ANSWER_LIMIT_S = 60.0


class HostProcess:
    """A running host: a channel to it, its death, its memory. Named by a descriptor, so that no other process is ever hit."""

    def __init__(self, channel: Channel, pid: int, descriptor: int, exit_reader: int) -> None:
        """Take over what the nursery answered."""
        self.channel = channel
        self.pid = pid
        self._descriptor = descriptor
        self._exit_reader = exit_reader

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return not select.select([self._descriptor], [], [], 0)[0]

    def kill(self) -> None:
        """End it now, whatever it does; the nursery ends what it has started."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def wait_exit(self, timeout_s: float) -> int | None:
        """Return the exit status, negative for a signal; None if it still runs then, or nobody knows."""
        if not select.select([self._exit_reader], [], [], timeout_s)[0]:
            return None
        status = os.read(self._exit_reader, EXIT_STATUS.size)
        return int(EXIT_STATUS.unpack(status)[0]) if len(status) == EXIT_STATUS.size else None

    def data_bytes(self) -> int:
        """Memory that is this process's alone, touched or not, as RLIMIT_DATA counts it; 0 if it is gone."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text("ascii", "replace").splitlines()
        except OSError:
            return 0
        found = [line.split()[1] for line in lines if line.startswith("VmData:")]
        return int(found[0]) * 1024 if found and self.alive else 0

    def limit_data(self, limit_bytes: int | None) -> None:
        """Let allocations fail beyond this; None: as far as the machine goes."""
        with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
            _soft, hard = resource.prlimit(self.pid, resource.RLIMIT_DATA)
            wanted = resource.RLIM_INFINITY if limit_bytes is None else limit_bytes
            if hard != resource.RLIM_INFINITY:
                wanted = hard if limit_bytes is None else min(limit_bytes, hard)
            if self.alive:
                resource.prlimit(self.pid, resource.RLIMIT_DATA, (wanted, hard))

    def close(self) -> None:
        """Kill it and free what names it."""
        self.kill()
        self.channel.close()
        os.close(self._descriptor)
        os.close(self._exit_reader)


class NurseryProcess:
    """The nursery of this process. Started when the first host is wanted; started again if it died."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork_host(self, settings: HostSettings) -> HostProcess:
        """Start a host.

        Raises:
            ModelStoppedError: no process can be started.
        """
        with self._lock:
            try:
                return self._fork(settings)
            except (OSError, ValueError):
                self._stop()
            try:
                return self._fork(settings)
            except (OSError, ValueError) as error:
                self._stop()
                raise ModelStoppedError(f"no process for models can be started: {type(error).__name__}: {error}") from error

    def stop(self) -> None:
        """End it and all of its hosts."""
        with self._lock:
            self._stop()

    def _fork(self, settings: HostSettings) -> HostProcess:
        control = self._running()
        channel, end = Channel.pair()
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            socket.send_fds(control, [pickle.dumps(settings)], [end.fileno(), writer])
            answer, descriptors, _flags, _address = socket.recv_fds(control, ANSWER.size, 1)
            if len(answer) != ANSWER.size or not descriptors:
                raise OSError("the nursery gave no answer")
        except BaseException:
            os.close(reader)
            channel.close()
            raise
        finally:
            end.close()
            os.close(writer)
        os.set_inheritable(descriptors[0], False)  # noqa: FBT003 - takes no keyword
        return HostProcess(channel, int(ANSWER.unpack(answer)[0]), descriptors[0], reader)

    def _running(self) -> socket.socket:
        if self._control is None or self._process is None or self._process.poll() is not None:
            self._stop()
            here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            here.settimeout(_ANSWER_LIMIT_S)
            command = [sys.executable, "-m", "dicom_node.pipeline.model_host.nursery", str(there.fileno())]
            self._process = subprocess.Popen(command, pass_fds=(there.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            there.close()
            self._control = here
        return self._control

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process, self._control = None, None


@cache
def nursery() -> NurseryProcess:
    """Return the nursery of this process; it ends with it."""
    shared = NurseryProcess()
    atexit.register(shared.stop)
    return shared
