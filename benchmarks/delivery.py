"""Throughput of the C-STORE SCU beside DCMTK's dcmsend, to the same storescp. Run: python benchmarks/delivery.py [OBJECTS]

Sends the same files in turn, three times each, over one association, and prints the best of each with the ratio. Both DCMTK programs run
with TCP_NODELAY: without it storescp answers after 40 ms each, and everything is equally slow.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from socket import create_server
from time import monotonic, perf_counter

from dicom_node.cli.demo_data import write_series
from dicom_node.delivery import scu
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import StorageScp
from dicom_node.errors import DeliveryError

ROUNDS = 3
AT_ONCE = {**os.environ, "TCP_NODELAY": "1"}


def by_node(paths: list[Path], destination: StorageScp) -> None:
    """Send with this node's SCU.

    Raises:
        SystemExit: an object was not stored, so the time means nothing.
    """
    verdicts: list[Verdict] = []

    def note(_index: int, outcome: Outcome) -> None:
        verdicts.append(outcome.verdict)

    scu.send("BENCH", destination, paths, note)
    if verdicts != [Verdict.STORED] * len(paths):
        raise SystemExit(f"{verdicts.count(Verdict.STORED)} of {len(paths)} objects were stored")


def by_dcmsend(paths: list[Path], destination: StorageScp) -> None:
    """Send with dcmsend."""
    called = ["/usr/bin/dcmsend", "-aec", destination.ae_title, destination.host, str(destination.port), *map(str, paths)]
    subprocess.run(called, check=True, capture_output=True, env=AT_ONCE)


def best_s(send: Callable[[list[Path], StorageScp], None], paths: list[Path], destination: StorageScp) -> float:
    """Return the shortest of some runs, seconds."""
    times = []
    for _ in range(ROUNDS):
        begun = perf_counter()
        send(paths, destination)
        times.append(perf_counter() - begun)
    return min(times)


def main() -> None:
    """Start storescp, measure, print, end it."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 133
    with create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        series = write_series(Path(folder) / "series")
        paths = (series * (wanted // len(series) + 1))[:wanted]
        megabytes = sum(path.stat().st_size for path in paths) / 1e6
        receiver = subprocess.Popen(["/usr/bin/storescp", "--ignore", "+xa", str(port)], stderr=subprocess.DEVNULL, env=AT_ONCE)
        destination = StorageScp("storescp", "STORESCP", "127.0.0.1", port, "", 30.0)
        try:
            wait_for(destination)
            seconds = {send.__name__: best_s(send, paths, destination) for send in (by_dcmsend, by_node)}
        finally:
            receiver.terminate()
            receiver.wait(10)
    for name, took_s in seconds.items():
        print(f"{name:<12} {len(paths)} objects, {megabytes:.0f} MB: {took_s:.2f} s, {len(paths) / took_s:.0f} objects/s")
    print(f"node / dcmsend: {seconds['by_dcmsend'] / seconds['by_node']:.2f}")


def wait_for(destination: StorageScp) -> None:
    """Wait until it answers C-ECHO.

    Raises:
        DeliveryError: it does not within 10 s.
    """
    deadline, pause = monotonic() + 10, threading.Event()
    while True:
        try:
            scu.echo("BENCH", destination)
        except DeliveryError:
            if monotonic() > deadline:
                raise
            pause.wait(0.05)
        else:
            return


if __name__ == "__main__":
    main()
