"""From the last C-STORE response to the first result in the archive, less quiet period and model, beside a bare loop without a node.

The bare loop reads the same files, stacks them, builds the same objects and sends them to a storage SCP: what any program would have to do.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from dicom_node.cli.demo_data import write_series
from dicom_node.cli.demo_node import MODEL, QUIET_S, DemoNode, bundled_models
from dicom_node.config import Peer
from dicom_node.delivery import scu
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.durability import Durability
from dicom_node.domain.jobs import JobKey
from dicom_node.inference import ModelInput, load_bundle, open_model, read_instances, volume_from_instances
from dicom_node.ops.logs import configure_logs
from dicom_node.pipeline.headers import header_attributes
from dicom_node.pipeline.result_files import write_results
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver
from dicom_node.sr_writer import BuildRequest, build_results, build_self_test
from dicom_node.storage import InstanceFiles


def node_overhead_s() -> dict[str, float]:
    """Push the CT through a fresh node."""
    with DemoNode() as node:
        paths = write_series(node.folder / "ct")
        last_response = node.push(paths, lambda: None)
        job = node.wait_for_results(180, lambda _job: None)
        first = node.archived()[0].at
        timings = node.timings(job)
    return {"overhead_s": first - last_response - QUIET_S - timings["model_s"], **timings}


def bare_loop_s(folder: Path) -> float:
    """Do the unavoidable work in one process; the model left out."""
    paths = write_series(folder / "ct")
    files, archive_files = InstanceFiles(folder / "data"), InstanceFiles(folder / "archive")
    files.prepare()
    archive_files.prepare()
    policy = AccessPolicy("ARCHIVE", [Peer(name="bare", ae_title="BARE", host="localhost")], 5)
    archive = Receiver(Door(archive_files, DoorSettings("archive", Durability.STRICT, min_free_bytes=0)), policy, Places(archive_files.run))
    port = archive.start(ListenOn("127.0.0.1", 0, 131072, 10.0, 60.0))
    model = open_model(load_bundle(bundled_models() / MODEL))
    build_self_test(datetime.now(UTC))
    begin = perf_counter()
    volume, ordered = volume_from_instances(read_instances(paths))
    result = model.run({"images": ModelInput(volume, header_attributes(ordered[0]))}, datetime.now(UTC))
    key = JobKey(str(ordered[0].StudyInstanceUID), 1, "bare", "0" * 64)
    stored = write_results(files, 1, build_results(BuildRequest(key, ordered, volume, result, "0", "BARE")))
    destination = StorageScp("archive", "ARCHIVE", "127.0.0.1", port, "generic-pacs", 10.0)
    first: list[float] = []
    scu.send("BARE", destination, [s.path for s in stored], lambda _index, _outcome: first.append(perf_counter()))
    archive.drain(1.0)
    return first[0] - begin - result.compute_s


def main() -> None:
    """Measure both in turn and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    configure_logs("benchmark", level="ERROR")
    node, bare = [], []
    for _ in range(arguments.rounds):
        node.append(node_overhead_s())
        with tempfile.TemporaryDirectory() as folder:
            bare.append(bare_loop_s(Path(folder)))
    best = min(node, key=lambda t: t["overhead_s"])
    figures = {
        "name": "end_to_end",
        "rounds": arguments.rounds,
        "node_overhead_s": round(best["overhead_s"], 3),
        "node_overhead_worst_s": round(max(t["overhead_s"] for t in node), 3),
        "bare_loop_s": round(min(bare), 3),
        "ratio": round(best["overhead_s"] / min(bare), 2),
        "stages_s": {name: round(value, 3) for name, value in best.items()},
    }
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    print(f"node overhead   {figures['node_overhead_s']:7.2f} s (worst {figures['node_overhead_worst_s']} s of {arguments.rounds})")
    print(f"bare loop       {figures['bare_loop_s']:7.2f} s")
    print(f"ratio           {figures['ratio']:7.2f}")


if __name__ == "__main__":
    main()
