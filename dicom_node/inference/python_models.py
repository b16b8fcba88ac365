"""Models whose steps are written in Python: the ones of this package, and those of packages that announce theirs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from dicom_node.errors import ModelError

GROUP = "dicom_node.models"
_OWN: Mapping[str, str] = {
    "brain-extraction": "dicom_node.inference.models.brain_extraction:BrainExtraction",
    "burned-in-text": "dicom_node.inference.models.burned_in_text:BurnedInText",
    "chest-ct-densitometry": "dicom_node.inference.models.densitometry:Densitometry",
}


def python_models() -> tuple[str, ...]:
    """List the names that `steps.python` may have; nothing is imported."""
    return tuple(sorted({*_OWN, *(point.name for point in entry_points(group=GROUP))}))


def load_python_model(name: str) -> object:
    """Import what makes a model; names of this package cannot be taken by another.

    Raises:
        ModelError: no package announces that name, or its import fails.
    """
    if name in _OWN:
        point = EntryPoint(name, _OWN[name], GROUP)
    else:
        found = list(entry_points(group=GROUP, name=name))
        if not found:
            raise ModelError(f"no Python steps are named {name!r}", hint=f"known: {', '.join(python_models())}")
        point = found[0]
    try:
        return point.load()
    except Exception as error:
        raise ModelError(f"Python steps {name!r} cannot be imported from {point.value}: {type(error).__name__}: {error}") from error
