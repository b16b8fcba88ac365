"""For a model without cases: inputs made for the shapes of its network, run by an engine and by the reference.

Such a check says that the engine computes what the reference computes, not that the model is right; a record made so is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import ModelError
from dicom_node.inference.gate.agreement import Tolerance
from dicom_node.inference.gate.compare import compare_outputs
from dicom_node.inference.gate.records import CaseKind, CaseRecord
from dicom_node.inference.network import Shape, ShapeRange
from dicom_node.inference.session import Session, TensorInfo, Tensors

MAGNITUDES = (0.1, 1.0, 10.0)
"""Of noise and of structured inputs. No input is constant: where a network divides by a spread of zero, only rounding would be compared."""
_OPEN_LENGTH = 32
_BLOCK = 4
_LARGEST_INTEGER = 2


@dataclass(frozen=True, slots=True)
class Lengths:
    """What stands for the open lengths of a network's inputs.

    Attributes:
        profiles: By input name; their `min`, `opt` and `max` are all tried.
        window: Lengths of the last axes, as of a sliding window; empty takes 32 for each.
    """

    profiles: Mapping[str, ShapeRange]
    window: Shape = ()


def check_parity(reference: Session, seen: Session, lengths: Lengths, tolerance: Tolerance) -> tuple[CaseRecord, ...]:
    """Run both on the same generated inputs.

    Args:
        reference: Active; the fp32 reference.
        seen: Active; the engine to be checked.
        lengths: For the open lengths.
        tolerance: What is allowed; each case is judged by its own magnitudes.

    Raises:
        ModelError: the reference cannot run on such shapes, so that nothing can be compared.
    """
    records = []
    for name, inputs in parity_inputs(reference.inputs, lengths):
        begin = perf_counter()
        try:
            wanted = reference.infer(inputs)
        except ModelError as error:
            raise ModelError(
                f"the generated parity check cannot be made, the reference fails on {name}: {error}",
                hint="Name shapes that the network takes in engines.profiles, or write verification cases.",
            ) from error
        agreement = compare_outputs(wanted, seen.infer(inputs))
        records.append(CaseRecord(name, CaseKind.PARITY, agreement, agreement.within(tolerance), perf_counter() - begin))
    return tuple(records)


def parity_inputs(inputs: Mapping[str, TensorInfo], lengths: Lengths) -> Iterator[tuple[str, Tensors]]:
    """Make the inputs: seeded noise and structure at each magnitude on the smallest shape, at one on the others.

    Args:
        inputs: Of the network, by name.
        lengths: For the open lengths.

    Yields:
        A name that tells pattern, magnitude and shapes, and the arrays; new memory.

    Raises:
        ModelError: an input does not even say how many axes it has, and no profile does.
    """
    for number, shapes in enumerate(_shapes(inputs, lengths)):
        for magnitude in MAGNITUDES if number == 0 else (1.0,):
            for pattern, make in _PATTERNS.items():
                generator = np.random.default_rng([number, int(magnitude * 10)])
                arrays = {name: _array(info, shapes[name], magnitude, generator, make) for name, info in inputs.items()}
                sizes = ", ".join(f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in shapes.items())
                yield f"{pattern} at {magnitude:g}, {sizes}", arrays


def _shapes(inputs: Mapping[str, TensorInfo], lengths: Lengths) -> list[dict[str, Shape]]:
    """Each different set of shapes once: of the profiles if there are any, else with one and with two in an open batch."""
    sets: list[dict[str, Shape]] = []
    for index in range(3):
        shapes = {name: _shape(name, info, lengths, index) for name, info in inputs.items()}
        if shapes not in sets:
            sets.append(shapes)
    return sets


def _shape(name: str, info: TensorInfo, lengths: Lengths, index: int) -> Shape:
    profile = lengths.profiles.get(name)
    if profile is not None:
        return (profile.min, profile.opt, profile.max)[index]
    if info.shape is None:
        raise ModelError(
            f"the generated parity check cannot be made: the network does not say the shape of input {name}",
            hint="Name it in engines.profiles, or write verification cases.",
        )
    batch = 1 if index == 0 or lengths.profiles else 2
    return tuple(_open_length(info.shape, axis, lengths, batch) if n is None else n for axis, n in enumerate(info.shape))


def _open_length(shape: tuple[int | None, ...], axis: int, lengths: Lengths, batch: int) -> int:
    if axis == 0 and len(shape) > 2:
        return batch
    from_end = len(shape) - axis
    return lengths.window[-from_end] if from_end <= len(lengths.window) else _OPEN_LENGTH


_Maker = Callable[[Shape, np.random.Generator], NDArray[np.float64]]


def _noise(shape: Shape, generator: np.random.Generator) -> NDArray[np.float64]:
    return generator.standard_normal(shape)


def _ramp(shape: Shape, _: np.random.Generator) -> NDArray[np.float64]:
    """From -1 to 1 in the order of memory: every axis rises, each faster than the one after it."""
    return np.linspace(-1.0, 1.0, max(int(np.prod(shape)), 1)).reshape(shape)


def _blocks(shape: Shape, generator: np.random.Generator) -> NDArray[np.float64]:
    """Blocks of one value each with sharp edges, in no order."""
    coarse = generator.uniform(-1.0, 1.0, [-(-n // _BLOCK) for n in shape])
    for axis, length in enumerate(shape):
        coarse = coarse.repeat(_BLOCK, axis=axis).take(range(length), axis=axis)
    return coarse


_PATTERNS: Mapping[str, _Maker] = {"noise": _noise, "ramp": _ramp, "blocks": _blocks}


def _array(info: TensorInfo, shape: Shape, magnitude: float, generator: np.random.Generator, make: _Maker) -> NDArray[np.generic]:
    if info.dtype.kind in "iub":
        return generator.integers(0, _LARGEST_INTEGER, shape).astype(info.dtype)
    return (magnitude * make(shape, generator)).astype(info.dtype)
