"""Writes the made-up dose screen of the verification case of burned-in-text: python -m scripts.make_text_case."""

from pathlib import Path

import numpy as np

from tests.screens import DOSE_LINES, NAME_LINES, screen

PLACE = Path(__file__).parents[1] / "config" / "models" / "burned-in-text" / "cases" / "screen.npz"

if __name__ == "__main__":
    PLACE.parent.mkdir(exist_ok=True)
    affine = np.eye(4)[:, [2, 1, 0, 3]]
    np.savez_compressed(PLACE, values=screen((*NAME_LINES, *DOSE_LINES))[None], affine_lps_mm=affine)
