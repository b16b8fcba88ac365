"""An asymmetric phantom given in patient coordinates, sampled by any grid: axial, sagittal, coronal, oblique, flipped."""

from __future__ import annotations

import numpy as np

from dicom_node.domain.frames import Frame, FrameSet
from dicom_node.domain.volume import Volume

CENTER_LPS_MM = np.array([20.0, -12.0, 8.0])
"""Of the bright ball, off the middle on all three axes by different distances."""
RADIUS_MM = 9.0
BRIGHT, DIM = 100.0, 40.0


def intensity(lps_mm: np.ndarray) -> np.ndarray:
    """A bright ball with a soft border, left anterior superior, and a dim one, right posterior inferior; shape (..., 3) to (...)."""
    bright = np.clip(RADIUS_MM + 1 - np.linalg.norm(lps_mm - CENTER_LPS_MM, axis=-1), 0, 2) / 2
    dim = np.clip(7.0 - np.linalg.norm(lps_mm - [-18.0, 14.0, -10.0], axis=-1), 0, 2) / 2
    return BRIGHT * bright + DIM * dim


def places_lps_mm(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def centred_affine(directions: np.ndarray, spacing_mm: tuple[float, float, float], shape: tuple[int, ...]) -> np.ndarray:
    """Columns of `directions`: unit vectors of slice, row and column index; the grid's middle is the origin."""
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _turn(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


_L, _P, _S = np.eye(3)
AXIAL = np.stack([_S, _P, _L], axis=1)
SOURCES: dict[str, tuple[np.ndarray, tuple[float, float, float], tuple[int, int, int]]] = {
    "axial": (AXIAL, (2.5, 2.0, 2.0), (26, 34, 36)),
    "axial head first": (np.stack([-_S, _P, _L], axis=1), (2.5, 2.0, 2.0), (26, 34, 36)),
    "sagittal": (np.stack([_L, -_S, _P], axis=1), (2.5, 2.0, 2.0), (32, 30, 34)),
    "coronal": (np.stack([_P, -_S, _L], axis=1), (3.0, 2.0, 2.0), (24, 32, 36)),
    "flipped": (np.stack([_S, -_P, -_L], axis=1), (2.5, 2.0, 2.0), (26, 34, 36)),
    "oblique": (_turn(0, 17) @ _turn(2, -11) @ AXIAL, (2.5, 2.0, 2.0), (30, 36, 38)),
}


def volume_of(name: str, uid: str = "1.2.3") -> Volume:
    directions, spacing, shape = SOURCES[name]
    affine = centred_affine(directions, spacing, shape)
    values = intensity(places_lps_mm(shape, affine)).astype(np.float32)
    return Volume(values, affine, uid, tuple(f"1.2.{n + 1}" for n in range(shape[0])))


def frame_of(rows: int = 40, columns: int = 52, box: tuple[int, int, int, int] = (6, 14, 30, 42), number: int = 1) -> Frame:
    """A bright rectangle: first row, row after the last, first column, column after the last."""
    values = np.full((rows, columns), 10.0, np.float32)
    values[box[0] : box[1], box[2] : box[3]] = BRIGHT
    return Frame(values, "1.2.840.1", number, (0.5, 0.25), (50.0, 100.0))


def frames_of(*frames: Frame) -> FrameSet:
    return FrameSet(frames)
