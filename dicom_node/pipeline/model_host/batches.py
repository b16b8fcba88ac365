"""One inference for the runs of several jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dicom_node.errors import ModelError
from dicom_node.inference import Model
from dicom_node.inference.model import Prepared
from dicom_node.inference.session import Tensors


def infer_together(model: Model, prepared: Sequence[Prepared]) -> list[Tensors]:
    """Infer prepared runs of one model: in one call where their tensors fit together, one by one where they do not.

    Tensors fit if they have the same names and types, and shapes that differ in the first axis at most.

    Returns:
        The outputs of each run, in the order given.

    Raises:
        ModelError: the outputs of a common call have other lengths than the inputs.
    """
    if len(prepared) == 1 or not _fit(prepared):
        return [model.infer(item) for item in prepared]
    counts = [len(next(iter(item.tensors.values()))) for item in prepared]
    joined = {name: np.concatenate([item.tensors[name] for item in prepared]) for name in prepared[0].tensors}
    outputs = model.infer(replace(prepared[0], tensors=joined))
    total = sum(counts)
    if wrong := [name for name, array in outputs.items() if array.ndim == 0 or len(array) != total]:
        raise ModelError(
            f"outputs {', '.join(wrong)} do not have {total} entries, as the joined inputs have", hint="remove across_jobs from model.yaml"
        )
    ends = np.cumsum(counts)[:-1]
    split = {name: np.split(array, ends) for name, array in outputs.items()}
    return [{name: parts[n] for name, parts in split.items()} for n in range(len(prepared))]


def _fit(prepared: Sequence[Prepared]) -> bool:
    first = prepared[0].tensors
    kinds = {name: (array.dtype, array.shape[1:]) for name, array in first.items()}
    for item in prepared:
        lengths = {len(array) if array.ndim else 0 for array in item.tensors.values()}
        if len(lengths) != 1 or 0 in lengths:
            return False
        if {name: (array.dtype, array.shape[1:]) for name, array in item.tensors.items()} != kinds:
            return False
    return True
