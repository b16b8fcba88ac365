"""A forked process is to its supervisor what a program is, and takes nothing of it along but memory."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# forked from a small program, since the test's own process has threads
PROGRAM = """
import os, signal, sys, time
from dicom_node.ops.forked import ForkedProcess

def run():
    {body}

told = []
signal.signal(signal.SIGTERM, lambda *a: told.append(1))
child = ForkedProcess(run)
{then}
print(child.wait(20), told)
"""


def outcome(body: str, then: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body, then=then)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("body", "code"),
    [("pass", 0), ("sys.exit(3)", 3), ("sys.exit('why')", 1), ("raise ValueError", 1), ("os.kill(os.getpid(), 9)", -9), ("sys.exit()", 0)],
)
def test_end_of_a_child_is_told_as_that_of_a_program(body: str, code: int) -> None:
    assert outcome(body) == f"{code} []"


def test_child_has_the_default_handlers_from_its_first_moment() -> None:
    then = "child.send_signal(signal.SIGTERM)"
    assert outcome("time.sleep(60)", then) == f"{-signal.SIGTERM} []"


def test_parent_keeps_its_handlers() -> None:
    assert outcome("pass", "os.kill(os.getpid(), signal.SIGTERM)") == "0 [1]"


def test_waiting_ends_with_the_time() -> None:
    then = """
import subprocess
try:
    child.wait(0.05)
except subprocess.TimeoutExpired:
    print("runs on")
child.kill()
child.wait(20)
child.kill()
"""
    assert outcome("time.sleep(60)", then) == f"runs on\n{-signal.SIGKILL} []"
