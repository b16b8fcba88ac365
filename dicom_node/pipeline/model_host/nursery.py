"""A clean process from which model hosts are forked: everything imported, no thread, no engine, no device.

Forking a worker would copy its threads' locks and its database; starting a program anew would cost a second of imports each time a model
has killed its host. Run as `python -m dicom_node.pipeline.model_host.nursery FD`, FD being a connected Unix socket. Each request is
a pickled `HostSettings` with two descriptors: the host's end of its channel, and a pipe that its exit status is written to. The answer is
the host's process id, with a descriptor of the process that names it for ever.

When the worker dies, the socket closes, and the nursery ends its hosts and itself; when the nursery dies, the kernel ends its hosts.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import socket
import struct
import sys
from types import FrameType

from dicom_node.ops.lifecycle import die_with_parent
from dicom_node.ops.logs import configure_logs, get_logger, log_crashes
from dicom_node.pipeline.model_host import host
from dicom_node.pipeline.model_host.channel import Channel
from dicom_node.pipeline.model_host.messages import HostSettings

ANSWER = struct.Struct("<q")
EXIT_STATUS = struct.Struct("<i")
LARGEST_REQUEST_BYTES = 64 * 1024
_CRASHED = 70


class Nursery:
    """Forks hosts on request and tells how they ended."""

    def __init__(self, control: socket.socket) -> None:
        """Take over the worker's socket and the process's signals."""
        self._control = control
        self._exits: dict[int, int] = {}
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Answer requests until the worker is gone."""
        while True:
            watched: list[socket.socket | int] = [self._control, self._woken]
            ready, _, _ = select.select(watched, [], [])
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
            self._bury()
            if self._control in ready and not self._answer():
                break
        for pid in self._exits:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _answer(self) -> bool:
        try:
            request, descriptors, _flags, _address = socket.recv_fds(self._control, LARGEST_REQUEST_BYTES, 2)
        except ConnectionError:
            return False
        if not request:
            return False
        end, exit_writer = descriptors
        nursery = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_host(pickle.loads(request), end, exit_writer, nursery)  # noqa: S301 - from the worker that started us
        os.close(end)
        self._exits[pid] = exit_writer
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)  # the host does the same; whoever comes first
        process = os.pidfd_open(pid)
        try:
            socket.send_fds(self._control, [ANSWER.pack(pid)], [process])
        except ConnectionError:
            return False
        finally:
            os.close(process)
        return True

    def _bury(self) -> None:
        """Tell how hosts ended, and end the programs that they started; a group's number is its own until its leader is waited for."""
        while self._exits:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(found.si_pid, signal.SIGKILL)
            _pid, status = os.waitpid(found.si_pid, 0)
            writer = self._exits.pop(found.si_pid, None)
            if writer is not None:
                with contextlib.suppress(BrokenPipeError):
                    os.write(writer, EXIT_STATUS.pack(os.waitstatus_to_exitcode(status)))
                os.close(writer)

    def _become_host(self, settings: HostSettings, end: int, exit_writer: int, nursery: int) -> None:
        """Leave everything of the nursery behind and never return."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with_parent(nursery)
            os.setpgid(0, 0)
            self._control.close()
            for descriptor in (self._woken, self._waker, exit_writer, *self._exits.values()):
                os.close(descriptor)
            configure_logs(settings.name, level=settings.log_level, json=settings.log_json)
            log_crashes()
            host.run(Channel(socket.socket(fileno=end)), settings)
        except BaseException:  # noqa: BLE001 - nothing may unwind into the nursery's own loop
            sys.excepthook(*sys.exc_info())
            os._exit(_CRASHED)
        os._exit(0)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Take a signal and go on. A handler, since programs that a model starts would inherit that a signal is ignored."""


def main() -> None:
    """Serve the socket that the command line names."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _nothing)  # sent to the whole group or service: the worker decides when its hosts end
    configure_logs("nursery")
    log_crashes()
    gc.collect()
    gc.freeze()  # collections in a host would copy the pages of what is never freed
    get_logger().debug("nursery_ready")
    Nursery(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
