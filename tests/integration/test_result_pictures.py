"""The pictures of docs/results.md are those that the program draws now."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tests.result_pictures import FOLDER, pictures


def test_pictures_of_the_documents_show_what_is_drawn_now() -> None:
    """Fonts and codecs move edges by a shade; `python scripts/draw_result_pages.py` draws them anew."""
    drawn = pictures()
    kept = {path.stem.removeprefix("results-") for path in FOLDER.glob("results-*.png")}
    assert kept == set(drawn)
    for name, picture in drawn.items():
        then = Image.open(FOLDER / f"results-{name}.png").convert("RGB")
        assert then.size == picture.size, name
        difference = np.abs(np.asarray(then, np.int16) - np.asarray(picture.convert("RGB"), np.int16))
        assert difference.mean() < 1.0, name
        assert np.mean(difference.max(axis=-1) > 64) < 0.002, name
