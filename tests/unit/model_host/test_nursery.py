from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from dicom_node.pipeline.model_host.host_process import HostProcess, NurseryProcess
from dicom_node.pipeline.model_host.messages import HostSettings


@pytest.fixture
def nursery() -> Iterator[NurseryProcess]:
    nursery = NurseryProcess()
    yield nursery
    nursery.stop()


def host(nursery: NurseryProcess) -> HostProcess:
    return nursery.fork_host(HostSettings("host", 1, 1 << 30, Path("/nowhere")))


def test_host_is_known_by_its_process_and_its_end(nursery: NurseryProcess) -> None:
    first, second = host(nursery), host(nursery)
    assert first.alive
    first.kill()
    assert first.wait_exit(5) == -9
    assert not first.alive
    assert second.alive
    second.limit_data(64 << 20)
    limits = Path(f"/proc/{second.pid}/limits").read_text()
    assert str(64 << 20) in next(line for line in limits.splitlines() if line.startswith("Max data size"))
    second.channel.close()
    assert second.wait_exit(5) == 0  # nobody to work for
    first.close()
    second.close()


def test_hosts_end_with_their_nursery_and_another_one_is_started(nursery: NurseryProcess) -> None:
    first = host(nursery)
    assert nursery._process is not None
    nursery._process.kill()
    deadline = monotonic() + 5
    while first.alive:
        assert monotonic() < deadline
    assert first.wait_exit(1) is None  # its parent is gone, and nobody tells how it ended
    second = host(nursery)
    assert second.alive
    first.close()
    second.close()


def test_what_the_nursery_imports_starts_no_thread_but_those_that_end_at_a_fork_and_loads_no_engine() -> None:
    program = (
        "import os, sys\n"
        "from dicom_node.pipeline.model_host import nursery\n"
        "engines = [n for n in ('onnxruntime', 'torch', 'openvino', 'tensorrt', 'pycuda') if n in sys.modules]\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0)\n"
        "os.waitpid(pid, 0)\n"
        "print(engines, len(os.listdir('/proc/self/task')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] 1"
