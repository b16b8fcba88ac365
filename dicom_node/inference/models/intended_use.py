"""The models that ship refuse what they are not made for, also where nobody asked before."""

from __future__ import annotations

from dicom_node.errors import ModelInputError
from dicom_node.inference import applicability
from dicom_node.inference.bundle import Manifest
from dicom_node.inference.model import Inputs


def refuse_other_use(manifest: Manifest, inputs: Inputs) -> None:
    """Compare images with the intended use; the protocol's warnings are of whoever runs the model.

    Raises:
        ModelInputError: they are outside of it, with every reason.
    """
    refusals = applicability.check(manifest, inputs).refusals
    if refusals:
        raise ModelInputError(" ".join(refusals))
