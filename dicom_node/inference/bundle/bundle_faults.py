"""The faults of a bundle, all at once."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.config.faults import Fault
from dicom_node.errors import ModelError


class BundleFaults(ModelError):  # noqa: N818 - it is the list that names it
    """Every fault found in the model.yaml of one or more bundles."""

    code = "bundle-faults"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda f: (f.file, f.line, f.path)))
        super().__init__("\n".join(str(f) for f in self.faults))
