"""Stage and clearances."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from dicom_node.config.faults import Fault
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.domain.results import Stage
from dicom_node.inference.bundle.checks.repeats import repeated
from dicom_node.inference.bundle.manifest import Manifest


def check_about(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """A model is cleared exactly when a clearance is named, and each once."""
    if manifest.stage is Stage.CLEARED and not manifest.clearances:
        yield source.fault(["stage"], "stage is cleared, and no clearance says where", "name region, class and number under clearances")
    if manifest.clearances and manifest.stage is not Stage.CLEARED:
        yield source.fault(
            ["clearances"], f"clearances are named, and stage is {manifest.stage}", "write stage: cleared, or leave them out"
        )
    yield from repeated(source, [(["clearances", n], f"{c.region} {c.number}") for n, c in enumerate(manifest.clearances)], "clearance")


def expired_clearances(manifest: Manifest, source: YamlFile, today: date) -> tuple[list[Fault], list[Fault]]:
    """Find clearances that have ended: faults if none is left, else warnings.

    Args:
        manifest: As read.
        source: model.yaml.
        today: In the node's time zone.
    """
    ended = [n for n, c in enumerate(manifest.clearances) if c.expires is not None and c.expires < today]
    found = [
        source.fault(
            ["clearances", n, "expires"],
            f"the clearance for {manifest.clearances[n].region} ended on {manifest.clearances[n].expires}",
            "install the version that is cleared now, or write the prolonged clearance here",
        )
        for n in ended
    ]
    return (found, []) if ended and len(ended) == len(manifest.clearances) else ([], found)
