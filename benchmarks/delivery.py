"""Throughput of the C-STORE SCU beside DCMTK's dcmsend, to the same storescp. Run: python benchmarks/delivery.py [--rounds N] [--json]

Each round sends the same files with the one and then with the other, in turn first, over one association each; the ratio is that of a
round, so that what slows the machine down for a while slows down both. dcmsend begins as a program: the second ratio leaves out what
one object takes with each. Both DCMTK programs run with TCP_NODELAY, as storescp otherwise answers after 40 ms each;
the last line shows such a receiver, as many are.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import create_server
from statistics import median
from time import monotonic, perf_counter

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from dicom_node.delivery import scu
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import StorageScp
from dicom_node.errors import DeliveryError

AT_ONCE = {**os.environ, "TCP_NODELAY": "1"}
Send = Callable[[list[Path], StorageScp], None]


@dataclass(frozen=True)
class Load:
    """What is sent.

    Attributes:
        nagle: The receiver leaves Nagle's algorithm on.
    """

    name: str
    objects: int
    pixel_bytes: int
    nagle: bool = False


LOADS = (
    Load("CT slices", 400, 512 << 10),
    Load("small objects", 2_000, 64 << 10),
    Load("large objects", 5, 64 << 20),
    Load("CT slices, receiver with Nagle's algorithm", 20, 512 << 10, nagle=True),
)


@dataclass(frozen=True)
class Measured:
    """Medians over the rounds.

    Attributes:
        ratio: Time of dcmsend divided by that of the node; above 1 the node is faster.
        ratio_without_start: The same, less what each takes for one object.
        worst: Lowest ratio of a round.
    """

    load: Load
    megabytes: float
    dcmsend_s: float
    node_s: float
    ratio: float
    ratio_without_start: float
    worst: float


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
    called = ["/usr/bin/dcmsend", "-aec", destination.ae_title, destination.host, str(destination.port), "+sd", str(paths[0].parent)]
    subprocess.run(called, check=True, capture_output=True, env=AT_ONCE)


def took_s(send: Send, paths: list[Path], destination: StorageScp) -> float:
    """Return how long it takes, seconds."""
    begun = perf_counter()
    send(paths, destination)
    return perf_counter() - begun


def write_objects(folder: Path, load: Load) -> list[Path]:
    """Write CT objects of one series with random pixels."""
    folder.mkdir()
    pixels = random.Random(7).randbytes(load.pixel_bytes)
    study, series = generate_uid(), generate_uid()
    paths = []
    for number in range(load.objects):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = CTImageStorage, generate_uid(), study, series
        ds.Modality, ds.PatientID, ds.InstanceNumber = "CT", "BENCH", number
        ds.Rows = ds.Columns = 512
        ds.BitsAllocated, ds.PixelData = 16, pixels
        ds["PixelData"].VR = "OW"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        paths.append(folder / f"{number:05}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


@contextmanager
def storescp(*, nagle: bool) -> Iterator[StorageScp]:
    """A receiver that keeps nothing and announces PDUs of 16 KiB."""
    with create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    environment = {**os.environ, "TCP_NODELAY": "0"} if nagle else AT_ONCE
    receiver = subprocess.Popen(["/usr/bin/storescp", "--ignore", "+xa", str(port)], stderr=subprocess.DEVNULL, env=environment)
    destination = StorageScp("storescp", "STORESCP", "127.0.0.1", port, "", 30.0)
    try:
        wait_for(destination)
        yield destination
    finally:
        receiver.terminate()
        receiver.wait(10)


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


def measure(folder: Path, load: Load, rounds: int) -> Measured:
    """Send a load with both, round by round."""
    paths = write_objects(folder / "many", load)
    [one] = write_objects(folder / "one", Load("", 1, load.pixel_bytes))
    senders: list[Send] = [by_dcmsend, by_node]
    times: dict[str, list[float]] = {send.__name__: [] for send in senders}
    starts: dict[str, list[float]] = {send.__name__: [] for send in senders}
    with storescp(nagle=load.nagle) as destination:
        for _ in range(rounds):
            for send in senders:
                starts[send.__name__].append(took_s(send, [one], destination))
                times[send.__name__].append(took_s(send, paths, destination))
            senders.reverse()
    pairs = list(zip(times["by_dcmsend"], times["by_node"], strict=True))
    start = {name: median(seconds) for name, seconds in starts.items()}
    without = median((theirs - start["by_dcmsend"]) / (ours - start["by_node"]) for theirs, ours in pairs)
    ratios = [theirs / ours for theirs, ours in pairs]
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    return Measured(load, megabytes, median(times["by_dcmsend"]), median(times["by_node"]), median(ratios), without, min(ratios))


def main() -> None:
    """Measure every load and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = []
    for load in LOADS:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(Path(folder), load, options.rounds))
        if not options.json:
            m = found[-1]
            print(
                f"{load.name}: {load.objects} objects, {m.megabytes:.0f} MB: dcmsend {m.dcmsend_s:.3f} s, node {m.node_s:.3f} s, "
                f"ratio {m.ratio:.2f} (worst round {m.worst:.2f}, without start {m.ratio_without_start:.2f})",
                flush=True,
            )
    if options.json:
        print(json.dumps([asdict(m) for m in found]))


if __name__ == "__main__":
    main()
