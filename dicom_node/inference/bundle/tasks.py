"""What kind of answer a model gives."""

from __future__ import annotations

from dicom_node.inference.bundle.manifest import Manifest


def tasks_of(manifest: Manifest) -> tuple[str, ...]:
    """Name the kinds: segmentation, detection, classification, measurement, map; never empty.

    Findings of Python steps count as detections; a measurement counts as a kind of its own where no segment is described.
    """
    outputs, declared = manifest.outputs, manifest.steps.python is None
    detects = not declared or any(entry.boxes is not None for entry in manifest.steps.postprocess)
    found = {
        "segmentation": bool(outputs.segments),
        "detection": bool(outputs.findings) and detects,
        "classification": bool(outputs.evaluations) or (bool(outputs.findings) and not detects),
        "measurement": any(not entry.segment for entry in outputs.measurements),
        "map": bool(outputs.maps),
    }
    return tuple(name for name, there in found.items() if there) or ("segmentation",)
