from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, sys, threading, warnings
from dicom_node.ops.logs import configure_logs, get_logger, log_crashes
configure_logs("test", level="INFO")
log_crashes()
get_logger().info("study_closed", jobs=1)
logging.getLogger("pydicom").warning("Invalid value Doe^John")
warnings.warn("Invalid value Doe^John")
thread = threading.Thread(target=lambda: int("Doe^John"))
thread.start()
thread.join()
raise ValueError("Doe^John")
"""


def test_nothing_that_a_library_or_a_crash_says_reaches_the_log() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert "Doe" not in done.stdout + done.stderr
    assert [line.split("event=")[1].split()[0] for line in lines] == [
        "study_closed",
        "library_logged",
        "library_logged",
        "process_crashed",
        "process_crashed",
    ]
    assert all("process=test" in line for line in lines)
