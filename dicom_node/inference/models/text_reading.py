"""Reading the text in a box: cut out, turned upright, recognised. What is read is patient data and goes to `text_classes` alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from dicom_node.errors import ModelError
from dicom_node.inference.models.pictures import Picture, resized, sampled
from dicom_node.inference.models.text_detection import Floats, Quad, network_tensor
from dicom_node.inference.session import Session

_Answer = TypeVar("_Answer")

_HEIGHT_PX = 48
_DIRECTION_WIDTH_PX = 192
_WIDTH_PX = 320
_BATCH = 6
_UPSIDE_DOWN_ABOVE = 0.9
_STANDING_RATIO = 1.5
_BLANK = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What stands in a box. Patient data: never to be stored, logged or put into an error.

    Attributes:
        confidence: Mean over the characters, 0 to 1; 0 where nothing was read.
    """

    text: str
    confidence: float

    def __repr__(self) -> str:
        """Keep the text out of every log and traceback."""
        return f"Reading({len(self.text)} characters, {self.confidence:.2f})"


def characters_of(network: Path) -> tuple[str, ...]:
    """Read the alphabet that the recognition network carries in its file; number 0 stands for no character.

    Raises:
        ModelError: the file has none.
    """
    properties = {p.key: p.value for p in onnx.load(network, load_external_data=False).metadata_props}
    if "character" not in properties:
        raise ModelError(f"{network}: this recognition network carries no alphabet", hint="dicom-node models add burned-in-text")
    return ("", *properties["character"].splitlines(), " ")


class TextReader:
    """The direction network and the recognition network."""

    def __init__(self, direction: Session, recognition: Session, characters: tuple[str, ...]) -> None:
        """Take active sessions and the alphabet."""
        self._direction = direction
        self._recognition = recognition
        self._characters = characters

    def read(self, picture: Picture, boxes: Sequence[Quad]) -> list[Reading]:
        """Read each box, in their order."""
        crops = _turned_upright([cut_out(picture, corners) for corners in boxes], self._direction)
        return _in_batches(crops, self._recognised)

    def _recognised(self, crops: Sequence[Picture]) -> list[Reading]:
        widest = max(_WIDTH_PX / _HEIGHT_PX, *(c.shape[1] / c.shape[0] for c in crops))
        answer = _answer(self._recognition, [_fitted(crop, int(_HEIGHT_PX * widest)) for crop in crops])
        return [self._decoded(sequence) for sequence in answer]

    def _decoded(self, sequence: Floats) -> Reading:
        """Take the likeliest character of each step, repetitions and blanks left out (CTC)."""
        best = sequence.argmax(axis=1)
        if sequence.shape[1] != len(self._characters):
            raise ModelError(
                f"the recognition network tells {sequence.shape[1]} characters apart, its alphabet has {len(self._characters)}"
            )
        kept = (best != _BLANK) & np.concatenate([[True], best[1:] != best[:-1]])
        if not kept.any():
            return Reading("", 0.0)
        return Reading("".join(self._characters[i] for i in best[kept]), float(sequence.max(axis=1)[kept].mean()))


def cut_out(picture: Picture, corners: Quad) -> Picture:
    """Cut out a box and lay it straight; a box that stands upright is turned by 90 degrees to the left."""
    width = int(max(np.linalg.norm(corners[0] - corners[1]), np.linalg.norm(corners[2] - corners[3])))
    height = int(max(np.linalg.norm(corners[0] - corners[3]), np.linalg.norm(corners[1] - corners[2])))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    across, down = np.meshgrid(np.arange(max(width, 1)), np.arange(max(height, 1)))
    flat = _perspective(target, corners) @ np.stack([across.ravel(), down.ravel(), np.ones(across.size)])
    columns, rows = flat[:2] / flat[2]
    straight = sampled(picture, rows, columns).reshape(*across.shape, 3)
    return np.ascontiguousarray(np.rot90(straight)) if height >= _STANDING_RATIO * width else straight


def _perspective(source: Quad, target: Quad) -> NDArray[np.float64]:
    """The 3x3 matrix that takes four points to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    solution = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.append(solution, 1.0).reshape(3, 3)


def _turned_upright(crops: Sequence[Picture], direction: Session) -> list[Picture]:
    def upside_down(batch: Sequence[Picture]) -> list[bool]:
        answer = _answer(direction, [_fitted(crop, _DIRECTION_WIDTH_PX) for crop in batch])
        return [bool(scores.argmax() == 1 and scores[1] > _UPSIDE_DOWN_ABOVE) for scores in answer]

    turn = _in_batches(crops, upside_down)
    return [np.ascontiguousarray(np.rot90(crop, 2)) if turned else crop for crop, turned in zip(crops, turn, strict=True)]


def _fitted(crop: Picture, width: int) -> Floats:
    """Bring a crop to the networks' height; to the right of it there is grey up to `width`."""
    wanted = min(width, int(np.ceil(_HEIGHT_PX * crop.shape[1] / crop.shape[0])))
    tensor = np.zeros((1, 3, _HEIGHT_PX, width), np.float32)
    tensor[:, :, :, :wanted] = network_tensor(resized(crop, _HEIGHT_PX, wanted))
    return tensor


def _answer(session: Session, tensors: Sequence[Floats]) -> Floats:
    name = next(iter(session.inputs))
    return np.asarray(next(iter(session.infer({name: np.concatenate(tensors)}).values())), dtype=np.float32)


def _in_batches(crops: Sequence[Picture], work: Callable[[Sequence[Picture]], Sequence[_Answer]]) -> list[_Answer]:
    """Work on crops of about one width together; answers in the order of the crops."""
    order = sorted(range(len(crops)), key=lambda i: crops[i].shape[1] / crops[i].shape[0])
    answers: dict[int, _Answer] = {}
    for begin in range(0, len(order), _BATCH):
        chosen = order[begin : begin + _BATCH]
        answers.update(zip(chosen, work([crops[i] for i in chosen]), strict=True))
    return [answers[i] for i in range(len(crops))]
